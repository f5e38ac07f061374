//! Allocation groups: their counters and their free space.

use super::checksum::CheckLayout;
use super::volume::{Volume, expect};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, RangeVisitor, Result, SpaceUsage};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// `XAGF` and `XAGI`.
const AGF_MAGIC: u32 = 0x5841_4746;
const AGI_MAGIC: u32 = 0x5841_4749;

/// Magic numbers of the tree of free space by place, of version 4 and 5.
const FREE_SPACE_MAGICS: [u32; 2] = [0x4142_5442, 0x4142_3342];

/// Levels of the largest tree of a group.
const LEVEL_MAX: u32 = 10;

/// The sibling of the last block of a level.
const NO_BLOCK: u32 = u32::MAX;

/// Blocks of each group that the allocator keeps for itself
/// (`XFS_ALLOCBT_AGFL_RESERVE` and the free list).
const SET_ASIDE_BLOCKS: u64 = 8;

/// Groups whose headers are summed up; beyond that (a petabyte) the superblock's own
/// counters must do.
const SUMMED_GROUPS_MAX: u32 = 4096;

/// Inodes that are allocated at a time (`XFS_INODES_PER_CHUNK`).
const INODES_PER_CHUNK: u64 = 64;

/// The highest number of an inode (`XFS_MAXINUMBER`).
const INODE_NUMBER_MAX: u64 = (1 << 56) - 1;

/// The longest name.
const NAME_LEN_MAX: u32 = 255;

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    inodes: u64,
    free_inodes: u64,
    free_blocks: u64,
}

impl Volume {
    /// See [`crate::filesystem::FileSystem::statfs`].
    pub(super) fn statfs(&self) -> Result<SpaceUsage> {
        let superblock = &self.superblock;
        let counters = match superblock.ag_count <= SUMMED_GROUPS_MAX {
            true => self.summed_counters()?,
            false => Counters {
                inodes: superblock.inode_count,
                free_inodes: superblock.free_inode_count,
                free_blocks: superblock.free_block_count,
            },
        };
        let log_blocks = match superblock.log_start {
            0 => 0,
            _ => u64::from(superblock.log_blocks),
        };
        let set_aside = u64::from(superblock.ag_count).saturating_mul(SET_ASIDE_BLOCKS);
        let free = counters.free_blocks.saturating_sub(set_aside);
        let node_count = self.inode_count(counters.inodes, free);
        let used = counters.inodes.saturating_sub(counters.free_inodes);
        Ok(SpaceUsage {
            fs_block_len: u32::try_from(superblock.block_len()).unwrap_or(0),
            block_count: superblock.data_blocks.saturating_sub(log_blocks),
            free_block_count: free,
            available_block_count: free,
            node_count,
            free_node_count: node_count.saturating_sub(used),
            name_len_max: NAME_LEN_MAX,
        })
    }

    /// Returns how many inodes there can be: they are made as they are needed, as long as
    /// there is space, and no more than the share of it that they may take.
    ///
    /// Source: `xfs_statfs_inodes`, `xfs_ialloc_setup_geometry`.
    fn inode_count(&self, inodes: u64, free_blocks: u64) -> u64 {
        let superblock = &self.superblock;
        let bits = superblock.inodes_per_block_log();
        let inodes_of = |blocks: u64| match blocks.leading_zeros() > bits {
            true => blocks.checked_shl(bits).unwrap_or(u64::MAX),
            false => u64::MAX,
        };
        let possible = inodes.saturating_add(inodes_of(free_blocks));
        let mut limit = INODE_NUMBER_MAX;
        if let percent @ 1.. = u64::from(superblock.inode_percent) {
            // In whole units of what is allocated at a time: 64 inodes, or a block.
            let unit = INODES_PER_CHUNK.checked_shr(bits).unwrap_or(0).max(1);
            let share = superblock.data_blocks.saturating_mul(percent) / 100;
            let whole = share.saturating_sub(share.checked_rem(unit).unwrap_or(0));
            limit = limit.min(inodes_of(whole));
        }
        // Who lowered the share later may have more than it.
        possible.min(limit).max(inodes)
    }

    /// Sums up what the groups say; the superblock is only right after an unmount.
    fn summed_counters(&self) -> Result<Counters> {
        let mut sum = Counters::default();
        for group in 0..self.superblock.ag_count {
            let (agf, offset) = self.group_header(group, 1, AGF_MAGIC, &CheckLayout::AGF)?;
            let agf = Fields::new(&agf, offset);
            let count = |position| agf.be_u32(position).map(u64::from);
            // Free blocks, blocks of the free list.
            let mut free = count(52)?.saturating_add(count(48)?);
            // Blocks of the trees of free space are free, too, but the kernel keeps them for
            // itself in the groups that it has looked at (`m_allocbt_blks`): in all of them,
            // if there may be copies on write to clean up. Those of reverse mappings, which
            // are counted with them but for the root, it does not.
            free = free.saturating_add(match self.superblock.features.has_reflink() {
                false => count(60)?,
                true if self.superblock.features.has_rmapbt() => count(80)?.saturating_sub(1),
                true => 0,
            });
            sum.free_blocks = sum.free_blocks.saturating_add(free);
            let (agi, offset) = self.group_header(group, 2, AGI_MAGIC, &CheckLayout::AGI)?;
            let agi = Fields::new(&agi, offset);
            sum.inodes = sum.inodes.saturating_add(u64::from(agi.be_u32(16)?));
            sum.free_inodes = sum.free_inodes.saturating_add(u64::from(agi.be_u32(28)?));
        }
        Ok(sum)
    }

