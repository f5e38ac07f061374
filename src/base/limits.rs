//! Every bound of the program, each with its reason. `*_WRITE` is what we write,
//! `*_ACCEPT_MAX` what we take from a store that somebody else wrote.

/// Blocks in a chunk that we write: 16 (64 KiB) is the best trade of latency
/// against size (docs/performance.md).
pub const CHUNK_BLOCKS_WRITE: usize = 16;

/// Content bytes in a chunk that we accept; bounds every decompression.
pub const CHUNK_LEN_ACCEPT_MAX: usize = 1 << 20;

/// Bytes at which a pack is closed: large enough that a store of 1 TB has few
/// files, small enough that collecting one is cheap.
pub const PACK_LEN_WRITE: u64 = 64 << 20;

/// Bytes of a pack that we accept; offsets in an index are 32 bits.
pub const PACK_LEN_ACCEPT_MAX: u64 = 1 << 31;

/// Chunks in a pack that we accept.
pub const PACK_CHUNKS_ACCEPT_MAX: u32 = 1 << 20;

/// One fingerprint in this many is kept in the index as a hook. Measured: within
/// 0.1 % of a full index (docs/performance.md).
pub const HOOK_RATE: u64 = 8;

/// Blocks of an image that one map leaf covers: 4 MiB. Small, so that one changed
/// block costs little; large, so that the tree above stays small.
pub const LEAF_BLOCKS: u64 = 1024;

/// Children of an inner map node.
pub const NODE_CHILDREN: usize = 64;

/// The longest image in bytes (1 EiB): offsets stay far from overflow.
pub const IMAGE_LEN_MAX: u64 = 1 << 60;

/// Bytes of an encoded map node that we accept: a leaf of 1,024 single blocks
/// takes 41 KiB.
pub const MAP_NODE_LEN_ACCEPT_MAX: usize = 1 << 17;

/// Bytes of a page of an index, its checksum included.
pub const INDEX_PAGE_LEN: usize = 4096;

/// Bytes of a catalog entry or a checkpoint that we accept: a checkpoint of a
/// million snapshots at 1 KiB each.
pub const CATALOG_OBJECT_LEN_ACCEPT_MAX: u64 = 1 << 30;

/// Bytes of a display name (resource, label, tag).
pub const NAME_LEN_MAX: usize = 255;

/// Bytes of a path name in the mounted tree.
pub const PATH_NAME_LEN_MAX: usize = 255;

/// Bytes of a description.
pub const DESCRIPTION_LEN_MAX: usize = 4096;

/// Tags of one snapshot.
pub const TAG_COUNT_MAX: usize = 64;
