//! Reading an image: offsets to map leaves to chunks to bytes.

use crate::base::{
    BLOCK_LEN_BYTES, ByteLen, ByteOffset, ChunkId, Extent, ReadAt, block_count_for, block_of,
    push_extent,
};
use crate::format::map::{Node, blocks_below, root_level};
use crate::store::{Error, Result, Store};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// An image: the root of a map and a length. Cheap to clone; read from many threads.
#[derive(Clone, Debug)]
pub struct Image {
    store: Arc<Store>,
    root: Option<ChunkId>,
    len: ByteLen,
}

impl Image {
    /// Returns the image; reads nothing. `root` is `None` for an image of zeros.
    pub fn new(store: Arc<Store>, root: Option<ChunkId>, len: ByteLen) -> Self {
        Self { store, root, len }
    }

    /// Returns the root of the map.
    pub fn root(&self) -> Option<ChunkId> {
        self.root
    }

    /// Returns the store that it is in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the number of blocks, the last one perhaps in part.
    pub fn block_count(&self) -> u64 {
        block_count_for(self.len)
    }

    /// Returns the leaf that covers `block`, and the blocks that it covers. Where there
    /// is none, the range is the largest known to be zero.
    pub(super) fn leaf(&self, block: u64) -> Result<(Range<u64>, Option<Arc<Node>>)> {
        let mut level = root_level(self.block_count());
        let mut range = 0..blocks_below(level);
        let Some(mut id) = self.root.filter(|_| range.contains(&block)) else {
            return Ok((range, None));
        };
        loop {
            let node = self.store.read_node(&id)?;
            match &*node {
                Node::Leaf(_) if level == 0 => return Ok((range, Some(node))),
                Node::Inner {
                    level: found,
                    children,
                } if *found == level && level > 0 => {
                    level -= 1;
                    let step = blocks_below(level);
                    let slot = (block - range.start) / step;
                    range.start += slot * step;
                    range.end = range.start + step;
                    match children.binary_search_by_key(&slot, |(slot, _)| u64::from(*slot)) {
                        Ok(place) => id = children[place].1.node,
                        Err(place) => {
                            // The children that are not there reach up to the next that is.
                            let next = children.get(place).map_or(64, |(next, _)| u64::from(*next));
                            range.end += (next - slot - 1) * step;
                            return Ok((range, None));
                        }
                    }
                }
                _ => return Err(wrong_level(&id, level)),
            }
        }
    }

    /// Returns the subtrees that begin exactly at `block`: end and node of each, the
    /// largest first. `None` where there is no map or no block.
    pub(super) fn subtrees(&self, block: u64) -> Result<Option<Vec<(u64, ChunkId)>>> {
        let mut level = root_level(self.block_count());
        let mut start = 0;
        let Some(mut id) = self.root.filter(|_| block < self.block_count()) else {
            return Ok(None);
        };
        let mut subtrees = vec![];
        loop {
            if start == block {
                subtrees.push((start + blocks_below(level), id));
            }
            let node = self.store.read_node(&id)?;
            let Node::Inner { children, .. } = &*node else {
                break;
            };
            if level == 0 {
                return Err(wrong_level(&id, level));
            }
            level -= 1;
            let slot = (block - start) / blocks_below(level);
            let found = children.binary_search_by_key(&slot, |(slot, _)| u64::from(*slot));
            let Ok(place) = found else { break };
            start += slot * blocks_below(level);
            id = children[place].1.node;
        }
        Ok(Some(subtrees))
    }

    /// Returns the extents inside `blocks`, sorted and cut to fit; what they leave out is
    /// zero. Takes memory in proportion to the data in the range.
    pub fn extents(&self, blocks: Range<u64>) -> Result<Vec<Extent>> {
        let end = blocks.end.min(self.block_count());
        let mut extents = vec![];
        let mut block = blocks.start;
        while block < end {
            let (range, leaf) = self.leaf(block)?;
            if let Some(Node::Leaf(found)) = leaf.as_deref() {
                let wanted = block..end.min(range.end);
                let first = found.partition_point(|e| range.start + e.end() <= wanted.start);
                for extent in found.iter().skip(first) {
                    let image_block = range.start + extent.image_block;
                    let Some(clipped) = Extent {
                        image_block,
                        ..*extent
                    }
                    .clip(&wanted) else {
                        break;
                    };
                    push_extent(&mut extents, clipped);
                }
            }
            block = range.end;
        }
        Ok(extents)
    }

