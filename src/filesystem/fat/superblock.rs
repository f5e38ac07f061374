//! The boot sector (BIOS parameter block): the geometry of the volume, validated as
//! Linux does before it mounts.
//!
//! Source: Microsoft FAT specification 1.03, "Boot Sector and BPB" and "FAT Type
//! Determination".

use super::code_page::CodePage;
use super::short_name;
use super::table::{FIRST_CLUSTER, Width};
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{Error, Result};

/// What is read of the boot sector, whatever the length of a sector.
pub(super) const LEN: usize = 512;

/// Where the fields are.
mod field {
    pub(super) const SECTOR_LEN: usize = 11;
    pub(super) const CLUSTER_SECTORS: usize = 13;
    pub(super) const RESERVED_SECTORS: usize = 14;
    pub(super) const FAT_COUNT: usize = 16;
    pub(super) const ROOT_ENTRIES: usize = 17;
    pub(super) const SECTORS_16: usize = 19;
    pub(super) const MEDIA: usize = 21;
    pub(super) const FAT_SECTORS_16: usize = 22;
    pub(super) const SECTORS_32: usize = 32;
    /// From here on FAT12 and FAT16 differ from FAT32.
    pub(super) const EXTENDED_16: usize = 36;
    pub(super) const FAT_SECTORS_32: usize = 36;
    pub(super) const FLAGS_32: usize = 40;
    pub(super) const ROOT_CLUSTER: usize = 44;
    pub(super) const INFO_SECTOR: usize = 48;
    pub(super) const EXTENDED_32: usize = 64;
    /// Relative to the extended part.
    pub(super) const STATE: usize = 1;
    pub(super) const SIGNATURE: usize = 2;
    pub(super) const SERIAL: usize = 3;
    pub(super) const LABEL: usize = 7;
    pub(super) const TYPE: usize = 18;
}

/// Bytes of an entry of a directory.
const ENTRY_LEN: u64 = 32;
/// Highest numbers of clusters of the three types.
const CLUSTER_COUNT_MAX_12: u64 = 0xFF4;
const CLUSTER_COUNT_MAX_16: u64 = 0xFFF4;
const CLUSTER_COUNT_MAX_32: u64 = 0x0FFF_FFF6;
/// Tables are not kept equal; the low bits say which one counts.
const FLAG_NOT_MIRRORED: u16 = 0x80;
const ACTIVE_MASK: u16 = 0x0F;
/// Tables that are compared: there are two as a rule.
const MIRRORED_COUNT_MAX: u64 = 4;
const STATE_DIRTY: u8 = 0x01;
const EXTENDED_SIGNATURES: [u8; 2] = [0x28, 0x29];
const NO_NAME: &[u8; 11] = b"NO NAME    ";

/// Where the root directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// In a region of its own.
    Region { offset: ByteOffset, len: ByteLen },
    /// In a chain of clusters.
    Cluster(u32),
}

/// The geometry of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) width: Width,
    pub(super) sector_len: u64,
    /// 9 to 19.
    pub(super) cluster_log: u32,
    pub(super) media: u8,
    /// The first table, and the one that counts.
    pub(super) first_table_offset: ByteOffset,
    pub(super) table_offset: ByteOffset,
    /// How far behind the first table its copies lie, if they are kept equal.
    pub(super) mirrors: Vec<u64>,
    pub(super) root: Root,
    pub(super) data_offset: ByteOffset,
    pub(super) cluster_count: u32,
    /// Length of the volume in bytes.
    pub(super) len: ByteLen,
    /// Where FAT32 keeps its numbers of free space.
    pub(super) info_offset: Option<ByteOffset>,
    /// The state byte says that it is mounted.
    pub(super) is_dirty: bool,
    /// Label and serial number in the boot sector, if it has them.
    pub(super) label: Option<[u8; 11]>,
    pub(super) serial: Option<u32>,
    /// A type is written in it (`FAT16   `); nothing depends on it.
    pub(super) has_type: bool,
}

/// Lengths in sectors, before anything is computed from them.
struct Layout {
    sector_len: u64,
    cluster_sectors: u64,
    reserved: u64,
    fat_count: u64,
    fat_sectors: u64,
    root_entries: u64,
    sectors: u64,
    is_32: bool,
}

