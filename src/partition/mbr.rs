//! The master boot record with extended and logical partitions.
//!
//! Source: the layout that every PC has, as described in UEFI Specification 2.10,
//! section 5.2 (LBA 0 Format); logical partitions as the Linux kernel numbers them.

use super::error::Result;
use super::{Partition, PartitionType, Table, TableKind, place_of, read};
use crate::base::{Fields, ReadAt};
use std::collections::BTreeSet;
use std::sync::Arc;

const BOOT_SECTOR_LEN: usize = 512;
const DISK_SIGNATURE_OFFSET: usize = 440;
const ENTRIES_OFFSET: usize = 446;
const ENTRY_LEN: usize = 16;
const ENTRY_STATUS_OFFSET: usize = 0;
const ENTRY_TYPE_OFFSET: usize = 4;
const ENTRY_START_OFFSET: usize = 8;
const ENTRY_COUNT_OFFSET: usize = 12;
const SIGNATURE_OFFSET: usize = 510;
const SIGNATURE: u16 = 0xAA55;
const TYPE_PROTECTIVE: u8 = 0xEE;

/// Links of extended boot records that are followed; Linux stops at 256 partitions.
const LINK_COUNT_MAX: usize = 256;

/// MBRs count in 512 bytes unless a GPT says otherwise.
const SECTOR_LEN: u32 = 512;

#[derive(Clone, Copy, Debug)]
struct Entry {
    status: u8,
    kind: u8,
    start: u32,
    count: u32,
}

impl Entry {
    fn read(sector: &Fields<'_>, number: usize) -> Result<Self> {
        let position = ENTRIES_OFFSET.saturating_add(number.saturating_mul(ENTRY_LEN));
        let entry = sector.part(position, ENTRY_LEN)?;
        Ok(Self {
            status: entry.u8(ENTRY_STATUS_OFFSET)?,
            kind: entry.u8(ENTRY_TYPE_OFFSET)?,
            start: entry.le_u32(ENTRY_START_OFFSET)?,
            count: entry.le_u32(ENTRY_COUNT_OFFSET)?,
        })
    }

    const fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    const fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }
}

/// A sector 0 that is a master boot record.
pub(super) struct BootSector {
    disk_signature: u32,
    entries: [Entry; 4],
}

impl BootSector {
    /// Reads sector 0; `None` if it is no master boot record.
    pub(super) fn read(image: &Arc<dyn ReadAt>) -> Result<Option<Self>> {
        let Some(bytes) = read(image, 0, BOOT_SECTOR_LEN)? else {
            return Ok(None);
        };
        let sector = Fields::new(&bytes, 0);
        if sector.le_u16(SIGNATURE_OFFSET)? != SIGNATURE || is_file_system(&sector)? {
            return Ok(None);
        }
        let entries = [
            Entry::read(&sector, 0)?,
            Entry::read(&sector, 1)?,
            Entry::read(&sector, 2)?,
            Entry::read(&sector, 3)?,
        ];
        // Boot code of a bare file system has other bytes there.
        let is_table = entries.iter().all(|entry| matches!(entry.status, 0 | 0x80))
            && entries.iter().any(Entry::is_used);
        let disk_signature = sector.le_u32(DISK_SIGNATURE_OFFSET)?;
        Ok(is_table.then_some(Self {
            disk_signature,
            entries,
        }))
    }

    /// Tells whether a GPT is to be looked for.
    pub(super) fn is_protective(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.kind == TYPE_PROTECTIVE)
    }

    /// Tells whether there is an entry beside the protective one.
    pub(super) fn has_ordinary_entry(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.is_used() && entry.kind != TYPE_PROTECTIVE)
    }
}

