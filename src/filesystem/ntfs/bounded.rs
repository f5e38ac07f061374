//! What was decoded lately, bounded in bytes.

use lru::LruCache;
use parking_lot::Mutex;
use std::hash::Hash;

/// What an entry costs beside what it says.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// A cache that drops what was used longest ago.
pub(super) struct Bounded<K: Hash + Eq, V> {
    bytes_max: usize,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K: Hash + Eq, V> {
    values: LruCache<K, (V, usize)>,
    used_bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    /// Makes an empty cache of at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::new(Inner {
                values: LruCache::unbounded(),
                used_bytes: 0,
            }),
        }
    }

    /// Returns what is there.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut inner = self.inner.lock();
        inner.values.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps a value of that many bytes, if it is not larger than everything.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) {
        let cost = bytes.saturating_add(ENTRY_OVERHEAD_BYTES);
        if cost > self.bytes_max {
            return;
        }
        let mut inner = self.inner.lock();
        inner.used_bytes = inner.used_bytes.saturating_add(cost);
        if let Some((_, (_, old))) = inner.values.push(key, (value, cost)) {
            inner.used_bytes = inner.used_bytes.saturating_sub(old);
        }
        while inner.used_bytes > self.bytes_max {
            let Some((_, (_, cost))) = inner.values.pop_lru() else {
                break;
            };
            inner.used_bytes = inner.used_bytes.saturating_sub(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_to_its_bound() {
        let cache = Bounded::new(10_000);
        for key in 0..100 {
            cache.put(key, key, 1000);
            cache.put(key, key + 1, 1000);
        }
        assert_eq!(cache.get(&99), Some(100));
        assert_eq!(cache.get(&1), None);
        assert!(cache.inner.lock().used_bytes <= 10_000);
        cache.put(7, 7, 20_000);
        assert_eq!(cache.get(&7), None);
    }
}
