//! What the steps of a writer hand to each other.

use super::error::Result;
use crate::base::{ChunkId, Extent, Fingerprint, PackId};
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::sync::Arc;

/// What counts as absent when blocks are deduplicated: it will be deleted, or it is
/// damaged.
#[derive(Debug, Default, Clone)]
pub struct Excluded {
    /// Condemned packs.
    pub packs: HashSet<PackId>,
    /// Damaged chunks.
    pub chunks: HashSet<ChunkId>,
}

/// The chunk of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that the store has.
    Known(ChunkId),
    /// One of this writer by number; its id is known once it is hashed.
    New(u64),
}

/// A run of blocks whose chunk may not have its id yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRun {
    /// Index of the first block in the image.
    pub image_block: u64,
    /// Number of blocks.
    pub block_count: u32,
    /// The chunk.
    pub target: Target,
    /// Index of the first block in the chunk.
    pub chunk_block: u32,
}

impl PendingRun {
    /// Returns the run of an extent.
    pub fn known(extent: &Extent) -> Self {
        Self {
            image_block: extent.image_block,
            block_count: extent.block_count,
            target: Target::Known(extent.chunk),
            chunk_block: extent.chunk_block,
        }
    }

    /// Returns the highest number of a new chunk that `runs` name.
    pub fn newest_chunk(runs: &[Self]) -> Option<u64> {
        let new = runs.iter().filter_map(|run| match run.target {
            Target::New(number) => Some(number),
            Target::Known(_) => None,
        });
        new.max()
    }

    /// Returns the extent, given the id of the chunk.
    pub fn extent(&self, chunk: ChunkId) -> Extent {
        Extent {
            image_block: self.image_block,
            block_count: self.block_count,
            chunk,
            chunk_block: self.chunk_block,
        }
    }
}

/// A new chunk on its way to be compressed.
#[derive(Debug, Default)]
pub struct NewChunk {
    /// Its number in this writer.
    pub number: u64,
    /// Its blocks.
    pub content: Vec<u8>,
    /// Their fingerprints.
    pub fingerprints: Vec<Fingerprint>,
}

/// Called once with the extents of a segment.
pub type SegmentDone = Box<dyn FnOnce(Result<Vec<Extent>>) + Send>;

/// A segment that waits for the ids of its new chunks.
pub struct Waiting {
    /// Its runs.
    pub runs: Vec<PendingRun>,
    /// It is complete when chunks below this number are written.
    pub needed: u64,
    /// No segment behind it names a new chunk below this number.
    pub oldest: u64,
    /// Whom to tell.
    pub done: SegmentDone,
}

/// Bounds how many segments are between reading and compressing.
#[derive(Debug)]
pub struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// The right to have a segment in memory; given back when it drops.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
}

impl Permits {
    /// Returns `count` permits.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(count),
            returned: Condvar::new(),
        })
    }

    /// Waits for a permit.
    pub fn acquire(self: &Arc<Self>) -> Permit {
        let mut free = self.free.lock();
        while *free == 0 {
            self.returned.wait(&mut free);
        }
        *free -= 1;
        Permit {
            permits: Arc::clone(self),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.permits.free.lock() += 1;
        self.permits.returned.notify_one();
    }
}
