//! The image with the log replayed over it: pages that the replay changed, in memory
//! up to a bound and in a temporary place above it.

use super::volume::to_usize;
use crate::base::{ByteLen, ByteOffset, ReadAt};
use crate::filesystem::{Spill, SpillFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of a page.
const PAGE_LEN: u64 = 4096;

/// Bytes of changed pages that stay in memory.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

enum Page {
    Memory(Box<[u8]>),
    /// At this offset of the temporary place.
    Spilled(ByteOffset),
}

/// An image and what is changed of it.
pub(super) struct Overlay {
    base: Arc<dyn ReadAt>,
    pages: BTreeMap<u64, Page>,
    memory_bytes: u64,
    spill: Arc<dyn Spill>,
    spilled: Option<Box<dyn SpillFile>>,
    spilled_bytes: u64,
}

impl Overlay {
    /// Lays nothing over `base` yet.
    pub(super) fn new(base: Arc<dyn ReadAt>, spill: Arc<dyn Spill>) -> Self {
        Self {
            base,
            pages: BTreeMap::new(),
            memory_bytes: 0,
            spill,
            spilled: None,
            spilled_bytes: 0,
        }
    }

    /// Tells whether any of the `len` bytes at `offset` may be changed.
    pub(super) fn touches(&self, offset: ByteOffset, len: ByteLen) -> bool {
        if len == 0 {
            return false;
        }
        let last = offset.saturating_add(len.saturating_sub(1)) / PAGE_LEN;
        self.pages.range(offset / PAGE_LEN..=last).next().is_some()
    }

    /// Changes the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` beyond the image; what the media report.
    pub(super) fn write_at(&mut self, offset: ByteOffset, source: &[u8]) -> io::Result<()> {
        let len = u64::try_from(source.len()).unwrap_or(u64::MAX);
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= self.base.len());
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = source;
        let mut position = offset;
        while !rest.is_empty() {
            let inside = to_usize(position % PAGE_LEN);
            let room = to_usize(PAGE_LEN).saturating_sub(inside);
            let (part, behind) = rest.split_at(room.min(rest.len()));
            self.change_page(position / PAGE_LEN, inside, part)?;
            position = position.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            rest = behind;
        }
        Ok(())
    }

    fn change_page(&mut self, index: u64, inside: usize, source: &[u8]) -> io::Result<()> {
        match self.pages.get_mut(&index) {
            Some(Page::Memory(page)) => return put(page, inside, source),
            Some(Page::Spilled(place)) => {
                let place = place.saturating_add(u64::try_from(inside).unwrap_or(0));
                return spilled(self.spilled.as_deref())?.write_all_at(place, source);
            }
            None => {}
        }
        let mut page = vec![0; to_usize(PAGE_LEN)].into_boxed_slice();
        self.read_base_page(index, &mut page)?;
        put(&mut page, inside, source)?;
        if self.memory_bytes < MEMORY_BYTES_MAX {
            self.memory_bytes = self.memory_bytes.saturating_add(PAGE_LEN);
            self.pages.insert(index, Page::Memory(page));
            return Ok(());
        }
        if self.spilled.is_none() {
            self.spilled = Some(self.spill.create()?);
        }
        let place = self.spilled_bytes;
        spilled(self.spilled.as_deref())?.write_all_at(place, &page)?;
        self.spilled_bytes = place.saturating_add(PAGE_LEN);
        self.pages.insert(index, Page::Spilled(place));
        Ok(())
    }

    /// Reads a page of the image; behind its end are zeros.
    fn read_base_page(&self, index: u64, page: &mut [u8]) -> io::Result<()> {
        let start = index.saturating_mul(PAGE_LEN);
        let len = to_usize(self.base.len().saturating_sub(start)).min(page.len());
        let there = page.get_mut(..len).unwrap_or_default();
        self.base.read_exact_at(start, there)
    }
}

