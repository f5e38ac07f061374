//! The last step of a writer: frames into packs, packs to the medium, an index.

use super::error::{Error, Result};
use super::index_set::IndexSet;
use super::index_writer::IndexParts;
use super::pack_writer::{FinishedPack, PackWriter, Placed};
use super::pending::{PendingChunks, PendingPlace};
use super::writer_state::{PendingRun, Target};
use super::{Store, chunk_reader::ChunkReader};
use crate::backend::PendingObject;
use crate::base::{ChunkId, Extent, Fingerprint, PackId, push_extent};
use crate::format::FrameHeader;
use crate::format::index::{ChunkEntry, ChunkPlace, HookEntry, HookPlace};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Finished packs after which a writer writes an index: 1 GiB.
const UNINDEXED_PACKS_MAX: usize = 16;

/// Chunks after which a writer writes an index, so that memory is bounded.
const UNINDEXED_CHUNKS_MAX: usize = 1 << 17;

/// Packs that are being made durable at the same time.
const COMMITS_MAX: usize = 3;

/// A chunk that is compressed.
pub struct Written {
    /// Its header.
    pub header: FrameHeader,
    /// Header and stored bytes.
    pub frame: Vec<u8>,
    /// Fingerprints of its blocks.
    pub fingerprints: Vec<Fingerprint>,
}

/// A pack that is being filled, and the table of chunks that can be read from it.
pub struct PackSlot {
    store: Arc<Store>,
    pack: Option<PackWriter>,
    /// Chunks of the pack, for the case that it is given up.
    chunks: Vec<ChunkId>,
}

impl PackSlot {
    /// Returns a slot with no pack.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            pack: None,
            chunks: vec![],
        }
    }

    /// Appends a frame; the chunk can be read at once.
    pub fn append(
        &mut self,
        header: &FrameHeader,
        frame: &[u8],
        fingerprints: Vec<Fingerprint>,
    ) -> Result<Placed> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            empty => empty.insert(PackWriter::begin(&**self.store.backend(), self.store.id())?),
        };
        let placed = pack.append(header, frame, fingerprints)?;
        let object = Arc::clone(pack.object());
        let Placed {
            chunk,
            pack_offset,
            frame_len,
        } = placed;
        self.chunks.push(chunk);
        self.pending().insert(
            chunk,
            PendingPlace {
                object,
                pack_offset,
                frame_len,
            },
        );
        Ok(placed)
    }

    /// Returns the pack with its trailer if it is full, or in any case if `always`.
    pub fn finish(&mut self, always: bool) -> Result<Option<FinishedPack>> {
        match self.pack.take_if(|pack| always || pack.is_full()) {
            Some(pack) => {
                let object = Arc::clone(pack.object());
                let chunks = std::mem::take(&mut self.chunks);
                let finished = pack.finish();
                if finished.is_err() {
                    self.pending().remove(&object, chunks.into_iter());
                }
                finished.map(Some)
            }
            None => Ok(None),
        }
    }

    fn pending(&self) -> &PendingChunks {
        &self.store.reader().pending
    }
}

impl Drop for PackSlot {
    fn drop(&mut self) {
        if let Some(pack) = &self.pack {
            self.pending()
                .remove(pack.object(), self.chunks.iter().copied());
        }
    }
}

/// Where a finished pack can be looked into until an index has it.
pub struct PackNews {
    /// The pack.
    pub pack: PackId,
    /// Its object.
    pub object: Arc<dyn PendingObject>,
    /// Places of its windows.
    pub windows: Vec<crate::format::pack::WindowPlace>,
    /// Its hooks.
    pub hooks: Vec<(Fingerprint, u32)>,
}

/// Finished packs that are in no index.
pub struct Unindexed {
    reader: Arc<ChunkReader>,
    packs: Vec<FinishedPack>,
    commits: VecDeque<JoinHandle<Result<()>>>,
}

impl Unindexed {
    /// Returns an empty list.
    pub fn new(reader: Arc<ChunkReader>) -> Self {
        Self {
            reader,
            packs: vec![],
            commits: VecDeque::new(),
        }
    }

    /// Begins to make a pack durable.
    pub fn add(&mut self, pack: FinishedPack) -> Result<PackNews> {
        while self.commits.len() >= COMMITS_MAX {
            self.join_first()?;
        }
        let news = PackNews {
            pack: pack.id,
            object: Arc::clone(&pack.object),
            windows: pack.windows.clone(),
            hooks: pack.hooks.clone(),
        };
        let committed = pack.clone();
        self.packs.push(pack);
        self.commits
            .push_back(std::thread::spawn(move || committed.commit()));
        Ok(news)
    }

