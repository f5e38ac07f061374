//! Hashes of the names of a few large directories, so that looking up a name does
//! not read the whole directory. Made at the first look-up, bounded, and of our own:
//! it needs none of the hash functions of htree directories and trusts none of them.

use super::inode::Inode;
use super::{Ext, dir};
use crate::filesystem::{Error, Result, index_of};
use lru::LruCache;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Directories up to this length are read as they are.
pub(super) const DIRECTORY_LEN_MIN: u64 = 16 << 10;

/// Entries in one index: 16 bytes each; larger directories are read as they are.
const ENTRY_COUNT_MAX: usize = 1 << 18;

/// Indexes that are kept, so at most 12 MiB a file system.
const DIRECTORY_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Sorted pairs of hash and place of the entry.
type Index = Arc<Vec<(u64, u64)>>;

/// Indexes of the directories that were looked into last.
pub(super) struct NameIndexes {
    hashers: RandomState,
    indexes: Mutex<LruCache<u32, Option<Index>>>,
}

impl NameIndexes {
    pub(super) fn new() -> Self {
        Self {
            hashers: RandomState::new(),
            indexes: Mutex::new(LruCache::new(DIRECTORY_COUNT_MAX)),
        }
    }

    /// Finds `name` in the directory `inode`.
    pub(super) fn lookup(&self, ext: &Ext, inode: &Inode, name: &[u8]) -> Result<Option<u32>> {
        let known = self.indexes.lock().get(&inode.number).cloned();
        let index = match known {
            Some(index) => index,
            None => {
                let index = self.build(ext, inode)?;
                self.indexes.lock().put(inode.number, index.clone());
                index
            }
        };
        let Some(index) = index else {
            return dir::scan(ext, inode, 0, None, &|candidate| candidate == name);
        };
        let hash = self.hashers.hash_one(name);
        let first = index.partition_point(|(other, _)| *other < hash);
        for (other, position) in index.iter().skip(first) {
            if *other != hash {
                break;
            }
            let end = position.checked_add(1);
            let found = dir::scan(ext, inode, *position, end, &|candidate| candidate == name)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn build(&self, ext: &Ext, inode: &Inode) -> Result<Option<Index>> {
        // Entries have at least 12 bytes each.
        let room = index_of(inode.size / 12).min(ENTRY_COUNT_MAX);
        let mut index = Vec::with_capacity(room.min(4096));
        let mut is_whole = true;
        let walked = dir::walk(ext, inode, 0, &mut |entry| {
            is_whole = index.len() < ENTRY_COUNT_MAX;
            if !is_whole {
                return Ok(ControlFlow::Break(()));
            }
            index.push((self.hashers.hash_one(entry.name), entry.position));
            Ok(ControlFlow::Continue(()))
        });
        match walked {
            Ok(()) => {}
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            // Whether a name is there cannot be said without a look at the damage.
            Err(_) => return Ok(None),
        }
        index.sort_unstable();
        Ok(is_whole.then(|| Arc::new(index)))
    }
}
