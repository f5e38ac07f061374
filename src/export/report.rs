//! What is told while files are brought out: failures, and what could not be set.

use super::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A property of a file that the target does not have as the image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Owner and group; the bits setuid and setgid are dropped then.
    Owner,
    /// The mode.
    Mode,
    /// The times.
    Times,
    /// Extended attributes.
    Attributes,
    /// POSIX ACLs.
    Acl,
    /// The node itself, a device, which takes a privilege to make.
    Device,
    /// The node itself, a socket, which a tar archive cannot hold.
    Socket,
}

/// Takes what is to be said. Called from several threads; paths are relative to what is
/// copied, and empty for it itself.
pub trait Report: Sync {
    /// A file or directory is missing from the target, or not whole.
    fn failed(&self, path: &[u8], error: &Error);

    /// Something is there without one of its properties.
    fn lacks(&self, path: &[u8], property: Property, error: &io::Error);
}

/// What was brought out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files, each hard link counted.
    pub file_count: u64,
    /// Directories.
    pub directory_count: u64,
    /// Symbolic links, devices, pipes and sockets.
    pub other_count: u64,
    /// Content, holes included, files with several names counted once.
    pub len_bytes: u64,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) files: AtomicU64,
    pub(super) directories: AtomicU64,
    pub(super) others: AtomicU64,
    pub(super) len_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn totals(&self) -> Totals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            file_count: load(&self.files),
            directory_count: load(&self.directories),
            other_count: load(&self.others),
            len_bytes: load(&self.len_bytes),
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