    fn join_first(&mut self) -> Result<()> {
        match self.commits.pop_front().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Invalid("making a pack durable panicked".to_owned())),
            None => Ok(()),
        }
    }

    /// Tells whether an index should be written before there are more.
    pub fn wants_index(&self) -> bool {
        self.packs.len() >= UNINDEXED_PACKS_MAX
            || self
                .packs
                .iter()
                .map(|pack| pack.placed.len())
                .sum::<usize>()
                >= UNINDEXED_CHUNKS_MAX
    }

    /// Waits until all packs are durable, writes an index of them, and lets the chunks
    /// be found there.
    pub fn write_index(&mut self, indexes: &IndexSet) -> Result<()> {
        while !self.commits.is_empty() {
            self.join_first()?;
        }
        if self.packs.is_empty() {
            return Ok(());
        }
        let packs: Vec<PackId> = self.packs.iter().map(|pack| pack.id).collect();
        indexes.add(IndexParts {
            packs: &packs,
            replaced: &[],
            chunks: &mut self.chunk_entries().into_iter().map(Ok),
            hooks: &mut self.hook_entries().into_iter().map(Ok),
        })?;
        self.remove_pending();
        self.packs.clear();
        Ok(())
    }

    fn chunk_entries(&self) -> Vec<ChunkEntry> {
        let mut entries: Vec<ChunkEntry> = vec![];
        for (number, pack) in self.packs.iter().enumerate() {
            entries.extend(pack.placed.iter().map(|placed| ChunkEntry {
                chunk: placed.chunk,
                place: ChunkPlace {
                    pack_number: number as u32,
                    pack_offset: placed.pack_offset,
                    frame_len: placed.frame_len,
                },
            }));
        }
        entries.sort_unstable_by_key(|entry| entry.chunk);
        entries.dedup_by_key(|entry| entry.chunk);
        entries
    }

    fn hook_entries(&self) -> Vec<HookEntry> {
        let mut entries: Vec<HookEntry> = vec![];
        for (number, pack) in self.packs.iter().enumerate() {
            entries.extend(
                pack.hooks
                    .iter()
                    .map(|(fingerprint, chunk_number)| HookEntry {
                        fingerprint: *fingerprint,
                        place: HookPlace {
                            pack_number: number as u32,
                            chunk_number: *chunk_number,
                        },
                    }),
            );
        }
        entries.sort_unstable_by_key(|entry| entry.fingerprint);
        entries.dedup_by_key(|entry| entry.fingerprint);
        entries
    }

    fn remove_pending(&self) {
        for pack in &self.packs {
            let chunks = pack.placed.iter().map(|placed| placed.chunk);
            self.reader.pending.remove(&pack.object, chunks);
        }
    }
}

impl Drop for Unindexed {
    fn drop(&mut self) {
        while let Some(commit) = self.commits.pop_front() {
            drop(commit.join());
        }
        self.remove_pending();
    }
}

/// Chunks of blocks in the order of their numbers, and the ids behind the numbers.
pub struct Output {
    slot: PackSlot,
    ids: VecDeque<ChunkId>,
    /// Number of the first chunk in `ids`.
    first: u64,
}

impl Output {
    /// Returns an output that has written nothing.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            slot: PackSlot::new(store),
            ids: VecDeque::new(),
            first: 0,
        }
    }

    /// Returns the number of the chunk whose turn is next.
    pub fn next_chunk(&self) -> u64 {
        self.first + self.ids.len() as u64
    }

    /// Writes the chunk whose turn it is. One that failed takes its turn, too.
    pub fn write(&mut self, written: Result<Written>) -> Result<Option<FinishedPack>> {
        let id = written
            .as_ref()
            .map_or(ChunkId::default(), |written| written.header.chunk);
        self.ids.push_back(id);
        let Written {
            header,
            frame,
            fingerprints,
        } = written?;
        self.slot.append(&header, &frame, fingerprints)?;
        self.slot.finish(false)
    }

    /// Returns the pack that is being filled.
    pub fn finish(&mut self) -> Result<Option<FinishedPack>> {
        self.slot.finish(true)
    }

    /// Returns the extents of runs whose chunks are all written.
    pub fn resolve(&self, runs: &[PendingRun]) -> Result<Vec<Extent>> {
        let mut extents = Vec::with_capacity(runs.len());
        for run in runs {
            let chunk = match run.target {
                Target::Known(chunk) => Some(chunk),
                Target::New(number) => number
                    .checked_sub(self.first)
                    .and_then(|place| self.ids.get(usize::try_from(place).ok()?).copied()),
            };
            let chunk = chunk.ok_or_else(|| {
                Error::Invalid("a new chunk has no id; this is a fault of tintype".to_owned())
            })?;
            push_extent(&mut extents, run.extent(chunk));
        }
        Ok(extents)
    }

    /// Forgets the ids of chunks below `number`.
    pub fn forget_below(&mut self, number: u64) {
        while self.first < number && self.ids.pop_front().is_some() {
            self.first += 1;
        }
    }
}
