//! Reparse points: what Windows hands to a driver instead of opening it. Links, special
//! files of Linux, and content that is kept in another form.
//!
//! Source: Microsoft [MS-FSCC], section 2.1.2; Linux-NTFS project, NTFS documentation,
//! "$REPARSE_POINT".

use super::wof::Algorithm;
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{FileType, Result};

/// The longest value that Windows takes.
pub(super) const LEN_MAX: usize = 16 << 10;

/// Tags that are known here.
mod tag {
    pub(super) const MOUNT_POINT: u32 = 0xA000_0003;
    pub(super) const SYMLINK: u32 = 0xA000_000C;
    pub(super) const DEDUPLICATED: u32 = 0x8000_0013;
    pub(super) const WOF: u32 = 0x8000_0017;
    pub(super) const LX_SYMLINK: u32 = 0xA000_001D;
    pub(super) const AF_UNIX: u32 = 0x8000_0023;
    pub(super) const LX_FIFO: u32 = 0x8000_0024;
    pub(super) const LX_CHARACTER: u32 = 0x8000_0025;
    pub(super) const LX_BLOCK: u32 = 0x8000_0026;
    /// Bits of a number of providers of files in a cloud lie in the mask's gap.
    pub(super) const CLOUD: u32 = 0x9000_001A;
    pub(super) const CLOUD_MASK: u32 = 0xFFFF_0FFF;
}

mod field {
    pub(super) const TAG: usize = 0;
    pub(super) const LEN: usize = 4;
    pub(super) const DATA: usize = 8;
    /// Of links, relative to the data.
    pub(super) const NAME: usize = 0;
    pub(super) const NAME_LEN: usize = 2;
    pub(super) const JUNCTION_PATHS: usize = 8;
    pub(super) const SYMLINK_PATHS: usize = 12;
    pub(super) const LX_TARGET: usize = 4;
    /// Of WOF, relative to the data.
    pub(super) const WOF_VERSION: usize = 0;
    pub(super) const WOF_PROVIDER: usize = 4;
    pub(super) const WOF_FILE_VERSION: usize = 8;
    pub(super) const WOF_ALGORITHM: usize = 12;
}

/// The provider of WOF that keeps compressed content in a stream of the file.
const WOF_FILE_PROVIDER: u32 = 2;

/// What a reparse point means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A symbolic link with its target in UTF-16.
    Symlink { target: Vec<u16> },
    /// A junction or a mount point.
    Junction { target: Vec<u16> },
    /// A symbolic link of the Linux subsystem.
    LinuxSymlink { target: Vec<u8> },
    /// A special file of the Linux subsystem.
    Special(FileType),
    /// Content that is compressed by the overlay filter.
    Compressed(Algorithm),
    /// Content in the chunk store of the volume.
    Deduplicated,
    /// Content that may be with a provider of a cloud.
    Cloud,
    /// Another tag.
    Other(u32),
    /// The value is damaged.
    Damaged,
}

impl Reparse {
    /// Reads a value that belongs to the record at `offset`.
    pub(super) fn parse(bytes: &[u8], offset: ByteOffset) -> Self {
        Self::try_parse(&Fields::new(bytes, offset)).unwrap_or(Self::Damaged)
    }

    fn try_parse(fields: &Fields<'_>) -> Result<Self> {
        let number = fields.le_u32(field::TAG)?;
        let len = usize::from(fields.le_u16(field::LEN)?);
        // Tags that are not from Microsoft have a GUID in front; none is known here.
        let data = match number & 0x8000_0000 {
            0 => return Ok(Self::Other(number)),
            _ => fields.part(field::DATA, len)?,
        };
        Ok(match number {
            tag::MOUNT_POINT => Self::Junction {
                target: name(&data, field::JUNCTION_PATHS)?,
            },
            tag::SYMLINK => Self::Symlink {
                target: name(&data, field::SYMLINK_PATHS)?,
            },
            tag::LX_SYMLINK => match data.rest(field::LX_TARGET) {
                [] => Self::Damaged,
                target => Self::LinuxSymlink {
                    target: target.to_vec(),
                },
            },
            tag::AF_UNIX => Self::Special(FileType::Socket),
            tag::LX_FIFO => Self::Special(FileType::Fifo),
            tag::LX_CHARACTER => Self::Special(FileType::CharacterDevice),
            tag::LX_BLOCK => Self::Special(FileType::BlockDevice),
            tag::WOF => Self::Compressed(algorithm(&data)?),
            tag::DEDUPLICATED => Self::Deduplicated,
            _ if number & tag::CLOUD_MASK == tag::CLOUD => Self::Cloud,
            _ => Self::Other(number),
        })
    }

