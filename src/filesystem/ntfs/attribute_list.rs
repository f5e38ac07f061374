//! Attribute lists: which records hold the attributes of a file that has too many, or too
//! long ones, for one.
//!
//! Source: Linux-NTFS project, NTFS documentation, "$ATTRIBUTE_LIST"; Microsoft,
//! `ATTRIBUTE_LIST_ENTRY`.

use super::record::{Record, Reference};
use super::stream::Stream;
use super::volume::Volume;
use crate::base::Fields;
use crate::filesystem::{Error, Result};

/// The longest list that Windows makes.
const LEN_MAX: usize = 256 << 10;

mod field {
    pub(super) const KIND: usize = 0;
    pub(super) const LEN: usize = 4;
    pub(super) const NAME_LEN: usize = 6;
    pub(super) const NAME: usize = 7;
    pub(super) const FIRST: usize = 8;
    pub(super) const RECORD: usize = 0x10;
    pub(super) const END: usize = 0x1A;
}

/// Where an attribute, or a part of one, lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: u32,
    /// Units of UTF-16 as they are stored.
    pub(super) name: Box<[u8]>,
    /// First cluster of the value that this part begins with.
    pub(super) first: u64,
    pub(super) record: Reference,
}

/// Reads the list of `record`. Its runs are all in there: that of the MFT is read before
/// the MFT is known.
///
/// # Errors
///
/// Corrupt if it is none; Io.
pub(super) fn read(list: &Stream, volume: &Volume, record: &Record) -> Result<Vec<Entry>> {
    let bytes = list.read_all(volume, LEN_MAX)?;
    parse(&Fields::new(&bytes, record.offset))
}

fn parse(fields: &Fields<'_>) -> Result<Vec<Entry>> {
    let mut entries = vec![];
    let mut position: usize = 0;
    while !fields.rest(position).is_empty() {
        let head = fields.part(position, field::END)?;
        let len = usize::from(head.le_u16(field::LEN)?);
        if len < field::END {
            let expected = "at least 26";
            let place = head.place(field::LEN);
            let found = head.le_u16(field::LEN)?;
            return Err(Error::corrupt("length of an entry", place, expected, found));
        }
        let entry = fields.part(position, len)?;
        let name_len = usize::from(entry.u8(field::NAME_LEN)?).saturating_mul(2);
        let name = match name_len {
            0 => &[],
            _ => entry.slice(entry.u8(field::NAME)?.into(), name_len)?,
        };
        entries.push(Entry {
            kind: entry.le_u32(field::KIND)?,
            name: name.into(),
            first: entry.le_u64(field::FIRST)?,
            record: Reference::new(entry.le_u64(field::RECORD)?),
        });
        position = position.saturating_add(len);
    }
    // Parts of a value are looked for by their first cluster.
    entries.sort_by(|one, other| {
        let key = |entry: &Entry| (entry.kind, entry.name.len(), entry.first);
        key(one).cmp(&key(other))
    });
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, name: &[u8], first: u8, record: u8) -> Vec<u8> {
        let mut bytes = vec![0; (field::END + name.len()).next_multiple_of(8)];
        bytes[0] = kind;
        bytes[4] = bytes.len() as u8;
        bytes[6] = name.len() as u8 / 2;
        bytes[7] = 0x1A;
        bytes[8] = first;
        bytes[0x10] = record;
        bytes[0x1A..0x1A + name.len()].copy_from_slice(name);
        bytes
    }

    #[test]
    fn entries_are_read_in_the_order_of_clusters() {
        let bytes = [
            entry(0x10, b"", 0, 9),
            entry(0x80, b"", 7, 8),
            entry(0x80, b"a\0", 0, 7),
            entry(0x80, b"", 0, 6),
        ]
        .concat();
        let found = parse(&Fields::new(&bytes, 0)).unwrap();
        let records: Vec<u64> = found.iter().map(|entry| entry.record.number).collect();
        assert_eq!(records, [9, 6, 8, 7]);
        assert_eq!(&*found[3].name, b"a\0");
    }

    #[test]
    fn damaged_lists_are_errors() {
        for (position, value) in [(4, 0), (4, 33), (6, 90), (7, 0x20)] {
            let mut bytes = entry(0x80, b"a\0", 0, 7);
            bytes[position] = value;
            assert!(parse(&Fields::new(&bytes, 0)).is_err(), "{position}");
        }
        assert!(parse(&Fields::new(&[1], 0)).is_err());
    }
}
