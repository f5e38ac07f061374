//! Reading `disk.img`: whole or with an error, and what to do about damage. The
//! kernel retries a failed read page by page; a chunk known to be damaged is neither
//! decoded nor reported again for a while.

use crate::base::{
    BLOCK_LEN_BYTES, ByteLen, ByteOffset, ChunkId, ReadAt, block_count_for, block_of,
};
use crate::image::Image;
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
    /// How messages name it.
    pub(super) title: String,
}

impl OpenImage {
    /// Fills the start of `target`; shorter only at the end of the image.
    pub(super) fn read(
        &self,
        damage: &Damage,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let target = self.clip(offset, target);
        match self.try_read(damage, offset, target)? {
            None => Ok(target.len()),
            Some(_) => Err(Kind::Damaged.into()),
        }
    }

    /// The same, but up to the damage if there is some: an error only at it.
    pub(super) fn read_up_to_damage(
        &self,
        damage: &Damage,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let mut rest = self.clip(offset, target);
        // Before damage that is known there may be some that is not.
        while let Some(place) = self.try_read(damage, offset, rest)? {
            let whole = usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX);
            rest = rest.get_mut(..whole).unwrap_or_default();
            if rest.is_empty() {
                return Err(Kind::Damaged.into());
            }
        }
        Ok(rest.len())
    }

    /// Returns what of `target` lies inside the image.
    fn clip<'a>(&self, offset: ByteOffset, target: &'a mut [u8]) -> &'a mut [u8] {
        let left = ReadAt::len(&self.image).saturating_sub(offset);
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(target.len());
        target.get_mut(..count).unwrap_or_default()
    }

    /// Fills `target`, or returns where the first damage in it is.
    fn try_read(
        &self,
        damage: &Damage,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<Option<ByteOffset>> {
        if target.is_empty() {
            return Ok(None);
        }
        if let Some(place) = self.known_damage(damage, offset, target.len())? {
            return Ok(Some(place));
        }
        let error = match self.image.read(offset, target) {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        if error.kind() == crate::store::Kind::Corrupt
            && let Some(place) = self.find_damage(damage, offset, target.len(), &error)?
        {
            return Ok(Some(place));
        }
        // The map itself is damaged, or the disk failed.
        Err(error.into())
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
        damage: &Damage,
        offset: u64,
        len: usize,
        error: &crate::store::Error,
    ) -> Result<Option<u64>> {
        let blocks = block_of(offset)..block_count_for(offset + len as u64);
        let mut first = None;
        for extent in self.image.extents(blocks)? {
            if self.image.store().reader().read(&extent.chunk).is_ok() {
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
        let read = self.open.read(&self.damage, offset, target);
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
