//! Writing an index from entries in order, in memory that does not grow with them.

use super::error::Result;
use super::index_reader::index_name;
use crate::backend::{Backend, PendingObject};
use crate::base::limits::INDEX_PAGE_LEN;
use crate::base::{IndexId, PackId, StoreId};
use crate::format::filter::{FILTER_BLOCKS_PER_PAGE, filter_page_set};
use crate::format::index::{
    ChunkEntry, Entry, HookEntry, IndexHeader, PACKS_PER_PAGE, PAGE_CONTENT_LEN, Section, seal_page,
};
use std::sync::Arc;

/// What an index is made of. Entries come sorted, each key once.
pub struct IndexParts<'a> {
    /// Packs, by the numbers that the entries use.
    pub packs: &'a [PackId],
    /// Indexes whose entries are all in this one.
    pub replaced: &'a [IndexId],
    /// Chunks.
    pub chunks: &'a mut dyn Iterator<Item = Result<ChunkEntry>>,
    /// Hooks.
    pub hooks: &'a mut dyn Iterator<Item = Result<HookEntry>>,
}

/// Writes an index; it is durable when this returns.
pub fn write_index(
    backend: &dyn Backend,
    store: StoreId,
    parts: IndexParts<'_>,
) -> Result<IndexId> {
    let mut pages = Pages {
        object: backend.begin()?,
        count: 0,
    };
    let chunks = pages.write_section(parts.chunks)?;
    let hooks = pages.write_section(parts.hooks)?;
    let pack_page = pages.write_table(parts.packs.iter().map(|pack| pack.0))?;
    let replaced_page = pages.write_table(parts.replaced.iter().map(|index| index.0))?;
    let header = IndexHeader {
        store,
        chunks,
        hooks,
        pack_page,
        pack_count: parts.packs.len() as u32,
        replaced_page,
        replaced_count: parts.replaced.len() as u32,
        page_count: pages.count + 1,
    };
    pages.object.append(&header.encode())?;
    let id = IndexId::random();
    pages.object.commit(&index_name(&id))?;
    Ok(id)
}

struct Pages {
    object: Arc<dyn PendingObject>,
    count: u64,
}

impl Pages {
    fn append(&mut self, content: Vec<u8>) -> Result<u64> {
        let number = self.count;
        self.object.append(&seal_page(content, number))?;
        self.count += 1;
        Ok(number)
    }

    fn read(&self, number: u64, page: &mut [u8]) -> Result<()> {
        Ok(self
            .object
            .read_exact_at(number * INDEX_PAGE_LEN as u64, page)?)
    }

    fn write_section<E: Entry>(
        &mut self,
        entries: &mut dyn Iterator<Item = Result<E>>,
    ) -> Result<Section> {
        let first_page = self.count;
        let mut entry_count = 0;
        let mut page = Vec::with_capacity(INDEX_PAGE_LEN);
        for entry in entries {
            entry?.encode(&mut page);
            entry_count += 1;
            if page.len() + E::LEN > PAGE_CONTENT_LEN {
                self.append(std::mem::take(&mut page))?;
            }
        }
        if !page.is_empty() {
            self.append(page)?;
        }
        let mut section = Section {
            entry_count,
            first_page,
            filter_page: 0,
        };
        for (first, count) in section.levels::<E>() {
            if count > 1 {
                self.write_level::<E>(first, count)?;
            }
        }
        section.filter_page = self.count;
        self.write_filter::<E>(&section)?;
        Ok(section)
    }

    /// Writes the level above the `count` pages from `first`: the first key of each.
    fn write_level<E: Entry>(&mut self, first: u64, count: u64) -> Result<()> {
        let mut page = Vec::with_capacity(INDEX_PAGE_LEN);
        let mut key = vec![0; E::KEY_LEN];
        for number in first..first + count {
            self.read(number, &mut key)?;
            page.extend_from_slice(&key);
            if page.len() + E::KEY_LEN > PAGE_CONTENT_LEN {
                self.append(std::mem::take(&mut page))?;
            }
        }
        if !page.is_empty() {
            self.append(page)?;
        }
        Ok(())
    }

    fn write_filter<E: Entry>(&mut self, section: &Section) -> Result<()> {
        let per_page = (PAGE_CONTENT_LEN / E::LEN) as u64;
        let end = self.count + section.filter_page_count();
        let mut filter = vec![0; PAGE_CONTENT_LEN];
        let mut leaf = vec![0; INDEX_PAGE_LEN];
        for number in 0..section.entry_count {
            if number % per_page == 0 {
                self.read(section.first_page + number / per_page, &mut leaf)?;
            }
            let start = (number % per_page) as usize * E::LEN;
            let key = leaf.get(start..start + E::KEY_LEN).unwrap_or_default();
            let block = section.filter_block(key);
            while self.count < section.filter_page + block / FILTER_BLOCKS_PER_PAGE {
                self.append(std::mem::replace(&mut filter, vec![0; PAGE_CONTENT_LEN]))?;
            }
            filter_page_set(&mut filter, block, key);
        }
        while self.count < end {
            self.append(std::mem::replace(&mut filter, vec![0; PAGE_CONTENT_LEN]))?;
        }
        Ok(())
    }

    fn write_table(&mut self, rows: impl Iterator<Item = [u8; 16]>) -> Result<u64> {
        let first = self.count;
        let mut page = Vec::with_capacity(INDEX_PAGE_LEN);
        for row in rows {
            page.extend_from_slice(&row);
            if page.len() == PACKS_PER_PAGE * 16 {
                self.append(std::mem::take(&mut page))?;
            }
        }
        if !page.is_empty() {
            self.append(page)?;
        }
        Ok(first)
    }
}
