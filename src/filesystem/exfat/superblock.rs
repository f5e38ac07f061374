//! The boot region: twelve sectors with a checksum over them, and a copy behind.
//!
//! Source: exFAT file system specification (Microsoft), sections 2 and 3.

use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{BlockReader, Error, Result, index_of};

/// What is read of the first sector, whatever its length.
const LEN: usize = 512;

/// Where the fields are.
mod field {
    pub(super) const NAME: usize = 3;
    pub(super) const ZEROS: usize = 11;
    pub(super) const ZEROS_LEN: usize = 53;
    pub(super) const VOLUME_LEN: usize = 72;
    pub(super) const FAT_OFFSET: usize = 80;
    pub(super) const FAT_LEN: usize = 84;
    pub(super) const HEAP_OFFSET: usize = 88;
    pub(super) const CLUSTER_COUNT: usize = 92;
    pub(super) const ROOT_CLUSTER: usize = 96;
    pub(super) const SERIAL: usize = 100;
    pub(super) const REVISION: usize = 104;
    pub(super) const FLAGS: usize = 106;
    pub(super) const SECTOR_LOG: usize = 108;
    pub(super) const CLUSTER_LOG: usize = 109;
    pub(super) const FAT_COUNT: usize = 110;
    pub(super) const PERCENT_IN_USE: usize = 112;
    pub(super) const SIGNATURE: usize = 510;
}

/// Sectors of the region, and of it those that the checksum in the last one covers.
const REGION_SECTORS: usize = 12;
const COVERED_SECTORS: usize = 11;
/// The highest number of clusters.
const CLUSTER_COUNT_MAX: u32 = 0xFFFF_FFF5;
const CLUSTER_LOG_MAX: u32 = 25;

const FLAG_SECOND_FAT: u16 = 0x01;
const FLAG_DIRTY: u16 = 0x02;
const FLAG_MEDIA_FAILURE: u16 = 0x04;

/// The geometry of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// 9 to 25.
    pub(super) cluster_log: u32,
    /// The table that counts, and its number.
    pub(super) table_offset: ByteOffset,
    pub(super) active_table: u8,
    pub(super) heap_offset: ByteOffset,
    pub(super) cluster_count: u32,
    pub(super) root_cluster: u32,
    /// Length of the volume in bytes.
    pub(super) len: ByteLen,
    pub(super) serial: u32,
    flags: u16,
    /// 0xFF if it is not known.
    pub(super) percent_in_use: u8,
    /// The first region is damaged, and this is the copy.
    pub(super) is_copy: bool,
}

impl Superblock {
    /// Reads the boot region, or its copy if the first is damaged.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if both are damaged; Unsupported if the revision is not known.
    pub(super) fn read(reader: &BlockReader) -> Result<Self> {
        let damage = match Self::read_at(reader, 0) {
            Err(damage @ Error::Corrupt { .. }) => damage,
            other => return other,
        };
        // The length of a sector may be what is damaged.
        for sector_log in 9..=12_u32 {
            let offset = 12_u64.wrapping_shl(sector_log);
            match Self::read_at(reader, offset) {
                Ok(copy) => {
                    return Ok(Self {
                        is_copy: true,
                        ..copy
                    });
                }
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                Err(_) => {}
            }
        }
        Err(damage)
    }

