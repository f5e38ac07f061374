//! Nodes of indexes: a header and entries in the order of their keys, which are names.
//!
//! Source: Linux-NTFS project, NTFS documentation, "$INDEX_ROOT", "$INDEX_ALLOCATION" and
//! "$FILE_NAME".

use super::record::Reference;
use crate::base::Fields;
use crate::filesystem::{Error, Result, index_of};

mod field {
    /// Of a header.
    pub(super) const FIRST: usize = 0;
    pub(super) const USED: usize = 4;
    pub(super) const HEADER_END: usize = 0x10;
    /// Of an entry.
    pub(super) const REFERENCE: usize = 0;
    pub(super) const LEN: usize = 8;
    pub(super) const KEY_LEN: usize = 0xA;
    pub(super) const FLAGS: usize = 0xC;
    pub(super) const KEY: usize = 0x10;
    /// Of a name.
    pub(super) const PARENT: usize = 0;
    pub(super) const FILE_FLAGS: usize = 0x38;
    pub(super) const NAME_LEN: usize = 0x40;
    pub(super) const NAMESPACE: usize = 0x41;
    pub(super) const NAME: usize = 0x42;
}

const HAS_CHILD: u16 = 1;
const IS_LAST: u16 = 2;

/// The short form of a name for DOS, which another name stands beside.
const NAMESPACE_DOS: u8 = 2;

/// Returns the units in bytes of UTF-16.
pub(super) fn units(bytes: &[u8]) -> Vec<u16> {
    units_of(bytes).collect()
}

/// Gives the units in bytes of UTF-16.
pub(super) fn units_of(bytes: &[u8]) -> impl Iterator<Item = u16> + Clone + '_ {
    bytes
        .chunks_exact(2)
        .map(|pair| pair.first_chunk().copied().map_or(0, u16::from_le_bytes))
}

/// A name of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileName<'a> {
    /// The directory that it is in.
    pub(super) parent: Reference,
    /// A copy of the file's flags.
    pub(super) flags: u32,
    /// It is the short form of another one.
    pub(super) is_short: bool,
    /// Units of UTF-16 as they are stored.
    pub(super) name: &'a [u8],
}

impl<'a> FileName<'a> {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// Corrupt if it is cut.
    pub(super) fn parse(fields: &Fields<'a>) -> Result<Self> {
        let len = usize::from(fields.u8(field::NAME_LEN)?).saturating_mul(2);
        Ok(Self {
            parent: Reference::new(fields.le_u64(field::PARENT)?),
            flags: fields.le_u32(field::FILE_FLAGS)?,
            is_short: fields.u8(field::NAMESPACE)? == NAMESPACE_DOS,
            name: fields.slice(field::NAME, len)?,
        })
    }
}

/// An entry of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) reference: Reference,
    /// The key; `None` for the last entry.
    pub(super) name: Option<FileName<'a>>,
    /// The node with what comes before it.
    pub(super) child: Option<u64>,
    /// Where it begins and ends, relative to the header of the node.
    pub(super) position: usize,
    pub(super) end: usize,
}

/// Gives the entries of a node one after the other; the last one has no name.
pub(super) struct Entries<'a> {
    fields: Fields<'a>,
    next: Option<usize>,
}

impl<'a> Entries<'a> {
    /// Looks at a node from its header on.
    ///
    /// # Errors
    ///
    /// Corrupt if it is longer than its place.
    pub(super) fn new(header: &Fields<'a>) -> Result<Self> {
        let used = index_of(header.le_u32(field::USED)?);
        let first = index_of(header.le_u32(field::FIRST)?);
        if first < field::HEADER_END || !first.is_multiple_of(8) {
            let expected = "a multiple of 8 behind the header";
            let found = header.le_u32(field::FIRST)?;
            return Err(Error::corrupt(
                "first entry",
                header.offset(),
                expected,
                found,
            ));
        }
        Ok(Self {
            fields: header.part(0, used)?,
            next: Some(first),
        })
    }

    fn entry(&self, position: usize) -> Result<Entry<'a>> {
        let len = self.fields.part(position, field::KEY)?.le_u16(field::LEN)?;
        if usize::from(len) < field::KEY || len % 8 != 0 {
            let expected = "a multiple of 8 from 16 on";
            let place = self.fields.place(position);
            return Err(Error::corrupt("length of an entry", place, expected, len));
        }
        let fields = self.fields.part(position, len.into())?;
        let flags = fields.le_u16(field::FLAGS)?;
        let child = match flags & HAS_CHILD {
            0 => None,
            // The length is at least 16.
            _ => Some(fields.le_u64(usize::from(len).saturating_sub(8))?),
        };
        let name = match flags & IS_LAST {
            0 => {
                let key_len = usize::from(fields.le_u16(field::KEY_LEN)?);
                Some(FileName::parse(&fields.part(field::KEY, key_len)?)?)
            }
            _ => None,
        };
        Ok(Entry {
            reference: Reference::new(fields.le_u64(field::REFERENCE)?),
            name,
            child,
            position,
            end: position.saturating_add(len.into()),
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.next.take()?;
        let entry = self.entry(position);
        if let Ok(entry) = &entry
            && entry.name.is_some()
        {
            self.next = Some(entry.end);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Vec<u8> {
        let mut key = vec![0; 0x42];
        key[0x40] = 2;
        key[0x41] = 2;
        key.extend(b"a\0b\0");
        let mut entry = vec![9, 0, 0, 0, 0, 0, 7, 0, 0, 0, key.len() as u8, 0, 0, 0, 0, 0];
        entry.extend(&key);
        entry.resize(entry.len().next_multiple_of(8), 0);
        entry[8] = entry.len() as u8;
        let mut bytes = vec![0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(entry);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 3, 0, 0, 0]);
        bytes.extend(5_u64.to_le_bytes());
        bytes[4] = bytes.len() as u8;
        bytes
    }

    #[test]
    fn entries_end_with_one_that_has_no_name() {
        let bytes = node();
        let found: Vec<_> = Entries::new(&Fields::new(&bytes, 0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(found.len(), 2);
        let name = found[0].name.unwrap();
        assert_eq!((name.name, name.is_short), (&b"a\0b\0"[..], true));
        assert_eq!(found[0].reference.sequence, 7);
        assert_eq!((found[1].child, found[1].end), (Some(5), bytes.len()));
    }

    #[test]
    fn damaged_nodes_are_errors_and_end() {
        for (position, value) in [(0, 1), (0, 8), (4, 200), (0x18, 0), (0x18, 12), (0x1A, 240)] {
            let mut bytes = node();
            bytes[position] = value;
            let result = Entries::new(&Fields::new(&bytes, 0));
            let result = result.and_then(|entries| entries.collect::<Result<Vec<_>>>());
            assert!(result.is_err(), "{position}");
        }
    }
}