    /// See [`crate::filesystem::FileSystem::allocated_ranges`].
    pub(super) fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        // A range that reaches over the end of a group is given as one.
        let mut pending: Option<Range<ByteOffset>> = None;
        for group in 0..self.superblock.ag_count {
            let mut is_ended = false;
            self.used_blocks(group, &mut |range| {
                if let Some(last) = pending.as_mut().filter(|last| last.end == range.start) {
                    last.end = range.end;
                    return ControlFlow::Continue(());
                }
                match pending.replace(range).map(&mut *visit) {
                    Some(ControlFlow::Break(())) => {
                        is_ended = true;
                        pending = None;
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                }
            })?;
            if is_ended {
                return Ok(());
            }
        }
        if let Some(last) = pending {
            let _ = visit(last);
        }
        Ok(())
    }

    /// Gives what lies between the free runs of a group, as ranges of the image.
    fn used_blocks(
        &self,
        group: u32,
        visit: &mut dyn FnMut(Range<ByteOffset>) -> ControlFlow<()>,
    ) -> Result<()> {
        let block_log = self.superblock.block_log;
        let base = self.superblock.group_block_offset(group, 0)?;
        let count = self.superblock.group_block_count(group);
        let range = |start: u64, end: u64| {
            let place =
                |block: u64| base.saturating_add(block.checked_shl(block_log).unwrap_or(u64::MAX));
            place(start)..place(end)
        };
        let mut used_from = 0;
        let mut free_count = 0_u64;
        let mut is_ended = false;
        self.free_runs(group, &mut |free| {
            let used = used_from..free.start;
            used_from = free.end;
            free_count = free_count.saturating_add(free.end.saturating_sub(free.start));
            if !used.is_empty() && visit(range(used.start, used.end)).is_break() {
                is_ended = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if is_ended {
            return Ok(());
        }
        self.check_group(group, count, free_count)?;
        if used_from < count {
            let _ = visit(range(used_from, count));
        }
        Ok(())
    }

    /// Fails unless the header of a group has its length and its number of free blocks: a
    /// tree that lost a part has too few, one that was damaged has others.
    fn check_group(&self, group: u32, count: u64, free_count: u64) -> Result<()> {
        let (agf, offset) = self.group_header(group, 1, AGF_MAGIC, &CheckLayout::AGF)?;
        let agf = Fields::new(&agf, offset);
        expect(&agf, 12, "agf_length", count, agf.be_u32(12)?)?;
        expect(&agf, 52, "agf_freeblks", free_count, agf.be_u32(52)?)
    }

    /// Gives the free runs of a group, rising, in blocks of the group.
    fn free_runs(
        &self,
        group: u32,
        visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (agf, offset) = self.group_header(group, 1, AGF_MAGIC, &CheckLayout::AGF)?;
        let agf = Fields::new(&agf, offset);
        let mut next = agf.be_u32(16)?;
        let levels = agf.be_u32(28)?;
        if levels == 0 || levels > LEVEL_MAX {
            return Err(Error::corrupt(
                "agf_levels",
                agf.place(28),
                "1 to 10",
                levels,
            ));
        }
        let header_len = if self.superblock.features.is_v5() {
            56
        } else {
            16
        };
        for level in (1..levels).rev() {
            let (block, offset) = self.free_space_block(group, next, level)?;
            let fields = Fields::new(&block, offset);
            // Keys of 8 bytes, then pointers of 4; the first one leads to the lowest.
            let room = block.len().saturating_sub(header_len) / 12;
            next = fields.be_u32(usize::saturating_add(header_len, room.saturating_mul(8)))?;
        }
        let end = self.superblock.group_block_count(group);
        let mut lowest = 0;
        // Each leaf has at least one run and they rise: a loop ends as Corrupt.
        while next != NO_BLOCK {
            let (block, offset) = self.free_space_block(group, next, 0)?;
            let fields = Fields::new(&block, offset);
            let count = usize::from(fields.be_u16(6)?);
            if count == 0 && levels > 1 {
                return Err(Error::corrupt(
                    "bb_numrecs",
                    fields.place(6),
                    "at least 1",
                    0_u64,
                ));
            }
            for index in 0..count {
                let record = fields.part(
                    usize::saturating_add(header_len, index.saturating_mul(8)),
                    8,
                )?;
                let start = u64::from(record.be_u32(0)?);
                let stop = start.saturating_add(u64::from(record.be_u32(4)?));
                if start < lowest || stop <= start || stop > end {
                    let expected = "rising runs inside the group";
                    return Err(Error::corrupt("free run", record.offset(), expected, start));
                }
                lowest = stop;
                if visit(start..stop).is_break() {
                    return Ok(());
                }
            }
            next = match count {
                0 => NO_BLOCK,
                _ => fields.be_u32(12)?,
            };
        }
        Ok(())
    }

    fn free_space_block(
        &self,
        group: u32,
        block: u32,
        level: u32,
    ) -> Result<(Arc<[u8]>, ByteOffset)> {
        let offset = self
            .superblock
            .group_block_offset(group, u64::from(block))?;
        let layout = &CheckLayout::GROUP_TREE;
        let bytes = self.block(offset, self.block_len(), layout, u64::from(group))?;
        let fields = Fields::new(&bytes, offset);
        let version = usize::from(self.superblock.features.is_v5());
        let magic = FREE_SPACE_MAGICS.get(version).copied().unwrap_or(0);
        expect(&fields, 0, "bb_magic", u64::from(magic), fields.be_u32(0)?)?;
        expect(&fields, 4, "bb_level", u64::from(level), fields.be_u16(4)?)?;
        Ok((bytes, offset))
    }
}