    /// Returns why the volume is not in order, if it is not.
    pub(super) const fn damage(&self) -> Option<&'static str> {
        if self.is_copy {
            // The flags of the copy may be old.
            return Some("its boot region is damaged");
        }
        if self.flags & FLAG_DIRTY != 0 {
            return Some("it was not unmounted");
        }
        if self.flags & FLAG_MEDIA_FAILURE != 0 {
            return Some("errors of the medium were seen");
        }
        None
    }

    fn read_at(reader: &BlockReader, offset: ByteOffset) -> Result<Self> {
        let mut bytes = [0; LEN];
        reader.read_exact_at(offset, &mut bytes)?;
        let fields = Fields::new(&bytes, offset);
        let refuse = |name, position, expected, found: u64| {
            Err(Error::corrupt(
                name,
                fields.place(position),
                expected,
                found,
            ))
        };
        let name: [u8; 8] = fields.array(field::NAME)?;
        if name != *b"EXFAT   " {
            let found = u64::from_le_bytes(name);
            return refuse(
                "FileSystemName",
                field::NAME,
                "EXFAT and three spaces",
                found,
            );
        }
        let zeros = fields.slice(field::ZEROS, field::ZEROS_LEN)?;
        if zeros.iter().any(|byte| *byte != 0) {
            return refuse("MustBeZero", field::ZEROS, "zeros", 1);
        }
        let signature = fields.le_u16(field::SIGNATURE)?;
        if signature != 0xAA55 {
            let found = signature.into();
            return refuse("BootSignature", field::SIGNATURE, "0xAA55", found);
        }
        let sector_log = u32::from(fields.u8(field::SECTOR_LOG)?);
        let is_placed = offset == 0 || offset == 12_u64.wrapping_shl(sector_log);
        if !(9..=12).contains(&sector_log) || !is_placed {
            let found = sector_log.into();
            return refuse("BytesPerSectorShift", field::SECTOR_LOG, "9 to 12", found);
        }
        check_region(reader, offset, sector_log)?;
        let revision = fields.le_u16(field::REVISION)?;
        if revision >> 8 != 1 {
            return Err(Error::unsupported(format!(
                "exFAT revision {revision:#06x}"
            )));
        }
        Self::parse(&fields, sector_log)
    }

    /// Returns the length of a cluster as a power of two, the number of FATs, and that
    /// of clusters.
    fn counts(fields: &Fields<'_>, sector_log: u32) -> Result<(u32, u8, u32)> {
        let refuse = |name, position, expected, found: u64| {
            Err(Error::corrupt(
                name,
                fields.place(position),
                expected,
                found,
            ))
        };
        let cluster_log = sector_log.saturating_add(fields.u8(field::CLUSTER_LOG)?.into());
        if cluster_log > CLUSTER_LOG_MAX {
            let (name, expected) = ("SectorsPerClusterShift", "clusters of at most 32 MiB");
            return refuse(name, field::CLUSTER_LOG, expected, cluster_log.into());
        }
        let fat_count = fields.u8(field::FAT_COUNT)?;
        if !matches!(fat_count, 1 | 2) {
            return refuse("NumberOfFats", field::FAT_COUNT, "1 or 2", fat_count.into());
        }
        let cluster_count = fields.le_u32(field::CLUSTER_COUNT)?;
        if cluster_count > CLUSTER_COUNT_MAX {
            let (name, expected) = ("ClusterCount", "below 2^32 - 10");
            return refuse(name, field::CLUSTER_COUNT, expected, cluster_count.into());
        }
        Ok((cluster_log, fat_count, cluster_count))
    }

    fn parse(fields: &Fields<'_>, sector_log: u32) -> Result<Self> {
        let refuse = |name, position, expected, found: u64| {
            Err(Error::corrupt(
                name,
                fields.place(position),
                expected,
                found,
            ))
        };
        let (cluster_log, fat_count, cluster_count) = Self::counts(fields, sector_log)?;
        // 2^32 sectors of 2^12 bytes fit.
        let bytes = |sectors: u32| u64::from(sectors).wrapping_shl(sector_log);
        let fat_len = bytes(fields.le_u32(field::FAT_LEN)?);
        if fat_len / 4 < u64::from(cluster_count).saturating_add(2) {
            let expected = "room for an entry of each cluster";
            return refuse("FatLength", field::FAT_LEN, expected, fat_len);
        }
        let fat_offset = bytes(fields.le_u32(field::FAT_OFFSET)?);
        let heap_offset = bytes(fields.le_u32(field::HEAP_OFFSET)?);
        let fats_end = fat_offset.saturating_add(fat_len.saturating_mul(fat_count.into()));
        if heap_offset < fats_end {
            let expected = "behind the FATs";
            return refuse(
                "ClusterHeapOffset",
                field::HEAP_OFFSET,
                expected,
                heap_offset,
            );
        }
        let sectors = fields.le_u64(field::VOLUME_LEN)?;
        let Some(len) = sectors.checked_mul(bytes(1)) else {
            return refuse(
                "VolumeLength",
                field::VOLUME_LEN,
                "below 2^64 bytes",
                sectors,
            );
        };
        let flags = fields.le_u16(field::FLAGS)?;
        let is_second = fat_count == 2 && flags & FLAG_SECOND_FAT != 0;
        Ok(Self {
            cluster_log,
            table_offset: match is_second {
                true => fat_offset.saturating_add(fat_len),
                false => fat_offset,
            },
            active_table: u8::from(is_second),
            heap_offset,
            cluster_count,
            root_cluster: fields.le_u32(field::ROOT_CLUSTER)?,
            len,
            serial: fields.le_u32(field::SERIAL)?,
            flags,
            percent_in_use: fields.u8(field::PERCENT_IN_USE)?,
            is_copy: false,
        })
    }
}

