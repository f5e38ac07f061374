//! How full the file system is, and which ranges of the device it uses.

use super::chunk::{Chunk, group};
use super::key::{Key, kind, object};
use super::superblock::{PLACES, SUPERBLOCK_LEN};
use super::volume::{Tree, Volume};
use crate::base::ByteOffset;
use crate::filesystem::{Error, RangeVisitor, Result, SpaceUsage, len_of};
use std::ops::{ControlFlow, Range};

const NAME_LEN_MAX: u32 = 255;

/// The kernel allocates nothing in the first MiB: boot loaders lie there.
const RESERVED_LEN: u64 = 1 << 20;

/// Chunks that are summed up (64 TiB as a rule); beyond that the superblock must do.
const SUMMED_CHUNKS_MAX: u32 = 65_536;

/// The global reserve: at most this, and at least what these many insertions need.
const RESERVE_MAX: u64 = 512 << 20;
const RESERVE_ITEMS: u64 = 11;
/// Blocks that one insertion may touch: two for each level.
const BLOCKS_PER_INSERTION: u64 = 16;

const DEV_EXTENT_CHUNK: usize = 16;
const DEV_EXTENT_LENGTH: usize = 24;

/// Sums over all chunks.
#[derive(Default)]
struct Sums {
    /// Used bytes, each copy counted.
    used: u64,
    /// Free bytes in the chunks for data.
    free_data: u64,
    /// How many copies data has.
    factor: u64,
}

impl Volume {
    /// See [`crate::filesystem::FileSystem::statfs`].
    pub(super) fn statfs(&self) -> Result<SpaceUsage> {
        let superblock = &self.space.superblock;
        let sums = self.sums()?;
        let unit = u64::from(superblock.sector_len).max(1);
        let factor = sums.factor.max(1);
        let blocks = |bytes: u64| {
            bytes
                .checked_div(factor)
                .unwrap_or(0)
                .checked_div(unit)
                .unwrap_or(0)
        };
        let reserve = self.global_reserve().checked_div(unit).unwrap_or(0);
        let block_count = blocks(superblock.total_bytes);
        let free = block_count
            .saturating_sub(blocks(sums.used))
            .saturating_sub(reserve);
        let unallocated = superblock
            .device_bytes
            .saturating_sub(superblock.device_bytes_used)
            .saturating_sub(RESERVED_LEN);
        let available = sums.free_data.checked_div(unit).unwrap_or(0);
        Ok(SpaceUsage {
            fs_block_len: superblock.sector_len,
            block_count,
            free_block_count: free,
            available_block_count: available.saturating_add(blocks(unallocated)),
            node_count: 0,
            free_node_count: 0,
            name_len_max: NAME_LEN_MAX,
        })
    }

    /// Sums up what the block groups say.
    fn sums(&self) -> Result<Sums> {
        let superblock = &self.space.superblock;
        let groups = self.tree(match superblock.has_block_group_tree() {
            true => object::BLOCK_GROUP_TREE,
            false => object::EXTENT_TREE,
        })?;
        let mut sums = Sums::default();
        let key = Key::new(object::CHUNKS, kind::CHUNK_ITEM, 0);
        let mut items = self.chunk_tree().items_beside(&key)?;
        let mut count = 0_u32;
        while let Some(item) = items.next_beside(&key)? {
            count = count.saturating_add(1);
            if count > SUMMED_CHUNKS_MAX {
                sums.used = superblock.bytes_used;
                break;
            }
            let chunk = Chunk::decode(&item.key, &item.fields(), superblock.device_id)?;
            let used = used_of(&groups, &chunk)?;
            sums.used = sums
                .used
                .saturating_add(used.saturating_mul(chunk.factor()));
            if chunk.group_type & group::DATA != 0 {
                let free = chunk.len.saturating_sub(used);
                sums.free_data = sums.free_data.saturating_add(free);
                sums.factor = sums.factor.max(chunk.factor());
            }
        }
        Ok(sums)
    }

    /// Returns what the kernel keeps back for its own trees, about.
    fn global_reserve(&self) -> u64 {
        let superblock = &self.space.superblock;
        if superblock.has_mixed_groups() {
            return 0;
        }
        let trees = [
            object::EXTENT_TREE,
            object::CSUM_TREE,
            object::FREE_SPACE_TREE,
            object::BLOCK_GROUP_TREE,
        ];
        let used = trees.iter().fold(0_u64, |sum, tree| {
            // Not every file system has each of them.
            sum.saturating_add(self.root(*tree).map_or(0, |root| root.bytes_used))
        });
        let minimum = u64::from(superblock.node_len)
            .saturating_mul(BLOCKS_PER_INSERTION)
            .saturating_mul(RESERVE_ITEMS);
        used.max(minimum).min(RESERVE_MAX)
    }

