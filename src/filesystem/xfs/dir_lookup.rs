//! Finding one name in a directory: by its hash through the leaves, or one by one where
//! there are none.

use super::checksum::CheckLayout;
use super::dir::{BLOCK_MAGICS, DirBlock, LEAF_OFFSET};
use super::dir_entry::{BlockLeaf, DataEntries, LEAF_ENTRY_LEN, ShortEntries};
use super::inode::{Format, Inode};
use super::superblock::low_bits;
use super::volume::{Volume, to_usize};
use crate::base::Fields;
use crate::filesystem::{Error, FileType, Name, Result};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Magic numbers of leaves and nodes, of version 4 and 5.
///
/// Source: `xfs_da_format.h`.
const LEAF1_MAGICS: [u16; 2] = [0xD2F1, 0x3DF1];
const LEAFN_MAGICS: [u16; 2] = [0xD2FF, 0x3DFF];
pub(super) const NODE_MAGICS: [u16; 2] = [0xFEBE, 0x3EBE];

/// Levels of the largest tree (`XFS_DA_NODE_MAXDEPTH`).
pub(super) const NODE_DEPTH_MAX: u32 = 5;

/// Returns the hash of a name.
///
/// Source: XFS Algorithms & Data Structures, "Directories" (`xfs_da_hashname`).
fn hash_of(name: &[u8]) -> u32 {
    let mut chunks = name.chunks_exact(4);
    let hash = chunks.by_ref().fold(0_u32, |hash, chunk| {
        let bits = chunk
            .iter()
            .zip([21, 14, 7, 0])
            .fold(0, |bits, (byte, shift)| bits ^ (u32::from(*byte) << shift));
        bits ^ hash.rotate_left(28)
    });
    let rest = chunks.remainder();
    let rotation = u32::try_from(rest.len()).unwrap_or(0).saturating_mul(7);
    let bits = rest
        .iter()
        .rev()
        .zip([0, 7, 14])
        .fold(0, |bits, (byte, shift)| bits ^ (u32::from(*byte) << shift));
    bits ^ hash.rotate_left(rotation)
}

/// The leaf entries of a block.
struct Leaf {
    start: usize,
    count: usize,
}

impl Volume {
    /// See [`crate::filesystem::FileSystem::lookup`].
    pub(super) fn lookup(&self, directory: u64, name: Name<'_>) -> Result<Option<u64>> {
        let inode = self.inode_of_type(directory, FileType::Directory)?;
        if inode.data.format == Format::Local {
            return self.lookup_short(&inode, name.bytes());
        }
        // The hash of folded names is another one; such directories are rare.
        if self.superblock.features.is_case_insensitive() {
            return self.lookup_linear(&inode, name.bytes());
        }
        let hash = hash_of(name.bytes());
        let Some(first) = self.dir_block(&inode, 0, &CheckLayout::DIR_DATA)? else {
            let place = inode.data.area.fields().offset();
            return Err(Error::corrupt("directory", place, "a first block", 0_u64));
        };
        let fields = first.fields();
        let version = usize::from(self.superblock.features.is_v5());
        if BLOCK_MAGICS.get(version) == Some(&fields.be_u32(0)?) {
            let BlockLeaf { start, count } = BlockLeaf::read(&fields)?;
            let leaf = Leaf { start, count };
            let found = self.find(&inode, &fields, &leaf, hash, name.bytes())?;
            return Ok(found.0);
        }
        self.lookup_leaf(&inode, hash, name.bytes())
    }

    fn is_same(&self, stored: &[u8], name: &[u8]) -> bool {
        match self.superblock.features.is_case_insensitive() {
            true => stored.eq_ignore_ascii_case(name),
            false => stored == name,
        }
    }

    fn lookup_short(&self, inode: &Inode, name: &[u8]) -> Result<Option<u64>> {
        let area = inode.data.area.fields();
        for entry in ShortEntries::new(&area, &self.superblock)? {
            let entry = entry?;
            if self.is_same(entry.name, name) {
                return Ok(Some(entry.inode));
            }
        }
        Ok(None)
    }

