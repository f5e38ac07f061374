//! A least-recently-used cache bounded in bytes, cut into shards so that threads
//! rarely wait for each other.

use lru::LruCache;
use parking_lot::Mutex;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

const SHARD_COUNT: usize = 16;

/// Memory that an entry takes beside its value: the key, links and table slots.
const ENTRY_OVERHEAD_LEN: usize = 128;

struct Shard<K, V> {
    entries: LruCache<K, (V, usize)>,
    len_bytes: usize,
}

/// A cache that forgets what was not used for longest when it grows over its budget.
pub struct ByteCache<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    shard_len_max: usize,
    hasher: RandomState,
}

impl<K, V> fmt::Debug for ByteCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteCache")
            .field("shard_len_max", &self.shard_len_max)
            .finish()
    }
}

impl<K: Hash + Eq, V: Clone> ByteCache<K, V> {
    /// Returns an empty cache of at most `len_max` bytes.
    pub fn new(len_max: u64) -> Self {
        let shard_len_max = usize::try_from(len_max).unwrap_or(usize::MAX) / SHARD_COUNT;
        let shards = (0..SHARD_COUNT)
            .map(|_| {
                Mutex::new(Shard {
                    entries: LruCache::unbounded(),
                    len_bytes: 0,
                })
            })
            .collect();
        Self {
            shards,
            shard_len_max,
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V>> {
        let number = self.hasher.hash_one(key) as usize % SHARD_COUNT;
        &self.shards[number]
    }

    /// Returns the value and counts it as used.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key)
            .lock()
            .entries
            .get(key)
            .map(|(value, _)| value.clone())
    }

    /// Keeps a value that takes `len` bytes, and forgets others to make room. A value
    /// that is larger than a shard's budget is not kept.
    pub fn insert(&self, key: K, value: V, len: usize) {
        let len = len.saturating_add(ENTRY_OVERHEAD_LEN);
        if len > self.shard_len_max {
            return;
        }
        let mut shard = self.shard(&key).lock();
        if let Some((_, (_, old_len))) = shard.entries.push(key, (value, len)) {
            shard.len_bytes = shard.len_bytes.saturating_sub(old_len);
        }
        shard.len_bytes = shard.len_bytes.saturating_add(len);
        while shard.len_bytes > self.shard_len_max {
            let Some((_, (_, old_len))) = shard.entries.pop_lru() else {
                break;
            };
            shard.len_bytes = shard.len_bytes.saturating_sub(old_len);
        }
    }

    /// Forgets a value.
    pub fn remove(&self, key: &K) {
        let mut shard = self.shard(key).lock();
        if let Some((_, len)) = shard.entries.pop(key) {
            shard.len_bytes = shard.len_bytes.saturating_sub(len);
        }
    }

    /// Returns the bytes that are kept now.
    pub fn len_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_the_least_used_goes() {
        let cache = ByteCache::new(16 * 10_000);
        for number in 0..10_000_u32 {
            cache.insert(number, number, 900);
            assert!(cache.len_bytes() <= 160_000);
            cache.get(&0);
        }
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.get(&1), None);
        cache.insert(0, 7, 900);
        assert_eq!(cache.get(&0), Some(7));
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }

    #[test]
    fn what_is_larger_than_the_budget_is_not_kept() {
        let cache = ByteCache::new(1600);
        cache.insert(1, 1, 1000);
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.len_bytes(), 0);
    }
}
