//! The boot sector: the geometry of the volume and where the MFT begins. Its copy lies
//! in the last sector of the volume.
//!
//! Source: Microsoft, "How NTFS Works" (boot sector and BIOS parameter block); Linux-NTFS
//! project, NTFS documentation, "$Boot".

use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of};

/// What is read of the boot sector, whatever the length of a sector.
pub(super) const LEN: usize = 512;

/// Where the fields are.
mod field {
    pub(super) const NAME: usize = 3;
    pub(super) const SECTOR_LEN: usize = 0x0B;
    pub(super) const CLUSTER_SECTORS: usize = 0x0D;
    pub(super) const SECTORS: usize = 0x28;
    pub(super) const MFT: usize = 0x30;
    pub(super) const MFT_MIRROR: usize = 0x38;
    pub(super) const RECORD_LEN: usize = 0x40;
    pub(super) const INDEX_LEN: usize = 0x44;
    pub(super) const SERIAL: usize = 0x48;
}

const NAME: &[u8] = b"NTFS    ";

/// Clusters that Windows gives a volume at most, so that work over all of them ends.
const CLUSTER_COUNT_MAX: u64 = 1 << 32;

/// Clusters have 512 bytes to 2 MiB.
const CLUSTER_LOG_MAX: u32 = 21;

/// Records of the MFT and blocks of directories: from one to 128 sectors of 512 bytes.
const STRUCTURE_LOG_MIN: u32 = 9;
pub(super) const STRUCTURE_LOG_MAX: u32 = 16;

/// The geometry of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// 9 to 21.
    pub(super) cluster_log: u32,
    pub(super) cluster_count: u64,
    pub(super) mft_cluster: u64,
    pub(super) mirror_cluster: u64,
    /// Length of a record of the MFT in bytes.
    pub(super) record_len: usize,
    /// Length of a block of a directory in bytes; its own header counts.
    pub(super) index_len: usize,
    pub(super) serial: u64,
    /// Length of the volume in bytes, the copy of the boot sector included.
    pub(super) len: ByteLen,
    /// Whether it is the copy.
    pub(super) is_copy: bool,
}

impl Superblock {
    /// Reads a boot sector that lies at `offset`.
    ///
    /// # Errors
    ///
    /// Corrupt if it is not that of an NTFS; Unsupported if the volume is too large.
    pub(super) fn parse(bytes: &[u8], offset: ByteOffset) -> Result<Self> {
        let fields = Fields::new(bytes, offset);
        if fields.slice(field::NAME, NAME.len())? != NAME {
            let expected = "NTFS";
            let place = fields.place(field::NAME);
            return Err(Error::corrupt(
                "name in the boot sector",
                place,
                expected,
                0_u8,
            ));
        }
        let sector_log = sector_log(&fields)?;
        let cluster_log = sector_log.saturating_add(cluster_sectors_log(&fields)?);
        if cluster_log > CLUSTER_LOG_MAX {
            let place = fields.place(field::CLUSTER_SECTORS);
            let expected = "at most 2 MiB";
            return Err(Error::corrupt(
                "cluster length",
                place,
                expected,
                cluster_log,
            ));
        }
        let sectors = fields.le_u64(field::SECTORS)?;
        let len = sectors
            .checked_add(1)
            .and_then(|count| count.checked_mul(1_u64.checked_shl(sector_log)?))
            .filter(|len| i64::try_from(*len).is_ok())
            .ok_or_else(|| {
                let expected = "a number of bytes";
                Error::corrupt("sectors", fields.place(field::SECTORS), expected, sectors)
            })?;
        let cluster_count = sectors
            .checked_shr(cluster_log.saturating_sub(sector_log))
            .unwrap_or(0);
        if cluster_count > CLUSTER_COUNT_MAX {
            return Err(Error::unsupported("more than 4,294,967,296 clusters"));
        }
        let mft_cluster = fields.le_u64(field::MFT)?;
        if mft_cluster == 0 || mft_cluster >= cluster_count {
            let expected = "a cluster of the volume";
            let place = fields.place(field::MFT);
            return Err(Error::corrupt(
                "place of the MFT",
                place,
                expected,
                mft_cluster,
            ));
        }
        Ok(Self {
            cluster_log,
            cluster_count,
            mft_cluster,
            mirror_cluster: fields.le_u64(field::MFT_MIRROR)?,
            record_len: structure_len(&fields, field::RECORD_LEN, cluster_log)?,
            index_len: structure_len(&fields, field::INDEX_LEN, cluster_log)?,
            serial: fields.le_u64(field::SERIAL)?,
            len,
            is_copy: false,
        })
    }