    /// See [`crate::filesystem::FileSystem::allocated_ranges`].
    pub(super) fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        let superblock = &self.space.superblock;
        let device = superblock.device_id;
        // What a device is replaced by has no extents of its own yet, and all the data.
        if device == 0 {
            return Err(Error::unsupported(
                "free space of a device that replaces another",
            ));
        }
        let groups = self.tree(match superblock.has_block_group_tree() {
            true => object::BLOCK_GROUP_TREE,
            false => object::EXTENT_TREE,
        })?;
        let mut total = 0_u64;
        let mut ranges = Ranges::new(superblock.device_bytes, visit);
        let extents = self.tree(object::EXTENT_TREE)?;
        let key = Key::new(device, kind::DEV_EXTENT, 0);
        let mut items = self.tree(object::DEV_TREE)?.items_beside(&key)?;
        let mut lowest = 0;
        while let Some(item) = items.next_beside(&key)? {
            let fields = item.fields();
            let start = item.key.offset;
            let logical = fields.le_u64(DEV_EXTENT_CHUNK)?;
            let len = fields.le_u64(DEV_EXTENT_LENGTH)?;
            let end = start.saturating_add(len);
            let chunk = self.space.chunk(logical)?;
            let is_stripe = chunk.logical == logical && chunk.stripes.contains(&Some(start));
            let is_whole = !chunk.is_plain() || len == chunk.len;
            let is_behind = start >= lowest && end <= self.space.blocks.len();
            if !is_stripe || !is_whole || !is_behind || len == 0 {
                let expected = "a stripe of its chunk, behind the one before";
                return Err(Error::corrupt(
                    "device extent",
                    fields.offset(),
                    expected,
                    start,
                ));
            }
            lowest = end;
            total = total.saturating_add(len);
            let flow = match chunk.is_plain() {
                true => self.used_in(&chunk, start, (&extents, &groups), &mut ranges)?,
                // Which pieces are used is not worth the arithmetic: all of it is kept.
                false => ranges.add(start..end),
            };
            if flow.is_break() {
                return Ok(());
            }
        }
        if total != superblock.device_bytes_used {
            let expected = "as many bytes as the superblock says";
            return Err(Error::corrupt(
                "device extents",
                superblock.place,
                expected,
                total,
            ));
        }
        ranges.finish();
        Ok(())
    }

    /// Gives the extents of a chunk whose copy begins at `start`.
    fn used_in(
        &self,
        chunk: &Chunk,
        start: ByteOffset,
        (extents, groups): (&Tree<'_>, &Tree<'_>),
        ranges: &mut Ranges<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        let node_len = u64::from(self.space.superblock.node_len);
        let mut items = extents.items_from(&Key::new(chunk.logical, 0, 0))?;
        let mut lowest = chunk.logical;
        let mut used = 0_u64;
        while let Some(item) = items.next()?.filter(|item| chunk.has(item.key.object)) {
            let len = match item.key.kind {
                kind::EXTENT_ITEM => item.key.offset,
                kind::METADATA_ITEM => node_len,
                _ => continue,
            };
            let end = item.key.object.saturating_add(len);
            let is_behind = item.key.object >= lowest && len > 0;
            if !is_behind || end > chunk.logical.saturating_add(chunk.len) {
                let place = item.fields().offset();
                let expected = "behind the one before, inside of its chunk";
                return Err(Error::corrupt("extent", place, expected, item.key.object));
            }
            lowest = end;
            used = used.saturating_add(len);
            let place = |logical: u64| start.saturating_add(logical.saturating_sub(chunk.logical));
            if ranges.add(place(item.key.object)..place(end)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if used != used_of(groups, chunk)? {
            let expected = "as many used bytes as its block group says";
            return Err(Error::corrupt("extents of a chunk", start, expected, used));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Returns the used bytes of a block group.
fn used_of(groups: &Tree<'_>, chunk: &Chunk) -> Result<u64> {
    let key = Key::new(chunk.logical, kind::BLOCK_GROUP_ITEM, chunk.len);
    match groups.find(&key)? {
        Some(item) => Ok(item.fields().le_u64(0)?.min(chunk.len)),
        // The kernel makes block groups after their chunks.
        None => Ok(0),
    }
}

/// Joins ranges that come in rising order, and adds those that are always used.
struct Ranges<'a, 'b> {
    always: std::iter::Peekable<std::vec::IntoIter<Range<ByteOffset>>>,
    pending: Range<ByteOffset>,
    visit: &'a mut RangeVisitor<'b>,
}

impl<'a, 'b> Ranges<'a, 'b> {
    fn new(device_bytes: u64, visit: &'a mut RangeVisitor<'b>) -> Self {
        let len = len_of(&[0; SUPERBLOCK_LEN]);
        let copies = PLACES.iter().map(|place| *place..place.saturating_add(len));
        let always: Vec<_> = copies.filter(|range| range.end <= device_bytes).collect();
        Self {
            always: always.into_iter().peekable(),
            pending: 0..RESERVED_LEN.min(device_bytes),
            visit,
        }
    }

    fn add(&mut self, range: Range<ByteOffset>) -> ControlFlow<()> {
        while let Some(always) = self.always.next_if(|always| always.start <= range.start) {
            self.join(always)?;
        }
        self.join(range)
    }

    fn join(&mut self, range: Range<ByteOffset>) -> ControlFlow<()> {
        if range.start <= self.pending.end {
            self.pending.end = self.pending.end.max(range.end);
            return ControlFlow::Continue(());
        }
        let last = std::mem::replace(&mut self.pending, range);
        match last.is_empty() {
            true => ControlFlow::Continue(()),
            false => (self.visit)(last),
        }
    }

    fn finish(mut self) {
        while let Some(always) = self.always.next() {
            if self.join(always).is_break() {
                return;
            }
        }
        if !self.pending.is_empty() {
            let _ = (self.visit)(self.pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_with_those_of_the_superblocks() {
        let mut found = vec![];
        let mut visit = |range: Range<u64>| {
            found.push(range);
            ControlFlow::Continue(())
        };
        let mut ranges = Ranges::new(1 << 30, &mut visit);
        for range in [1 << 20..2 << 20, 3 << 20..4 << 20, 64 << 20..65 << 20] {
            assert!(ranges.add(range).is_continue());
        }
        ranges.finish();
        assert_eq!(found, [0..2 << 20, 3 << 20..4 << 20, 64 << 20..65 << 20]);
        let mut count = 0;
        let mut stop = |_| {
            count += 1;
            ControlFlow::Break(())
        };
        let mut ranges = Ranges::new(1 << 30, &mut stop);
        assert!(ranges.add(5 << 20..6 << 20).is_break());
        assert_eq!(count, 1);
    }
}
