//! The core of an inode and the places of its two forks. Nothing is read beyond the
//! inode itself.

use super::checksum::crc_is_right;
use super::extent::{Fork, Patch};
use super::superblock::Superblock;
use super::volume::{Volume, expect, to_usize};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{DeviceNumber, Error, FileTime, FileType, Metadata, NodeFlags, Result};
use std::sync::Arc;

/// `IN`.
const MAGIC: u16 = 0x494E;

/// Where the fields of `xfs_dinode` are.
///
/// Source: XFS Algorithms & Data Structures, "On-disk Inode"; `xfs_format.h`.
pub(super) mod field {
    pub(in super::super) const MODE: usize = 2;
    pub(in super::super) const VERSION: usize = 4;
    pub(in super::super) const FORMAT: usize = 5;
    pub(in super::super) const OLD_LINK_COUNT: usize = 6;
    pub(in super::super) const USER: usize = 8;
    pub(in super::super) const GROUP: usize = 12;
    pub(in super::super) const LINK_COUNT: usize = 16;
    pub(in super::super) const BIG_EXTENT_COUNT: usize = 24;
    pub(in super::super) const FLUSH_ITERATION: usize = 30;
    pub(in super::super) const ACCESSED: usize = 32;
    pub(in super::super) const MODIFIED: usize = 40;
    pub(in super::super) const CHANGED: usize = 48;
    pub(in super::super) const SIZE: usize = 56;
    pub(in super::super) const BLOCK_COUNT: usize = 64;
    pub(in super::super) const EXTENT_COUNT: usize = 76;
    pub(in super::super) const ATTR_EXTENT_COUNT: usize = 80;
    pub(in super::super) const FORK_OFFSET: usize = 82;
    pub(in super::super) const ATTR_FORMAT: usize = 83;
    pub(in super::super) const FLAGS: usize = 90;
    pub(in super::super) const GENERATION: usize = 92;
    pub(in super::super) const CRC: usize = 100;
    pub(in super::super) const LSN: usize = 112;
    pub(in super::super) const FLAGS2: usize = 120;
    pub(in super::super) const CREATED: usize = 144;
    pub(in super::super) const INODE: usize = 152;
    pub(in super::super) const UUID: usize = 160;
    /// Length of the core in versions 1 and 2, and in version 3.
    pub(in super::super) const CORE_LEN_V2: usize = 100;
    pub(in super::super) const CORE_LEN_V3: usize = 176;
}

const FLAG_REALTIME: u16 = 0x0001;
const FLAG_IMMUTABLE: u16 = 0x0008;
const FLAG_APPEND: u16 = 0x0010;

pub(super) const FLAG2_BIGTIME: u64 = 0x08;
pub(super) const FLAG2_LARGE_COUNTS: u64 = 0x10;
const FLAG2_METADATA: u64 = 0x20;
const FLAG2_VERITY: u64 = 0x40;

/// Seconds between 1901-12-13T20:45:52Z and 1970.
const BIGTIME_EPOCH_SECONDS: i64 = 1 << 31;

/// How a fork holds what it holds (`xfs_dinode_fmt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Device,
    Local,
    Extents,
    Tree,
}

/// An inode, its checks passed.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) file_type: FileType,
    pub(super) metadata: Metadata,
    pub(super) is_realtime: bool,
    pub(super) data: Fork,
    pub(super) attributes: Option<Fork>,
}

impl Volume {
    /// Reads the inode with this number.
    ///
    /// # Errors
    ///
    /// NotFound if there is none; Corrupt if it is damaged.
    pub(super) fn inode(&self, number: u64) -> Result<Inode> {
        let superblock = &self.superblock;
        let offset = superblock.inode_offset(number)?;
        let inside = offset & superblock.block_len().wrapping_sub(1);
        let block_offset = offset.saturating_sub(inside);
        let block = self.blocks.block(block_offset, self.block_len())?;
        let whole = Fields::new(&block, block_offset);
        let fields = whole.part(to_usize(inside), superblock.inode_len())?;
        let is_replayed = self.is_replayed(offset, superblock.inode_len());
        let mut inode = parse(&fields, number, superblock, is_replayed)?;
        if let Some(patches) = self.patches.get(&number) {
            self.patch(&mut inode, patches);
        }
        Ok(inode)
    }

    /// Makes the changes that the log promised.
    fn patch(&self, inode: &mut Inode, patches: &Arc<[Patch]>) {
        let sectors = self.superblock.block_len() >> 9;
        let count = &mut inode.metadata.block_count_512;
        for patch in patches.iter() {
            let changed = patch.extent.count.saturating_mul(sectors);
            *count = match patch.is_mapped {
                true => count.saturating_add(changed),
                false => count.saturating_sub(changed),
            };
        }
        inode.data.patches = Arc::clone(patches);
    }