    /// Returns the first block from `block` on that is not zero.
    fn next_allocated(&self, mut block: u64) -> Result<Option<u64>> {
        while block < self.block_count() {
            let (range, leaf) = self.leaf(block)?;
            if let Some(Node::Leaf(extents)) = leaf.as_deref() {
                let found = extents
                    .iter()
                    .find(|extent| range.start + extent.end() > block);
                if let Some(extent) = found {
                    return Ok(Some(block.max(range.start + extent.image_block)));
                }
            }
            block = range.end;
        }
        Ok(None)
    }

    /// Returns the first block from `block` on that is zero.
    fn next_free(&self, mut block: u64) -> Result<u64> {
        while block < self.block_count() {
            let (range, leaf) = self.leaf(block)?;
            let Some(Node::Leaf(extents)) = leaf.as_deref() else {
                return Ok(block);
            };
            for extent in extents {
                if range.start + extent.image_block > block {
                    return Ok(block);
                }
                block = block.max(range.start + extent.end());
            }
            if block < range.end {
                return Ok(block);
            }
        }
        Ok(self.block_count())
    }

    /// Returns the first byte from `offset` on that is not in a hole. A hole is an
    /// aligned block of zeros.
    pub fn next_data(&self, offset: ByteOffset) -> Result<Option<ByteOffset>> {
        let block = self.next_allocated(block_of(offset))?;
        Ok(block
            .map(|block| (block * BLOCK_LEN_BYTES).max(offset))
            .filter(|offset| *offset < self.len))
    }

    /// Returns the first byte from `offset` on that is in a hole; the length of the image
    /// if there is none.
    pub fn next_hole(&self, offset: ByteOffset) -> Result<ByteOffset> {
        let block = self.next_free(block_of(offset))?;
        Ok((block * BLOCK_LEN_BYTES).max(offset).min(self.len))
    }

    /// Fills `target` from `offset`; never short.
    ///
    /// # Errors
    ///
    /// If a byte lies beyond the length, or a chunk or map node is damaged or missing.
    pub fn read(&self, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        let end = offset
            .checked_add(target.len() as u64)
            .filter(|end| *end <= self.len)
            .ok_or_else(|| Error::Invalid("reading beyond the end of the image".to_owned()))?;
        let mut filled = offset;
        for extent in self.extents(block_of(offset)..block_count_for(end))? {
            let start = (extent.image_block * BLOCK_LEN_BYTES).max(offset);
            let stop = (extent.end() * BLOCK_LEN_BYTES).min(end);
            zero(target, filled - offset, start - offset);
            let skipped = start - extent.image_block * BLOCK_LEN_BYTES;
            let chunk_offset = u64::from(extent.chunk_block) * BLOCK_LEN_BYTES + skipped;
            let part = part_of(target, start - offset, stop - offset)?;
            self.store
                .reader()
                .read_into(&extent.chunk, chunk_offset as usize, part)?;
            filled = stop;
        }
        zero(target, filled.max(offset) - offset, end - offset);
        Ok(())
    }
}

fn part_of(target: &mut [u8], start: u64, end: u64) -> Result<&mut [u8]> {
    target
        .get_mut(start as usize..end as usize)
        .ok_or_else(|| Error::Invalid("extents of a map overlap".to_owned()))
}

fn zero(target: &mut [u8], start: u64, end: u64) {
    if let Some(part) = target.get_mut(start as usize..end as usize) {
        part.fill(0);
    }
}

pub(super) fn wrong_level(id: &ChunkId, level: u8) -> Error {
    Error::Corrupt {
        object: format!("map node {id}"),
        problem: format!("it is not of level {level}, where it stands"),
    }
}

impl ReadAt for Image {
    fn len(&self) -> ByteLen {
        self.len
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.read(offset, target).map_err(|error| match error {
            Error::Invalid(_) => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            other => io::Error::other(other),
        })
    }
}
