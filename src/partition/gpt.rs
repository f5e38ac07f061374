//! The GUID partition table.
//!
//! Source: UEFI Specification 2.10, section 5.3 (GUID Partition Table Disk Layout).
//! Header and table are checked each by its own CRC, in both copies, so that any
//! whole header goes with any whole table.

use super::error::{Error, Result};
use super::{Partition, PartitionType, Table, TableKind, place_of, read};
use crate::base::{Fields, ReadAt};
use std::sync::Arc;

const SIGNATURE: [u8; 8] = *b"EFI PART";
const SIGNATURE_OFFSET: usize = 0;
const HEADER_SIZE_OFFSET: usize = 12;
const HEADER_CRC_OFFSET: usize = 16;
const MY_LBA_OFFSET: usize = 24;
const ALTERNATE_LBA_OFFSET: usize = 32;
const DISK_GUID_OFFSET: usize = 56;
const ENTRIES_LBA_OFFSET: usize = 72;
const ENTRY_COUNT_OFFSET: usize = 80;
const ENTRY_SIZE_OFFSET: usize = 84;
const ENTRIES_CRC_OFFSET: usize = 88;
const HEADER_LEN_MIN: u32 = 92;

const ENTRY_TYPE_OFFSET: usize = 0;
const ENTRY_GUID_OFFSET: usize = 16;
const ENTRY_FIRST_LBA_OFFSET: usize = 32;
const ENTRY_LAST_LBA_OFFSET: usize = 40;
const ENTRY_NAME_OFFSET: usize = 56;
const ENTRY_NAME_LEN: usize = 72;
const ENTRY_LEN_MIN: u32 = 128;
const ENTRY_LEN_MAX: u32 = 4096;

/// Longest table that is read: 64 times the usual one.
const TABLE_LEN_MAX: u64 = 1 << 20;

/// Sector lengths that are tried, the usual one first.
const SECTOR_LENS: [u32; 2] = [512, 4096];

struct Header {
    alternate_lba: u64,
    disk_guid: String,
    entries_lba: u64,
    entry_count: u32,
    entry_len: u32,
    entries_crc: u32,
}

impl Header {
    fn read(image: &Arc<dyn ReadAt>, lba: u64, sector_len: u32) -> Result<Option<Self>> {
        let Some(offset) = lba.checked_mul(u64::from(sector_len)) else {
            return Ok(None);
        };
        let sector = usize::try_from(sector_len).unwrap_or(512);
        let Some(bytes) = read(image, offset, sector)? else {
            return Ok(None);
        };
        let fields = Fields::new(&bytes, offset);
        if fields.array::<8>(SIGNATURE_OFFSET)? != SIGNATURE {
            return Ok(None);
        }
        Ok(Self::decode(&fields, lba, sector_len).ok())
    }

    fn decode(fields: &Fields<'_>, lba: u64, sector_len: u32) -> Result<Self> {
        let header_len = fields.le_u32(HEADER_SIZE_OFFSET)?;
        if !(HEADER_LEN_MIN..=sector_len).contains(&header_len) {
            return Err(Error::corrupt(
                "GPT header size",
                "92 to a sector",
                header_len,
            ));
        }
        let len = usize::try_from(header_len).unwrap_or(usize::MAX);
        let mut crc = crc32fast::Hasher::new();
        crc.update(fields.slice(0, HEADER_CRC_OFFSET)?);
        crc.update(&[0; 4]);
        crc.update(fields.slice(20, len.saturating_sub(20))?);
        if crc.finalize() != fields.le_u32(HEADER_CRC_OFFSET)? {
            return Err(Error::corrupt("GPT header", "the checksum in it", lba));
        }
        let own = fields.le_u64(MY_LBA_OFFSET)?;
        if own != lba {
            return Err(Error::corrupt(
                "GPT header place",
                "where it says it lies",
                own,
            ));
        }
        let header = Self {
            alternate_lba: fields.le_u64(ALTERNATE_LBA_OFFSET)?,
            disk_guid: format_guid(fields.array(DISK_GUID_OFFSET)?),
            entries_lba: fields.le_u64(ENTRIES_LBA_OFFSET)?,
            entry_count: fields.le_u32(ENTRY_COUNT_OFFSET)?,
            entry_len: fields.le_u32(ENTRY_SIZE_OFFSET)?,
            entries_crc: fields.le_u32(ENTRIES_CRC_OFFSET)?,
        };
        let entry_len = header.entry_len;
        if !(ENTRY_LEN_MIN..=ENTRY_LEN_MAX).contains(&entry_len) || !entry_len.is_power_of_two() {
            return Err(Error::corrupt(
                "GPT entry size",
                "a power of 2 of 128..4096",
                entry_len,
            ));
        }
        if header.table_len() > TABLE_LEN_MAX {
            let count = header.entry_count;
            return Err(Error::corrupt(
                "GPT entry count",
                "a table of at most 1 MiB",
                count,
            ));
        }
        Ok(header)
    }

    fn table_len(&self) -> u64 {
        u64::from(self.entry_count).saturating_mul(u64::from(self.entry_len))
    }

    /// Returns the table at `lba` if it has the checksum of this header.
    fn table(&self, image: &Arc<dyn ReadAt>, lba: u64, sector_len: u32) -> Result<Option<Vec<u8>>> {
        let Some(offset) = lba.checked_mul(u64::from(sector_len)) else {
            return Ok(None);
        };
        let len = usize::try_from(self.table_len()).unwrap_or(usize::MAX);
        let table = read(image, offset, len)?;
        Ok(table.filter(|table| crc32fast::hash(table) == self.entries_crc))
    }
}

