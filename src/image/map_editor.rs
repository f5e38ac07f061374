//! Making the map of a new image, from nothing or from another map, in any order.
//!
//! Leaves that were touched lately are kept decoded; the others are written to the
//! store and remembered by id, so that memory is 60 bytes for each 4 MiB of data. A
//! leaf that is written and changed again later leaves an orphan behind, which
//! collecting removes.

use super::reader::Image;
use crate::base::limits::{LEAF_BLOCKS, NODE_CHILDREN};
use crate::base::{ByteLen, ChunkId, Extent, ReadAt, block_count_for, push_extent};
use crate::format::map::{Child, Node, blocks_below, root_level};
use crate::store::{ChunkWriter, Result, Store};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Leaves kept decoded: at 40 bytes an extent about 1 MB.
const DECODED_LEAVES_MAX: usize = 64;

/// What [`MapEditor::finish`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSummary {
    /// Root of the map; `None` if every block is zero.
    pub root: Option<ChunkId>,
    /// Blocks that are not zero.
    pub allocated_block_count: u64,
}

#[derive(Debug)]
enum Leaf {
    /// Extents by their blocks in the image.
    Decoded(Vec<Extent>),
    /// In the store; `None` if all is zero.
    Stored(Option<Child>),
}

/// The map of an image in the making.
#[derive(Debug)]
pub struct MapEditor {
    store: Arc<Store>,
    writer: Arc<ChunkWriter>,
    base: Option<Image>,
    /// Blocks from here on are not those of the base.
    base_end: u64,
    /// Leaves that differ from the base, by number.
    leaves: BTreeMap<u64, Leaf>,
    /// Numbers of decoded leaves, the one decoded first in front.
    decoded: VecDeque<u64>,
}

impl MapEditor {
    /// Begins with the map of `base`, or with zeros.
    pub fn new(store: Arc<Store>, writer: Arc<ChunkWriter>, base: Option<Image>) -> Self {
        let base_end = base.as_ref().map_or(0, Image::block_count);
        Self {
            store,
            writer,
            base,
            base_end,
            leaves: BTreeMap::new(),
            decoded: VecDeque::new(),
        }
    }

    /// Replaces all of `blocks` by `extents`, which are sorted and lie inside; what they
    /// leave out becomes zero.
    pub fn replace(&mut self, blocks: Range<u64>, extents: &[Extent]) -> Result<()> {
        let mut number = blocks.start / LEAF_BLOCKS;
        while number * LEAF_BLOCKS < blocks.end {
            let range = leaf_range(number);
            let replaced = range.start.max(blocks.start)..range.end.min(blocks.end);
            let new = extents.iter().filter_map(|extent| extent.clip(&replaced));
            if replaced == range {
                let mut all = vec![];
                new.for_each(|extent| push_extent(&mut all, extent));
                self.put_decoded(number, all)?;
            } else {
                let new: Vec<Extent> = new.collect();
                splice(self.decode(number)?, &replaced, &new);
            }
            number += 1;
        }
        Ok(())
    }

    /// Returns the extents inside `blocks`, sorted and cut to fit.
    pub fn extents(&mut self, blocks: Range<u64>) -> Result<Vec<Extent>> {
        let mut extents = vec![];
        let mut block = blocks.start;
        while block < blocks.end {
            let number = block / LEAF_BLOCKS;
            let range = leaf_range(number);
            let wanted = block..blocks.end.min(range.end);
            let found = match self.leaves.get(&number) {
                Some(Leaf::Decoded(found)) => found
                    .iter()
                    .filter_map(|extent| extent.clip(&wanted))
                    .collect(),
                Some(Leaf::Stored(child)) => self.read_stored(number, *child, &wanted)?,
                None => self.base_extents(wanted)?,
            };
            found
                .into_iter()
                .for_each(|extent| push_extent(&mut extents, extent));
            block = range.end;
        }
        Ok(extents)
    }

    /// Returns the first block from `block` on that is not zero.
    pub fn next_allocated(&mut self, mut block: u64) -> Result<Option<u64>> {
        loop {
            let number = block / LEAF_BLOCKS;
            if self.leaves.contains_key(&number) {
                let found = self.extents(block..leaf_range(number).end)?;
                if let Some(extent) = found.first() {
                    return Ok(Some(extent.image_block));
                }
                block = leaf_range(number).end;
                continue;
            }
            // Up to the next leaf of ours, the base has the word.
            let next = self
                .leaves
                .range(number..)
                .next()
                .map(|(next, _)| next * LEAF_BLOCKS);
            let end = next.unwrap_or(u64::MAX).min(self.base_end);
            if let Some(base) = &self.base
                && block < end
                && let Some(offset) = base.next_data(block * crate::base::BLOCK_LEN_BYTES)?
                && crate::base::block_of(offset) < end
            {
                return Ok(Some(crate::base::block_of(offset)));
            }
            match next {
                Some(next) => block = next,
                None => return Ok(None),
            }
        }
    }