impl Superblock {
    /// Reads the boot sector.
    ///
    /// # Errors
    ///
    /// Corrupt if it is not that of a FAT.
    pub(super) fn parse(bytes: &[u8; LEN]) -> Result<Self> {
        let fields = Fields::new(bytes, 0);
        let media = fields.u8(field::MEDIA)?;
        if media != 0xF0 && media < 0xF8 {
            return refuse(
                "media descriptor",
                field::MEDIA,
                "0xF0 or 0xF8 to 0xFF",
                media,
            );
        }
        let layout = Layout::read(&fields)?;
        let extended = match layout.is_32 {
            true => field::EXTENDED_32,
            false => field::EXTENDED_16,
        };
        let extended = fields.part(extended, field::TYPE.saturating_add(8))?;
        let has_extension = EXTENDED_SIGNATURES.contains(&extended.u8(field::SIGNATURE)?);
        let mut superblock = layout.superblock(&fields, media)?;
        superblock.is_dirty = extended.u8(field::STATE)? & STATE_DIRTY != 0;
        superblock.has_type = extended.slice(field::TYPE, 3)? == b"FAT";
        if has_extension {
            let label = extended.array(field::LABEL)?;
            superblock.label = Some(label).filter(|label| label != NO_NAME);
            superblock.serial = Some(extended.le_u32(field::SERIAL)?);
        }
        Ok(superblock)
    }

    /// Returns the label in the boot sector.
    pub(super) fn label(&self, page: CodePage) -> Vec<u8> {
        let decode = |label| short_name::decode_label(label, page);
        self.label.as_ref().map(decode).unwrap_or_default()
    }
}

fn refuse<T>(
    name: &'static str,
    position: usize,
    expected: &'static str,
    found: impl Into<u64>,
) -> Result<T> {
    let place = u64::try_from(position).unwrap_or(0);
    Err(Error::corrupt(name, place, expected, found))
}

