//! Numbers that only a reading of a whole directory tells, of the directories that were
//! asked about last: of FAT and exFAT alike.

use super::slots::Place;
use crate::base::ByteLen;
use crate::filesystem::Result;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// Directories whose numbers are remembered, about 100 bytes each.
const DIRECTORY_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// What is shown of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Numbers {
    /// Its length in bytes.
    pub(in super::super) len: ByteLen,
    /// Two, and one of each directory in it.
    pub(in super::super) link_count: u32,
}

/// Which bytes a directory has: first cluster, how many follow it without a chain, and
/// the length if it has one of its own. Directories that share them have the same numbers.
type Key = (u32, Option<u32>, Option<ByteLen>);

/// The numbers of the directories of one volume.
pub(in super::super) struct DirectoryNumbers(Mutex<LruCache<Key, Numbers>>);

impl DirectoryNumbers {
    pub(in super::super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(DIRECTORY_COUNT_MAX)))
    }

    /// Returns the numbers of the directory at `place`, by `count` if they are not known.
    ///
    /// # Errors
    ///
    /// Those of `count`; then nothing is remembered.
    pub(in super::super) fn of(
        &self,
        place: Place,
        count: impl FnOnce() -> Result<Numbers>,
    ) -> Result<Numbers> {
        let Some(key) = key_of(place) else {
            return count();
        };
        if let Some(known) = self.0.lock().get(&key) {
            return Ok(*known);
        }
        let counted = count()?;
        self.0.lock().put(key, counted);
        Ok(counted)
    }
}

/// Returns what tells a directory from others; `None` if there is nothing to read.
const fn key_of(place: Place) -> Option<Key> {
    match place {
        Place::Nothing => None,
        // There is one on a volume, and no cluster has the number 0.
        Place::Region { .. } => Some((0, None, None)),
        Place::Chain { allocation, .. } => Some((allocation.first, allocation.contiguous, None)),
        Place::Sized { allocation, len } => {
            Some((allocation.first, allocation.contiguous, Some(len)))
        }
    }
}
