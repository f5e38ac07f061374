//! All indexes of the store: look-ups over every one that is not replaced, and the
//! merging that keeps them few.
//!
//! An index may be replaced and deleted by another process between two of our steps.
//! What is open stays readable, and its replacement has the same entries; what cannot
//! be opened any more sends us to list the folder again.

use super::error::{Error, Kind, Result};
use super::index_reader::{OpenIndex, PageCache, SectionOf, index_name};
use super::index_writer::{IndexParts, write_index};
use crate::backend::Backend;
use crate::base::{ChunkId, Fingerprint, IndexId, PackId, StoreId};
use crate::format::index::{ChunkEntry, HookEntry};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Indexes of one tier that are merged into one.
const MERGE_COUNT: usize = 8;

/// Entries of the lowest tier; each tier above has eight times as many.
const LOWEST_TIER_ENTRIES: u64 = 4096;

/// How often the folder is listed again before giving up.
const REFRESH_TRIES: usize = 5;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Where the frame begins in the pack.
    pub pack_offset: u32,
    /// Length of the frame in bytes.
    pub frame_len: u32,
}

/// Where the chunk of a hook lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookLocation {
    /// The pack.
    pub pack: PackId,
    /// Number of the chunk in the pack.
    pub chunk_number: u32,
}

/// The indexes that are in force.
#[derive(Debug)]
pub struct IndexSet {
    backend: Arc<dyn Backend>,
    store: StoreId,
    pages: PageCache,
    open: RwLock<Arc<Vec<Arc<OpenIndex>>>>,
    /// One refresh or merge at a time in this process.
    change: Mutex<()>,
}

impl IndexSet {
    /// Opens all indexes. Pages are cached up to `page_cache_len` bytes.
    pub fn open(backend: Arc<dyn Backend>, store: StoreId, page_cache_len: u64) -> Result<Self> {
        let set = Self {
            backend,
            store,
            pages: PageCache::new(page_cache_len),
            open: RwLock::default(),
            change: Mutex::new(()),
        };
        set.refresh()?;
        Ok(set)
    }

    fn current(&self) -> Arc<Vec<Arc<OpenIndex>>> {
        Arc::clone(&self.open.read())
    }

    /// Opens what is new and drops what is replaced. Tells whether anything was new.
    ///
    /// An index that is damaged is logged and left out: its packs describe themselves,
    /// and the other indexes serve.
    pub fn refresh(&self) -> Result<bool> {
        let _change = self.change.lock();
        let mut tries = 0;
        loop {
            match self.refresh_once() {
                Err(error) if error.kind() == Kind::NotFound && tries < REFRESH_TRIES => tries += 1,
                other => return other,
            }
        }
    }

    fn refresh_once(&self) -> Result<bool> {
        let known: HashMap<IndexId, Arc<OpenIndex>> = self
            .current()
            .iter()
            .map(|index| (index.id(), Arc::clone(index)))
            .collect();
        let mut indexes = vec![];
        let mut is_new = false;
        for name in self.backend.list("indexes")? {
            let Ok(id) = name.parse::<IndexId>() else {
                continue;
            };
            if let Some(index) = known.get(&id) {
                indexes.push(Arc::clone(index));
                continue;
            }
            match OpenIndex::open(&*self.backend, id, self.store) {
                Ok(index) => indexes.push(Arc::new(index)),
                Err(error @ Error::Corrupt { .. }) => log::error!("{error}; it is left out"),
                Err(error) => return Err(error),
            }
            is_new = true;
        }
        let replaced = self.replaced_by(&indexes)?;
        indexes.retain(|index| !replaced.contains(&index.id()));
        // The largest first: it answers most look-ups.
        indexes.sort_by_key(|index| std::cmp::Reverse(index.entry_count()));
        *self.open.write() = Arc::new(indexes);
        Ok(is_new)
    }

    fn replaced_by(&self, indexes: &[Arc<OpenIndex>]) -> Result<HashSet<IndexId>> {
        let mut replaced = HashSet::new();
        for index in indexes {
            replaced.extend(index.replaced(&self.pages)?);
        }
        Ok(replaced)
    }

    /// Returns every place of a chunk that an index knows.
    pub fn locations(&self, chunk: &ChunkId) -> Result<Vec<Location>> {
        let mut locations = vec![];
        for index in self.current().iter() {
            if let Some(entry) = index.find::<ChunkEntry>(&self.pages, &chunk.0)? {
                let pack = index.pack(&self.pages, entry.place.pack_number)?;
                let ChunkEntry { place, .. } = entry;
                let (pack_offset, frame_len) = (place.pack_offset, place.frame_len);
                locations.push(Location {
                    pack,
                    pack_offset,
                    frame_len,
                });
            }
        }
        Ok(locations)
    }

    /// Returns one place of the chunk of a hook that an index knows.
    pub fn hook(&self, fingerprint: &Fingerprint) -> Result<Option<HookLocation>> {
        for index in self.current().iter() {
            if let Some(entry) = index.find::<HookEntry>(&self.pages, &fingerprint.0)? {
                let pack = index.pack(&self.pages, entry.place.pack_number)?;
                return Ok(Some(HookLocation {
                    pack,
                    chunk_number: entry.place.chunk_number,
                }));
            }
        }
        Ok(None)
    }