    /// Reads the inode with this number if it is of that type.
    ///
    /// # Errors
    ///
    /// As [`Volume::inode`]; WrongType.
    pub(super) fn inode_of_type(&self, number: u64, expected: FileType) -> Result<Inode> {
        let inode = self.inode(number)?;
        if inode.file_type == expected {
            return Ok(inode);
        }
        let actual = inode.file_type;
        Err(Error::WrongType { expected, actual })
    }
}

/// Reads an inode from its bytes; its checksum is stale if the log changed them.
pub(super) fn parse(
    fields: &Fields<'_>,
    number: u64,
    superblock: &Superblock,
    is_replayed: bool,
) -> Result<Inode> {
    if fields.be_u16(0)? != MAGIC {
        return Err(Error::NotFound {
            what: "inode".into(),
        });
    }
    check(fields, number, superblock, is_replayed)?;
    let mode = fields.be_u16(field::MODE)?;
    if mode == 0 {
        return Err(Error::NotFound {
            what: "inode that is in use".into(),
        });
    }
    let Some(file_type) = FileType::from_mode(mode) else {
        let place = fields.place(field::MODE);
        return Err(Error::corrupt("di_mode", place, "a type of file", mode));
    };
    let core = Core::read(fields)?;
    let data = core.data_fork(fields, file_type)?;
    let attributes = core.attribute_fork(fields)?;
    let metadata = core.metadata(fields, file_type, mode, superblock)?;
    Ok(Inode {
        number,
        file_type,
        metadata,
        is_realtime: core.flags & FLAG_REALTIME != 0,
        data,
        attributes,
    })
}

fn check(
    fields: &Fields<'_>,
    number: u64,
    superblock: &Superblock,
    is_replayed: bool,
) -> Result<()> {
    let version = fields.u8(field::VERSION)?;
    let place = fields.place(field::VERSION);
    if !superblock.features.is_v5() {
        return match version {
            1 | 2 => Ok(()),
            _ => Err(Error::corrupt("di_version", place, "1 or 2", version)),
        };
    }
    if version != 3 {
        return Err(Error::corrupt("di_version", place, "3", version));
    }
    if !is_replayed && !crc_is_right(fields.bytes(), field::CRC) {
        let found = fields.le_u32(field::CRC)?;
        let place = fields.place(field::CRC);
        return Err(Error::corrupt(
            "di_crc",
            place,
            "the CRC32c of the inode",
            found,
        ));
    }
    expect(
        fields,
        field::INODE,
        "di_ino",
        number,
        fields.be_u64(field::INODE)?,
    )?;
    if fields.array::<16>(field::UUID)? != superblock.meta_uuid {
        let found = fields.be_u64(field::UUID)?;
        let place = fields.place(field::UUID);
        let expected = "the UUID of the file system";
        return Err(Error::corrupt("di_uuid", place, expected, found));
    }
    Ok(())
}

/// What the forks and the metadata are made from.
struct Core {
    version: u8,
    flags: u16,
    flags2: u64,
    core_len: usize,
    fork_offset: usize,
}