impl Layout {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        let sector_len = fields.le_u16(field::SECTOR_LEN)?;
        if !sector_len.is_power_of_two() || !(512..=4096).contains(&sector_len) {
            let expected = "a power of two from 512 to 4096";
            return refuse("sector length", field::SECTOR_LEN, expected, sector_len);
        }
        let cluster_sectors = fields.u8(field::CLUSTER_SECTORS)?;
        if !cluster_sectors.is_power_of_two() {
            let position = field::CLUSTER_SECTORS;
            return refuse(
                "sectors of a cluster",
                position,
                "a power of two",
                cluster_sectors,
            );
        }
        let reserved = fields.le_u16(field::RESERVED_SECTORS)?;
        if reserved == 0 {
            return refuse(
                "reserved sectors",
                field::RESERVED_SECTORS,
                "not 0",
                reserved,
            );
        }
        let fat_count = fields.u8(field::FAT_COUNT)?;
        if fat_count == 0 {
            return refuse("number of FATs", field::FAT_COUNT, "not 0", fat_count);
        }
        let short_sectors = fields.le_u16(field::FAT_SECTORS_16)?;
        let fat_sectors = match short_sectors {
            0 => fields.le_u32(field::FAT_SECTORS_32)?,
            _ => u32::from(short_sectors),
        };
        if fat_sectors == 0 {
            return refuse(
                "sectors of a FAT",
                field::FAT_SECTORS_32,
                "not 0",
                fat_sectors,
            );
        }
        let root_entries = fields.le_u16(field::ROOT_ENTRIES)?;
        let root_len = u64::from(root_entries).saturating_mul(ENTRY_LEN);
        if !root_len.is_multiple_of(u64::from(sector_len)) {
            let expected = "whole sectors";
            return refuse("root entries", field::ROOT_ENTRIES, expected, root_entries);
        }
        let sectors = match fields.le_u16(field::SECTORS_16)? {
            0 => fields.le_u32(field::SECTORS_32)?,
            sectors => u32::from(sectors),
        };
        Ok(Self {
            sector_len: sector_len.into(),
            cluster_sectors: cluster_sectors.into(),
            reserved: reserved.into(),
            fat_count: fat_count.into(),
            fat_sectors: fat_sectors.into(),
            root_entries: root_entries.into(),
            sectors: sectors.into(),
            is_32: short_sectors == 0,
        })
    }

    /// Returns bytes of sectors: at most 2^32 of at most 2^12 bytes.
    fn bytes(&self, sectors: u64) -> u64 {
        sectors.saturating_mul(self.sector_len)
    }

    fn superblock(&self, fields: &Fields<'_>, media: u8) -> Result<Superblock> {
        let tables = self.fat_count.saturating_mul(self.fat_sectors);
        let root_start = self.reserved.saturating_add(tables);
        let root_len = self.root_entries.saturating_mul(ENTRY_LEN);
        let root_sectors = root_len.checked_div(self.sector_len).unwrap_or(0);
        let data_start = root_start.saturating_add(root_sectors);
        let Some(data_sectors) = self.sectors.checked_sub(data_start) else {
            let expected = "room for reserved sectors, tables and root";
            return refuse(
                "number of sectors",
                field::SECTORS_32,
                expected,
                self.sectors,
            );
        };
        let clusters = data_sectors.checked_div(self.cluster_sectors).unwrap_or(0);
        let (width, count_max) = match clusters {
            _ if self.is_32 => (Width::Bits32, CLUSTER_COUNT_MAX_32),
            0..=CLUSTER_COUNT_MAX_12 => (Width::Bits12, CLUSTER_COUNT_MAX_12),
            _ => (Width::Bits16, CLUSTER_COUNT_MAX_16),
        };
        let table_entries = self
            .bytes(self.fat_sectors)
            .saturating_mul(8)
            .checked_div(width.bits())
            .unwrap_or(0);
        let clusters = clusters.min(table_entries.saturating_sub(FIRST_CLUSTER.into()));
        if clusters > count_max {
            let expected = "no more clusters than the type can have";
            return refuse("number of clusters", field::SECTORS_32, expected, clusters);
        }
        let first_table_offset = self.bytes(self.reserved);
        Ok(Superblock {
            width,
            sector_len: self.sector_len,
            cluster_log: self
                .bytes(self.cluster_sectors)
                .checked_ilog2()
                .unwrap_or(0),
            media,
            first_table_offset,
            table_offset: first_table_offset.saturating_add(self.active_table(fields)?),
            mirrors: self.mirrors(fields)?,
            root: match self.is_32 {
                true => Root::Cluster(fields.le_u32(field::ROOT_CLUSTER)?),
                false => Root::Region {
                    offset: self.bytes(root_start),
                    len: root_len,
                },
            },
            data_offset: self.bytes(data_start),
            cluster_count: u32::try_from(clusters).unwrap_or(0),
            len: self.bytes(self.sectors),
            info_offset: self.info_offset(fields)?,
            is_dirty: false,
            label: None,
            serial: None,
            has_type: false,
        })
    }

    /// Returns where the table that counts begins, behind the first one.
    fn active_table(&self, fields: &Fields<'_>) -> Result<u64> {
        if !self.is_32 {
            return Ok(0);
        }
        let flags = fields.le_u16(field::FLAGS_32)?;
        let active = u64::from(flags & ACTIVE_MASK);
        if flags & FLAG_NOT_MIRRORED == 0 || active >= self.fat_count {
            return Ok(0);
        }
        Ok(self.bytes(active.saturating_mul(self.fat_sectors)))
    }

    /// Returns how far behind the first table its copies lie.
    fn mirrors(&self, fields: &Fields<'_>) -> Result<Vec<u64>> {
        let is_mirrored = !self.is_32 || fields.le_u16(field::FLAGS_32)? & FLAG_NOT_MIRRORED == 0;
        if !is_mirrored || self.fat_count > MIRRORED_COUNT_MAX {
            return Ok(vec![]);
        }
        let copies = (1..self.fat_count).map(|number| number.saturating_mul(self.fat_sectors));
        Ok(copies.map(|sectors| self.bytes(sectors)).collect())
    }

    fn info_offset(&self, fields: &Fields<'_>) -> Result<Option<ByteOffset>> {
        if !self.is_32 {
            return Ok(None);
        }
        // Old volumes have 0 and mean 1, as Linux takes it.
        let sector = u64::from(fields.le_u16(field::INFO_SECTOR)?).max(1);
        Ok((sector < self.reserved).then(|| self.bytes(sector)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A boot sector of 512-byte sectors and one table of two.
    pub(in super::super) fn boot(
        sectors: u32,
        cluster_sectors: u8,
        fat_sectors: u16,
        root_entries: u16,
    ) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
        bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
        bytes[13] = cluster_sectors;
        bytes[14] = 1;
        bytes[16] = 2;
        bytes[17..19].copy_from_slice(&root_entries.to_le_bytes());
        bytes[21] = 0xF8;
        bytes[22..24].copy_from_slice(&fat_sectors.to_le_bytes());
        bytes[32..36].copy_from_slice(&sectors.to_le_bytes());
        bytes[510..].copy_from_slice(&[0x55, 0xAA]);
        bytes
    }

    /// The type depends on the number of clusters alone.
    #[test]
    fn the_type_is_that_of_the_number_of_clusters() {
        // 1 + 2 * 12 + 32 sectors before the clusters.
        for (clusters, width) in [
            (0xFF4, Width::Bits12),
            (0xFF5, Width::Bits16),
            (1, Width::Bits12),
        ] {
            let mut bytes = boot(57 + clusters, 1, 12, 512);
            if width == Width::Bits16 {
                bytes = boot(1 + 2 * 17 + 32 + clusters, 1, 17, 512);
            }
            let found = Superblock::parse(&bytes).unwrap();
            assert_eq!(found.width, width, "{clusters}");
            assert_eq!(found.cluster_count, clusters);
        }
        // A table that is too short is what limits it.
        let found = Superblock::parse(&boot(60_000, 1, 12, 512)).unwrap();
        assert_eq!((found.width, found.cluster_count), (Width::Bits16, 3070));
    }

    #[test]
    fn each_rule_of_the_kernel_is_checked() {
        assert!(Superblock::parse(&boot(4000, 1, 12, 512)).is_ok());
        let rules: [(&str, usize, &[u8]); 8] = [
            ("sector length", 11, &[0, 0]),
            ("sector length", 11, &[0, 0x20]),
            ("sectors of a cluster", 13, &[3]),
            ("reserved sectors", 14, &[0, 0]),
            ("number of FATs", 16, &[0]),
            ("root entries", 17, &[1, 0]),
            ("media descriptor", 21, &[0xF7]),
            ("sectors of a FAT", 22, &[0, 0]),
        ];
        for (name, place, damage) in rules {
            let mut bytes = boot(4000, 1, 12, 512);
            bytes[place..place + damage.len()].copy_from_slice(damage);
            match Superblock::parse(&bytes) {
                Err(Error::Corrupt { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(Superblock::parse(&boot(56, 1, 12, 512)).is_err());
        assert!(Superblock::parse(&boot(70_000_000, 1, 65_535, 512)).is_err());
    }

    fn boot_32() -> [u8; LEN] {
        let mut bytes = boot(600_000, 8, 0, 0);
        bytes[14] = 32;
        bytes[36..40].copy_from_slice(&600_u32.to_le_bytes());
        bytes[44] = 2;
        bytes[48] = 1;
        bytes[66] = 0x29;
        bytes[67..71].copy_from_slice(&[1, 2, 3, 4]);
        bytes[71..82].copy_from_slice(b"MY LABEL   ");
        bytes
    }

    #[test]
    fn fat32_has_an_active_table_a_state_and_a_label() {
        let found = Superblock::parse(&boot_32()).unwrap();
        assert_eq!(found.width, Width::Bits32);
        assert_eq!(found.root, Root::Cluster(2));
        assert_eq!(found.table_offset, 32 * 512);
        assert_eq!(found.info_offset, Some(512));
        assert_eq!(found.label(CodePage::default()), b"MY LABEL");
        assert_eq!(found.serial, Some(0x0403_0201));
        let mut bytes = boot_32();
        bytes[40] = 0x81;
        bytes[65] = 1;
        let found = Superblock::parse(&bytes).unwrap();
        assert_eq!(found.table_offset, (32 + 600) * 512);
        assert!(found.is_dirty);
        bytes[40] = 0x82;
        let found = Superblock::parse(&bytes).unwrap();
        assert_eq!(found.table_offset, 32 * 512);
    }
}
