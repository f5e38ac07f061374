//! Pages of an index: sorted entries in static search trees, and filters. See
//! docs/format/index.md. Everything here is one page at a time.

use super::Result;
use super::cursor::{Cursor, demand};
use super::filter::{FILTER_BLOCK_BITS, FILTER_BLOCKS_PER_PAGE};
use super::header::{HEADER_LEN, ObjectHeader, ObjectKind};
use crate::base::limits::INDEX_PAGE_LEN;
use crate::base::{ChunkId, Fingerprint, StoreId};

/// Bytes of a page before its checksum.
pub const PAGE_CONTENT_LEN: usize = INDEX_PAGE_LEN - 8;

/// Length of a chunk entry: id, pack number, offset, length of the frame.
pub const CHUNK_ENTRY_LEN: usize = ChunkId::LEN + 12;

/// Length of a hook entry: fingerprint, pack number, number of the chunk in the pack.
pub const HOOK_ENTRY_LEN: usize = Fingerprint::LEN + 8;

/// Entries of the pack table in a page.
pub const PACKS_PER_PAGE: usize = PAGE_CONTENT_LEN / 16;

/// Bits of a filter for each key: about one false answer in a hundred.
const FILTER_BITS_PER_KEY: u64 = 12;

/// Where a chunk lies, with the pack as a number in the table of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Number of the pack in the table.
    pub pack_number: u32,
    /// Where the frame begins in the pack.
    pub pack_offset: u32,
    /// Length of the frame in bytes.
    pub frame_len: u32,
}

/// Where the chunk of a hook lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookPlace {
    /// Number of the pack in the table.
    pub pack_number: u32,
    /// Number of the chunk in the pack.
    pub chunk_number: u32,
}

/// An entry of a search tree: a key and a place.
pub trait Entry: Copy {
    /// Length of the encoded entry in bytes.
    const LEN: usize;
    /// Length of the key at its start in bytes.
    const KEY_LEN: usize;
    /// Appends the bytes of the entry.
    fn encode(&self, target: &mut Vec<u8>);
    /// Reads an entry of exactly [`Entry::LEN`] bytes.
    fn decode(bytes: &[u8]) -> Result<Self>;
    /// Returns the number of the pack.
    fn pack_number(&self) -> u32;
    /// Returns the same entry with another number of the pack.
    fn with_pack_number(self, pack_number: u32) -> Self;
    /// Returns the bytes that order the entries.
    fn key(&self) -> &[u8];
}

/// A chunk and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The key.
    pub chunk: ChunkId,
    /// Where it lies.
    pub place: ChunkPlace,
}

/// A hook and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookEntry {
    /// The key.
    pub fingerprint: Fingerprint,
    /// Where it lies.
    pub place: HookPlace,
}

impl Entry for ChunkEntry {
    const LEN: usize = CHUNK_ENTRY_LEN;
    const KEY_LEN: usize = ChunkId::LEN;

    fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.chunk.0);
        target.extend_from_slice(&self.place.pack_number.to_le_bytes());
        target.extend_from_slice(&self.place.pack_offset.to_le_bytes());
        target.extend_from_slice(&self.place.frame_len.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new("chunk entry", bytes);
        let chunk = ChunkId(cursor.array()?);
        let (pack_number, pack_offset, frame_len) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        Ok(Self {
            chunk,
            place: ChunkPlace {
                pack_number,
                pack_offset,
                frame_len,
            },
        })
    }

    fn pack_number(&self) -> u32 {
        self.place.pack_number
    }

    fn with_pack_number(mut self, pack_number: u32) -> Self {
        self.place.pack_number = pack_number;
        self
    }

    fn key(&self) -> &[u8] {
        &self.chunk.0
    }
}

impl Entry for HookEntry {
    const LEN: usize = HOOK_ENTRY_LEN;
    const KEY_LEN: usize = Fingerprint::LEN;

    fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.fingerprint.0);
        target.extend_from_slice(&self.place.pack_number.to_le_bytes());
        target.extend_from_slice(&self.place.chunk_number.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new("hook entry", bytes);
        let fingerprint = Fingerprint(cursor.array()?);
        let (pack_number, chunk_number) = (cursor.u32()?, cursor.u32()?);
        Ok(Self {
            fingerprint,
            place: HookPlace {
                pack_number,
                chunk_number,
            },
        })
    }

    fn pack_number(&self) -> u32 {
        self.place.pack_number
    }

    fn with_pack_number(mut self, pack_number: u32) -> Self {
        self.place.pack_number = pack_number;
        self
    }

    fn key(&self) -> &[u8] {
        &self.fingerprint.0
    }
}

