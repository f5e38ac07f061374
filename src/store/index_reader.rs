//! One index that is open: look-ups page by page through the cache.

use super::cache::ByteCache;
use super::error::{Error, Result};
use crate::backend::{Backend, Object};
use crate::base::limits::INDEX_PAGE_LEN;
use crate::base::{IndexId, PackId, StoreId};
use crate::format;
use crate::format::filter::{FILTER_BLOCKS_PER_PAGE, filter_page_has};
use crate::format::index::{
    ChunkEntry, Entry, HookEntry, IndexHeader, PACKS_PER_PAGE, PAGE_CONTENT_LEN, Section, open_page,
};
use std::cmp::Ordering;
use std::sync::Arc;

/// A page that was read and checked, without its checksum.
pub type Page = Arc<[u8]>;

/// Checked pages of all indexes, by index and number.
pub type PageCache = ByteCache<(IndexId, u64), Page>;

/// Returns the name of an index's object.
pub fn index_name(index: &IndexId) -> String {
    format!("indexes/{index}")
}

/// An index that is open.
#[derive(Debug)]
pub struct OpenIndex {
    id: IndexId,
    object: Arc<dyn Object>,
    header: IndexHeader,
    chunk_levels: Vec<(u64, u64)>,
    hook_levels: Vec<(u64, u64)>,
}

/// Which of the two sections of an index entries of a type are in.
pub trait SectionOf: Entry {
    /// Returns the section and its levels.
    fn section(index: &OpenIndex) -> (&Section, &[(u64, u64)]);
}

impl SectionOf for ChunkEntry {
    fn section(index: &OpenIndex) -> (&Section, &[(u64, u64)]) {
        (&index.header.chunks, &index.chunk_levels)
    }
}

impl SectionOf for HookEntry {
    fn section(index: &OpenIndex) -> (&Section, &[(u64, u64)]) {
        (&index.header.hooks, &index.hook_levels)
    }
}

impl OpenIndex {
    /// Opens the index and reads its header.
    pub fn open(backend: &dyn Backend, id: IndexId, store: StoreId) -> Result<Self> {
        let object = backend.open(&index_name(&id))?;
        let corrupt = |problem: String| Error::Corrupt {
            object: format!("index {id}"),
            problem,
        };
        let offset = object
            .len()
            .checked_sub(INDEX_PAGE_LEN as u64)
            .ok_or_else(|| corrupt("it is shorter than a page".to_owned()))?;
        let mut page = vec![0; INDEX_PAGE_LEN];
        object.read_exact_at(offset, &mut page)?;
        let header =
            IndexHeader::decode(&page, object.len()).map_err(|error| corrupt(error.to_string()))?;
        if header.store != store {
            return Err(corrupt(format!("it belongs to store {}", header.store)));
        }
        let chunk_levels = header.chunks.levels::<ChunkEntry>();
        let hook_levels = header.hooks.levels::<HookEntry>();
        Ok(Self {
            id,
            object,
            header,
            chunk_levels,
            hook_levels,
        })
    }

    /// Returns the name of the index.
    pub fn id(&self) -> IndexId {
        self.id
    }

    /// Returns the number of chunks and hooks together.
    pub fn entry_count(&self) -> u64 {
        self.header
            .chunks
            .entry_count
            .saturating_add(self.header.hooks.entry_count)
    }

    /// Returns the number of chunks.
    pub fn chunk_count(&self) -> u64 {
        self.header.chunks.entry_count
    }

    /// Returns the number of packs in the table.
    pub fn pack_count(&self) -> u32 {
        self.header.pack_count
    }

    /// Returns the indexes that this one replaces.
    pub fn replaced(&self, cache: &PageCache) -> Result<Vec<IndexId>> {
        let (first, count) = (self.header.replaced_page, self.header.replaced_count);
        (0..count)
            .map(|number| self.table_entry(cache, first, number).map(IndexId))
            .collect()
    }

    /// Returns pack `number` of the table.
    pub fn pack(&self, cache: &PageCache, number: u32) -> Result<PackId> {
        if number >= self.header.pack_count {
            let count = self.header.pack_count;
            return Err(self.corrupt(format!("an entry names pack {number} of {count}")));
        }
        self.table_entry(cache, self.header.pack_page, number)
            .map(PackId)
    }

    fn table_entry(&self, cache: &PageCache, first: u64, number: u32) -> Result<[u8; 16]> {
        let (page, slot) = (
            number as usize / PACKS_PER_PAGE,
            number as usize % PACKS_PER_PAGE,
        );
        let page = self.page(cache, first + page as u64)?;
        let mut entry = [0; 16];
        entry.copy_from_slice(page.get(slot * 16..slot * 16 + 16).unwrap_or(&[0; 16]));
        Ok(entry)
    }