    /// Returns what it costs in memory beside itself.
    pub(super) fn bytes_len(&self) -> usize {
        match self {
            Self::Symlink { target } | Self::Junction { target } => target.len().saturating_mul(2),
            Self::LinuxSymlink { target } => target.len(),
            _ => 0,
        }
    }

    /// Returns the type that it gives a node; `None` if that is as without it.
    pub(super) const fn file_type(&self) -> Option<FileType> {
        match self {
            Self::Symlink { .. } | Self::Junction { .. } | Self::LinuxSymlink { .. } => {
                Some(FileType::Symlink)
            }
            Self::Special(file_type) => Some(*file_type),
            Self::Compressed(_)
            | Self::Deduplicated
            | Self::Cloud
            | Self::Other(_)
            | Self::Damaged => None,
        }
    }
}

/// Returns the name that is substituted, which lies behind `paths`.
fn name(data: &Fields<'_>, paths: usize) -> Result<Vec<u16>> {
    let start = usize::from(data.le_u16(field::NAME)?);
    let len = usize::from(data.le_u16(field::NAME_LEN)?);
    let bytes = data.slice(paths.saturating_add(start), len)?;
    Ok(super::index::units(bytes))
}

fn algorithm(data: &Fields<'_>) -> Result<Algorithm> {
    let is_known = data.le_u32(field::WOF_VERSION)? == 1
        && data.le_u32(field::WOF_PROVIDER)? == WOF_FILE_PROVIDER
        && data.le_u32(field::WOF_FILE_VERSION)? == 1;
    let number = data.le_u32(field::WOF_ALGORITHM).unwrap_or(u32::MAX);
    Ok(match is_known {
        true => Algorithm::from_number(number),
        false => Algorithm::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend((data.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn links_are_read() {
        let data = [2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 9, b'a', 0, b'b', 0];
        let expected = Reparse::Symlink {
            target: vec![0x61, 0x62],
        };
        assert_eq!(Reparse::parse(&value(tag::SYMLINK, &data), 0), expected);
        let data = [0, 0, 2, 0, 0, 0, 0, 0, b'x', 0];
        let expected = Reparse::Junction { target: vec![0x78] };
        assert_eq!(Reparse::parse(&value(tag::MOUNT_POINT, &data), 0), expected);
        let expected = Reparse::LinuxSymlink {
            target: b"up".to_vec(),
        };
        let found = Reparse::parse(&value(tag::LX_SYMLINK, b"\x02\0\0\0up"), 0);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_known_is_told_apart_from_damage() {
        let wof = [1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        let found = Reparse::parse(&value(tag::WOF, &wof), 0);
        assert_eq!(found, Reparse::Compressed(Algorithm::Lzx));
        let found = Reparse::parse(&value(tag::WOF, &[9; 16]), 0);
        assert_eq!(found, Reparse::Compressed(Algorithm::Unknown));
        let found = Reparse::parse(&value(0x9000_301A, &[]), 0);
        assert_eq!(found, Reparse::Cloud);
        assert_eq!(
            Reparse::parse(&value(0x1234, &[]), 0),
            Reparse::Other(0x1234)
        );
        for bad in [
            &[1, 2][..],
            &value(tag::WOF, &[1, 0]),
            &value(tag::LX_SYMLINK, &[2, 0, 0, 0]),
            &value(tag::SYMLINK, &[0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 9]),
            &value(tag::SYMLINK, &[9; 12])[..15],
        ] {
            assert_eq!(Reparse::parse(bad, 0), Reparse::Damaged, "{bad:?}");
        }
    }
}
