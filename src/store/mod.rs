//! SKELETON (being implemented): blocks -> chunks -> packs -> index; deduplication; cache.
#![allow(unused_variables, missing_docs)]
use crate::backend::Backend;
use crate::base::{ByteLen, ChunkId, Extent, StoreId};
use std::io;
use std::sync::Arc;

mod cache;
mod codec;
mod error;
mod flight;
mod index_reader;
mod index_set;
mod index_writer;
mod packs;
pub use error::{Error, Kind, Result};

#[derive(Clone, Debug)]
pub struct InitOptions {
    pub level: i32,
}
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub cache_len_bytes: ByteLen,
    pub thread_count: usize,
}

/// The chunk store: chunks by id, deduplication, cache.
#[derive(Debug)]
pub struct Store {}

impl Store {
    pub fn init(backend: &dyn Backend, options: &InitOptions) -> Result<StoreId> {
        todo!()
    }
    pub fn open(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Arc<Self>> {
        todo!()
    }
    pub fn id(&self) -> StoreId {
        todo!()
    }
    pub fn backend(&self) -> &Arc<dyn Backend> {
        todo!()
    }
    /// Whole decompressed chunk through the LRU cache; one decompression in flight per chunk.
    pub fn read_chunk(&self, id: &ChunkId) -> Result<Arc<[u8]>> {
        todo!()
    }
    /// Starts a writer: one sequence of segments, own packs. Threads are those of the store's pool.
    pub fn writer(self: &Arc<Self>) -> Arc<ChunkWriter> {
        todo!()
    }
}

/// Up to 1 MiB of an image on its way into the store.
pub struct Segment {
    /// First block of the image; `data` begins there.
    pub image_block: u64,
    /// Runs on a pool thread: appends the data (whole blocks; the tail of the image padded with zeros).
    pub fill: FillSegment,
    /// Called exactly once, in the order of submission, with the extents of all blocks that are not zero.
    /// Runs on a pool thread under the writer's lock: short, and never calls the writer.
    pub done: SegmentDone,
}
/// Fills the buffer and returns the extents that the parent has at that place (a hint; may be empty).
pub type FillSegment = Box<dyn FnOnce(&mut Vec<u8>) -> io::Result<Vec<Extent>> + Send>;
pub type SegmentDone = Box<dyn FnOnce(Result<Vec<Extent>>) + Send>;

#[derive(Clone, Copy, Debug, Default)]
pub struct WriterStats {
    pub new_block_count: u64,
    pub stored_len_bytes: u64,
}

#[derive(Debug)]
pub struct ChunkWriter {}
impl ChunkWriter {
    /// Queues a segment; waits while too many are in flight (call from a thread that may wait, not from a pool task).
    pub fn submit(&self, segment: Segment) {
        todo!()
    }
    /// Stores an encoded map node if it is not there yet.
    pub fn put_node(&self, encoded: &[u8]) -> Result<ChunkId> {
        todo!()
    }
    /// Waits until all `done` callbacks have run (the last partial chunk is written too).
    pub fn drain(&self) -> Result<()> {
        todo!()
    }
    /// Drains, then makes packs and index durable. The writer can go on afterwards.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }
    pub fn stats(&self) -> WriterStats {
        todo!()
    }
}
