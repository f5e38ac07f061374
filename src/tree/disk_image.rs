//! Reading `disk.img`: whole or with an error, and what to do about damage. The
//! kernel retries a failed read page by page; a chunk known to be damaged is neither
//! decoded nor reported again for a while.

use crate::base::{
    BLOCK_LEN_BYTES, ByteLen, ByteOffset, ChunkId, ReadAt, block_count_for, block_of,
};
use crate::image::Image;
use crate::store::Store;
use crate::tree::{Kind, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Damaged chunks that are remembered.
const COUNT_MAX: usize = 4096;
/// How long one is remembered: a repair shows after this.
const LIFETIME: Duration = Duration::from_secs(10);

/// Chunks that could not be read a moment ago.
#[derive(Debug, Default)]
pub(super) struct Damage {
    chunks: Mutex<HashMap<ChunkId, Instant>>,
    /// Read before the lock is taken: mostly there is no damage at all.
    count: AtomicUsize,
}

impl Damage {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn contains(&self, chunk: &ChunkId) -> bool {
        let chunks = self.chunks.lock();
        chunks
            .get(chunk)
            .is_some_and(|found_at| found_at.elapsed() < LIFETIME)
    }

    /// Adds a chunk; false if it was known.
    fn insert(&self, chunk: ChunkId) -> bool {
        let mut chunks = self.chunks.lock();
        chunks.retain(|_, found_at| found_at.elapsed() < LIFETIME);
        let is_new = chunks.len() < COUNT_MAX && chunks.insert(chunk, Instant::now()).is_none();
        self.count.store(chunks.len(), Ordering::Relaxed);
        is_new
    }
}

/// An open `disk.img`.
#[derive(Debug)]
pub(super) struct OpenImage {
    pub(super) image: Image,
    /// The opener asked for O_DIRECT, where a short answer is no end of the file.
    pub(super) is_direct: bool,
    /// How messages name it.
    pub(super) title: String,
}

impl OpenImage {
    /// Fills the start of `target`; shorter only at the end of the image, or up to
    /// the damage for a direct reader.
    pub(super) fn read(
        &self,
        store: &Store,
        damage: &Damage,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let left = ReadAt::len(&self.image).saturating_sub(offset);
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(target.len());
        let target = target.get_mut(..count).unwrap_or_default();
        if target.is_empty() {
            return Ok(0);
        }
        let error = match self.known_damage(damage, offset, target.len()) {
            Ok(None) => match self.image.read(offset, target) {
                Ok(()) => return Ok(count),
                Err(error) => Some(error),
            },
            Ok(Some(_)) => None,
            Err(error) => return Err(error),
        };
        let damaged_at = match error {
            Some(error) if error.kind() == crate::store::Kind::Corrupt => {
                match self.find_damage(store, damage, offset, target.len(), &error)? {
                    Some(place) => place,
                    // The map itself is damaged.
                    None => return Err(error.into()),
                }
            }
            Some(error) => return Err(error.into()),
            None => match self.known_damage(damage, offset, target.len())? {
                Some(place) => place,
                None => offset,
            },
        };
        self.read_up_to(damaged_at, offset, target)
    }

    fn read_up_to(&self, damaged_at: u64, offset: u64, target: &mut [u8]) -> Result<usize> {
        let whole = usize::try_from(damaged_at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(part) = target.get_mut(..whole).filter(|part| !part.is_empty()) else {
            return Err(Kind::Damaged.into());
        };
        // A short answer to a buffered reader would be the end of the file to him.
        if !self.is_direct {
            return Err(Kind::Damaged.into());
        }
        self.image.read(offset, part)?;
        Ok(whole)
    }

    /// Returns where in the range a chunk lies that is known to be damaged.
    fn known_damage(&self, damage: &Damage, offset: u64, len: usize) -> Result<Option<u64>> {
        if damage.is_empty() {
            return Ok(None);
        }
        let blocks = block_of(offset)..block_count_for(offset + len as u64);
        let extents = self.image.extents(blocks)?;
        let found = extents.iter().find(|extent| damage.contains(&extent.chunk));
        Ok(found.map(|extent| extent.image_block * BLOCK_LEN_BYTES))
    }

    /// Finds and reports the chunks of the range that cannot be read.
    fn find_damage(
        &self,
        store: &Store,
        damage: &Damage,
        offset: u64,
        len: usize,
        error: &crate::store::Error,
    ) -> Result<Option<u64>> {
        let blocks = block_of(offset)..block_count_for(offset + len as u64);
        let mut first = None;
        for extent in self.image.extents(blocks)? {
            if store.reader().read(&extent.chunk).is_ok() {
                continue;
            }
            let start = extent.image_block * BLOCK_LEN_BYTES;
            if damage.insert(extent.chunk) {
                log::error!(
                    "{}: bytes {start} to {} cannot be read: {}",
                    self.title,
                    extent.end() * BLOCK_LEN_BYTES,
                    crate::store::chain(error)
                );
            }
            first.get_or_insert(start);
        }
        Ok(first)
    }
}

/// The bytes of an image for who reads whole ranges: damage is reported once, and what
/// is known to be damaged is not tried again for a while.
pub(super) struct GuardedImage {
    pub(super) open: OpenImage,
    pub(super) damage: Arc<Damage>,
}

impl ReadAt for GuardedImage {
    fn len(&self) -> ByteLen {
        ReadAt::len(&self.open.image)
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let store = self.open.image.store();
        let read = self.open.read(store, &self.damage, offset, target);
        match read {
            Ok(count) if count == target.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_reported_once_and_bounded() {
        let damage = Damage::default();
        assert!(damage.is_empty());
        assert!(damage.insert(ChunkId([1; 32])));
        assert!(!damage.insert(ChunkId([1; 32])));
        assert!(damage.contains(&ChunkId([1; 32])));
        assert!(!damage.contains(&ChunkId([2; 32])));
        for number in 0..5000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            damage.insert(ChunkId(id));
        }
        assert_eq!(damage.count.load(Ordering::Relaxed), COUNT_MAX);
    }
}