    fn lookup_linear(&self, inode: &Inode, name: &[u8]) -> Result<Option<u64>> {
        let mut found = None;
        self.each_data_block(inode, 0, &mut |_, block| {
            for entry in DataEntries::new(&block.fields(), &self.superblock)? {
                let entry = entry?;
                if self.is_same(entry.name, name) {
                    found = Some(entry.inode);
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Goes down from the root of the leaves to the first leaf that may have `hash`.
    fn lookup_leaf(&self, inode: &Inode, hash: u32, name: &[u8]) -> Result<Option<u64>> {
        let mut block = self.leaf_block(inode, 0)?;
        let version = usize::from(self.superblock.features.is_v5());
        let mut depth = 0;
        loop {
            let fields = block.fields();
            let magic = fields.be_u16(8)?;
            if LEAF1_MAGICS.get(version) == Some(&magic)
                || LEAFN_MAGICS.get(version) == Some(&magic)
            {
                break;
            }
            depth = u32::saturating_add(depth, 1);
            if NODE_MAGICS.get(version) != Some(&magic) || depth > NODE_DEPTH_MAX {
                let expected = "a leaf or a node";
                return Err(Error::corrupt(
                    "leaf magic",
                    fields.place(8),
                    expected,
                    magic,
                ));
            }
            let Some(next) = self.node_child(&fields, hash)? else {
                return Ok(None);
            };
            block = self.leaf_block(inode, next)?;
        }
        let mut passed = BTreeSet::new();
        // Each leaf has one sibling behind it, so a chain that does not meet itself is
        // not longer than the image.
        while passed.insert(block.place) {
            let fields = block.fields();
            let leaf = self.leaf_of(&fields)?;
            let (found, goes_on) = self.find(inode, &fields, &leaf, hash, name)?;
            let next = fields.be_u32(0)?;
            let is_leafn = LEAFN_MAGICS.get(version) == Some(&fields.be_u16(8)?);
            if found.is_some() || !goes_on || next == 0 || !is_leafn {
                return Ok(found);
            }
            block = self.leaf_block(inode, next)?;
        }
        let expected = "leaves that come once";
        Err(Error::corrupt("leaf siblings", block.place, expected, hash))
    }

    /// Returns the block of a node below which `hash` begins.
    pub(super) fn node_child(&self, fields: &Fields<'_>, hash: u32) -> Result<Option<u32>> {
        let (position, start) = if self.superblock.features.is_v5() {
            (56, 64)
        } else {
            (12, 16)
        };
        let count = usize::from(fields.be_u16(position)?);
        for index in 0..count {
            let entry = fields.part(usize::saturating_add(start, index.saturating_mul(8)), 8)?;
            if entry.be_u32(0)? >= hash {
                return Ok(Some(entry.be_u32(4)?));
            }
        }
        Ok(None)
    }

    /// Returns the block of leaves with this number (in blocks of the file system,
    /// from the beginning of the directory; 0 is the root).
    fn leaf_block(&self, inode: &Inode, number: u32) -> Result<DirBlock> {
        let offset = match number {
            0 => LEAF_OFFSET,
            number => u64::from(number)
                .checked_shl(self.superblock.block_log)
                .unwrap_or(u64::MAX),
        };
        let place = inode.data.area.fields().offset();
        let dir_block_len = self.superblock.dir_block_len();
        if offset < LEAF_OFFSET || offset & dir_block_len.wrapping_sub(1) != 0 {
            return Err(Error::corrupt(
                "leaf number",
                place,
                "behind the data",
                number,
            ));
        }
        match self.dir_block(inode, offset, &CheckLayout::DA)? {
            Some(block) => Ok(block),
            None => Err(Error::corrupt("leaf number", place, "no hole", number)),
        }
    }

    fn leaf_of(&self, fields: &Fields<'_>) -> Result<Leaf> {
        let (position, start) = if self.superblock.features.is_v5() {
            (56, 64)
        } else {
            (12, 16)
        };
        let stored = fields.be_u16(position)?;
        let count = usize::from(stored);
        let room = fields.bytes().len().saturating_sub(start) / LEAF_ENTRY_LEN;
        if count > room {
            let place = fields.place(position);
            return Err(Error::corrupt(
                "leaf count",
                place,
                "entries that fit in",
                stored,
            ));
        }
        Ok(Leaf { start, count })
    }

    /// Looks for `name` among the leaf entries with `hash`; tells too whether the last
    /// entry may be followed by more of that hash.
    fn find(
        &self,
        inode: &Inode,
        fields: &Fields<'_>,
        leaf: &Leaf,
        hash: u32,
        name: &[u8],
    ) -> Result<(Option<u64>, bool)> {
        let position = |index: usize| {
            leaf.start
                .saturating_add(index.saturating_mul(LEAF_ENTRY_LEN))
        };
        let (mut low, mut high) = (0, leaf.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if fields.be_u32(position(middle))? < hash {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        for index in low..leaf.count {
            let entry = fields.part(position(index), LEAF_ENTRY_LEN)?;
            if entry.be_u32(0)? != hash {
                return Ok((None, false));
            }
            let address = u64::from(entry.be_u32(4)?).saturating_mul(8);
            // Removed entries stay as 0 until the leaf is full.
            if address == 0 {
                continue;
            }
            if let Some(found) = self.entry_at(inode, address, name)? {
                return Ok((Some(found), false));
            }
        }
        Ok((None, true))
    }

    fn entry_at(&self, inode: &Inode, address: u64, name: &[u8]) -> Result<Option<u64>> {
        let inside = address & low_bits(self.superblock.dir_block_log);
        let start = address.saturating_sub(inside);
        let Some(block) = self.dir_block(inode, start, &CheckLayout::DIR_DATA)? else {
            let place = inode.data.area.fields().offset();
            return Err(Error::corrupt("leaf address", place, "no hole", address));
        };
        let entry = DataEntries::at(&block.fields(), to_usize(inside), &self.superblock)?;
        Ok(self.is_same(entry.name, name).then_some(entry.inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_specification() {
        // Values that xfs_db ("hash NAME") prints.
        let known = [
            ("..", 0x172e),
            ("a", 0x61),
            ("ab", 0x30e2),
            ("abc", 0x18_7163),
            ("abcd", 0x0c38_b1e4),
            ("lost+found", 0x021a_a60c),
            ("long-name.txt", 0xfecd_40a9),
        ];
        for (name, hash) in known {
            assert_eq!(hash_of(name.as_bytes()), hash, "{name}");
        }
    }
}
