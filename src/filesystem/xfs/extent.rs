//! The extents of a fork: a list inside the inode, or a tree of blocks. Blocks are
//! counted in blocks of the file system, from the beginning of the file.

use super::checksum::CheckLayout;
use super::inode::{Area, Format};
use super::superblock::Superblock;
use super::volume::{Volume, expect};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a packed extent (`xfs_bmbt_rec`).
pub(super) const RECORD_LEN: usize = 16;

/// Source: `xfs_format.h`, `XFS_BMAP_MAGIC` and `XFS_BMAP_CRC_MAGIC`.
const MAGIC_V4: u32 = 0x424D_4150;
const MAGIC_V5: u32 = 0x424D_4133;

/// Levels of the largest tree that the kernel makes (`XFS_BTREE_MAXLEVELS`).
const LEVEL_MAX: u16 = 9;

/// Bytes of the root inside an inode before its keys (`xfs_bmdr_block`).
pub(super) const ROOT_HEADER_LEN: usize = 4;

/// The sibling of the last block of a level.
const NO_BLOCK: u64 = u64::MAX;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block in the file.
    pub(super) file_block: u64,
    /// First block in the file system.
    pub(super) fs_block: u64,
    /// Number of blocks, at least one.
    pub(super) count: u64,
    /// Allocated, and zeros as long as nobody wrote.
    pub(super) is_unwritten: bool,
}

impl Extent {
    /// Unpacks 128 bits: 1 unwritten, 54 file block, 52 block, 21 count.
    ///
    /// Source: XFS Algorithms & Data Structures, "Data Extents".
    pub(super) fn unpack(high: u64, low: u64) -> Self {
        Self {
            is_unwritten: high >> 63 != 0,
            file_block: (high & 0x7FFF_FFFF_FFFF_FFFF) >> 9,
            fs_block: ((high & 0x1FF) << 43) | (low >> 21),
            count: low & 0x1F_FFFF,
        }
    }

    pub(super) const fn end(&self) -> u64 {
        self.file_block.saturating_add(self.count)
    }

    fn read(fields: &Fields<'_>, position: usize) -> Result<Self> {
        let low = fields.be_u64(position.saturating_add(8))?;
        Ok(Self::unpack(fields.be_u64(position)?, low))
    }
}

/// A fork of an inode.
#[derive(Clone, Debug)]
pub(super) struct Fork {
    pub(super) format: Format,
    pub(super) area: Area,
    /// The number of extents, as the inode tells it.
    pub(super) extent_count: u64,
    /// What the log wants mapped or unmapped beside, in the order of the log.
    pub(super) patches: Arc<[Patch]>,
}

/// A change of the extents that the log promises and nobody has made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) extent: Extent,
    pub(super) is_mapped: bool,
}

/// Takes extents one after the other; `Break` ends the walk.
pub(super) type Visitor<'a> = dyn FnMut(Extent) -> Result<ControlFlow<()>> + 'a;

impl Fork {
    pub(super) fn new(format: Format, area: &Fields<'_>, extent_count: u64) -> Self {
        Self {
            format,
            area: Area::new(area),
            extent_count,
            patches: Arc::from([]),
        }
    }
}

/// Checks that extents rise and lie inside the file system.
struct Order {
    next_file_block: u64,
}

impl Order {
    fn check(&mut self, extent: &Extent, place: ByteOffset, superblock: &Superblock) -> Result<()> {
        if extent.file_block < self.next_file_block || extent.count == 0 {
            let expected = "rising file blocks";
            return Err(Error::corrupt("extent", place, expected, extent.file_block));
        }
        if !superblock.has_blocks(extent.fs_block, extent.count) {
            let expected = "blocks of one allocation group";
            return Err(Error::corrupt("extent", place, expected, extent.fs_block));
        }
        self.next_file_block = extent.end();
        Ok(())
    }
}