    /// Returns the length of a cluster in bytes.
    pub(super) const fn cluster_len(&self) -> u64 {
        1_u64.wrapping_shl(self.cluster_log)
    }

    /// Returns how many clusters so many bytes take.
    pub(super) fn clusters_for(&self, len: ByteLen) -> u64 {
        len.div_ceil(self.cluster_len().max(1))
    }

    /// Returns where a cluster begins, or the end of all numbers.
    pub(super) fn offset_of(&self, cluster: u64) -> u64 {
        cluster.saturating_mul(self.cluster_len())
    }
}

fn sector_log(fields: &Fields<'_>) -> Result<u32> {
    let sector_len = fields.le_u16(field::SECTOR_LEN)?;
    if sector_len.is_power_of_two() && (512..=4096).contains(&sector_len) {
        return Ok(sector_len.trailing_zeros());
    }
    let place = fields.place(field::SECTOR_LEN);
    let expected = "a power of two from 512 to 4,096";
    Err(Error::corrupt("sector length", place, expected, sector_len))
}

/// A number up to 128, or the negative power of two for more.
fn cluster_sectors_log(fields: &Fields<'_>) -> Result<u32> {
    let number = fields.u8(field::CLUSTER_SECTORS)?;
    match number {
        0x80 => Ok(7),
        0xF0..=0xFF => Ok(0_u8.wrapping_sub(number).into()),
        _ if number.is_power_of_two() => Ok(number.trailing_zeros()),
        _ => {
            let place = fields.place(field::CLUSTER_SECTORS);
            let expected = "a power of two";
            Err(Error::corrupt(
                "sectors of a cluster",
                place,
                expected,
                number,
            ))
        }
    }
}

/// A number of clusters, or the negative power of two of bytes.
fn structure_len(fields: &Fields<'_>, position: usize, cluster_log: u32) -> Result<usize> {
    let number = fields.u8(position)?;
    let log = match number {
        0x80..=0xFF => Some(u32::from(0_u8.wrapping_sub(number))),
        _ if number.is_power_of_two() => number.trailing_zeros().checked_add(cluster_log),
        _ => None,
    };
    let log = log.filter(|log| (STRUCTURE_LOG_MIN..=STRUCTURE_LOG_MAX).contains(log));
    match log.and_then(|log| 1_u64.checked_shl(log)) {
        Some(len) => Ok(index_of(len)),
        None => {
            let expected = "512 bytes to 64 KiB";
            let place = fields.place(position);
            Err(Error::corrupt(
                "length of a record or an index block",
                place,
                expected,
                number,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[3..11].copy_from_slice(NAME);
        bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
        bytes[13] = 8;
        bytes[0x28..0x30].copy_from_slice(&20_479_u64.to_le_bytes());
        bytes[0x30] = 4;
        bytes[0x38] = 9;
        bytes[0x40] = 0xF6;
        bytes[0x44] = 1;
        bytes
    }

    #[test]
    fn geometry_is_read() {
        let found = Superblock::parse(&sector(), 0).unwrap();
        assert_eq!(found.cluster_len(), 4096);
        assert_eq!((found.record_len, found.index_len), (1024, 4096));
        assert_eq!((found.cluster_count, found.len), (2559, 20_480 * 512));
        let mut large = sector();
        large[13] = 0xF4;
        large[0x44] = 0xF4;
        large[0x30] = 1;
        let found = Superblock::parse(&large, 0).unwrap();
        assert_eq!((found.cluster_len(), found.index_len), (2 << 20, 4096));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (position, value) in [
            (3, b'X'),
            (12, 3),
            (13, 3),
            (13, 0xF0),
            (0x30, 0),
            (0x36, 1),
            (0x40, 0),
            (0x40, 0xE0),
            (0x44, 3),
            (0x2F, 0x80),
            (0x2D, 0xFF),
        ] {
            let mut bytes = sector();
            bytes[position] = value;
            assert!(Superblock::parse(&bytes, 0).is_err(), "{position}: {value}");
        }
        assert!(Superblock::parse(&sector()[..0x40], 0).is_err());
    }
}