/// A section of an index: entries in leaf pages, the tree above them, a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Number of entries.
    pub entry_count: u64,
    /// First leaf page; the levels of the tree follow, the lowest first, the root last.
    pub first_page: u64,
    /// First page of the filter.
    pub filter_page: u64,
}

impl Section {
    /// Returns the first page and the number of pages of every level, leaves first.
    pub fn levels<E: Entry>(&self) -> Vec<(u64, u64)> {
        let mut levels = vec![];
        let mut first = self.first_page;
        let mut pages = self
            .entry_count
            .div_ceil((PAGE_CONTENT_LEN / E::LEN) as u64);
        while pages > 0 {
            levels.push((first, pages));
            if pages == 1 {
                break;
            }
            first = first.saturating_add(pages);
            pages = pages.div_ceil((PAGE_CONTENT_LEN / E::KEY_LEN) as u64);
        }
        levels
    }

    /// Returns the number of blocks of the filter.
    pub fn filter_block_count(&self) -> u64 {
        self.entry_count
            .saturating_mul(FILTER_BITS_PER_KEY)
            .div_ceil(FILTER_BLOCK_BITS)
    }

    /// Returns the number of pages of the filter.
    pub fn filter_page_count(&self) -> u64 {
        self.filter_block_count().div_ceil(FILTER_BLOCKS_PER_PAGE)
    }

    /// Returns the block of the filter that `key` belongs to. Keys in ascending order
    /// give blocks in ascending order, so that a filter is written page by page.
    pub fn filter_block(&self, key: &[u8]) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(key.get(..8).unwrap_or(&[0; 8]));
        let scaled = u128::from(u64::from_be_bytes(prefix)) * u128::from(self.filter_block_count());
        (scaled >> 64) as u64
    }
}

/// Number that binds the header page, which is the last page of an index: what it
/// says is known only when all others are written.
pub const HEADER_PAGE_NUMBER: u64 = u64::MAX;

/// The last page of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// The store that it belongs to.
    pub store: StoreId,
    /// Chunks.
    pub chunks: Section,
    /// Hooks.
    pub hooks: Section,
    /// First page of the table of packs.
    pub pack_page: u64,
    /// Packs in the table.
    pub pack_count: u32,
    /// First page of the table of indexes that this one replaces.
    pub replaced_page: u64,
    /// Indexes in that table.
    pub replaced_count: u32,
    /// Pages of the index, this one included.
    pub page_count: u64,
}

impl IndexHeader {
    /// Returns the page, checksum included.
    pub fn encode(&self) -> Vec<u8> {
        let header = ObjectHeader::new(ObjectKind::Index, self.store);
        let mut page = Vec::with_capacity(INDEX_PAGE_LEN);
        page.extend_from_slice(&header.encode());
        for section in [&self.chunks, &self.hooks] {
            page.extend_from_slice(&section.entry_count.to_le_bytes());
            page.extend_from_slice(&section.first_page.to_le_bytes());
            page.extend_from_slice(&section.filter_page.to_le_bytes());
        }
        page.extend_from_slice(&self.pack_page.to_le_bytes());
        page.extend_from_slice(&self.replaced_page.to_le_bytes());
        page.extend_from_slice(&self.page_count.to_le_bytes());
        page.extend_from_slice(&self.pack_count.to_le_bytes());
        page.extend_from_slice(&self.replaced_count.to_le_bytes());
        seal_page(page, HEADER_PAGE_NUMBER)
    }

    /// Reads the header page of an index of `index_len` bytes.
    ///
    /// # Errors
    ///
    /// If a single byte differs from what was written, or a section lies outside.
    pub fn decode(page: &[u8], index_len: u64) -> Result<Self> {
        let header = ObjectHeader::decode(page, ObjectKind::Index)?;
        let content = open_page(page, HEADER_PAGE_NUMBER)?;
        let mut cursor = Cursor::new("header of an index", content);
        cursor.take(HEADER_LEN)?;
        let mut section = || -> Result<Section> {
            Ok(Section {
                entry_count: cursor.u64()?,
                first_page: cursor.u64()?,
                filter_page: cursor.u64()?,
            })
        };
        let (chunks, hooks) = (section()?, section()?);
        let (pack_page, replaced_page) = (cursor.u64()?, cursor.u64()?);
        let page_count = cursor.u64()?;
        let (pack_count, replaced_count) = (cursor.u32()?, cursor.u32()?);
        let whole = page_count.checked_mul(INDEX_PAGE_LEN as u64) == Some(index_len);
        demand(
            whole,
            "pages of an index",
            "as many as the object has",
            page_count,
        )?;
        let index = Self {
            store: header.store,
            chunks,
            hooks,
            pack_page,
            pack_count,
            replaced_page,
            replaced_count,
            page_count,
        };
        index.demand_inside()?;
        Ok(index)
    }