    /// Returns the number of indexes in force and of their chunks.
    pub fn counts(&self) -> (usize, u64) {
        let current = self.current();
        (
            current.len(),
            current.iter().map(|index| index.chunk_count()).sum(),
        )
    }

    /// Writes a new index and puts it in force; durable when this returns.
    pub fn add(&self, parts: IndexParts<'_>) -> Result<()> {
        let id = write_index(&*self.backend, self.store, parts)?;
        let index = Arc::new(OpenIndex::open(&*self.backend, id, self.store)?);
        let mut open = self.open.write();
        let mut indexes = open.to_vec();
        indexes.push(index);
        *open = Arc::new(indexes);
        Ok(())
    }

    /// Merges the tiers that have grown too many indexes. Another process may do the
    /// same at the same time: both results are complete.
    pub fn merge_tiers(&self) -> Result<()> {
        let _change = self.change.lock();
        while let Some(chosen) = self.full_tier() {
            self.merge(&chosen)?;
        }
        Ok(())
    }

    fn full_tier(&self) -> Option<Vec<Arc<OpenIndex>>> {
        let mut tiers: BTreeMap<u32, Vec<Arc<OpenIndex>>> = BTreeMap::new();
        for index in self.current().iter() {
            let scaled = index.entry_count() / LOWEST_TIER_ENTRIES;
            let tier = scaled
                .checked_ilog(MERGE_COUNT as u64)
                .map_or(0, |tier| tier + 1);
            tiers.entry(tier).or_default().push(Arc::clone(index));
        }
        tiers
            .into_values()
            .find(|indexes| indexes.len() >= MERGE_COUNT)
    }

    fn merge(&self, chosen: &[Arc<OpenIndex>]) -> Result<()> {
        let (packs, numbers) = self.merged_packs(chosen)?;
        let replaced: Vec<IndexId> = chosen.iter().map(|index| index.id()).collect();
        let id = write_index(
            &*self.backend,
            self.store,
            IndexParts {
                packs: &packs,
                replaced: &replaced,
                chunks: &mut Merge::<ChunkEntry>::new(chosen, &numbers)?,
                hooks: &mut Merge::<HookEntry>::new(chosen, &numbers)?,
            },
        )?;
        let merged = Arc::new(OpenIndex::open(&*self.backend, id, self.store)?);
        {
            let mut open = self.open.write();
            let mut indexes = open.to_vec();
            indexes.retain(|index| !replaced.contains(&index.id()));
            indexes.insert(0, merged);
            *open = Arc::new(indexes);
        }
        replaced
            .iter()
            .try_for_each(|index| Ok(self.backend.delete(&index_name(index))?))
    }

    /// Returns the packs of all `chosen` and, for each, the new number of every pack.
    fn merged_packs(&self, chosen: &[Arc<OpenIndex>]) -> Result<(Vec<PackId>, Vec<Vec<u32>>)> {
        let mut packs = vec![];
        let mut known: HashMap<PackId, u32> = HashMap::new();
        let mut numbers = vec![];
        for index in chosen {
            let mut own = Vec::with_capacity(index.pack_count() as usize);
            for number in 0..index.pack_count() {
                let pack = index.pack(&self.pages, number)?;
                own.push(*known.entry(pack).or_insert_with(|| {
                    packs.push(pack);
                    (packs.len() - 1) as u32
                }));
            }
            numbers.push(own);
        }
        Ok((packs, numbers))
    }
}

/// Entries of several indexes in order, each key once.
struct Merge<'a, E> {
    inputs: Vec<Box<dyn Iterator<Item = Result<E>> + 'a>>,
    heads: Vec<Option<E>>,
}

impl<'a, E: SectionOf + 'a> Merge<'a, E> {
    fn new(indexes: &'a [Arc<OpenIndex>], numbers: &'a [Vec<u32>]) -> Result<Self> {
        let mut inputs: Vec<Box<dyn Iterator<Item = Result<E>> + 'a>> = vec![];
        for (index, numbers) in indexes.iter().zip(numbers) {
            inputs.push(Box::new(index.entries::<E>().map(|entry| {
                let entry = entry?;
                let number = numbers.get(entry.pack_number() as usize).copied();
                let number = number.ok_or_else(|| Error::Corrupt {
                    object: format!("index {}", index.id()),
                    problem: format!("an entry names pack {}", entry.pack_number()),
                })?;
                Ok(entry.with_pack_number(number))
            })));
        }
        let heads = inputs
            .iter_mut()
            .map(|input| input.next().transpose())
            .collect::<Result<_>>()?;
        Ok(Self { inputs, heads })
    }

    fn take_lowest(&mut self) -> Result<Option<E>> {
        let lowest = self
            .heads
            .iter()
            .flatten()
            .min_by(|a, b| a.key().cmp(b.key()))
            .copied();
        let Some(lowest) = lowest else {
            return Ok(None);
        };
        for (input, head) in self.inputs.iter_mut().zip(&mut self.heads) {
            while head.as_ref().is_some_and(|head| head.key() == lowest.key()) {
                *head = input.next().transpose()?;
            }
        }
        Ok(Some(lowest))
    }
}

