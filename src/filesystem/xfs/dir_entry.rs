//! The entries of one block of a directory and of a directory inside its inode:
//! bytes in, entries out.

use super::dir::{BLOCK_MAGICS, DATA_MAGICS};
use super::superblock::Superblock;
use super::volume::to_usize;
use crate::base::Fields;
use crate::filesystem::{Error, FileType, Result};

/// An unused place begins with this instead of an inode number.
const FREE_TAG: u16 = 0xFFFF;

/// Bytes of an entry beside its name: inode, length of the name, tag.
const ENTRY_OVERHEAD: usize = 8 + 1 + 2;

/// Bytes of an entry of a leaf: hash and place.
pub(super) const LEAF_ENTRY_LEN: usize = 8;

/// Bytes at the end of a single block: counts of leaf entries and of unused ones.
const BLOCK_TAIL_LEN: usize = 8;

/// An entry as it is stored; `.` and `..` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredEntry<'a> {
    /// Where it begins, relative to its block (or to the fork).
    pub(super) position: u64,
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) file_type: Option<FileType>,
}

/// Returns the type that `XFS_DIR3_FT_*` names.
const fn file_type_of(stored: u8) -> Option<FileType> {
    match stored {
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

/// The leaf entries at the end of a single block.
pub(super) struct BlockLeaf {
    pub(super) start: usize,
    pub(super) count: usize,
}

impl BlockLeaf {
    /// Reads the tail of a single block.
    ///
    /// # Errors
    ///
    /// Corrupt if the entries do not fit in.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let tail = fields.bytes().len().saturating_sub(BLOCK_TAIL_LEN);
        let stored = fields.be_u32(tail)?;
        let count = to_usize(u64::from(stored));
        let start = count
            .checked_mul(LEAF_ENTRY_LEN)
            .and_then(|len| tail.checked_sub(len));
        match start {
            Some(start) => Ok(Self { start, count }),
            None => {
                let place = fields.place(tail);
                let expected = "entries inside the block";
                Err(Error::corrupt("block tail count", place, expected, stored))
            }
        }
    }
}

/// The entries of a block, one after the other; ends after the first error.
pub(super) struct DataEntries<'a> {
    fields: Fields<'a>,
    position: usize,
    end: usize,
    has_file_type: bool,
}

impl<'a> DataEntries<'a> {
    /// Begins behind the header of a block of entries.
    ///
    /// # Errors
    ///
    /// Corrupt if it is none.
    pub(super) fn new(fields: &Fields<'a>, superblock: &Superblock) -> Result<Self> {
        let magic = fields.be_u32(0)?;
        let version = usize::from(superblock.features.is_v5());
        let end = if BLOCK_MAGICS.get(version) == Some(&magic) {
            BlockLeaf::read(fields)?.start
        } else if DATA_MAGICS.get(version) == Some(&magic) {
            fields.bytes().len()
        } else {
            let expected = "a block of entries";
            return Err(Error::corrupt(
                "directory magic",
                fields.offset(),
                expected,
                magic,
            ));
        };
        Ok(Self {
            fields: *fields,
            position: data_header_len(superblock),
            end,
            has_file_type: superblock.features.has_file_type(),
        })
    }

