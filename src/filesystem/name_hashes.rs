//! Hashes of the names of a few large directories of formats that list them in no
//! order, so that looking up a name does not read the whole directory. Made at the
//! first look-up and bounded.

use super::error::{ErrorKind, Result};
use lru::LruCache;
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Slots of a directory that are looked at before an index is made.
pub(super) const SLOT_COUNT_MIN: u64 = 512;

/// Names in one index: 8 bytes each; larger directories are read as they are.
const NAME_COUNT_MAX: usize = 1 << 18;

/// Indexes that are kept, so at most 6 MiB a file system.
const DIRECTORY_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Takes the hash and the place of a name.
pub(super) type NameVisitor<'a> = dyn FnMut(u32, u32) -> ControlFlow<()> + 'a;

/// Sorted pairs of hash and place; `None` for a directory that is too large or damaged.
type Index = Option<Arc<[(u32, u32)]>>;

/// Indexes of the directories that were looked into last.
pub(super) struct NameHashes {
    hashers: RandomState,
    indexes: Mutex<LruCache<u64, Index>>,
}

impl NameHashes {
    pub(super) fn new() -> Self {
        Self {
            hashers: RandomState::new(),
            indexes: Mutex::new(LruCache::new(DIRECTORY_COUNT_MAX)),
        }
    }

    /// Returns the hash of a name, folded by the caller.
    pub(super) fn hash(&self, name: impl Hash) -> u32 {
        let [a, b, c, d, ..] = self.hashers.hash_one(name).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Tells whether `directory` has an index, or was found to get none.
    pub(super) fn knows(&self, directory: u64) -> bool {
        self.indexes.lock().contains(&directory)
    }

    /// Returns the places of names in `directory` that have this hash; `None` if the
    /// directory has to be read. `build` gives all names of the directory.
    ///
    /// # Errors
    ///
    /// Those of `build`, except that the directory is damaged.
    pub(super) fn places(
        &self,
        directory: u64,
        hash: u32,
        build: impl FnOnce(&mut NameVisitor<'_>) -> Result<()>,
    ) -> Result<Option<Vec<u32>>> {
        let known = self.indexes.lock().get(&directory).cloned();
        let index = match known {
            Some(index) => index,
            None => {
                let index = make(build)?;
                self.indexes.lock().put(directory, index.clone());
                index
            }
        };
        Ok(index.map(|index| {
            let first = index.partition_point(|(other, _)| *other < hash);
            let found = index.iter().skip(first);
            found
                .take_while(|(other, _)| *other == hash)
                .map(|(_, place)| *place)
                .collect()
        }))
    }
}

fn make(build: impl FnOnce(&mut NameVisitor<'_>) -> Result<()>) -> Result<Index> {
    let mut names = Vec::new();
    let mut is_whole = true;
    let built = build(&mut |hash, place| {
        is_whole = names.len() < NAME_COUNT_MAX;
        if !is_whole {
            return ControlFlow::Break(());
        }
        names.push((hash, place));
        ControlFlow::Continue(())
    });
    match built {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
        Err(error) => return Err(error),
    }
    if !is_whole {
        return Ok(None);
    }
    names.sort_unstable();
    Ok(Some(names.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::Error;

    #[test]
    fn names_are_found_by_their_hash_and_the_index_is_made_once() {
        let hashes = NameHashes::new();
        let mut count = 0;
        for wanted in [7_u32, 700, 999, 2000] {
            let hash = hashes.hash(wanted);
            let places = hashes.places(3, hash, |visit| {
                count += 1;
                for name in 0..1000_u32 {
                    let _ = visit(hashes.hash(name), name * 2);
                }
                Ok(())
            });
            let places = places.unwrap().unwrap();
            assert_eq!(places.contains(&(wanted * 2)), wanted < 1000);
            assert!(places.len() < 5);
        }
        assert_eq!(count, 1);
        assert!(hashes.knows(3) && !hashes.knows(4));
    }

    #[test]
    fn too_large_and_damaged_directories_have_no_index() {
        let hashes = NameHashes::new();
        let endless = hashes.places(1, 5, |visit| {
            while visit(5, 5).is_continue() {}
            Ok(())
        });
        assert_eq!(endless.unwrap(), None);
        let damaged = hashes.places(2, 5, |_| Err(Error::corrupt("x", 0, "y", 0_u8)));
        assert_eq!(damaged.unwrap(), None);
        let failed = hashes.places(3, 5, |_| Err(std::io::Error::other("disk").into()));
        assert!(failed.is_err());
        assert!(!hashes.knows(3));
    }
}
