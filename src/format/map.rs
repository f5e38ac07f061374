//! Nodes of the map of an image. See docs/format/map.md.

use super::Result;
use super::cursor::{Cursor, demand};
use crate::base::limits::{LEAF_BLOCKS, MAP_NODE_LEN_ACCEPT_MAX, NODE_CHILDREN};
use crate::base::{ChunkId, Extent};
use std::collections::HashMap;

const MAGIC: [u8; 4] = *b"TTMN";

/// The highest level that an image of the greatest length needs.
pub const LEVEL_MAX: u8 = 7;

/// One child of an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The encoded node below.
    pub node: ChunkId,
    /// Blocks below that are not zero.
    pub allocated_block_count: u64,
}

/// A decoded node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Extents of 1,024 blocks, sorted; their `image_block` counts from the start of
    /// the leaf.
    Leaf(Vec<Extent>),
    /// Up to 64 children by slot, sorted; a slot that is not there is all zeros.
    Inner {
        /// Height above the leaves, from 1.
        level: u8,
        /// Slot and child.
        children: Vec<(u8, Child)>,
    },
}

/// Returns the height of the root above the leaves for an image of `block_count`
/// blocks.
pub fn root_level(block_count: u64) -> u8 {
    let mut leaves = block_count.div_ceil(LEAF_BLOCKS);
    let mut level = 0;
    while leaves > 1 {
        leaves = leaves.div_ceil(NODE_CHILDREN as u64);
        level += 1;
    }
    level
}

/// Returns how many blocks a node of `level` covers.
pub fn blocks_below(level: u8) -> u64 {
    let children = NODE_CHILDREN as u64;
    (0..level).fold(LEAF_BLOCKS, |blocks, _| blocks.saturating_mul(children))
}

impl Node {
    /// Returns the number of blocks below that are not zero.
    pub fn allocated_block_count(&self) -> u64 {
        match self {
            Self::Leaf(extents) => extents
                .iter()
                .map(|extent| u64::from(extent.block_count))
                .sum(),
            Self::Inner { children, .. } => children
                .iter()
                .map(|(_, child)| child.allocated_block_count)
                .sum(),
        }
    }

    /// Returns the memory that the node takes, roughly, in bytes.
    pub fn memory_len(&self) -> usize {
        let parts = match self {
            Self::Leaf(extents) => extents.capacity() * size_of::<Extent>(),
            Self::Inner { children, .. } => children.capacity() * size_of::<(u8, Child)>(),
        };
        parts + size_of::<Self>()
    }

    /// Returns the bytes of the node.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf(extents) => encode_leaf(extents),
            Self::Inner { level, children } => encode_inner(*level, children),
        }
    }

    /// Reads the node that is exactly `bytes`.
    ///
    /// # Errors
    ///
    /// If anything contradicts the specification: order, overlap, ranges.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new("map node", bytes);
        let len = bytes.len();
        demand(
            len <= MAP_NODE_LEN_ACCEPT_MAX,
            "length of a map node",
            "128 KiB at most",
            len as u64,
        )?;
        let magic: [u8; 4] = cursor.array()?;
        demand(
            magic == MAGIC,
            "map node magic",
            "\"TTMN\"",
            u32::from_le_bytes(magic),
        )?;
        let level = cursor.u8()?;
        demand(
            level <= LEVEL_MAX,
            "level of a map node",
            "7 at most",
            level,
        )?;
        cursor.take(1)?;
        let node = if level == 0 {
            Self::Leaf(decode_leaf(&mut cursor)?)
        } else {
            Self::Inner {
                level,
                children: decode_inner(&mut cursor)?,
            }
        };
        demand(
            cursor.remaining_len() == 0,
            "end of a map node",
            "nothing",
            len as u64,
        )?;
        Ok(node)
    }
}