    /// Reads the entry at `position` of a block.
    ///
    /// # Errors
    ///
    /// Corrupt if there is none.
    pub(super) fn at(
        fields: &Fields<'a>,
        position: usize,
        superblock: &Superblock,
    ) -> Result<StoredEntry<'a>> {
        let mut entries = Self::new(fields, superblock)?;
        if position < entries.position || !position.is_multiple_of(8) {
            let found = u64::try_from(position).unwrap_or(u64::MAX);
            let expected = "the place of an entry";
            return Err(Error::corrupt(
                "leaf address",
                fields.offset(),
                expected,
                found,
            ));
        }
        entries.position = position;
        match entries.step()? {
            Some(entry) => Ok(entry),
            None => {
                let found = u64::try_from(position).unwrap_or(u64::MAX);
                let expected = "an entry";
                Err(Error::corrupt(
                    "leaf address",
                    fields.offset(),
                    expected,
                    found,
                ))
            }
        }
    }

    /// Reads what is at the place and goes on behind it; `None` for unused places.
    fn step(&mut self) -> Result<Option<StoredEntry<'a>>> {
        let fields = &self.fields;
        let position = self.position;
        if fields.be_u16(position)? == FREE_TAG {
            let len = fields.be_u16(position.saturating_add(2))?;
            if len == 0 || !len.is_multiple_of(8) {
                let place = fields.place(position);
                let expected = "a multiple of 8";
                return Err(Error::corrupt(
                    "length of unused space",
                    place,
                    expected,
                    len,
                ));
            }
            self.position = position.saturating_add(usize::from(len));
            return Ok(None);
        }
        let name_len = usize::from(fields.u8(position.saturating_add(8))?);
        let name_position = position.saturating_add(9);
        let type_len = usize::from(self.has_file_type);
        let len = name_len
            .saturating_add(ENTRY_OVERHEAD)
            .saturating_add(type_len)
            .next_multiple_of(8);
        let next = position.saturating_add(len);
        if name_len == 0 || next > self.end {
            let place = fields.place(position);
            let expected = "an entry inside the block";
            let found = u64::try_from(name_len).unwrap_or(u64::MAX);
            return Err(Error::corrupt("directory entry", place, expected, found));
        }
        self.position = next;
        let file_type = match self.has_file_type {
            true => file_type_of(fields.u8(name_position.saturating_add(name_len))?),
            false => None,
        };
        Ok(Some(StoredEntry {
            position: u64::try_from(position).unwrap_or(u64::MAX),
            name: fields.slice(name_position, name_len)?,
            inode: fields.be_u64(position)?,
            file_type,
        }))
    }
}

impl<'a> Iterator for DataEntries<'a> {
    type Item = Result<StoredEntry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each step goes on by at least 8 bytes.
        while self.position < self.end {
            match self.step() {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(error) => {
                    self.position = self.end;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Returns the length of the header of a block of entries.
fn data_header_len(superblock: &Superblock) -> usize {
    if superblock.features.is_v5() { 64 } else { 16 }
}

/// The entries of a directory inside its inode; ends after the first error.
pub(super) struct ShortEntries<'a> {
    fields: Fields<'a>,
    position: usize,
    left: u8,
    inode_len: usize,
    has_file_type: bool,
}

impl<'a> ShortEntries<'a> {
    /// Begins behind the header (`xfs_dir2_sf_hdr`).
    ///
    /// # Errors
    ///
    /// Corrupt if not even the header fits in.
    pub(super) fn new(fields: &Fields<'a>, superblock: &Superblock) -> Result<Self> {
        // Inode numbers have 8 bytes if any of them needs more than 4.
        let inode_len = if fields.u8(1)? == 0 { 4 } else { 8 };
        Ok(Self {
            fields: *fields,
            position: usize::saturating_add(inode_len, 2),
            left: fields.u8(0)?,
            inode_len,
            has_file_type: superblock.features.has_file_type(),
        })
    }

    fn step(&mut self) -> Result<StoredEntry<'a>> {
        let fields = &self.fields;
        let position = self.position;
        let name_len = usize::from(fields.u8(position)?);
        let name = fields.slice(position.saturating_add(3), name_len)?;
        let mut next = position.saturating_add(3).saturating_add(name_len);
        let file_type = match self.has_file_type {
            true => {
                let stored = fields.u8(next)?;
                next = next.saturating_add(1);
                file_type_of(stored)
            }
            false => None,
        };
        let inode = match self.inode_len {
            4 => u64::from(fields.be_u32(next)?),
            _ => fields.be_u64(next)?,
        };
        self.position = next.saturating_add(self.inode_len);
        Ok(StoredEntry {
            position: u64::try_from(position).unwrap_or(u64::MAX),
            name,
            inode,
            file_type,
        })
    }
}

impl<'a> Iterator for ShortEntries<'a> {
    type Item = Result<StoredEntry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.step();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}
