//! Blocks of the trees: checked once when they are read, then searched by key.
//!
//! Source: btrfs documentation, "On-disk format" (header, key pointers, items).

use super::checksum::{CSUM_FIELD_LEN, ChecksumKind};
use super::key::{KEY_LEN, Key, is_subvolume};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of};
use std::ops::Range;
use std::sync::Arc;

const FSID: usize = 32;
const BYTENR: usize = 48;
const GENERATION: usize = 80;
const OWNER: usize = 88;
const NRITEMS: usize = 96;
const LEVEL: usize = 100;
const HEADER_LEN: usize = 101;

/// A key, the address of a block and its generation.
const POINTER_LEN: usize = 33;
/// A key, the offset of the data behind the header and its length.
const ITEM_LEN: usize = 25;

/// The highest level of a root.
pub(super) const LEVEL_MAX: u8 = 7;

/// Which trees a block may have been made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This tree alone.
    Tree(u64),
    /// Any subvolume: snapshots share blocks.
    Subvolume,
}

impl Owner {
    fn allows(self, found: u64) -> bool {
        match self {
            Self::Tree(tree) => found == tree,
            Self::Subvolume => is_subvolume(found),
        }
    }
}

/// What is said about a block by the one that points to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub(super) bytenr: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
    pub(super) owner: Owner,
    /// The key of the first item, unless it is a root.
    pub(super) first_key: Option<Key>,
}

/// What makes the blocks of one file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeRules {
    pub(super) checksum: ChecksumKind,
    pub(super) metadata_uuid: [u8; 16],
}

/// An item and its data.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: Key,
    block: Arc<[u8]>,
    range: Range<usize>,
    /// Where the data begins in the image.
    offset: ByteOffset,
}

impl Item {
    /// Returns the item of `key` with these bytes as its data.
    pub(super) fn of_bytes(key: Key, bytes: Arc<[u8]>) -> Self {
        let range = 0..bytes.len();
        Self {
            key,
            block: bytes,
            range,
            offset: 0,
        }
    }

    /// Returns the data.
    pub(super) fn bytes(&self) -> &[u8] {
        self.block.get(self.range.clone()).unwrap_or_default()
    }

    /// Returns the data as a structure.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(self.bytes(), self.offset)
    }
}

/// A block of a tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    block: Arc<[u8]>,
    offset: ByteOffset,
    pub(super) level: u8,
    pub(super) count: usize,
}

/// Checks what a block says about itself: its checksum, the order of its keys and
/// the places of its data.
pub(super) fn check_content(bytes: &[u8], offset: ByteOffset, rules: &NodeRules) -> Result<()> {
    let fields = Fields::new(bytes, offset);
    if !rules.checksum.is_right(fields.rest(CSUM_FIELD_LEN), bytes) {
        let found = fields.le_u32(0)?;
        return Err(Error::corrupt(
            "tree block checksum",
            offset,
            "that of its bytes",
            found,
        ));
    }
    if fields.array(FSID)? != rules.metadata_uuid {
        let expected = "the UUID of the file system";
        return Err(Error::corrupt(
            "tree block UUID",
            offset,
            expected,
            fields.le_u64(FSID)?,
        ));
    }
    let level = fields.u8(LEVEL)?;
    if level > LEVEL_MAX {
        return Err(Error::corrupt(
            "tree block level",
            fields.place(LEVEL),
            "at most 7",
            level,
        ));
    }
    let count = fields.le_u32(NRITEMS)?;
    let entry_len = if level == 0 { ITEM_LEN } else { POINTER_LEN };
    let entries_len = index_of(count).saturating_mul(entry_len);
    let room = bytes.len().saturating_sub(HEADER_LEN);
    if entries_len > room || (count == 0 && level > 0) {
        return Err(Error::corrupt(
            "nritems",
            fields.place(NRITEMS),
            "as many as fit",
            count,
        ));
    }
    let is_leaf = level == 0;
    let mut last: Option<Key> = None;
    for index in 0..index_of(count) {
        let position = HEADER_LEN.saturating_add(index.saturating_mul(entry_len));
        let entry = fields.part(position, entry_len)?;
        let key = Key::read(&entry, 0)?;
        if last.is_some_and(|last| last >= key) {
            let expected = "rising keys";
            let place = entry.offset();
            return Err(Error::corrupt(
                "tree block key",
                place,
                expected,
                key.object,
            ));
        }
        last = Some(key);
        if is_leaf {
            check_item(&entry, entries_len, room)?;
        }
    }
    Ok(())
}

