//! Chunks by id: cache, one loading in flight, index, pack, checks, decompression.
//! This is the one place where what a store returns is compared with what was asked.

use super::cache::ByteCache;
use super::codec::{unseal, unseal_into};
use super::error::{Error, Kind, Result};
use super::flight::{Boarding, Content, Flights, Lead};
use super::index_set::{IndexSet, Location};
use super::packs::Packs;
use super::pending::PendingChunks;
use crate::base::ChunkId;
use crate::format::{self, FrameHeader};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads chunks.
#[derive(Debug)]
pub struct ChunkReader {
    pub(super) indexes: Arc<IndexSet>,
    pub(super) packs: Packs,
    pub(super) pending: PendingChunks,
    cache: ByteCache<ChunkId, Content>,
    flights: Flights,
    decompression_count: AtomicU64,
}

/// What was loaded for a reader.
enum Loaded {
    /// It is in the target already.
    InTarget,
    /// It is longer or shorter than the target.
    Whole(Content),
}

impl ChunkReader {
    /// Returns a reader that keeps at most `cache_len` bytes of content.
    pub fn new(indexes: Arc<IndexSet>, packs: Packs, cache_len: u64) -> Self {
        Self {
            indexes,
            packs,
            pending: PendingChunks::default(),
            cache: ByteCache::new(cache_len),
            flights: Flights::default(),
            decompression_count: AtomicU64::new(0),
        }
    }

    /// Returns how many chunks were decompressed.
    pub fn decompression_count(&self) -> u64 {
        self.decompression_count.load(Ordering::Relaxed)
    }

    /// Returns the whole content, kept in the cache.
    pub fn read(&self, chunk: &ChunkId) -> Result<Content> {
        loop {
            if let Some(content) = self.cache.get(chunk) {
                return Ok(content);
            }
            match self.flights.board(chunk) {
                Boarding::Landed(content) => return content,
                Boarding::Again => {}
                Boarding::Lead(lead) => {
                    let loaded = self.load(chunk, &mut []);
                    return self.keep(chunk, lead, loaded);
                }
            }
        }
    }

    /// Fills `target` from `start` of the content. A chunk that is read as a whole goes
    /// straight into `target` and is not kept, so that one long scan does not flood the
    /// cache.
    pub fn read_into(&self, chunk: &ChunkId, start: usize, target: &mut [u8]) -> Result<()> {
        loop {
            if let Some(content) = self.cache.get(chunk) {
                return copy_part(chunk, &content, start, target);
            }
            match self.flights.board(chunk) {
                Boarding::Landed(content) => return copy_part(chunk, &content?, start, target),
                Boarding::Again => {}
                Boarding::Lead(lead) if start == 0 => {
                    return self.lead_into(chunk, lead, target);
                }
                Boarding::Lead(lead) => {
                    let loaded = self.load(chunk, &mut []);
                    let content = self.keep(chunk, lead, loaded)?;
                    return copy_part(chunk, &content, start, target);
                }
            }
        }
    }

    fn lead_into(&self, chunk: &ChunkId, lead: Lead<'_>, target: &mut [u8]) -> Result<()> {
        match self.load(chunk, target) {
            Ok(Loaded::InTarget) => {
                if lead.has_waiters() {
                    let content = Arc::new(target.to_vec());
                    self.cache
                        .insert(*chunk, Arc::clone(&content), content.len());
                    lead.land(Some(Ok(content)));
                }
                Ok(())
            }
            loaded => {
                let content = self.keep(chunk, lead, loaded)?;
                copy_part(chunk, &content, 0, target)
            }
        }
    }

    /// Puts what was loaded into the cache and hands it to those who wait.
    fn keep(&self, chunk: &ChunkId, lead: Lead<'_>, loaded: Result<Loaded>) -> Result<Content> {
        match loaded {
            Ok(Loaded::Whole(content)) => {
                self.cache
                    .insert(*chunk, Arc::clone(&content), content.len());
                lead.land(Some(Ok(Arc::clone(&content))));
                Ok(content)
            }
            Ok(Loaded::InTarget) => Ok(Arc::new(vec![])),
            Err(error) => {
                lead.land(Some(Err(&error)));
                Err(error)
            }
        }
    }

    /// Loads a chunk, into `target` if it is exactly as long, from the first of its
    /// places that is whole; looks for new indexes before giving up.
    fn load(&self, chunk: &ChunkId, target: &mut [u8]) -> Result<Loaded> {
        let mut first_error = None;
        for is_last_try in [false, true] {
            match self.load_once(chunk, target) {
                Ok(loaded) => return Ok(loaded),
                Err(error) => first_error = first_error.or(Some(error)),
            }
            if is_last_try || !self.indexes.refresh()? {
                break;
            }
        }
        Err(first_error.unwrap_or(Error::ChunkMissing(*chunk)))
    }

    fn load_once(&self, chunk: &ChunkId, target: &mut [u8]) -> Result<Loaded> {
        if let Some(place) = self.pending.get(chunk) {
            return FRAME.with_borrow_mut(|frame| {
                frame.resize(place.frame_len as usize, 0);
                place
                    .object
                    .read_exact_at(u64::from(place.pack_offset), frame)?;
                self.unseal(chunk, frame, target, "a pack in the making")
            });
        }
        let mut result = Err(Error::ChunkMissing(*chunk));
        for location in self.indexes.locations(chunk)? {
            result = self.load_from(chunk, &location, target);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn load_from(&self, chunk: &ChunkId, location: &Location, target: &mut [u8]) -> Result<Loaded> {
        let pack = self
            .packs
            .open(&location.pack)
            .map_err(|error| match error.kind() {
                Kind::NotFound => Error::Corrupt {
                    object: format!("pack {}", location.pack),
                    problem: "it is missing".to_owned(),
                },
                _ => error,
            })?;
        FRAME.with_borrow_mut(|frame| {
            pack.read_frame(location.pack_offset, location.frame_len, frame)?;
            self.unseal(chunk, frame, target, &format!("pack {}", location.pack))
        })
    }

    fn unseal(
        &self,
        chunk: &ChunkId,
        frame: &[u8],
        target: &mut [u8],
        pack: &str,
    ) -> Result<Loaded> {
        let corrupt = |problem: String| {
            let object = format!("chunk {chunk} in {pack}");
            Err(Error::Corrupt { object, problem })
        };
        let (header, stored) = match FrameHeader::decode(frame) {
            Ok(decoded) => decoded,
            Err(format::Error::Unsupported(what)) => return Err(Error::Unsupported(what)),
            Err(error) => return corrupt(error.to_string()),
        };
        if header.chunk != *chunk {
            return corrupt(format!("the frame there is of chunk {}", header.chunk));
        }
        self.decompression_count.fetch_add(1, Ordering::Relaxed);
        if header.content_len as usize == target.len() {
            unseal_into(&header, stored, target)?;
            return Ok(Loaded::InTarget);
        }
        Ok(Loaded::Whole(Arc::new(unseal(&header, stored)?)))
    }
}

fn copy_part(chunk: &ChunkId, content: &[u8], start: usize, target: &mut [u8]) -> Result<()> {
    let part = start
        .checked_add(target.len())
        .and_then(|end| content.get(start..end));
    match part {
        Some(part) => {
            target.copy_from_slice(part);
            Ok(())
        }
        None => Err(Error::Corrupt {
            object: format!("chunk {chunk}"),
            problem: format!(
                "a map names bytes {start} to {} of {}",
                start.saturating_add(target.len()),
                content.len()
            ),
        }),
    }
}
