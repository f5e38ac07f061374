//! Images in files and in memory, with holes and with changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use tintype::base::ReadAt;

const PAGE_LEN: u64 = 4096;

/// An image of pages over zeros or over other bytes.
#[derive(Clone)]
pub struct Pages {
    base: Arc<Vec<u8>>,
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Pages {
    /// Zeros.
    pub fn new(len: u64) -> Self {
        Self {
            base: Arc::new(vec![]),
            len,
            pages: BTreeMap::new(),
        }
    }

    /// Bytes to be changed.
    pub fn over(base: &Arc<Vec<u8>>) -> Self {
        Self {
            base: Arc::clone(base),
            len: base.as_slice().len() as u64,
            pages: BTreeMap::new(),
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (place, byte) in (offset..).zip(bytes) {
            let start = place / PAGE_LEN * PAGE_LEN;
            if !self.pages.contains_key(&start) {
                let mut page = vec![0; PAGE_LEN as usize];
                self.read_base(start, &mut page);
                self.pages.insert(start, page);
            }
            let page = self.pages.get_mut(&start).expect("made above");
            page[(place - start) as usize] = *byte;
        }
    }

    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exact_at(offset, &mut bytes).expect("inside");
        bytes
    }

    fn read_base(&self, offset: u64, target: &mut [u8]) {
        let base = self.base.get(offset as usize..).unwrap_or_default();
        let len = base.len().min(target.len());
        target[..len].copy_from_slice(&base[..len]);
        target[len..].fill(0);
    }
}

impl ReadAt for Pages {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        let end = offset + target.len() as u64;
        if end > self.len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(offset, target);
        for (start, page) in self.pages.range(offset / PAGE_LEN * PAGE_LEN..end) {
            let (from, to) = (offset.max(*start), end.min(start + PAGE_LEN));
            let part = &page[(from - start) as usize..(to - start) as usize];
            target[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }
}