/// Reads a GPT of either sector length into `table`; tells whether there is one.
pub(super) fn read_into(image: &Arc<dyn ReadAt>, table: &mut Table) -> Result<bool> {
    for sector_len in SECTOR_LENS {
        if read_with(image, sector_len, table)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_with(image: &Arc<dyn ReadAt>, sector_len: u32, table: &mut Table) -> Result<bool> {
    let sector_count = image.len().checked_div(u64::from(sector_len)).unwrap_or(0);
    let last_lba = sector_count.saturating_sub(1);
    let primary = Header::read(image, 1, sector_len)?;
    let mut backup = None;
    if last_lba > 1 {
        backup = Header::read(image, last_lba, sector_len)?;
    }
    if let (None, Some(primary)) = (&backup, &primary) {
        backup = Header::read(image, primary.alternate_lba, sector_len)?;
    }
    let mut found = None;
    // Where the table of the other copy lies if its header is gone: behind the
    // primary header, or before the backup header.
    for header in [&primary, &backup].into_iter().flatten() {
        let table_sectors = header.table_len().div_ceil(u64::from(sector_len));
        let other = if std::ptr::eq(header, primary.as_ref().unwrap_or(header)) {
            &backup
        } else {
            &primary
        };
        let guesses = [
            Some(header.entries_lba),
            other.as_ref().map(|other| other.entries_lba),
            Some(2),
            last_lba.checked_sub(table_sectors),
        ];
        for lba in guesses.into_iter().flatten() {
            if found.is_none() {
                found = header
                    .table(image, lba, sector_len)?
                    .map(|bytes| (header, lba, bytes));
            }
        }
    }
    let Some((header, lba, bytes)) = found else {
        if primary.is_some() || backup.is_some() {
            table
                .warnings
                .push("both copies of the partition table are damaged".to_owned());
        }
        return Ok(false);
    };
    if primary.is_none() {
        table
            .warnings
            .push("the primary GPT header is damaged, the backup was used".to_owned());
    } else if header.entries_lba != lba {
        table
            .warnings
            .push("one copy of the partition table is damaged".to_owned());
    }
    if backup.is_none() {
        table
            .warnings
            .push("the backup GPT header is damaged or cut off".to_owned());
    }
    add_structures(&[&primary, &backup], sector_len, last_lba, table);
    table.kind = TableKind::Gpt;
    table.sector_len = sector_len;
    table.disk_uuid = Some(header.disk_guid.clone());
    let entry_len = usize::try_from(header.entry_len).unwrap_or(usize::MAX);
    for (index, entry) in (1_u32..).zip(bytes.chunks_exact(entry_len.max(1))) {
        add_entry(image, index, &Fields::new(entry, 0), table)?;
    }
    Ok(true)
}

/// Adds what the headers say of their own places: MBR, both headers and both tables.
fn add_structures(headers: &[&Option<Header>], sector_len: u32, last_lba: u64, table: &mut Table) {
    let sectors = |first: u64, count: u64| {
        let place = |lba: u64| lba.saturating_mul(u64::from(sector_len));
        place(first)..place(first.saturating_add(count))
    };
    table
        .structures
        .extend([sectors(0, 2), sectors(last_lba, 1)]);
    for header in headers.iter().filter_map(|header| header.as_ref()) {
        let table_sectors = header.table_len().div_ceil(u64::from(sector_len));
        table.structures.extend([
            sectors(header.alternate_lba, 1),
            sectors(header.entries_lba, table_sectors),
        ]);
    }
}

fn add_entry(
    image: &Arc<dyn ReadAt>,
    index: u32,
    entry: &Fields<'_>,
    table: &mut Table,
) -> Result<()> {
    let kind: [u8; 16] = entry.array(ENTRY_TYPE_OFFSET)?;
    if kind == [0; 16] {
        return Ok(());
    }
    let first = entry.le_u64(ENTRY_FIRST_LBA_OFFSET)?;
    let last = entry.le_u64(ENTRY_LAST_LBA_OFFSET)?;
    let count = last
        .checked_sub(first)
        .and_then(|count| count.checked_add(1));
    let Some((place, is_cut)) =
        count.and_then(|count| place_of(first, count, table.sector_len, image.len()))
    else {
        table
            .warnings
            .push(format!("partition {index} has an impossible range"));
        return Ok(());
    };
    if is_cut {
        table.warnings.push(format!(
            "partition {index} reaches beyond the end of the image"
        ));
    }
    table.partitions.push(Partition {
        index,
        label: decode_name(entry.slice(ENTRY_NAME_OFFSET, ENTRY_NAME_LEN)?),
        partition_type: PartitionType::Guid(format_guid(kind)),
        uuid: Some(format_guid(entry.array(ENTRY_GUID_OFFSET)?)),
        place,
        is_shared: false,
    });
    Ok(())
}

fn decode_name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Returns the text form of a GUID: the first three groups are little-endian.
fn format_guid(guid: [u8; 16]) -> String {
    let [
        a0,
        a1,
        a2,
        a3,
        b0,
        b1,
        c0,
        c1,
        d0,
        d1,
        e0,
        e1,
        e2,
        e3,
        e4,
        e5,
    ] = guid;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
        u32::from_le_bytes([a0, a1, a2, a3]),
        u16::from_le_bytes([b0, b1]),
        u16::from_le_bytes([c0, c1]),
        u16::from_be_bytes([d0, d1]),
        e0,
        e1,
        e2,
        e3,
        e4,
        e5
    )
}
