//! Tintype keeps on-demand images of machines and volumes in a deduplicating,
//! compressed chunk store and shows them through a FUSE file system.
//!
//! Data flows one way; a module may name only modules of lower rank
//! (`tests/tidy.rs` checks it):
//!
//! ```text
//! 0 base
//! 1 format backend source partition filesystem
//! 2 store contents
//! 3 image export
//! 4 snapshot
//! 5 tree
//! 6 fuse
//! 7 cli
//! ```
//!
//! `docs/architecture.md` tells how the parts work together and
//! `docs/format/` what is on disk.

pub mod backend;
pub mod base;
pub mod cli;
pub mod contents;
pub mod export;
pub mod filesystem;
pub mod format;
pub mod fuse;
pub mod image;
pub mod partition;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod tree;
