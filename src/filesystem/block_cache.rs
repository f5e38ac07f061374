//! The one cache of metadata blocks, shared by all file systems that are open and
//! bounded in bytes. File content does not go through it: the chunk cache below
//! has that already.

use super::error::{Error, Result};
use crate::base::{ByteLen, ByteOffset, ReadAt};
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shards, so that threads seldom wait for each other.
const SHARD_COUNT: usize = 16;

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// The longest block that one look-up may ask for: 64 KiB blocks and the largest
/// XFS directory block have 64 KiB; NTFS clusters reach 2 MiB.
pub const BLOCK_LEN_MAX: usize = 2 << 20;

/// Which check a cached block has passed. One place read as two different
/// structures (in a damaged image) has two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockKind(pub u32);

impl BlockKind {
    /// Bytes that no check has looked at.
    pub const RAW: Self = Self(0);
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: u64,
    offset: ByteOffset,
    len: usize,
    kind: BlockKind,
}

struct Shard {
    blocks: LruCache<Key, Arc<[u8]>>,
    used_bytes: usize,
}

/// Metadata blocks of all open file systems.
pub struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
    next_source: AtomicU64,
}

impl BlockCache {
    /// Makes an empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let shard = || {
            Mutex::new(Shard {
                blocks: LruCache::unbounded(),
                used_bytes: 0,
            })
        };
        Arc::new(Self {
            shards: (0..SHARD_COUNT).map(|_| shard()).collect(),
            shard_bytes_max: bytes_max / SHARD_COUNT,
            next_source: AtomicU64::new(0),
        })
    }

    /// Returns the bytes that are held now, overhead included.
    pub fn used_bytes(&self) -> usize {
        self.shards
            .iter()
            .fold(0, |sum, shard| sum.saturating_add(shard.lock().used_bytes))
    }

    fn shard(&self, key: &Key) -> Option<&Mutex<Shard>> {
        // Fibonacci hashing: neighbouring blocks go to different shards.
        let mixed = (key.offset ^ key.source.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 60)
            .ok()
            .and_then(|index| self.shards.get(index))
    }

    fn get(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.shard(key)?.lock().blocks.get(key).cloned()
    }

    fn put(&self, key: Key, block: Arc<[u8]>) {
        let cost = cost_of(&block);
        let Some(shard) = self.shard(&key).filter(|_| cost <= self.shard_bytes_max) else {
            return;
        };
        let mut shard = shard.lock();
        shard.used_bytes = shard.used_bytes.saturating_add(cost);
        if let Some((_, old)) = shard.blocks.push(key, block) {
            shard.forget(&old);
        }
        while shard.used_bytes > self.shard_bytes_max {
            let Some((_, old)) = shard.blocks.pop_lru() else {
                break;
            };
            shard.forget(&old);
        }
    }
}

fn cost_of(block: &[u8]) -> usize {
    block.len().saturating_add(ENTRY_OVERHEAD_BYTES)
}

impl Shard {
    fn forget(&mut self, block: &[u8]) {
        let cost = cost_of(block);
        self.used_bytes = self.used_bytes.saturating_sub(cost);
    }
}

/// One image seen through the cache.
pub struct BlockReader {
    image: Arc<dyn ReadAt>,
    cache: Arc<BlockCache>,
    source: u64,
}

impl BlockReader {
    /// Reads `image` through `cache`.
    pub fn new(image: Arc<dyn ReadAt>, cache: Arc<BlockCache>) -> Self {
        let source = cache.next_source.fetch_add(1, Ordering::Relaxed);
        Self {
            image,
            cache,
            source,
        }
    }

    /// Returns the image below.
    pub fn image(&self) -> &Arc<dyn ReadAt> {
        &self.image
    }

    /// Returns the length of the image in bytes.
    pub fn len(&self) -> ByteLen {
        self.image.len()
    }

    /// Tells whether the image has no byte at all.
    pub fn is_empty(&self) -> bool {
        self.image.is_empty()
    }

    /// Returns `len` bytes at `offset`, from the cache if they are there.
    ///
    /// # Errors
    ///
    /// Io if the medium fails; Corrupt if they lie beyond the image or are more
    /// than [`BLOCK_LEN_MAX`].
    pub fn block(&self, offset: ByteOffset, len: usize) -> Result<Arc<[u8]>> {
        self.checked_block(offset, len, BlockKind::RAW, |_| Ok(()))
    }

    /// Returns `len` bytes at `offset` that passed `check`, which runs once, when
    /// they enter the cache. `kind` names the check and everything it depends on
    /// that is not in the bytes (such as the owner's inode number).
    ///
    /// # Errors
    ///
    /// As [`BlockReader::block`], and those of `check`.
    pub fn checked_block(
        &self,
        offset: ByteOffset,
        len: usize,
        kind: BlockKind,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Arc<[u8]>> {
        let key = Key {
            source: self.source,
            offset,
            len,
            kind,
        };
        if let Some(block) = self.cache.get(&key) {
            return Ok(block);
        }
        if len > BLOCK_LEN_MAX {
            let actual = u64::try_from(len).unwrap_or(u64::MAX);
            return Err(Error::corrupt(
                "block length",
                offset,
                "at most 2 MiB",
                actual,
            ));
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(offset, &mut bytes)?;
        check(&bytes)?;
        let block: Arc<[u8]> = bytes.into();
        self.cache.put(key, Arc::clone(&block));
        Ok(block)
    }

    /// Fills `target` from `offset` without the cache: for file content.
    ///
    /// # Errors
    ///
    /// Io if the medium fails; Corrupt if a byte lies beyond the image.
    pub fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        let end = u64::try_from(target.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.image.len()) {
            let expected = "a place inside the image";
            return Err(Error::corrupt(
                "reference to a block",
                offset,
                expected,
                self.image.len(),
            ));
        }
        self.image.read_exact_at(offset, target).map_err(Error::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_to_its_bound() {
        let cache = BlockCache::new(1 << 20);
        let reader = BlockReader::new(Arc::new(vec![7_u8; 4 << 20]), Arc::clone(&cache));
        for block in 0..1024 {
            assert_eq!(reader.block(block * 4096, 4096).unwrap().len(), 4096);
        }
        assert!(cache.used_bytes() <= 1 << 20);
        assert!(cache.used_bytes() > 1 << 19);
    }

    #[test]
    fn a_check_runs_once_for_each_kind() {
        let cache = BlockCache::new(1 << 20);
        let reader = BlockReader::new(Arc::new(vec![7_u8; 8192]), cache);
        let mut count = 0;
        for kind in [1, 1, 2, 1] {
            let checked = reader.checked_block(0, 4096, BlockKind(kind), |_| {
                count += 1;
                Ok(())
            });
            assert!(checked.is_ok());
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn beyond_the_image_is_corrupt() {
        let reader = BlockReader::new(Arc::new(vec![7_u8; 8192]), BlockCache::new(1 << 20));
        for (offset, len) in [(8192, 1), (u64::MAX, 2), (4096, 4097)] {
            assert!(matches!(
                reader.block(offset, len),
                Err(Error::Corrupt { .. })
            ));
        }
    }
}
