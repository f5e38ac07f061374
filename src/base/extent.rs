//! Which blocks of an image lie in which chunk.

use super::ChunkId;
use std::ops::Range;

/// A run of blocks of an image that lie one after the other in one chunk. Blocks of
/// an image that no extent names are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the first block in the image.
    pub image_block: u64,
    /// Number of blocks, at least one.
    pub block_count: u32,
    /// The chunk that holds them.
    pub chunk: ChunkId,
    /// Index of the first block in the chunk.
    pub chunk_block: u32,
}

impl Extent {
    /// Returns the index in the image of the block behind the last one.
    pub const fn end(&self) -> u64 {
        self.image_block.saturating_add(self.block_count as u64)
    }

    /// Returns the part of the extent inside `blocks`, if there is one.
    pub fn clip(&self, blocks: &Range<u64>) -> Option<Self> {
        let start = self.image_block.max(blocks.start);
        let end = self.end().min(blocks.end);
        let block_count = u32::try_from(end.checked_sub(start)?)
            .ok()
            .filter(|count| *count > 0)?;
        let skipped = u32::try_from(start - self.image_block).ok()?;
        Some(Self {
            image_block: start,
            block_count,
            chunk: self.chunk,
            chunk_block: self.chunk_block.checked_add(skipped)?,
        })
    }

    /// Tells whether `next` goes on where this extent ends, in the image and in the chunk.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.chunk == next.chunk
            && self.end() == next.image_block
            && self.chunk_block.checked_add(self.block_count) == Some(next.chunk_block)
    }
}

/// Appends `extent` to the sorted list `extents`, joining it with the last one where
/// it goes on.
pub fn push_extent(extents: &mut Vec<Extent>, extent: Extent) {
    if let Some(last) = extents.last_mut()
        && last.is_followed_by(&extent)
        && let Some(sum) = last.block_count.checked_add(extent.block_count)
    {
        last.block_count = sum;
        return;
    }
    extents.push(extent);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(image_block: u64, block_count: u32, chunk_block: u32) -> Extent {
        Extent {
            image_block,
            block_count,
            chunk: ChunkId([7; 32]),
            chunk_block,
        }
    }

    #[test]
    fn clips_on_both_sides() {
        let whole = extent(10, 6, 2);
        assert_eq!(whole.clip(&(0..100)), Some(whole));
        assert_eq!(whole.clip(&(12..14)), Some(extent(12, 2, 4)));
        assert_eq!(whole.clip(&(16..20)), None);
        assert_eq!(whole.clip(&(0..10)), None);
    }

    #[test]
    fn joins_what_goes_on() {
        let mut extents = vec![];
        push_extent(&mut extents, extent(0, 2, 0));
        push_extent(&mut extents, extent(2, 3, 2));
        push_extent(&mut extents, extent(5, 1, 9));
        assert_eq!(extents, [extent(0, 5, 0), extent(5, 1, 9)]);
    }
}
