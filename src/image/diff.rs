//! What differs between two images, from their maps and the fingerprints in pack
//! trailers: no content is read, and equal subtrees are passed over unread.

use super::reader::Image;
use crate::base::{BLOCK_LEN_BYTES, ByteOffset, ChunkId, Extent, Fingerprint, ReadAt};
use crate::format::map::Node;
use crate::store::Result;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Chunks whose fingerprints are kept while comparing.
const FINGERPRINTS_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// Calls `each` with the byte ranges that differ, in ascending order, not touching each
/// other, exact to the block. Where one image is longer, all of its data beyond the
/// other's end differs; zeros there do, too, as the length does.
pub fn changed_ranges(a: &Image, b: &Image, each: &mut dyn FnMut(Range<ByteOffset>)) -> Result<()> {
    let common = a.len().min(b.len());
    let mut merger = Merger { each, open: None };
    let mut comparer = Comparer {
        a,
        b,
        kept: LruCache::new(FINGERPRINTS_KEPT),
    };
    let end = common.div_ceil(BLOCK_LEN_BYTES);
    let mut block = 0;
    while block < end {
        let (range_a, leaf_a) = a.leaf(block)?;
        let (range_b, leaf_b) = b.leaf(block)?;
        let stop = range_a.end.min(range_b.end).min(end);
        if !same_leaf(&leaf_a, &leaf_b) {
            comparer.compare(block..stop, &mut |blocks| {
                let end = (blocks.end * BLOCK_LEN_BYTES).min(common);
                merger.push(blocks.start * BLOCK_LEN_BYTES..end);
            })?;
        }
        block = stop;
        if let Some(next) = comparer.skip_equal(block)? {
            block = next.min(end);
        }
    }
    if a.len() != b.len() {
        merger.push(common..a.len().max(b.len()));
    }
    merger.finish();
    Ok(())
}

fn same_leaf(a: &Option<Arc<Node>>, b: &Option<Arc<Node>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

struct Comparer<'a> {
    a: &'a Image,
    b: &'a Image,
    kept: LruCache<ChunkId, Arc<Vec<Fingerprint>>>,
}

impl Comparer<'_> {
    /// Returns the end of the largest equal subtree that begins at `block`.
    fn skip_equal(&self, block: u64) -> Result<Option<u64>> {
        let (Some(a), Some(b)) = (self.a.subtrees(block)?, self.b.subtrees(block)?) else {
            return Ok(None);
        };
        let equal = a.iter().filter(|subtree| b.contains(subtree));
        Ok(equal.map(|(range_end, _)| *range_end).max())
    }

    fn compare(&mut self, blocks: Range<u64>, each: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let a = self.a.extents(blocks.clone())?;
        let b = self.b.extents(blocks.clone())?;
        let (mut in_a, mut in_b) = (a.iter().peekable(), b.iter().peekable());
        let mut block = blocks.start;
        while block < blocks.end {
            while in_a.next_if(|extent| extent.end() <= block).is_some() {}
            while in_b.next_if(|extent| extent.end() <= block).is_some() {}
            let (a, b) = (in_a.peek().copied(), in_b.peek().copied());
            let stop = next_border(block, a)
                .min(next_border(block, b))
                .min(blocks.end);
            let covers = |e: &&Extent| e.image_block <= block;
            match (a.filter(covers), b.filter(covers)) {
                (None, None) => {}
                (Some(a), Some(b)) => self.compare_extents(block..stop, a, b, each)?,
                _ => each(block..stop),
            }
            block = stop;
        }
        Ok(())
    }

    fn compare_extents(
        &mut self,
        blocks: Range<u64>,
        a: &Extent,
        b: &Extent,
        each: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        let place = |extent: &Extent, block: u64| {
            extent.chunk_block as usize + (block - extent.image_block) as usize
        };
        if a.chunk == b.chunk && place(a, blocks.start) == place(b, blocks.start) {
            return Ok(());
        }
        let in_a = self.fingerprints(self.a, &a.chunk)?;
        let in_b = self.fingerprints(self.b, &b.chunk)?;
        for block in blocks {
            let found = in_a.get(place(a, block));
            if found.is_none() || found != in_b.get(place(b, block)) {
                each(block..block + 1);
            }
        }
        Ok(())
    }

    fn fingerprints(&mut self, image: &Image, chunk: &ChunkId) -> Result<Arc<Vec<Fingerprint>>> {
        if let Some(kept) = self.kept.get(chunk) {
            return Ok(Arc::clone(kept));
        }
        let fingerprints = Arc::new(image.store().fingerprints(chunk)?);
        self.kept.put(*chunk, Arc::clone(&fingerprints));
        Ok(fingerprints)
    }
}

/// Returns the first border of `extent` behind `block`.
fn next_border(block: u64, extent: Option<&Extent>) -> u64 {
    match extent {
        Some(extent) if extent.image_block > block => extent.image_block,
        Some(extent) => extent.end(),
        None => u64::MAX,
    }
}

/// Joins ranges that touch.
struct Merger<'a> {
    each: &'a mut dyn FnMut(Range<ByteOffset>),
    open: Option<Range<ByteOffset>>,
}

impl Merger<'_> {
    fn push(&mut self, range: Range<ByteOffset>) {
        match &mut self.open {
            Some(open) if open.end == range.start => open.end = range.end,
            _ => {
                self.finish();
                self.open = Some(range);
            }
        }
    }

    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            (self.each)(open);
        }
    }
}