impl Core {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        let version = fields.u8(field::VERSION)?;
        let is_v3 = version == 3;
        let core_len = if is_v3 {
            field::CORE_LEN_V3
        } else {
            field::CORE_LEN_V2
        };
        let stored = fields.u8(field::FORK_OFFSET)?;
        // In units of 8 bytes, behind the core.
        let fork_offset = usize::from(stored).saturating_mul(8);
        if core_len.saturating_add(fork_offset) > fields.bytes().len() {
            let place = fields.place(field::FORK_OFFSET);
            return Err(Error::corrupt(
                "di_forkoff",
                place,
                "inside the inode",
                stored,
            ));
        }
        Ok(Self {
            version,
            flags: fields.be_u16(field::FLAGS)?,
            flags2: if is_v3 {
                fields.be_u64(field::FLAGS2)?
            } else {
                0
            },
            core_len,
            fork_offset,
        })
    }

    fn has_large_counts(&self) -> bool {
        self.flags2 & FLAG2_LARGE_COUNTS != 0
    }

    fn data_fork(&self, fields: &Fields<'_>, file_type: FileType) -> Result<Fork> {
        let stored = fields.u8(field::FORMAT)?;
        let format = format_of(stored).filter(|format| fits(*format, file_type));
        let Some(format) = format else {
            let place = fields.place(field::FORMAT);
            let expected = "a format of this type of file";
            return Err(Error::corrupt("di_format", place, expected, stored));
        };
        let len = match self.fork_offset {
            0 => fields.bytes().len().saturating_sub(self.core_len),
            offset => offset,
        };
        let count = match self.has_large_counts() {
            true => fields.be_u64(field::BIG_EXTENT_COUNT)?,
            false => u64::from(fields.be_u32(field::EXTENT_COUNT)?),
        };
        let area = fields.part(self.core_len, len)?;
        Ok(Fork::new(format, &area, count))
    }

    fn attribute_fork(&self, fields: &Fields<'_>) -> Result<Option<Fork>> {
        if self.fork_offset == 0 {
            return Ok(None);
        }
        let stored = fields.u8(field::ATTR_FORMAT)?;
        let Some(format) = format_of(stored).filter(|format| *format != Format::Device) else {
            let place = fields.place(field::ATTR_FORMAT);
            return Err(Error::corrupt("di_aformat", place, "1, 2 or 3", stored));
        };
        let count = match self.has_large_counts() {
            true => u64::from(fields.be_u32(field::EXTENT_COUNT)?),
            false => u64::from(fields.be_u16(field::ATTR_EXTENT_COUNT)?),
        };
        let start = self.core_len.saturating_add(self.fork_offset);
        let len = fields.bytes().len().saturating_sub(start);
        let area = fields.part(start, len)?;
        Ok(Some(Fork::new(format, &area, count)))
    }

    fn metadata(
        &self,
        fields: &Fields<'_>,
        file_type: FileType,
        mode: u16,
        superblock: &Superblock,
    ) -> Result<Metadata> {
        let block_len = superblock.block_len();
        let size = fields.be_u64(field::SIZE)?;
        if size > i64::MAX.unsigned_abs() {
            let place = fields.place(field::SIZE);
            return Err(Error::corrupt("di_size", place, "below 2^63", size));
        }
        let block_count = fields.be_u64(field::BLOCK_COUNT)?;
        let time = |position| self.time(fields, position);
        Ok(Metadata {
            file_type,
            permissions: mode & 0x0FFF,
            user: fields.be_u32(field::USER)?,
            group: fields.be_u32(field::GROUP)?,
            link_count: match self.version {
                1 => u32::from(fields.be_u16(field::OLD_LINK_COUNT)?),
                _ => fields.be_u32(field::LINK_COUNT)?,
            },
            size,
            block_count_512: block_count.saturating_mul(block_len >> 9),
            preferred_io_len: u32::try_from(block_len.max(4096)).unwrap_or(4096),
            accessed: time(field::ACCESSED)?,
            modified: time(field::MODIFIED)?,
            changed: time(field::CHANGED)?,
            created: match self.version {
                3 => Some(time(field::CREATED)?),
                _ => None,
            },
            device: self.device(fields, file_type)?,
            generation: u64::from(fields.be_u32(field::GENERATION)?),
            flags: NodeFlags {
                has_verity: self.flags2 & FLAG2_VERITY != 0,
                is_immutable: self.flags & FLAG_IMMUTABLE != 0,
                is_append_only: self.flags & FLAG_APPEND != 0,
                is_casefold: file_type == FileType::Directory
                    && superblock.features.is_case_insensitive(),
                ..NodeFlags::default()
            },
        })
    }

    /// Reads a time: nanoseconds since 1901 with `bigtime`, else two 32-bit numbers.
    fn time(&self, fields: &Fields<'_>, position: usize) -> Result<FileTime> {
        if self.flags2 & FLAG2_BIGTIME != 0 {
            let stored = fields.be_u64(position)?;
            let seconds = i64::try_from(stored.wrapping_div(1_000_000_000)).unwrap_or(i64::MAX);
            let nanoseconds = u32::try_from(stored.wrapping_rem(1_000_000_000)).unwrap_or(0);
            return Ok(FileTime {
                seconds: seconds.saturating_sub(BIGTIME_EPOCH_SECONDS),
                nanoseconds,
            });
        }
        Ok(FileTime {
            seconds: i64::from(fields.be_i32(position)?),
            // What lies above a second is no time; the rest of the inode is good.
            nanoseconds: fields.be_u32(position.saturating_add(4))?.min(999_999_999),
        })
    }

    /// Reads a device number: 14 bits of major, 18 of minor (System V).
    fn device(&self, fields: &Fields<'_>, file_type: FileType) -> Result<Option<DeviceNumber>> {
        if !matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice) {
            return Ok(None);
        }
        let stored = fields.be_u32(self.core_len)?;
        Ok(Some(DeviceNumber {
            major: stored >> 18,
            minor: stored & 0x3_FFFF,
        }))
    }
}

const fn format_of(stored: u8) -> Option<Format> {
    match stored {
        0 => Some(Format::Device),
        1 => Some(Format::Local),
        2 => Some(Format::Extents),
        3 => Some(Format::Tree),
        _ => None,
    }
}

fn fits(format: Format, file_type: FileType) -> bool {
    match file_type {
        FileType::Regular => matches!(format, Format::Extents | Format::Tree),
        FileType::Directory | FileType::Symlink => format != Format::Device,
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            format == Format::Device
        }
    }
}

/// Tells whether the inode belongs to the file system itself (`metadir`).
pub(super) const fn is_metadata_inode(flags2: u64) -> bool {
    flags2 & FLAG2_METADATA != 0
}

/// The bytes of a fork inside the inode and where they are.
#[derive(Clone, Debug)]
pub(super) struct Area {
    bytes: Arc<[u8]>,
    offset: ByteOffset,
}

impl Area {
    pub(super) fn new(fields: &Fields<'_>) -> Self {
        Self {
            bytes: Arc::from(fields.bytes()),
            offset: fields.offset(),
        }
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, self.offset)
    }
}