    /// Returns the entry of `key`.
    pub fn find<E: SectionOf>(&self, cache: &PageCache, key: &[u8]) -> Result<Option<E>> {
        let (section, levels) = E::section(self);
        if section.entry_count == 0 || !self.may_have(cache, section, key)? {
            return Ok(None);
        }
        let mut slot = 0_u64;
        for depth in (1..levels.len()).rev() {
            let child_count = levels[depth - 1].1;
            slot = self.child::<E>(cache, levels[depth].0, slot, child_count, key)?;
        }
        let page = self.page(cache, levels[0].0 + slot)?;
        let per_page = (PAGE_CONTENT_LEN / E::LEN) as u64;
        let count = section
            .entry_count
            .saturating_sub(slot * per_page)
            .min(per_page) as usize;
        search_leaf::<E>(&page, count, key).map_err(|error| self.corrupt(error.to_string()))
    }

    fn may_have(&self, cache: &PageCache, section: &Section, key: &[u8]) -> Result<bool> {
        let block = section.filter_block(key);
        let number = section.filter_page + block / FILTER_BLOCKS_PER_PAGE;
        Ok(filter_page_has(&self.page(cache, number)?, block, key))
    }

    /// Returns the page below page `slot` of an inner level that may hold `key`.
    fn child<E: Entry>(
        &self,
        cache: &PageCache,
        first_page: u64,
        slot: u64,
        child_count: u64,
        key: &[u8],
    ) -> Result<u64> {
        let fan_out = (PAGE_CONTENT_LEN / E::KEY_LEN) as u64;
        let page = self.page(cache, first_page + slot)?;
        let first_child = slot * fan_out;
        let count = child_count.saturating_sub(first_child).min(fan_out) as usize;
        let keys = page.get(..count * E::KEY_LEN).unwrap_or_default();
        let behind = partition(count, |number| {
            let start = number * E::KEY_LEN;
            keys.get(start..start + E::KEY_LEN)
                .is_some_and(|found| found <= key)
        });
        Ok(first_child + behind.saturating_sub(1) as u64)
    }

    /// Returns page `number`, from the cache or read and checked now.
    fn page(&self, cache: &PageCache, number: u64) -> Result<Page> {
        if let Some(page) = cache.get(&(self.id, number)) {
            return Ok(page);
        }
        let page: Page = self.read_page(number)?.into();
        cache.insert((self.id, number), Arc::clone(&page), page.len());
        Ok(page)
    }

    fn read_page(&self, number: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; INDEX_PAGE_LEN];
        self.object
            .read_exact_at(number.saturating_mul(INDEX_PAGE_LEN as u64), &mut bytes)?;
        open_page(&bytes, number).map_err(|error| self.corrupt(error.to_string()))?;
        bytes.truncate(PAGE_CONTENT_LEN);
        Ok(bytes)
    }

    /// Returns all entries of a type in order, read past the cache.
    pub fn entries<E: SectionOf>(&self) -> Entries<'_, E> {
        Entries {
            index: self,
            next: 0,
            page: vec![],
            buffered: 0,
            kind: std::marker::PhantomData,
        }
    }

    fn corrupt(&self, problem: String) -> Error {
        Error::Corrupt {
            object: format!("index {}", self.id),
            problem,
        }
    }
}

/// All entries of a section in order.
#[derive(Debug)]
pub struct Entries<'a, E> {
    index: &'a OpenIndex,
    next: u64,
    page: Vec<u8>,
    buffered: u64,
    kind: std::marker::PhantomData<E>,
}

impl<E: SectionOf> Entries<'_, E> {
    fn read_next(&mut self) -> Result<Option<E>> {
        let (section, levels) = E::section(self.index);
        if self.next >= section.entry_count {
            return Ok(None);
        }
        let per_page = (PAGE_CONTENT_LEN / E::LEN) as u64;
        if self.next >= self.buffered {
            let first = levels.first().map_or(0, |level| level.0);
            self.page = self.index.read_page(first + self.next / per_page)?;
            self.buffered = (self.next / per_page + 1) * per_page;
        }
        let start = (self.next % per_page) as usize * E::LEN;
        self.next += 1;
        let bytes = self.page.get(start..start + E::LEN).unwrap_or_default();
        E::decode(bytes)
            .map(Some)
            .map_err(|error| self.index.corrupt(error.to_string()))
    }
}

impl<E: SectionOf> Iterator for Entries<'_, E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Result<E>> {
        self.read_next().transpose()
    }
}

fn search_leaf<E: Entry>(page: &[u8], count: usize, key: &[u8]) -> format::Result<Option<E>> {
    let entry = |number: usize| page.get(number * E::LEN..(number + 1) * E::LEN);
    let found = partition(count, |number| {
        entry(number).is_some_and(|entry| entry[..E::KEY_LEN].cmp(key) == Ordering::Less)
    });
    match entry(found).filter(|entry| found < count && &entry[..E::KEY_LEN] == key) {
        Some(bytes) => E::decode(bytes).map(Some),
        None => Ok(None),
    }
}

/// Returns how many of `count` numbers in order `holds` is true for.
fn partition(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