/// Checks that the data of an item lies behind all items, in its block.
fn check_item(entry: &Fields<'_>, entries_len: usize, room: usize) -> Result<()> {
    let (start, len) = item_range(entry)?;
    if start >= entries_len && start.saturating_add(len) <= room {
        return Ok(());
    }
    let expected = "data behind the items";
    let found = entry.le_u32(KEY_LEN)?;
    Err(Error::corrupt(
        "item offset",
        entry.offset(),
        expected,
        found,
    ))
}

fn item_range(entry: &Fields<'_>) -> Result<(usize, usize)> {
    let start = index_of(entry.le_u32(KEY_LEN)?);
    Ok((start, index_of(entry.le_u32(KEY_LEN.saturating_add(4))?)))
}

impl Node {
    /// Takes a block whose content was checked, and checks that it is the one that
    /// `pointer` means.
    ///
    /// # Errors
    ///
    /// Corrupt if it is another one, older or newer, or of another tree.
    pub(super) fn new(block: Arc<[u8]>, offset: ByteOffset, pointer: &Pointer) -> Result<Self> {
        let fields = Fields::new(&block, offset);
        let corrupt = |position, field, expected, actual: u64| {
            Err(Error::corrupt(
                field,
                fields.place(position),
                expected,
                actual,
            ))
        };
        let bytenr = fields.le_u64(BYTENR)?;
        if bytenr != pointer.bytenr {
            return corrupt(BYTENR, "tree block address", "its own", bytenr);
        }
        let generation = fields.le_u64(GENERATION)?;
        if generation != pointer.generation {
            let expected = "that of the pointer to it";
            return corrupt(GENERATION, "tree block generation", expected, generation);
        }
        let level = fields.u8(LEVEL)?;
        if level != pointer.level {
            return corrupt(
                LEVEL,
                "tree block level",
                "one below its parent",
                level.into(),
            );
        }
        let owner = fields.le_u64(OWNER)?;
        if !pointer.owner.allows(owner) {
            return corrupt(OWNER, "tree block owner", "the tree it is in", owner);
        }
        let count = index_of(fields.le_u32(NRITEMS)?);
        let node = Self {
            level,
            count,
            offset,
            block: Arc::clone(&block),
        };
        if let Some(first) = pointer.first_key
            && (count == 0 || node.key(0)? != first)
        {
            return corrupt(HEADER_LEN, "first key", "that of the pointer to it", 0);
        }
        Ok(node)
    }