fn encode_leaf(extents: &[Extent]) -> Vec<u8> {
    let mut numbers: HashMap<ChunkId, u16> = HashMap::new();
    let mut chunks = vec![];
    for extent in extents {
        numbers.entry(extent.chunk).or_insert_with(|| {
            chunks.push(extent.chunk);
            (chunks.len() - 1) as u16
        });
    }
    let mut bytes = Vec::with_capacity(16 + chunks.len() * 32 + extents.len() * 8);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&(chunks.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&(extents.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    chunks
        .iter()
        .for_each(|chunk| bytes.extend_from_slice(&chunk.0));
    for extent in extents {
        bytes.extend_from_slice(&(extent.image_block as u16).to_le_bytes());
        bytes.extend_from_slice(&(extent.block_count as u16).to_le_bytes());
        bytes.extend_from_slice(&numbers[&extent.chunk].to_le_bytes());
        bytes.extend_from_slice(&(extent.chunk_block as u16).to_le_bytes());
    }
    bytes
}

fn decode_leaf(cursor: &mut Cursor<'_>) -> Result<Vec<Extent>> {
    let chunk_count = cursor.u16()?;
    let extent_count = cursor.u16()?;
    cursor.take(6)?;
    let expected = usize::from(chunk_count) * ChunkId::LEN + usize::from(extent_count) * 8;
    demand(
        expected == cursor.remaining_len(),
        "length of a leaf",
        "its parts",
        expected as u64,
    )?;
    let chunks = cursor.take(usize::from(chunk_count) * ChunkId::LEN)?;
    let mut extents = Vec::with_capacity(usize::from(extent_count));
    let mut end = 0_u64;
    for _ in 0..extent_count {
        let image_block = u64::from(cursor.u16()?);
        let block_count = u32::from(cursor.u16()?);
        let number = cursor.u16()?;
        let chunk_block = u32::from(cursor.u16()?);
        let start = usize::from(number) * ChunkId::LEN;
        let chunk = chunks
            .get(start..start + ChunkId::LEN)
            .and_then(ChunkId::from_slice);
        demand(
            chunk.is_some(),
            "chunk of an extent",
            "one of the leaf's",
            number,
        )?;
        demand(
            image_block >= end,
            "start of an extent",
            "behind the one before",
            image_block,
        )?;
        demand(
            block_count > 0,
            "blocks of an extent",
            "1 at least",
            block_count,
        )?;
        let extent = Extent {
            image_block,
            block_count,
            chunk: chunk.unwrap_or_default(),
            chunk_block,
        };
        end = extent.end();
        demand(end <= LEAF_BLOCKS, "end of an extent", "1,024 at most", end)?;
        extents.push(extent);
    }
    Ok(extents)
}

fn encode_inner(level: u8, children: &[(u8, Child)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + children.len() * 40);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[level, 0, 0, 0]);
    let slots = children
        .iter()
        .fold(0_u64, |slots, (slot, _)| slots | 1 << (slot & 63));
    bytes.extend_from_slice(&slots.to_le_bytes());
    for (_, child) in children {
        bytes.extend_from_slice(&child.node.0);
        bytes.extend_from_slice(&child.allocated_block_count.to_le_bytes());
    }
    bytes
}

fn decode_inner(cursor: &mut Cursor<'_>) -> Result<Vec<(u8, Child)>> {
    cursor.take(2)?;
    let slots = cursor.u64()?;
    demand(slots != 0, "slots of an inner node", "one at least", slots)?;
    let mut children = Vec::with_capacity(slots.count_ones() as usize);
    for slot in (0..NODE_CHILDREN as u8).filter(|slot| slots >> slot & 1 == 1) {
        let node = ChunkId(cursor.array()?);
        let allocated_block_count = cursor.u64()?;
        let bounded = allocated_block_count <= 1 << 48;
        demand(
            bounded,
            "blocks below a child",
            "2^48 at most",
            allocated_block_count,
        )?;
        children.push((
            slot,
            Child {
                node,
                allocated_block_count,
            },
        ));
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(image_block: u64, block_count: u32, chunk: u8) -> Extent {
        Extent {
            image_block,
            block_count,
            chunk: ChunkId([chunk; 32]),
            chunk_block: 3,
        }
    }

    #[test]
    fn leaves_go_there_and_back() {
        let leaf = Node::Leaf(vec![extent(0, 16, 1), extent(16, 1, 2), extent(1023, 1, 1)]);
        assert_eq!(Node::decode(&leaf.encode()).unwrap(), leaf);
        assert_eq!(leaf.allocated_block_count(), 18);
        assert_eq!(leaf.encode().len(), 16 + 2 * 32 + 3 * 8);
    }

    #[test]
    fn inner_nodes_go_there_and_back() {
        let child = Child {
            node: ChunkId([9; 32]),
            allocated_block_count: 7,
        };
        let node = Node::Inner {
            level: 3,
            children: vec![(0, child), (63, child)],
        };
        assert_eq!(Node::decode(&node.encode()).unwrap(), node);
        assert_eq!(node.allocated_block_count(), 14);
    }

    #[test]
    fn contradictions_are_refused() {
        let overlap = Node::Leaf(vec![extent(0, 16, 1), extent(15, 1, 2)]).encode();
        assert!(Node::decode(&overlap).is_err());
        let outside = Node::Leaf(vec![extent(1020, 5, 1)]).encode();
        assert!(Node::decode(&outside).is_err());
        let empty = Node::Leaf(vec![extent(0, 0, 1)]).encode();
        assert!(Node::decode(&empty).is_err());
        let good = Node::Leaf(vec![extent(0, 16, 1)]).encode();
        assert!((0..good.len()).all(|len| Node::decode(&good[..len]).is_err()));
    }

    #[test]
    fn heights_at_the_borders() {
        assert_eq!(root_level(0), 0);
        assert_eq!(root_level(1024), 0);
        assert_eq!(root_level(1025), 1);
        assert_eq!(root_level(1024 * 64), 1);
        assert_eq!(root_level(1024 * 64 + 1), 2);
        let longest = crate::base::limits::IMAGE_LEN_MAX / 4096;
        assert_eq!(root_level(longest), LEVEL_MAX);
        assert_eq!(blocks_below(1), 65_536);
    }
}
