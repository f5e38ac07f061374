//! What a writer is given, and what it tells about itself.

use super::writer_state::SegmentDone;
use crate::base::Extent;
use std::io;

/// Blocks of a segment at most: 1 MiB.
pub const SEGMENT_BLOCKS_MAX: u64 = 256;

/// Fills the buffer with whole blocks and returns the extents that the parent has
/// there, as a hint. The buffer comes with bytes of earlier use: every byte counts.
pub type FillSegment = Box<dyn FnOnce(&mut Vec<u8>) -> io::Result<Vec<Extent>> + Send>;

/// Up to 1 MiB of an image on its way into the store.
pub struct Segment {
    /// First block in the image.
    pub image_block: u64,
    /// Runs on a thread of the pool.
    pub fill: FillSegment,
    /// Called exactly once, in the order of submission, with the extents of all blocks
    /// that are not zero. It MUST be short and MUST NOT call the writer.
    pub done: SegmentDone,
}

/// What a writer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Blocks that the store did not have.
    pub new_block_count: u64,
    /// Bytes that packs grew by.
    pub stored_len_bytes: u64,
}