fn put(page: &mut [u8], inside: usize, source: &[u8]) -> io::Result<()> {
    let target = page.get_mut(inside..inside.saturating_add(source.len()));
    target
        .ok_or(io::ErrorKind::UnexpectedEof)?
        .copy_from_slice(source);
    Ok(())
}

fn spilled(place: Option<&dyn SpillFile>) -> io::Result<&dyn SpillFile> {
    place.ok_or_else(|| io::Error::other("the temporary place of the replay is gone"))
}

impl ReadAt for Overlay {
    fn len(&self) -> ByteLen {
        self.base.len()
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.base.read_exact_at(offset, target)?;
        let len = u64::try_from(target.len()).unwrap_or(u64::MAX);
        let end = offset.saturating_add(len);
        if len == 0 {
            return Ok(());
        }
        for (index, page) in self
            .pages
            .range(offset / PAGE_LEN..=end.saturating_sub(1) / PAGE_LEN)
        {
            let page_start = index.saturating_mul(PAGE_LEN);
            let from = page_start.max(offset);
            let to = page_start.saturating_add(PAGE_LEN).min(end);
            let start = to_usize(from.saturating_sub(offset));
            let stop = to_usize(to.saturating_sub(offset));
            let part = target.get_mut(start..stop).unwrap_or_default();
            let inside = from.saturating_sub(page_start);
            match page {
                Page::Memory(bytes) => {
                    let stop = to_usize(to.saturating_sub(page_start));
                    let bytes = bytes.get(to_usize(inside)..stop);
                    part.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                }
                Page::Spilled(place) => {
                    let place = place.saturating_add(inside);
                    spilled(self.spilled.as_deref())?.read_exact_at(place, part)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl SpillFile for Memory {
        fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
            ReadAt::read_exact_at(&*self.0.lock(), offset, target)
        }

        fn write_all_at(&self, offset: u64, source: &[u8]) -> io::Result<()> {
            let mut bytes = self.0.lock();
            let start = offset as usize;
            let len = bytes.len().max(start + source.len());
            bytes.resize(len, 0);
            bytes[start..start + source.len()].copy_from_slice(source);
            Ok(())
        }
    }

    #[derive(Default)]
    struct MemorySpill(Arc<Mutex<Vec<u8>>>);

    impl Spill for MemorySpill {
        fn create(&self) -> io::Result<Box<dyn SpillFile>> {
            Ok(Box::new(Memory(Arc::clone(&self.0))))
        }
    }

    #[test]
    fn changes_are_seen_in_memory_and_spilled() {
        let len = (24 << 20) + 100;
        let spill = MemorySpill::default();
        let place = Arc::clone(&spill.0);
        let mut overlay = Overlay::new(Arc::new(vec![1_u8; len]), Arc::new(spill));
        for start in (0..24 << 20).step_by(4096) {
            overlay.write_at(start + 4090, &[2; 10]).unwrap();
        }
        overlay.write_at((20 << 20) + 5, &[3; 5]).unwrap();
        assert!(place.lock().len() > 7 << 20);
        let mut all = vec![0; len];
        overlay.read_exact_at(0, &mut all).unwrap();
        assert_eq!(&all[4088..4102], [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);
        assert_eq!(
            &all[(20 << 20) + 3..(20 << 20) + 11],
            [2, 1, 3, 3, 3, 3, 3, 1]
        );
        assert!(overlay.touches(0, 1) && !overlay.touches(0, 0));
        assert!(overlay.write_at(len as u64 - 1, &[1, 2]).is_err());
    }

    #[test]
    fn without_a_place_a_large_replay_fails() {
        let spill = Arc::new(crate::filesystem::NoSpill);
        let mut overlay = Overlay::new(Arc::new(vec![1_u8; 17 << 20]), spill);
        assert!(overlay.write_at(0, &vec![0; 16 << 20]).is_ok());
        assert!(overlay.write_at(16 << 20, &[1]).is_err());
        assert!(!overlay.touches(16 << 20, 4096));
    }
}