    fn entry(&self, slot: usize) -> Result<Fields<'_>> {
        let entry_len = if self.level == 0 {
            ITEM_LEN
        } else {
            POINTER_LEN
        };
        let position = HEADER_LEN.saturating_add(slot.saturating_mul(entry_len));
        Ok(Fields::new(&self.block, self.offset).part(position, entry_len)?)
    }

    /// Returns the key in `slot`.
    pub(super) fn key(&self, slot: usize) -> Result<Key> {
        Key::read(&self.entry(slot)?, 0)
    }

    /// Returns how many keys are below `key`, or not above it.
    pub(super) fn rank(&self, key: &Key, is_inclusive: bool) -> Result<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            let found = self.key(middle)?;
            if found < *key || (is_inclusive && found == *key) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Returns the pointer in `slot` of a block that is no leaf.
    pub(super) fn child(&self, slot: usize, owner: Owner) -> Result<Pointer> {
        let entry = self.entry(slot)?;
        let Some(level) = self.level.checked_sub(1) else {
            return Err(Error::corrupt(
                "tree block level",
                self.offset,
                "above 0",
                0_u64,
            ));
        };
        Ok(Pointer {
            bytenr: entry.le_u64(KEY_LEN)?,
            generation: entry.le_u64(KEY_LEN.saturating_add(8))?,
            level,
            owner,
            first_key: Some(Key::read(&entry, 0)?),
        })
    }

    /// Returns the item in `slot` of a leaf.
    pub(super) fn item(&self, slot: usize) -> Result<Item> {
        let entry = self.entry(slot)?;
        let (start, len) = item_range(&entry)?;
        let start = start.saturating_add(HEADER_LEN);
        Ok(Item {
            key: Key::read(&entry, 0)?,
            block: Arc::clone(&self.block),
            range: start..start.saturating_add(len),
            offset: Fields::new(&self.block, self.offset).place(start),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: NodeRules = NodeRules {
        checksum: ChecksumKind::Crc32c,
        metadata_uuid: [9; 16],
    };

    fn leaf(keys: &[(u64, u8, u64)], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[FSID..FSID + 16].fill(9);
        bytes[BYTENR..BYTENR + 8].copy_from_slice(&77_u64.to_le_bytes());
        bytes[GENERATION] = 3;
        bytes[OWNER] = 5;
        bytes[NRITEMS] = keys.len() as u8;
        for (index, (object, kind, offset)) in keys.iter().enumerate() {
            let entry = &mut bytes[HEADER_LEN + index * ITEM_LEN..][..ITEM_LEN];
            entry[..8].copy_from_slice(&object.to_le_bytes());
            entry[8] = *kind;
            entry[9..17].copy_from_slice(&offset.to_le_bytes());
            entry[17..21].copy_from_slice(&(2000 + index as u32).to_le_bytes());
            entry[21..25].copy_from_slice(&1_u32.to_le_bytes());
        }
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[CSUM_FIELD_LEN..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn pointer() -> Pointer {
        Pointer {
            bytenr: 77,
            generation: 3,
            level: 0,
            owner: Owner::Subvolume,
            first_key: Some(Key::new(1, 1, 0)),
        }
    }

    #[test]
    fn every_check_of_the_content_is_made() {
        let keys = [(1, 1, 0), (1, 1, 5), (2, 0, 0)];
        check_content(&leaf(&keys, |_| ()), 0, &RULES).unwrap();
        let mut flipped = leaf(&keys, |_| ());
        flipped[4000] ^= 1;
        assert!(check_content(&flipped, 0, &RULES).is_err());
        for (place, byte) in [
            (FSID, 1),
            (LEVEL, 8),
            (NRITEMS, 200),
            (HEADER_LEN + 19, 1),
            (HEADER_LEN + 23, 1),
        ] {
            let bad = leaf(&keys, |bytes| bytes[place] = byte);
            assert!(check_content(&bad, 0, &RULES).is_err(), "{place}");
        }
        let inside_of_items = leaf(&keys, |bytes| bytes[HEADER_LEN + 17..][..2].fill(0));
        assert!(check_content(&inside_of_items, 0, &RULES).is_err());
        assert!(check_content(&leaf(&[(1, 1, 1), (1, 1, 1)], |_| ()), 0, &RULES).is_err());
    }

    #[test]
    fn a_block_must_be_the_one_that_is_meant() {
        let keys = [(1, 1, 0), (1, 1, 5), (2, 0, 0)];
        let block: Arc<[u8]> = leaf(&keys, |_| ()).into();
        let node = Node::new(block.clone(), 0, &pointer()).unwrap();
        assert_eq!(node.rank(&Key::new(1, 1, 5), false).unwrap(), 1);
        assert_eq!(node.rank(&Key::new(1, 1, 5), true).unwrap(), 2);
        assert_eq!(node.rank(&Key::new(9, 1, 5), true).unwrap(), 3);
        assert_eq!(node.item(2).unwrap().bytes().len(), 1);
        assert!(node.item(100_000).is_err());
        assert!(node.child(0, Owner::Subvolume).is_err());
        let wrong = [
            Pointer {
                bytenr: 78,
                ..pointer()
            },
            Pointer {
                generation: 2,
                ..pointer()
            },
            Pointer {
                level: 1,
                ..pointer()
            },
            Pointer {
                owner: Owner::Tree(1),
                ..pointer()
            },
            Pointer {
                first_key: Some(Key::new(1, 1, 1)),
                ..pointer()
            },
        ];
        for pointer in wrong {
            assert!(
                Node::new(block.clone(), 0, &pointer).is_err(),
                "{pointer:?}"
            );
        }
    }
}