    fn demand_inside(&self) -> Result<()> {
        let inside = |first: u64, count: u64| {
            first
                .checked_add(count)
                .is_some_and(|end| end <= self.page_count)
        };
        let levels = [
            self.chunks.levels::<ChunkEntry>(),
            self.hooks.levels::<HookEntry>(),
        ];
        for (first, count) in levels.into_iter().flatten() {
            demand(
                inside(first, count),
                "level of an index",
                "inside the object",
                first,
            )?;
        }
        for section in [self.chunks, self.hooks] {
            let fits = inside(section.filter_page, section.filter_page_count());
            demand(
                fits,
                "filter of an index",
                "inside the object",
                section.filter_page,
            )?;
        }
        for (first, count) in [
            (self.pack_page, self.pack_count),
            (self.replaced_page, self.replaced_count),
        ] {
            let pages = u64::from(count).div_ceil(PACKS_PER_PAGE as u64);
            demand(
                inside(first, pages),
                "table of an index",
                "inside the object",
                first,
            )?;
        }
        Ok(())
    }
}

/// Fills `page` up to its length and appends the checksum over it and its number.
pub fn seal_page(mut page: Vec<u8>, number: u64) -> Vec<u8> {
    page.resize(PAGE_CONTENT_LEN, 0);
    let checksum = page_checksum(&page, number);
    page.extend_from_slice(&checksum.to_le_bytes());
    page
}

/// Returns the content of page `number`.
///
/// # Errors
///
/// If a single byte differs from what was written, or it is another page.
pub fn open_page(page: &[u8], number: u64) -> Result<&[u8]> {
    let mut cursor = Cursor::new("page of an index", page);
    let content = cursor.take(PAGE_CONTENT_LEN)?;
    let expected = cursor.u64()?;
    let computed = page_checksum(content, number);
    if expected != computed {
        return Err(super::Error::Checksum {
            structure: "page of an index",
            expected,
            computed,
        });
    }
    Ok(content)
}

fn page_checksum(content: &[u8], number: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(content, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bound_to_its_number() {
        let page = seal_page(b"abc".to_vec(), 7);
        assert_eq!(page.len(), INDEX_PAGE_LEN);
        assert!(open_page(&page, 7).unwrap().starts_with(b"abc"));
        assert!(open_page(&page, 8).is_err());
    }

    #[test]
    fn levels_of_a_large_index() {
        let section = Section {
            entry_count: 20_000,
            first_page: 5,
            filter_page: 0,
        };
        assert_eq!(
            section.levels::<ChunkEntry>(),
            [(5, 218), (223, 2), (225, 1)]
        );
        let none = Section::default();
        assert!(none.levels::<ChunkEntry>().is_empty());
    }

    #[test]
    fn a_header_refuses_flipped_bits_and_other_lengths() {
        let header = IndexHeader {
            store: StoreId([1; 16]),
            chunks: Section {
                entry_count: 10,
                first_page: 1,
                filter_page: 2,
            },
            hooks: Section {
                entry_count: 0,
                first_page: 3,
                filter_page: 3,
            },
            pack_page: 3,
            pack_count: 1,
            replaced_page: 4,
            replaced_count: 0,
            page_count: 4,
        };
        let page = header.encode();
        assert_eq!(IndexHeader::decode(&page, 4 * 4096).unwrap(), header);
        assert!(IndexHeader::decode(&page, 5 * 4096).is_err());
        for bit in 0..200 * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                IndexHeader::decode(&damaged, 4 * 4096).is_err(),
                "bit {bit}"
            );
        }
        let outside = IndexHeader {
            pack_page: 9,
            ..header
        };
        assert!(IndexHeader::decode(&outside.encode(), 4 * 4096).is_err());
    }
}
