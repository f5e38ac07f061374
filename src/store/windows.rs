//! Fingerprints near those that were found: windows of pack trailers, kept while they
//! are useful. Bounded in number, so bounded in memory.

use super::error::Result;
use crate::base::{ChunkId, Fingerprint, PackId};
use crate::format::pack::PackedChunk;
use lru::LruCache;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Windows kept: 128 of up to 1,024 fingerprints take about 8 MB.
const WINDOWS_MAX: usize = 128;

/// Fingerprints are uniform already; the first eight bytes serve as the hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut prefix = [0; 8];
        let len = bytes.len().min(8);
        prefix[..len].copy_from_slice(&bytes[..len]);
        self.0 = u64::from_le_bytes(prefix);
    }

    fn write_usize(&mut self, _len: usize) {
        // The length of the array, which all keys share.
    }
}

/// A map by fingerprint.
pub type FingerprintMap<V> = HashMap<Fingerprint, V, BuildHasherDefault<PrefixHasher>>;

/// Names a window: pack and number.
pub type WindowId = (PackId, u32);

/// A place in a window that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPosition {
    slot: u16,
    position: u16,
}

#[derive(Debug, Default)]
struct Window {
    id: Option<WindowId>,
    /// Fingerprint, chunk in the window, block in the chunk.
    blocks: Vec<(Fingerprint, u16, u16)>,
    chunks: Vec<ChunkId>,
}

/// The windows that are kept.
#[derive(Debug)]
pub struct Windows {
    slots: Vec<Window>,
    used: LruCache<WindowId, u16>,
    positions: FingerprintMap<WindowPosition>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            slots: vec![],
            used: LruCache::unbounded(),
            positions: FingerprintMap::default(),
        }
    }
}

impl Windows {
    /// Loads a window with `read` unless it is kept.
    pub fn load(
        &mut self,
        id: WindowId,
        read: impl FnOnce() -> Result<Vec<PackedChunk>>,
    ) -> Result<()> {
        if self.used.get(&id).is_some() {
            return Ok(());
        }
        let chunks = read()?;
        let slot = self.free_slot();
        let mut window = Window {
            id: Some(id),
            blocks: vec![],
            chunks: vec![],
        };
        for (number, chunk) in chunks.iter().enumerate() {
            window.chunks.push(chunk.chunk);
            for (block, fingerprint) in chunk.fingerprints.iter().enumerate() {
                let position = window.blocks.len() as u16;
                self.positions
                    .insert(*fingerprint, WindowPosition { slot, position });
                window
                    .blocks
                    .push((*fingerprint, number as u16, block as u16));
            }
        }
        self.used.put(id, slot);
        self.slots[usize::from(slot)] = window;
        Ok(())
    }

    fn free_slot(&mut self) -> u16 {
        if self.slots.len() < WINDOWS_MAX {
            self.slots.push(Window::default());
            return (self.slots.len() - 1) as u16;
        }
        let slot = self.used.pop_lru().map_or(0, |(_, slot)| slot);
        let old = std::mem::take(&mut self.slots[usize::from(slot)]);
        for (fingerprint, ..) in old.blocks {
            if self
                .positions
                .get(&fingerprint)
                .is_some_and(|position| position.slot == slot)
            {
                self.positions.remove(&fingerprint);
            }
        }
        slot
    }

    /// Returns where `fingerprint` stands, if a kept window has it.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<WindowPosition> {
        self.positions.get(fingerprint).copied()
    }

    /// Returns the place behind `position` if `fingerprint` stands there.
    pub fn follow(
        &self,
        position: WindowPosition,
        fingerprint: &Fingerprint,
    ) -> Option<WindowPosition> {
        let next = WindowPosition {
            position: position.position.checked_add(1)?,
            ..position
        };
        let (found, ..) = self
            .slots
            .get(usize::from(next.slot))?
            .blocks
            .get(usize::from(next.position))?;
        (found == fingerprint).then_some(next)
    }

    /// Returns the window behind the one of `position`, if `position` is its last place.
    pub fn window_behind(&self, position: WindowPosition) -> Option<WindowId> {
        let window = self.slots.get(usize::from(position.slot))?;
        let is_last = usize::from(position.position) + 1 == window.blocks.len();
        let (pack, number) = window.id?;
        is_last.then(|| (pack, number.saturating_add(1)))
    }

    /// Returns chunk and block at `position`.
    pub fn block(&self, position: WindowPosition) -> Option<(ChunkId, u32)> {
        let window = self.slots.get(usize::from(position.slot))?;
        let (_, chunk, block) = window.blocks.get(usize::from(position.position))?;
        Some((*window.chunks.get(usize::from(*chunk))?, u32::from(*block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Codec, ContentKind};

    fn chunk(number: u32) -> PackedChunk {
        let fingerprint = |block: u32| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&ChunkId::of(&(number * 16 + block).to_le_bytes()).0[..16]);
            Fingerprint(bytes)
        };
        PackedChunk {
            chunk: ChunkId::of(&number.to_le_bytes()),
            pack_offset: 0,
            frame_len: 0,
            content_len: 0,
            codec: Codec::Raw,
            kind: ContentKind::Data,
            fingerprints: (0..16).map(fingerprint).collect(),
        }
    }

    #[test]
    fn runs_are_followed_and_old_windows_go() {
        let mut windows = Windows::default();
        for number in 0..300 {
            windows
                .load((PackId([1; 16]), number), || Ok(vec![chunk(number)]))
                .unwrap();
        }
        assert_eq!(windows.find(&chunk(0).fingerprints[0]), None);
        assert_eq!(windows.positions.len(), WINDOWS_MAX * 16);
        let kept = chunk(299);
        let mut position = windows.find(&kept.fingerprints[0]).unwrap();
        for block in 1..16 {
            assert_eq!(windows.window_behind(position), None);
            position = windows.follow(position, &kept.fingerprints[block]).unwrap();
            assert_eq!(windows.block(position), Some((kept.chunk, block as u32)));
        }
        assert_eq!(
            windows.window_behind(position),
            Some((PackId([1; 16]), 300))
        );
        assert_eq!(windows.follow(position, &kept.fingerprints[0]), None);
    }
}