impl Volume {
    /// Gives the extents of `fork` that end behind `file_block` to `visit`, in rising
    /// order.
    ///
    /// # Errors
    ///
    /// Corrupt if the list or the tree is damaged; those of `visit`.
    pub(super) fn extents(
        &self,
        fork: &Fork,
        owner: u64,
        file_block: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        if fork.patches.is_empty() {
            return self.stored_extents(fork, owner, file_block, visit);
        }
        self.patched_extents(fork, owner, file_block, visit)
    }

    /// Returns the extent that holds `file_block`.
    ///
    /// # Errors
    ///
    /// As [`Volume::extents`].
    pub(super) fn extent_at(
        &self,
        fork: &Fork,
        owner: u64,
        file_block: u64,
    ) -> Result<Option<Extent>> {
        let mut found = None;
        self.extents(fork, owner, file_block, &mut |extent| {
            found = Some(extent).filter(|extent| extent.file_block <= file_block);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    fn stored_extents(
        &self,
        fork: &Fork,
        owner: u64,
        file_block: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        match fork.format {
            Format::Extents => {
                let fields = fork.area.fields();
                let mut order = Order { next_file_block: 0 };
                let count = fork.extent_count;
                self.records(&fields, 0, count, file_block, &mut order, visit)
                    .map(|_| ())
            }
            Format::Tree => self.tree_extents(fork, owner, file_block, visit),
            Format::Device | Format::Local => Err(Error::corrupt(
                "fork format",
                fork.area.fields().offset(),
                "extents or a tree",
                0_u64,
            )),
        }
    }

    fn records(
        &self,
        fields: &Fields<'_>,
        start: usize,
        count: u64,
        file_block: u64,
        order: &mut Order,
        visit: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut position = start;
        for _ in 0..count {
            let extent = Extent::read(fields, position)?;
            order.check(&extent, fields.place(position), &self.superblock)?;
            if extent.end() > file_block && visit(extent)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            position = position.saturating_add(RECORD_LEN);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Goes down to the leaf that may hold `file_block`, then from leaf to leaf.
    fn tree_extents(
        &self,
        fork: &Fork,
        owner: u64,
        file_block: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        let root = fork.area.fields();
        let level = root.be_u16(0)?;
        if level == 0 || level > LEVEL_MAX {
            return Err(Error::corrupt("bb_level", root.offset(), "1 to 9", level));
        }
        let count = usize::from(root.be_u16(2)?);
        let room = root.bytes().len().saturating_sub(ROOT_HEADER_LEN) / RECORD_LEN;
        let keys = Keys {
            start: ROOT_HEADER_LEN,
            count,
            room,
        };
        let mut next = keys.child(&root, file_block)?;
        for level in (0..level).rev() {
            let (block, offset) = self.tree_block(next, level, owner)?;
            let fields = Fields::new(&block, offset);
            let start = self.tree_header_len();
            let count = usize::from(fields.be_u16(6)?);
            if level == 0 {
                return self.leaves(next, owner, file_block, visit);
            }
            let room = block.len().saturating_sub(start) / RECORD_LEN;
            next = Keys { start, count, room }.child(&fields, file_block)?;
        }
        Ok(())
    }

    fn leaves(
        &self,
        first: u64,
        owner: u64,
        file_block: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        let mut order = Order { next_file_block: 0 };
        let mut next = first;
        // Each leaf has at least one extent and they rise: a loop ends as Corrupt.
        while next != NO_BLOCK {
            let (block, offset) = self.tree_block(next, 0, owner)?;
            let fields = Fields::new(&block, offset);
            let start = self.tree_header_len();
            let count = fields.be_u16(6)?;
            let room = block.len().saturating_sub(start) / RECORD_LEN;
            if count == 0 || usize::from(count) > room {
                let place = fields.place(6);
                return Err(Error::corrupt("bb_numrecs", place, "1 to the room", count));
            }
            let count = u64::from(count);
            let order = &mut order;
            if self
                .records(&fields, start, count, file_block, order, visit)?
                .is_break()
            {
                return Ok(());
            }
            next = fields.be_u64(16)?;
        }
        Ok(())
    }

    fn tree_block(&self, fs_block: u64, level: u16, owner: u64) -> Result<(Arc<[u8]>, ByteOffset)> {
        let offset = self.superblock.block_offset(fs_block)?;
        let len = self.block_len();
        let layout = &CheckLayout::BMBT;
        let block = match self.reowned.contains(&owner) {
            // The log tells that the tree was given from one file to another.
            true => self.blocks.block(offset, len)?,
            false => self.block(offset, len, layout, owner)?,
        };
        let fields = Fields::new(&block, offset);
        let magic = if self.superblock.features.is_v5() {
            MAGIC_V5
        } else {
            MAGIC_V4
        };
        expect(&fields, 0, "bb_magic", u64::from(magic), fields.be_u32(0)?)?;
        expect(&fields, 4, "bb_level", u64::from(level), fields.be_u16(4)?)?;
        Ok((block, offset))
    }

    /// Returns the length of the header of a tree block (`xfs_btree_block`, long form).
    pub(super) fn tree_header_len(&self) -> usize {
        if self.superblock.features.is_v5() {
            72
        } else {
            24
        }
    }

    /// Puts the patches over what is stored; there are few of them.
    fn patched_extents(
        &self,
        fork: &Fork,
        owner: u64,
        file_block: u64,
        visit: &mut Visitor<'_>,
    ) -> Result<()> {
        let mut overlay = super::patch::PatchMap::default();
        for patch in fork.patches.iter() {
            overlay.add(patch);
        }
        let mut pending = overlay.mapped_from(file_block);
        let mut is_ended = false;
        self.stored_extents(fork, owner, file_block, &mut |extent| {
            for part in overlay.uncovered(&extent) {
                if part.end() <= file_block {
                    continue;
                }
                while let Some(mapped) = pending.front().copied() {
                    if mapped.file_block > part.file_block {
                        break;
                    }
                    pending.pop_front();
                    if visit(mapped)?.is_break() {
                        is_ended = true;
                        return Ok(ControlFlow::Break(()));
                    }
                }
                if visit(part)?.is_break() {
                    is_ended = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for mapped in pending {
            if is_ended || visit(mapped)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The keys and pointers of an inner block: all keys, then all pointers.
struct Keys {
    start: usize,
    count: usize,
    /// How many of both have room; the pointers begin behind so many keys.
    room: usize,
}

impl Keys {
    /// Returns the block below that may hold `file_block`.
    fn child(&self, fields: &Fields<'_>, file_block: u64) -> Result<u64> {
        if self.count == 0 || self.count > self.room {
            let found = u64::try_from(self.count).unwrap_or(u64::MAX);
            let expected = "1 to the room";
            return Err(Error::corrupt(
                "bb_numrecs",
                fields.offset(),
                expected,
                found,
            ));
        }
        let mut chosen = 0;
        for index in 0..self.count {
            let position = self.start.saturating_add(index.saturating_mul(8));
            if fields.be_u64(position)? > file_block {
                break;
            }
            chosen = index;
        }
        let pointers = self.start.saturating_add(self.room.saturating_mul(8));
        Ok(fields.be_u64(pointers.saturating_add(chosen.saturating_mul(8)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_unpacked() {
        // startoff 5, startblock 0x1_2345_6789_ABCD >> 0, count 7, unwritten.
        let (offset, block, count) = (5_u64, 0x000F_2345_6789_ABCD_u64, 7_u64);
        let high = (1 << 63) | (offset << 9) | (block >> 43);
        let low = (block << 21) | count;
        let extent = Extent::unpack(high, low);
        assert_eq!(
            extent,
            Extent {
                file_block: offset,
                fs_block: block,
                count,
                is_unwritten: true
            }
        );
    }
}