    /// Makes everything from `block_count` on zero, for good: growing again brings
    /// nothing back.
    pub fn truncate(&mut self, block_count: u64) -> Result<()> {
        let number = block_count / LEAF_BLOCKS;
        if !block_count.is_multiple_of(LEAF_BLOCKS) {
            self.replace(block_count..leaf_range(number).end, &[])?;
        }
        self.leaves.split_off(&block_count.div_ceil(LEAF_BLOCKS));
        let leaves = &self.leaves;
        self.decoded.retain(|number| leaves.contains_key(number));
        self.base_end = self.base_end.min(block_count);
        Ok(())
    }

    /// Writes the nodes of the map of an image of `len` bytes; they are durable after
    /// the writer's flush. The editor can be used further.
    pub fn finish(&mut self, len: ByteLen) -> Result<MapSummary> {
        let block_count = block_count_for(len);
        self.truncate(block_count)?;
        while let Some(number) = self.decoded.pop_front() {
            self.store_leaf(number)?;
        }
        let mut children: BTreeMap<u64, Option<Child>> = BTreeMap::new();
        for (number, leaf) in &self.leaves {
            if let Leaf::Stored(child) = leaf {
                children.insert(*number, *child);
            }
        }
        let height = root_level(block_count);
        for level in 1..=height {
            children = self.finish_level(level, children)?;
        }
        let root = match children.remove(&0) {
            Some(root) => root,
            None => self.base_node(height, 0)?,
        };
        Ok(MapSummary {
            root: root.map(|child| child.node),
            allocated_block_count: root.map_or(0, |child| child.allocated_block_count),
        })
    }

    /// Writes the nodes of `level` above the changed nodes `below`.
    fn finish_level(
        &self,
        level: u8,
        below: BTreeMap<u64, Option<Child>>,
    ) -> Result<BTreeMap<u64, Option<Child>>> {
        let fan_out = NODE_CHILDREN as u64;
        let mut nodes = BTreeMap::new();
        let mut below = below.into_iter().peekable();
        while let Some((first, _)) = below.peek() {
            let number = first / fan_out;
            let mut children = self.base_children(level, number)?;
            while let Some((child, changed)) = below.next_if(|(child, _)| child / fan_out == number)
            {
                let slot = (child % fan_out) as u8;
                match changed {
                    Some(changed) => children.insert(slot, changed),
                    None => children.remove(&slot),
                };
            }
            let node = match children.is_empty() {
                true => None,
                false => {
                    let children = children.into_iter().collect();
                    Some(self.write_node(&Node::Inner { level, children })?)
                }
            };
            nodes.insert(number, node);
        }
        Ok(nodes)
    }

    /// Returns the children of a node of the base, without those beyond its end.
    fn base_children(&self, level: u8, number: u64) -> Result<BTreeMap<u8, Child>> {
        let mut children = BTreeMap::new();
        let first = number * NODE_CHILDREN as u64;
        let end = self.base_end.div_ceil(blocks_below(level - 1));
        let Some(node) = self.base_node(level, number)? else {
            // Above the root of the base, its root is the first of our children.
            if number == 0
                && let Some(child) = self.base_node(level - 1, 0)?
                && end > 0
            {
                children.insert(0, child);
            }
            return Ok(children);
        };
        if let Node::Inner {
            children: found, ..
        } = &*self.store.read_node(&node.node)?
        {
            let kept = found
                .iter()
                .filter(|(slot, _)| first + u64::from(*slot) < end);
            children.extend(kept.copied());
        }
        Ok(children)
    }

    /// Returns the node of the base at a place, if the base reaches that high.
    fn base_node(&self, level: u8, number: u64) -> Result<Option<Child>> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        let top = root_level(base.block_count());
        let Some(root) = base.root().filter(|_| self.base_end > 0) else {
            return Ok(None);
        };
        if level > top || number > 0 && number >= 1 << (6 * u32::from(top - level)).min(63) {
            return Ok(None);
        }
        let mut child = Child {
            node: root,
            allocated_block_count: 0,
        };
        if level == top {
            let node = self.store.read_node(&root)?;
            child.allocated_block_count = node.allocated_block_count();
        }
        for height in (level..top).rev() {
            let Node::Inner { children, .. } = &*self.store.read_node(&child.node)? else {
                return Err(super::reader::wrong_level(&child.node, height + 1));
            };
            let slot = (number >> (6 * u32::from(height - level))) % NODE_CHILDREN as u64;
            match children.binary_search_by_key(&slot, |(slot, _)| u64::from(*slot)) {
                Ok(place) => child = children[place].1,
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(child))
    }

