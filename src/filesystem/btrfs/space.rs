//! The address space of a file system: addresses become places on the device through
//! the chunks, and whatever has several copies is read from the first good one.

use super::chunk::{Chunk, system_chunks};
use super::key::{Key, kind, object};
use super::node::{Node, NodeRules, Owner, Pointer, check_content};
use super::superblock::Superblock;
use super::tree::Cursor;
use crate::base::ByteOffset;
use crate::filesystem::{BlockKind, BlockReader, Error, Result, index_of};
use lru::LruCache;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Blocks of trees in the cache.
const BLOCK_KIND_NODE: BlockKind = BlockKind(0x6274_7201);

/// Chunks that are remembered: those of a terabyte, as a rule.
const CHUNK_COUNT_MAX: usize = 1024;
/// Chunks with more stripes are looked up each time.
const REMEMBERED_STRIPES_MAX: usize = 64;

/// Blocks with a wrong first copy that are remembered.
const RIGHT_COPY_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// The chunks of a file system, and its blocks.
pub(super) struct Space {
    pub(super) superblock: Superblock,
    pub(super) blocks: BlockReader,
    /// Chunks of the chunk tree itself.
    system: Vec<Arc<Chunk>>,
    /// Others that were looked up, by their end.
    chunks: Mutex<BTreeMap<u64, Arc<Chunk>>>,
    /// The copy that was right, by address, where it was not the first one: wrong bytes
    /// are not in the cache, and would be read and summed up again each time.
    right_copies: Mutex<LruCache<u64, usize>>,
}

impl Space {
    /// Takes what the superblock says.
    ///
    /// # Errors
    ///
    /// Corrupt if its list of chunks is damaged.
    pub(super) fn new(superblock: Superblock, blocks: BlockReader) -> Result<Self> {
        let chunks = system_chunks(&superblock.system_chunks, superblock.device_id)?;
        Ok(Self {
            system: chunks.into_iter().map(Arc::new).collect(),
            superblock,
            blocks,
            chunks: Mutex::new(BTreeMap::new()),
            right_copies: Mutex::new(LruCache::new(RIGHT_COPY_COUNT_MAX)),
        })
    }

    /// Returns the root of the chunk tree.
    pub(super) fn chunk_root(&self) -> Pointer {
        Pointer {
            bytenr: self.superblock.chunk_root,
            generation: self.superblock.chunk_root_generation,
            level: self.superblock.chunk_root_level,
            owner: Owner::Tree(object::CHUNK_TREE),
            first_key: None,
        }
    }

    fn system_chunk(&self, logical: u64) -> Option<Arc<Chunk>> {
        self.system.iter().find(|chunk| chunk.has(logical)).cloned()
    }

    /// Returns the chunk of `logical`.
    ///
    /// # Errors
    ///
    /// Corrupt if there is none.
    pub(super) fn chunk(&self, logical: u64) -> Result<Arc<Chunk>> {
        if let Some(chunk) = self.system_chunk(logical) {
            return Ok(chunk);
        }
        let known = {
            let chunks = self.chunks.lock();
            let mut behind = chunks.range(logical.saturating_add(1)..);
            behind.next().map(|(_, chunk)| Arc::clone(chunk))
        };
        if let Some(chunk) = known.filter(|chunk| chunk.has(logical)) {
            return Ok(chunk);
        }
        let chunk = Arc::new(self.look_up(logical)?);
        if chunk.stripes.len() <= REMEMBERED_STRIPES_MAX {
            let mut chunks = self.chunks.lock();
            if chunks.len() >= CHUNK_COUNT_MAX {
                chunks.clear();
            }
            let end = chunk.logical.saturating_add(chunk.len);
            chunks.insert(end, Arc::clone(&chunk));
        }
        Ok(chunk)
    }

    fn look_up(&self, logical: u64) -> Result<Chunk> {
        let key = Key::new(object::CHUNKS, kind::CHUNK_ITEM, logical);
        let mut cursor = Cursor::seek_floor(self, &self.chunk_root(), &key)?;
        let found = cursor.next()?.filter(|item| item.key.is_beside(&key));
        if let Some(item) = found {
            let chunk = Chunk::decode(&item.key, &item.fields(), self.superblock.device_id)?;
            if chunk.has(logical) {
                return Ok(chunk);
            }
        }
        let expected = "an address in a chunk";
        Err(Error::corrupt("address", logical, expected, logical))
    }

    /// Reads a block of a tree from the first copy that is what `pointer` says.
    ///
    /// # Errors
    ///
    /// What is wrong with the first copy if none is right.
    pub(super) fn node(&self, pointer: &Pointer) -> Result<Node> {
        let len = index_of(self.superblock.node_len);
        if !pointer.bytenr.is_multiple_of(4096) {
            let expected = "a multiple of 4,096";
            return Err(Error::corrupt(
                "tree block address",
                pointer.bytenr,
                expected,
                pointer.bytenr,
            ));
        }
        // The chunk tree must not be needed to find itself.
        let chunk = if pointer.owner == Owner::Tree(object::CHUNK_TREE) {
            let expected = "in a chunk of the superblock";
            let missing = || {
                Error::corrupt(
                    "chunk tree address",
                    pointer.bytenr,
                    expected,
                    pointer.bytenr,
                )
            };
            self.system_chunk(pointer.bytenr).ok_or_else(missing)?
        } else {
            self.chunk(pointer.bytenr)?
        };
        let mut first_error = None;
        let known = self.right_copies.lock().get(&pointer.bytenr).copied();
        for copy in known.into_iter().chain(0..chunk.copy_count()) {
            let Some(place) = chunk.place(pointer.bytenr, copy) else {
                continue;
            };
            let found = match place.len < u64::from(self.superblock.node_len) {
                true => Err(crosses(pointer.bytenr)),
                false => self.node_at(place.offset, len, pointer),
            };
            match found {
                Ok(node) => {
                    if first_error.is_some() {
                        self.right_copies.lock().put(pointer.bytenr, copy);
                    }
                    return Ok(node);
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| chunk.missing()))
    }

    fn node_at(&self, offset: ByteOffset, len: usize, pointer: &Pointer) -> Result<Node> {
        let rules = NodeRules {
            checksum: self.superblock.checksum,
            metadata_uuid: self.superblock.metadata_uuid,
        };
        let check = |bytes: &[u8]| check_content(bytes, offset, &rules);
        let block = self
            .blocks
            .checked_block(offset, len, BLOCK_KIND_NODE, check)?;
        Node::new(block, offset, pointer)
    }

    /// Returns the error of a number in the superblock that leads nowhere.
    pub(super) fn superblock_error(&self, field: &'static str, found: u64) -> Error {
        let place = self.superblock.place;
        Error::corrupt(field, place, "one that leads to a tree", found)
    }
}

fn crosses(bytenr: u64) -> Error {
    let expected = "a block inside of one stripe";
    Error::corrupt("tree block address", bytenr, expected, bytenr)
}
