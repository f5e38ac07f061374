//! Named immutable objects: a local directory, memory, later object storage.
//!
//! The only primitive that the store needs is *put if absent*; nothing is ever
//! changed in place.

mod error;
mod local;
mod memory;
#[cfg(test)]
mod tests;

pub use error::{Error, Kind, Result};
pub use local::{LocalBackend, TEMPORARY_FOLDER, holds_only_temporaries};
pub use memory::MemoryBackend;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

/// What came of a *put if absent*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there now, durably, with the bytes given.
    Created,
    /// An object of that name was there before; it is as it was.
    Exists,
}

/// A place for named immutable objects. Names are relative paths of lower-case
/// ASCII letters, digits, `-`, `.` and `/`, such as `packs/ab/<id>`.
pub trait Backend: Send + Sync + Debug {
    /// Puts a whole object if the name is free. MUST be atomic (nobody sees a part
    /// of it) and durable when it returns.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put>;

    /// Begins an object that is written piece by piece and has no name yet.
    fn begin(&self) -> Result<Arc<dyn PendingObject>>;

    /// Opens an object for reading. What was opened stays readable after a delete.
    fn open(&self, name: &str) -> Result<Arc<dyn Object>>;

    /// Returns the whole object, at most `len_max` bytes.
    fn read(&self, name: &str, len_max: u64) -> Result<Vec<u8>>;

    /// Tells whether the object is there.
    fn exists(&self, name: &str) -> Result<bool>;

    /// Returns the last parts of the names in `folder` (`packs/ab`), unordered;
    /// empty if there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes an object; a name that is not there is no error.
    fn delete(&self, name: &str) -> Result<()>;

    /// Returns free and total space in bytes, where that means something.
    fn space(&self) -> Result<Space>;

    /// Returns the folder on this machine, for what can only be local: drafts.
    fn local_path(&self) -> Option<&Path>;
}

/// An object that can be read.
pub trait Object: Send + Sync + Debug {
    /// Returns the length in bytes.
    fn len(&self) -> u64;

    /// Tells whether there is not a single byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `target` from `offset`; never short.
    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()>;
}

/// An object in the making: appended to, readable meanwhile, nameless until it is
/// committed. Dropping it uncommitted leaves nothing behind.
pub trait PendingObject: Send + Sync + Debug {
    /// Appends `bytes` and returns their offset. Callers take turns.
    fn append(&self, bytes: &[u8]) -> Result<u64>;

    /// Fills `target` from `offset` with what was appended before.
    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()>;

    /// Gives the object its name if that is free. Durable when it returns.
    fn commit(&self, name: &str) -> Result<Put>;
}

/// Space of the medium in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What a writer may still use.
    pub available_len_bytes: u64,
    /// All there is.
    pub total_len_bytes: u64,
}
