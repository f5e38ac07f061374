//! On-disk encodings of the store, pure: bytes in, struct out. `docs/format/` is the
//! specification; tests decode its examples.

mod cursor;
mod envelope;
mod error;
pub mod filter;
mod frame;
mod header;
pub mod index;
pub mod map;
pub mod pack;
mod store_config;

pub use cursor::Cursor;
pub use envelope::{open_envelope, seal_envelope};
pub use error::{Error, Result};
pub use frame::{Codec, ContentKind, FRAME_HEADER_LEN, FrameHeader, encode_frame};
pub use header::{FORMAT_VERSION, HEADER_LEN, ObjectHeader, ObjectKind};
pub use store_config::{Features, StoreConfig};

/// Returns the checksum used in every structure: XXH3 with 64 bits. It finds damage;
/// it is no defence against forgery, which is the task of ids and of encryption.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
