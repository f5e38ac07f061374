//! Units, ids, limits, positioned reads and the clock: what every other module
//! shares. Knows nothing of ours and does no I/O of its own, except for asking
//! the kernel for random bytes and the time.

mod aligned;
mod bytes;
mod clock;
mod extent;
mod fields;
pub mod ids;
pub mod limits;
mod path_name;
mod pool;
mod progress;
mod read_at;
mod units;
mod write_back;

pub use aligned::{AlignedBuffer, is_aligned};
pub use bytes::{format_byte_len, is_zero, parse_byte_len};
pub use clock::Timestamp;
pub use extent::{Extent, push_extent};
pub use fields::{FieldError, Fields};
pub use ids::{ChunkId, Fingerprint, IndexId, LeaseId, PackId, SnapshotId, StoreId};
pub use path_name::{decode_path_name, encode_path_name, numbered_path_name};
pub use pool::{Pool, Task};
pub use progress::{Progress, ProgressReading};
pub use read_at::ReadAt;
pub use units::{
    BLOCK_LEN, BLOCK_LEN_BYTES, ByteLen, ByteOffset, block_count_for, block_of, round_up_to_block,
};
pub use write_back::begin_write_back;