    fn write_node(&self, node: &Node) -> Result<Child> {
        let allocated_block_count = node.allocated_block_count();
        Ok(Child {
            node: self.writer.put_node(&node.encode())?,
            allocated_block_count,
        })
    }

    /// Returns the extents of a leaf for changing.
    fn decode(&mut self, number: u64) -> Result<&mut Vec<Extent>> {
        if !matches!(self.leaves.get(&number), Some(Leaf::Decoded(_))) {
            let extents = self.extents(leaf_range(number))?;
            self.put_decoded(number, extents)?;
        }
        match self.leaves.get_mut(&number) {
            Some(Leaf::Decoded(extents)) => Ok(extents),
            _ => Err(crate::store::Error::Invalid(
                "a leaf of a map is gone".to_owned(),
            )),
        }
    }

    fn put_decoded(&mut self, number: u64, extents: Vec<Extent>) -> Result<()> {
        let before = self.leaves.insert(number, Leaf::Decoded(extents));
        if !matches!(before, Some(Leaf::Decoded(_))) {
            self.decoded.push_back(number);
        }
        while self.decoded.len() > DECODED_LEAVES_MAX {
            if let Some(oldest) = self.decoded.pop_front() {
                self.store_leaf(oldest)?;
            }
        }
        Ok(())
    }

    fn store_leaf(&mut self, number: u64) -> Result<()> {
        let Some(Leaf::Decoded(extents)) = self.leaves.get(&number) else {
            return Ok(());
        };
        let child = match extents.is_empty() {
            true => None,
            false => {
                let start = leaf_range(number).start;
                let relative = |e: &Extent| Extent {
                    image_block: e.image_block - start,
                    ..*e
                };
                Some(self.write_node(&Node::Leaf(extents.iter().map(relative).collect()))?)
            }
        };
        self.leaves.insert(number, Leaf::Stored(child));
        Ok(())
    }

    fn read_stored(
        &self,
        number: u64,
        child: Option<Child>,
        wanted: &Range<u64>,
    ) -> Result<Vec<Extent>> {
        let Some(child) = child else {
            return Ok(vec![]);
        };
        let node = self.store.read_node(&child.node)?;
        let Node::Leaf(extents) = &*node else {
            return Err(super::reader::wrong_level(&child.node, 0));
        };
        let start = leaf_range(number).start;
        let absolute = |e: &Extent| Extent {
            image_block: start + e.image_block,
            ..*e
        };
        Ok(extents
            .iter()
            .filter_map(|extent| absolute(extent).clip(wanted))
            .collect())
    }

    fn base_extents(&self, wanted: Range<u64>) -> Result<Vec<Extent>> {
        match &self.base {
            Some(base) => base.extents(wanted.start..wanted.end.min(self.base_end)),
            None => Ok(vec![]),
        }
    }
}

impl MapEditor {
    /// Fills `target` from `offset` with the content that the map names now.
    pub fn read(&mut self, offset: u64, target: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(target.len() as u64);
        let blocks = crate::base::block_of(offset)..block_count_for(end);
        target.fill(0);
        for extent in self.extents(blocks)? {
            let start = (extent.image_block * crate::base::BLOCK_LEN_BYTES).max(offset);
            let stop = (extent.end() * crate::base::BLOCK_LEN_BYTES).min(end);
            let skipped = start - extent.image_block * crate::base::BLOCK_LEN_BYTES;
            let chunk_offset =
                u64::from(extent.chunk_block) * crate::base::BLOCK_LEN_BYTES + skipped;
            if let Some(part) = target.get_mut((start - offset) as usize..(stop - offset) as usize)
            {
                self.store
                    .reader()
                    .read_into(&extent.chunk, chunk_offset as usize, part)?;
            }
        }
        Ok(())
    }

    /// Returns the base, for its length.
    pub fn base_len(&self) -> ByteLen {
        self.base.as_ref().map_or(0, ReadAt::len)
    }
}

fn leaf_range(number: u64) -> Range<u64> {
    number * LEAF_BLOCKS..(number + 1) * LEAF_BLOCKS
}

/// Replaces the part `replaced` of sorted extents by `new`.
fn splice(extents: &mut Vec<Extent>, replaced: &Range<u64>, new: &[Extent]) {
    let old = std::mem::take(extents);
    let before = old
        .iter()
        .filter_map(|extent| extent.clip(&(0..replaced.start)));
    let behind = old
        .iter()
        .filter_map(|extent| extent.clip(&(replaced.end..u64::MAX)));
    before
        .chain(new.iter().copied())
        .chain(behind)
        .for_each(|e| push_extent(extents, e));
}