/// Tells whether sector 0 is the boot sector of a FAT, exFAT or NTFS: a jump and a
/// plausible parameter block.
fn is_file_system(sector: &Fields<'_>) -> Result<bool> {
    if !matches!(sector.u8(0)?, 0xEB | 0xE9) {
        return Ok(false);
    }
    let name: [u8; 8] = sector.array(3)?;
    if name == *b"EXFAT   " || name == *b"NTFS    " || name == *b"-FVE-FS-" {
        return Ok(true);
    }
    let sector_len = sector.le_u16(11)?;
    Ok(matches!(sector_len, 512 | 1024 | 2048 | 4096)
        && sector.u8(13)?.is_power_of_two()
        && matches!(sector.u8(16)?, 1 | 2)
        && sector.u8(21)? >= 0xF0)
}

/// Reads the partitions of `boot` into `table`.
pub(super) fn read_into(
    image: &Arc<dyn ReadAt>,
    boot: &BootSector,
    table: &mut Table,
) -> Result<()> {
    table.kind = TableKind::Mbr;
    table.sector_len = SECTOR_LEN;
    table.disk_uuid = Some(format!("{:08x}", boot.disk_signature));
    table.structures.push(0..u64::from(SECTOR_LEN));
    let mut logical_index = 5;
    for (index, entry) in (1_u32..).zip(&boot.entries) {
        if entry.is_used() && !entry.is_extended() && entry.kind != TYPE_PROTECTIVE {
            add(
                image,
                index,
                entry.kind,
                u64::from(entry.start),
                entry,
                boot,
                table,
            );
        }
    }
    for entry in boot
        .entries
        .iter()
        .filter(|entry| entry.is_used() && entry.is_extended())
    {
        add_logical(image, boot, entry, &mut logical_index, table)?;
    }
    Ok(())
}

fn add_logical(
    image: &Arc<dyn ReadAt>,
    boot: &BootSector,
    extended: &Entry,
    next_index: &mut u32,
    table: &mut Table,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut place = u64::from(extended.start);
    // Each link may lie anywhere in the extended partition, in any order, but once.
    while seen.insert(place) {
        if seen.len() > LINK_COUNT_MAX {
            table
                .warnings
                .push("the chain of logical partitions is too long".to_owned());
            return Ok(());
        }
        let offset = place.saturating_mul(u64::from(SECTOR_LEN));
        let bytes = read(image, offset, BOOT_SECTOR_LEN)?.unwrap_or_default();
        let sector = Fields::new(&bytes, offset);
        if sector.le_u16(SIGNATURE_OFFSET).ok() != Some(SIGNATURE) {
            let text = format!("the chain of logical partitions is broken at sector {place}");
            table.warnings.push(text);
            return Ok(());
        }
        let end = offset.saturating_add(u64::from(SECTOR_LEN));
        table.structures.push(offset..end);
        let (data, link) = (Entry::read(&sector, 0)?, Entry::read(&sector, 1)?);
        if data.is_used() && !data.is_extended() {
            let start = place.saturating_add(u64::from(data.start));
            add(image, *next_index, data.kind, start, &data, boot, table);
            *next_index = next_index.saturating_add(1);
        }
        if !link.is_used() || !link.is_extended() {
            return Ok(());
        }
        place = u64::from(extended.start).saturating_add(u64::from(link.start));
    }
    table
        .warnings
        .push("the chain of logical partitions is a loop".to_owned());
    Ok(())
}

fn add(
    image: &Arc<dyn ReadAt>,
    index: u32,
    kind: u8,
    start: u64,
    entry: &Entry,
    boot: &BootSector,
    table: &mut Table,
) {
    let count = u64::from(entry.count);
    let Some((place, is_cut)) = place_of(start, count, SECTOR_LEN, image.len()) else {
        return;
    };
    if is_cut {
        table.warnings.push(format!(
            "partition {index} reaches beyond the end of the image"
        ));
    }
    table.partitions.push(Partition {
        index,
        label: String::new(),
        partition_type: PartitionType::MbrByte(kind),
        uuid: Some(format!("{:08x}-{index:02x}", boot.disk_signature)),
        place,
        is_shared: false,
    });
}
