//! SKELETON (being implemented): the map and its builder, the reader.
#![allow(unused_variables, missing_docs)]
use crate::base::{ByteLen, ByteOffset, ChunkId, Extent, ReadAt};
use crate::store::{ChunkWriter, Result, Store};
use std::ops::Range;
use std::sync::Arc;

/// A finished image: map root + length. Cheap to clone, read from many threads.
#[derive(Clone, Debug)]
pub struct Image {}
impl Image {
    /// `root` is None for an image of zeros. Reads nothing.
    pub fn new(store: Arc<Store>, root: Option<ChunkId>, len: ByteLen) -> Self {
        todo!()
    }
    pub fn root(&self) -> Option<ChunkId> {
        todo!()
    }
    /// Extents inside `blocks`, sorted, clipped; gaps are zeros. For ranges of at most some MiB.
    pub fn extents(&self, blocks: Range<u64>) -> Result<Vec<Extent>> {
        todo!()
    }
    /// First byte at or after `offset` that is not in a hole; None if there is none.
    pub fn next_data(&self, offset: ByteOffset) -> Result<Option<ByteOffset>> {
        todo!()
    }
    /// First byte at or after `offset` that is in a hole; the length if there is none.
    pub fn next_hole(&self, offset: ByteOffset) -> Result<ByteOffset> {
        todo!()
    }
    /// Like ReadAt, with the store's error (kind Corrupt: damaged chunk).
    pub fn read(&self, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        todo!()
    }
}
impl ReadAt for Image {
    fn len(&self) -> ByteLen {
        todo!()
    }
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> std::io::Result<()> {
        todo!()
    }
}

/// What `MapEditor::finish` made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSummary {
    pub root: Option<ChunkId>,
    pub allocated_block_count: u64,
}

/// Makes the map of a new image, starting from nothing or from another map; any order.
#[derive(Debug)]
pub struct MapEditor {}
impl MapEditor {
    pub fn new(store: Arc<Store>, writer: Arc<ChunkWriter>, base: Option<Image>) -> Self {
        todo!()
    }
    /// Replaces all of `blocks` by `extents` (sorted, inside `blocks`); what they leave out becomes zero.
    pub fn replace(&mut self, blocks: Range<u64>, extents: &[Extent]) -> Result<()> {
        todo!()
    }
    pub fn extents(&mut self, blocks: Range<u64>) -> Result<Vec<Extent>> {
        todo!()
    }
    /// First block at or after `block` that has an extent.
    pub fn next_allocated(&mut self, block: u64) -> Result<Option<u64>> {
        todo!()
    }
    /// Writes the nodes (through the writer; durable after its flush) for an image of `len`; may be called again later.
    pub fn finish(&mut self, len: ByteLen) -> Result<MapSummary> {
        todo!()
    }
}
