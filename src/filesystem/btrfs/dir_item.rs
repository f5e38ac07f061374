//! The records that directories, attributes and references to subvolumes are made of.
//!
//! Source: btrfs documentation, "On-disk format" (dir item, xattr item).

use super::key::{KEY_LEN, Key};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{FileType, Result};

const DATA_LEN: usize = 25;
const NAME_LEN: usize = 27;
const TYPE: usize = 29;
const HEADER_LEN: usize = 30;

/// An entry of a directory, or an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirItem<'a> {
    /// The key of what a name leads to.
    pub(super) location: Key,
    pub(super) name: &'a [u8],
    pub(super) data: &'a [u8],
    /// The type as it is on disk.
    pub(super) stored_type: u8,
    /// Where it lies, for messages.
    pub(super) offset: ByteOffset,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
}

impl DirItem<'_> {
    /// Returns the type of what the name leads to, if it is told.
    pub(super) const fn file_type(&self) -> Option<FileType> {
        match self.stored_type & 0x7F {
            1 => Some(FileType::Regular),
            2 => Some(FileType::Directory),
            3 => Some(FileType::CharacterDevice),
            4 => Some(FileType::BlockDevice),
            5 => Some(FileType::Fifo),
            6 => Some(FileType::Socket),
            7 => Some(FileType::Symlink),
            _ => None,
        }
    }
}

/// Gives the records of an item (names of one hash share one) to `visit` until it
/// returns something.
pub(super) fn search<'a, T>(
    item: &Fields<'a>,
    visit: &mut dyn FnMut(DirItem<'a>) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut position = 0;
    while position < item.bytes().len() {
        let record = item.part(position, HEADER_LEN)?;
        let name_len = usize::from(record.le_u16(NAME_LEN)?);
        let data_len = usize::from(record.le_u16(DATA_LEN)?);
        let len = HEADER_LEN.saturating_add(name_len).saturating_add(data_len);
        let name_start = position.saturating_add(HEADER_LEN);
        let found = DirItem {
            location: Key::read(&record, 0)?,
            name: item.slice(name_start, name_len)?,
            data: item.slice(name_start.saturating_add(name_len), data_len)?,
            stored_type: record.u8(TYPE)?,
            offset: record.offset(),
            bytes: item.slice(position, len)?,
        };
        if let Some(result) = visit(found)? {
            return Ok(Some(result));
        }
        position = position.saturating_add(len);
    }
    Ok(None)
}

const _: () = assert!(KEY_LEN + 8 == DATA_LEN);

/// Returns how a type is told on disk.
pub(super) const fn stored_type(file_type: FileType) -> u8 {
    match file_type {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::CharacterDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// Makes a record, as a replay needs them.
pub(super) fn encode(location: &Key, transaction: u64, file_type: u8, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN.saturating_add(name.len()));
    bytes.extend(location.object.to_le_bytes());
    bytes.push(location.kind);
    bytes.extend(location.offset.to_le_bytes());
    bytes.extend(transaction.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.push(file_type);
    bytes.extend(name);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_hash_are_all_found() {
        let location = Key::new(257, 1, 0);
        let mut bytes = encode(&location, 1, 1, b"one");
        bytes.extend(encode(&location, 1, 0x82, b"other"));
        let mut names = vec![];
        let fields = Fields::new(&bytes, 0);
        let none = search::<()>(&fields, &mut |item| {
            names.push((item.name.to_vec(), item.file_type()));
            Ok(None)
        });
        assert_eq!(none.unwrap(), None);
        let expected = [
            (b"one".to_vec(), Some(FileType::Regular)),
            (b"other".to_vec(), Some(FileType::Directory)),
        ];
        assert_eq!(names, expected);
        let cut = Fields::new(&bytes[..bytes.len() - 1], 0);
        assert!(search::<()>(&cut, &mut |_| Ok(None)).is_err());
    }
}
