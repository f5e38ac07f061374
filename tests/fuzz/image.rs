//! Images as the fuzzers have them: the pages that are not zero, compressed in the
//! repository, and changes over them. An image may claim to be far longer than it is:
//! what lies behind reads as zeros.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tintype::base::ReadAt;

pub const PAGE_LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"TTPAGES1";

/// Reads that are noted for one run; what is read later is not mutated.
const READ_COUNT_MAX: usize = 8192;

/// Longer reads are of content, or of whole logs.
const READ_LEN_MAX: usize = 1 << 20;

type Page = Arc<[u8; PAGE_LEN]>;

/// The same order and speed in every run: numbers of pages are no secret.
#[derive(Clone, Copy, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
}

type Pages = HashMap<u64, Page, BuildHasherDefault<Mix>>;

/// A range of an image that was read.
pub type Place = (u64, usize);

/// An image as it was made.
pub struct Base {
    pub len: u64,
    pages: Pages,
}

impl Base {
    /// Keeps the pages of `source` that are not zero.
    pub fn gather(source: &mut dyn Read) -> io::Result<Self> {
        let (mut pages, mut len, mut number) = (Pages::default(), 0, 0);
        loop {
            let mut page = [0; PAGE_LEN];
            let mut count = 0;
            while count < PAGE_LEN {
                match source.read(&mut page[count..])? {
                    0 => break,
                    read => count += read,
                }
            }
            len += count as u64;
            if page.iter().any(|byte| *byte != 0) {
                pages.insert(number, Arc::new(page));
            }
            number += 1;
            if count < PAGE_LEN {
                return Ok(Self { len, pages });
            }
        }
    }

    /// Reads what [`Base::pack`] made.
    pub fn load(path: &Path) -> io::Result<Self> {
        let packed = std::fs::read(path)?;
        let mut source = zstd::stream::Decoder::new(&*packed)?;
        let mut header = [0; 16];
        source.read_exact(&mut header)?;
        if header[..8] != MAGIC {
            return Err(io::Error::other(format!("{}: no image", path.display())));
        }
        let len = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
        let mut pages = Pages::default();
        loop {
            let mut number = [0; 8];
            match source.read_exact(&mut number) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                other => other?,
            }
            let mut page = [0; PAGE_LEN];
            source.read_exact(&mut page)?;
            pages.insert(u64::from_le_bytes(number), Arc::new(page));
        }
        Ok(Self { len, pages })
    }

    /// Returns the compressed form.
    pub fn pack(&self) -> io::Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.len.to_le_bytes());
        let mut numbers: Vec<_> = self.pages.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            bytes.extend(number.to_le_bytes());
            bytes.extend_from_slice(&*self.pages[&number]);
        }
        zstd::encode_all(&*bytes, 19)
    }

    /// Returns the numbers of all pages that are not zero.
    pub fn page_numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.pages.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }
}

/// An image with changes, which notes what is read of it.
pub struct Image {
    base: Arc<Base>,
    changed: Pages,
    len: u64,
    reads: Mutex<Vec<Place>>,
    is_noting: AtomicBool,
}

impl Image {
    pub fn new(base: Arc<Base>, len: u64) -> Self {
        Self {
            base,
            changed: Pages::default(),
            len,
            reads: Mutex::new(Vec::new()),
            is_noting: AtomicBool::new(true),
        }
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let changed = self.changed.get(&number);
        changed.or_else(|| self.base.pages.get(&number))
    }

    /// Returns `len` bytes at `offset`, whatever the length of the image.
    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.copy(offset, &mut bytes);
        bytes
    }

    fn copy(&self, offset: u64, target: &mut [u8]) {
        let (mut offset, mut rest) = (offset, target);
        while !rest.is_empty() {
            let inside = (offset % PAGE_LEN as u64) as usize;
            let count = (PAGE_LEN - inside).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            match self.page(offset / PAGE_LEN as u64) {
                Some(page) => now.copy_from_slice(&page[inside..inside + count]),
                None => now.fill(0),
            }
            offset = offset.wrapping_add(count as u64);
            rest = later;
        }
    }

    /// Changes the bytes at `offset`.
    pub fn write(&mut self, offset: u64, source: &[u8]) {
        for (place, byte) in (offset..=u64::MAX).zip(source) {
            let number = place / PAGE_LEN as u64;
            let base = self.base.pages.get(&number);
            let page = self.changed.entry(number).or_insert_with(|| {
                base.map_or_else(|| Arc::new([0; PAGE_LEN]), |page| Arc::new(**page))
            });
            let page = Arc::make_mut(page);
            page[(place % PAGE_LEN as u64) as usize] = *byte;
        }
    }

    /// Tells whether this is an image as it was made.
    pub fn is_whole(&self) -> bool {
        self.changed.is_empty() && self.len == self.base.len
    }

    /// Stops or goes on noting reads; content of files is of no interest.
    pub fn note(&self, is_noting: bool) {
        self.is_noting.store(is_noting, Ordering::Relaxed);
    }

    /// Returns the distinct ranges that were read, in order.
    pub fn places(&self) -> Vec<Place> {
        let mut places = std::mem::take(&mut *self.reads.lock().expect("no panic inside"));
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Returns an image that needs no other.
    pub fn flatten(&self) -> Base {
        let mut pages = self.base.pages.clone();
        for (number, page) in &self.changed {
            pages.insert(*number, Arc::clone(page));
        }
        pages.retain(|_, page| page.iter().any(|byte| *byte != 0));
        Base {
            len: self.len,
            pages,
        }
    }
}

impl ReadAt for Image {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(target.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.is_noting.load(Ordering::Relaxed) && target.len() <= READ_LEN_MAX {
            let mut reads = self.reads.lock().expect("no panic inside");
            if reads.len() < READ_COUNT_MAX {
                reads.push((offset, target.len()));
            }
        }
        self.copy(offset, target);
        Ok(())
    }
}