/// Compares the checksum of the region with the one that fills its last sector.
fn check_region(reader: &BlockReader, offset: ByteOffset, sector_log: u32) -> Result<()> {
    let sector_len = index_of(1_u64.wrapping_shl(sector_log));
    let mut region = vec![0; sector_len.saturating_mul(REGION_SECTORS)];
    reader.read_exact_at(offset, &mut region)?;
    let covered_len = sector_len.saturating_mul(COVERED_SECTORS);
    let (covered, stored) = region
        .split_at_checked(covered_len)
        .unwrap_or((&region, &[]));
    let mut sum: u32 = 0;
    for (position, byte) in covered.iter().enumerate() {
        // They change while the volume is mounted.
        let is_left_out = matches!(position, 106 | 107 | field::PERCENT_IN_USE);
        if !is_left_out {
            sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
        }
    }
    for word in stored.chunks_exact(4) {
        if word != sum.to_le_bytes() {
            let found = Fields::new(word, offset).le_u32(0)?;
            let place = offset.saturating_add(index_to_offset(covered_len));
            let expected = "the checksum of the boot region";
            return Err(Error::corrupt("boot checksum", place, expected, found));
        }
    }
    Ok(())
}

fn index_to_offset(index: usize) -> ByteOffset {
    u64::try_from(index).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::BlockCache;
    use std::sync::Arc;

    fn region() -> Vec<u8> {
        let mut bytes = vec![0; 24 * 512];
        bytes[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
        bytes[72..80].copy_from_slice(&20_000_u64.to_le_bytes());
        bytes[80] = 24;
        bytes[84] = 16;
        bytes[88] = 128;
        bytes[92..96].copy_from_slice(&2000_u32.to_le_bytes());
        bytes[96] = 5;
        bytes[104..106].copy_from_slice(&[0, 1]);
        bytes[108..111].copy_from_slice(&[9, 3, 1]);
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        seal(&mut bytes);
        let first = bytes[..12 * 512].to_vec();
        bytes[12 * 512..].copy_from_slice(&first);
        bytes
    }

    fn seal(bytes: &mut [u8]) {
        let mut sum: u32 = 0;
        for (place, byte) in bytes[..11 * 512].iter().enumerate() {
            if ![106, 107, 112].contains(&place) {
                sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
            }
        }
        for word in bytes[11 * 512..12 * 512].chunks_exact_mut(4) {
            word.copy_from_slice(&sum.to_le_bytes());
        }
    }

    fn read(bytes: Vec<u8>) -> Result<Superblock> {
        let reader = BlockReader::new(Arc::new(bytes), BlockCache::new(1 << 20));
        Superblock::read(&reader)
    }

    #[test]
    fn the_copy_takes_the_place_of_a_damaged_region() {
        let good = read(region()).unwrap();
        assert_eq!((good.cluster_log, good.root_cluster), (12, 5));
        assert_eq!(good.damage(), None);
        for place in [3, 11, 100, 108, 510, 5000, 11 * 512 + 7] {
            let mut bytes = region();
            bytes[place] ^= 1;
            let copy = read(bytes.clone()).unwrap();
            assert!(copy.is_copy, "{place}");
            assert!(copy.damage().is_some());
            bytes[place + 12 * 512] ^= 1;
            assert!(matches!(read(bytes), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn flags_are_not_part_of_the_checksum() {
        let mut bytes = region();
        bytes[106] = 2;
        bytes[112] = 50;
        let found = read(bytes).unwrap();
        assert!(!found.is_copy);
        assert_eq!(found.damage(), Some("it was not unmounted"));
        assert_eq!(found.percent_in_use, 50);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (place, damage) in [
            (84, &[15_u8][..]),
            (88, &[39]),
            (92, &[0xFF, 0xFF, 0xFF, 0xFF]),
            (79, &[0xFF]),
            (109, &[17]),
            (110, &[3]),
        ] {
            let mut bytes = region();
            bytes[place..place + damage.len()].copy_from_slice(damage);
            seal(&mut bytes);
            bytes.truncate(12 * 512);
            assert!(read(bytes).is_err(), "{place}");
        }
        let mut bytes = region();
        bytes[105] = 2;
        seal(&mut bytes);
        assert!(matches!(read(bytes), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn the_second_table_counts_if_the_flag_says_so() {
        let mut bytes = region();
        bytes[106] = 1;
        assert_eq!(read(bytes.clone()).unwrap().table_offset, 24 * 512);
        bytes[110] = 2;
        seal(&mut bytes);
        let found = read(bytes).unwrap();
        assert_eq!((found.table_offset, found.active_table), (40 * 512, 1));
    }
}
