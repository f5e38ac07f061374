//! Keys: every item of every tree has one, and they are what the trees are sorted by.
//!
//! Source: btrfs documentation, "On-disk format".

use crate::base::Fields;
use crate::filesystem::Result;

/// Bytes of a key on disk.
pub(super) const KEY_LEN: usize = 17;

/// Types of items.
pub(super) mod kind {
    pub(crate) const INODE_ITEM: u8 = 1;
    pub(crate) const INODE_REF: u8 = 12;
    pub(crate) const INODE_EXTREF: u8 = 13;
    pub(crate) const XATTR_ITEM: u8 = 24;
    pub(crate) const DIR_LOG_INDEX: u8 = 72;
    pub(crate) const DIR_ITEM: u8 = 84;
    pub(crate) const DIR_INDEX: u8 = 96;
    pub(crate) const EXTENT_DATA: u8 = 108;
    pub(crate) const EXTENT_CSUM: u8 = 128;
    pub(crate) const ROOT_ITEM: u8 = 132;
    pub(crate) const ROOT_REF: u8 = 156;
    pub(crate) const EXTENT_ITEM: u8 = 168;
    pub(crate) const METADATA_ITEM: u8 = 169;
    pub(crate) const BLOCK_GROUP_ITEM: u8 = 192;
    pub(crate) const DEV_EXTENT: u8 = 204;
    pub(crate) const CHUNK_ITEM: u8 = 228;
}

/// Numbers of trees and of objects that always have the same.
pub(super) mod object {
    pub(crate) const ROOT_TREE: u64 = 1;
    pub(crate) const EXTENT_TREE: u64 = 2;
    pub(crate) const CHUNK_TREE: u64 = 3;
    pub(crate) const DEV_TREE: u64 = 4;
    pub(crate) const FS_TREE: u64 = 5;
    pub(crate) const CSUM_TREE: u64 = 7;
    pub(crate) const FREE_SPACE_TREE: u64 = 10;
    pub(crate) const BLOCK_GROUP_TREE: u64 = 11;
    /// The object of all chunks in the chunk tree.
    pub(crate) const CHUNKS: u64 = 256;
    /// The object of all checksums of data.
    pub(crate) const CSUMS: u64 = 10_u64.wrapping_neg();
    /// The owner of log trees, and the object of their roots.
    pub(crate) const TREE_LOG: u64 = 6_u64.wrapping_neg();
    /// The lowest number of subvolumes and inodes; the root of every subvolume.
    pub(crate) const FIRST_FREE: u64 = 256;
    /// The highest number of subvolumes and inodes.
    pub(crate) const LAST_FREE: u64 = 256_u64.wrapping_neg();
}

/// The key of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    // The order of the fields is the order of the trees.
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self {
            object,
            kind,
            offset,
        }
    }

    /// Reads the key at `position`.
    pub(super) fn read(fields: &Fields<'_>, position: usize) -> Result<Self> {
        let part = fields.part(position, KEY_LEN)?;
        Ok(Self::new(part.le_u64(0)?, part.u8(8)?, part.le_u64(9)?))
    }

    /// Tells whether `other` belongs to the same object and has the same type.
    pub(super) const fn is_beside(&self, other: &Self) -> bool {
        self.object == other.object && self.kind == other.kind
    }
}

/// Tells whether a tree of this number is a subvolume.
pub(super) fn is_subvolume(tree: u64) -> bool {
    tree == object::FS_TREE || (object::FIRST_FREE..=object::LAST_FREE).contains(&tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_object_type_and_offset() {
        let mut keys = [
            Key::new(2, 1, 0),
            Key::new(1, 2, 0),
            Key::new(1, 1, 9),
            Key::new(1, 1, 3),
        ];
        keys.sort();
        assert_eq!(keys.map(|key| key.offset), [3, 9, 0, 0]);
        assert!(is_subvolume(5) && is_subvolume(256) && !is_subvolume(7));
        assert!(!is_subvolume(object::TREE_LOG));
    }
}