impl<'a, E: SectionOf + 'a> Iterator for Merge<'a, E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Result<E>> {
        self.take_lowest().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryBackend;
    use crate::format::index::{ChunkPlace, HookPlace};

    fn chunk_entry(number: u32) -> ChunkEntry {
        let chunk = ChunkId::of(&number.to_le_bytes());
        ChunkEntry {
            chunk,
            place: ChunkPlace {
                pack_number: 0,
                pack_offset: number,
                frame_len: 1,
            },
        }
    }

    fn hook_entry(number: u32) -> HookEntry {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&ChunkId::of(&number.to_le_bytes()).0[..16]);
        let place = HookPlace {
            pack_number: 0,
            chunk_number: number,
        };
        HookEntry {
            fingerprint: Fingerprint(bytes),
            place,
        }
    }

    fn add(set: &IndexSet, pack: u8, numbers: std::ops::Range<u32>) {
        let mut chunks: Vec<ChunkEntry> = numbers.clone().map(chunk_entry).collect();
        chunks.sort_by_key(|entry| entry.chunk);
        let mut hooks: Vec<HookEntry> = numbers.map(hook_entry).collect();
        hooks.sort_by_key(|entry| entry.fingerprint);
        set.add(IndexParts {
            packs: &[PackId([pack; 16])],
            replaced: &[],
            chunks: &mut chunks.into_iter().map(Ok),
            hooks: &mut hooks.into_iter().map(Ok),
        })
        .unwrap();
    }

    fn demand_found(set: &IndexSet, number: u32, pack: u8) {
        let locations = set.locations(&chunk_entry(number).chunk).unwrap();
        assert_eq!(
            locations,
            [Location {
                pack: PackId([pack; 16]),
                pack_offset: number,
                frame_len: 1
            }]
        );
        let hook = set.hook(&hook_entry(number).fingerprint).unwrap();
        assert_eq!(
            hook,
            Some(HookLocation {
                pack: PackId([pack; 16]),
                chunk_number: number
            })
        );
    }

    #[test]
    fn every_entry_is_found_and_no_other_before_and_after_merging() {
        let backend = Arc::new(MemoryBackend::new());
        let store = StoreId([1; 16]);
        let set = IndexSet::open(backend.clone(), store, 1 << 20).unwrap();
        for part in 0..9_u8 {
            add(
                &set,
                part,
                u32::from(part) * 3000..u32::from(part + 1) * 3000,
            );
        }
        for merged in [false, true] {
            for number in (0..27_000).step_by(7) {
                demand_found(&set, number, (number / 3000) as u8);
            }
            assert!(
                set.locations(&chunk_entry(30_000).chunk)
                    .unwrap()
                    .is_empty()
            );
            assert_eq!(set.hook(&hook_entry(30_000).fingerprint).unwrap(), None);
            if !merged {
                set.merge_tiers().unwrap();
            }
        }
        assert_eq!(set.counts(), (1, 27_000));
        assert_eq!(backend.list("indexes").unwrap().len(), 1);
        let other = IndexSet::open(backend, store, 1 << 20).unwrap();
        demand_found(&other, 12_345, 4);
    }

    #[test]
    fn a_replaced_index_that_is_still_there_is_passed_over() {
        let backend = Arc::new(MemoryBackend::new());
        let store = StoreId([1; 16]);
        let set = IndexSet::open(backend.clone(), store, 1 << 20).unwrap();
        for part in 0..8 {
            add(&set, part, u32::from(part) * 10..u32::from(part + 1) * 10);
        }
        let name = index_name(&set.current()[0].id());
        let kept = backend.read(&name, 1 << 20).unwrap();
        set.merge_tiers().unwrap();
        backend.put_new(&name, &kept).unwrap();
        set.refresh().unwrap();
        assert_eq!(set.counts(), (1, 80));
    }

    #[test]
    fn a_damaged_page_is_an_error_and_never_a_wrong_answer() {
        let backend = Arc::new(MemoryBackend::new());
        let set = IndexSet::open(backend.clone(), StoreId([1; 16]), 0).unwrap();
        add(&set, 1, 0..2000);
        let name = index_name(&set.current()[0].id());
        for place in (0..60_000).step_by(997) {
            let flip = |bytes: &mut Vec<u8>| bytes[place] ^= 1;
            backend.damage(&name, flip);
            let reopened = IndexSet::open(backend.clone(), StoreId([1; 16]), 0).unwrap();
            for number in (0..2000).step_by(31) {
                if let Ok(found) = reopened.locations(&chunk_entry(number).chunk)
                    && let Some(location) = found.first()
                {
                    assert_eq!(location.pack_offset, number);
                }
            }
            backend.damage(&name, flip);
        }
    }
}
