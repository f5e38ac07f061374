//! The way of an image into the store: segments are filled and hashed by the pool,
//! deduplicated in order, and their new chunks are compressed by the pool and written
//! in order.
//!
//! Order is kept without threads of its own: whoever finishes a step takes the turn of
//! the next step if nobody has it, and does all that is ready.

use super::Store;
use super::chunk_reader::ChunkReader;
use super::codec::seal_chunk;
use super::dedup::{Dedup, Hashed, hash_segment};
use super::error::{Error, Result};
use super::output::{Output, PackNews, PackSlot, Unindexed, Written};
use super::pack_writer::FinishedPack;
use super::segment::{FillSegment, Segment, WriterStats};
use super::writer_state::{NewChunk, PendingRun, Permit, Permits, SegmentDone, Waiting};
use crate::base::ChunkId;
use crate::format::{ContentKind, FrameHeader};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Inbox<T> {
    items: BTreeMap<u64, T>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
        }
    }
}

/// A segment that is hashed, or could not be.
struct Arrived {
    hashed: Result<Hashed>,
    done: SegmentDone,
    permit: Permit,
}

struct DedupTurn {
    dedup: Dedup,
    next: u64,
}

#[derive(Default)]
struct Counts {
    submitted: u64,
    placed: u64,
    done: u64,
}

/// One sequence of segments into the store, with packs of its own.
pub struct ChunkWriter {
    store: Arc<Store>,
    permits: Arc<Permits>,
    buffers: Mutex<Vec<Vec<u8>>>,
    arrived: Mutex<Inbox<Arrived>>,
    dedup: Mutex<DedupTurn>,
    compressed: Mutex<Inbox<Result<Written>>>,
    waiting: Mutex<VecDeque<Waiting>>,
    output: Mutex<Output>,
    /// Map nodes have a pack of their own; its lock is never held while another of the
    /// writer is taken, except that of `unindexed`.
    nodes: Mutex<PackSlot>,
    unindexed: Mutex<Unindexed>,
    /// Nodes of this writer that are in no index yet. Those of another writer do not
    /// count: it may fail after we have published.
    own_nodes: Mutex<HashSet<ChunkId>>,
    /// What the deduplication has yet to hear: a finished pack, or that all are indexed.
    news: Mutex<Vec<Option<PackNews>>>,
    counts: Mutex<Counts>,
    progressed: Condvar,
    failed: Mutex<Option<Error>>,
    flushing: Mutex<()>,
    new_block_count: AtomicU64,
    stored_len_bytes: AtomicU64,
}

impl fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkWriter")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl ChunkWriter {
    pub(super) fn new(store: Arc<Store>) -> Arc<Self> {
        let config = store.config();
        let dedup = Dedup::new(
            Arc::clone(store.reader()),
            config.chunk_block_count as usize,
        );
        let output = Output::new(Arc::clone(&store));
        let nodes = PackSlot::new(Arc::clone(&store));
        let unindexed = Unindexed::new(Arc::clone(store.reader()));
        let permits = Permits::new(2 * store.pool().thread_count() + 2);
        Arc::new(Self {
            store,
            permits,
            buffers: Mutex::default(),
            arrived: Mutex::default(),
            dedup: Mutex::new(DedupTurn { dedup, next: 0 }),
            compressed: Mutex::default(),
            waiting: Mutex::default(),
            output: Mutex::new(output),
            nodes: Mutex::new(nodes),
            unindexed: Mutex::new(unindexed),
            own_nodes: Mutex::default(),
            news: Mutex::default(),
            counts: Mutex::default(),
            progressed: Condvar::new(),
            failed: Mutex::default(),
            flushing: Mutex::new(()),
            new_block_count: AtomicU64::new(0),
            stored_len_bytes: AtomicU64::new(0),
        })
    }

    /// Queues a segment; waits while too many are in flight, so it is not for a thread
    /// of the pool.
    pub fn submit(self: &Arc<Self>, segment: Segment) {
        let permit = self.permits.acquire();
        let number = {
            let mut counts = self.counts.lock();
            counts.submitted += 1;
            counts.submitted - 1
        };
        let writer = Arc::clone(self);
        self.store
            .pool()
            .run(Box::new(move || writer.hash(number, segment, permit)));
    }

    fn hash(self: &Arc<Self>, number: u64, segment: Segment, permit: Permit) {
        let Segment {
            image_block,
            fill,
            done,
        } = segment;
        let hashed = catch_unwind(AssertUnwindSafe(|| self.fill_and_hash(image_block, fill)))
            .unwrap_or_else(|_| Err(panicked("reading a segment")));
        self.arrived.lock().items.insert(
            number,
            Arrived {
                hashed,
                done,
                permit,
            },
        );
        self.take_dedup_turn();
    }

    fn fill_and_hash(&self, image_block: u64, fill: FillSegment) -> Result<Hashed> {
        self.check_failed()?;
        let mut data = self.buffers.lock().pop().unwrap_or_default();
        let expected = fill(&mut data).map_err(Error::Source)?;
        Ok(hash_segment(
            self.store.fingerprint_key(),
            image_block,
            data,
            &expected,
        ))
    }

    /// Deduplicates all segments whose turn it is, unless another thread does.
    fn take_dedup_turn(self: &Arc<Self>) {
        loop {
            {
                let Some(mut turn) = self.dedup.try_lock() else {
                    return;
                };
                while let Some(arrived) = {
                    let next = turn.next;
                    self.arrived.lock().items.remove(&next)
                } {
                    self.place(&mut turn, arrived);
                    turn.next += 1;
                }
            }
            // One that arrived after our last look saw the turn taken.
            let next = match self.dedup.try_lock() {
                Some(turn) => turn.next,
                None => return,
            };
            if !self.arrived.lock().items.contains_key(&next) {
                break;
            }
        }
        self.take_output_turn();
    }

    fn place(self: &Arc<Self>, turn: &mut DedupTurn, arrived: Arrived) {
        let Arrived {
            hashed,
            done,
            permit,
        } = arrived;
        let permit = Arc::new(permit);
        self.hear_news(&mut turn.dedup);
        let placed = hashed.and_then(|hashed| {
            let excluded = self.store.excluded();
            let result = catch_unwind(AssertUnwindSafe(|| {
                turn.dedup.place(&hashed, &excluded, &mut |chunk| {
                    self.compress(chunk, Some(Arc::clone(&permit)));
                })
            }))
            .unwrap_or_else(|_| Err(panicked("deduplicating a segment")));
            self.recycle(hashed.data);
            result
        });
        match placed {
            Ok(runs) => {
                let needed = PendingRun::newest_chunk(&runs).map_or(0, |number| number + 1);
                let oldest = turn.dedup.oldest_recent();
                self.waiting.lock().push_back(Waiting {
                    runs,
                    needed,
                    oldest,
                    done,
                });
            }
            Err(error) => {
                self.fail(&error);
                self.waiting.lock().push_back(Waiting {
                    runs: vec![],
                    needed: 0,
                    oldest: 0,
                    done,
                });
            }
        }
        self.counts.lock().placed += 1;
        self.progressed.notify_all();
    }

    fn recycle(&self, data: Vec<u8>) {
        let mut buffers = self.buffers.lock();
        if buffers.len() < self.store.pool().thread_count() + 1 {
            buffers.push(data);
        }
    }

    /// Has a new chunk hashed and compressed by the pool, before new segments are read.
    fn compress(self: &Arc<Self>, chunk: NewChunk, permit: Option<Arc<Permit>>) {
        let writer = Arc::clone(self);
        let number = chunk.number;
        let count = chunk.fingerprints.len() as u64;
        self.new_block_count.fetch_add(count, Ordering::Relaxed);
        self.store.pool().run_urgent(Box::new(move || {
            let level = writer.store.config().zstd_level;
            let written = catch_unwind(AssertUnwindSafe(|| {
                writer.check_failed()?;
                let id = ChunkId::of(&chunk.content);
                let (header, frame) = seal_chunk(id, ContentKind::Data, &chunk.content, level)?;
                Ok(Written {
                    header,
                    frame,
                    fingerprints: chunk.fingerprints,
                })
            }))
            .unwrap_or_else(|_| Err(panicked("compressing a chunk")));
            writer.compressed.lock().items.insert(number, written);
            drop(permit);
            writer.take_output_turn();
        }));
    }

    /// Writes all chunks whose turn it is and completes segments, unless another
    /// thread does.
    fn take_output_turn(self: &Arc<Self>) {
        loop {
            let next = {
                let Some(mut output) = self.output.try_lock() else {
                    return;
                };
                while let Some(written) = {
                    let next = output.next_chunk();
                    self.compressed.lock().items.remove(&next)
                } {
                    self.write(&mut output, written);
                }
                self.complete_segments(&mut output);
                output.next_chunk()
            };
            let is_ready = self.compressed.lock().items.contains_key(&next)
                || self
                    .waiting
                    .lock()
                    .front()
                    .is_some_and(|waiting| waiting.needed <= next);
            if !is_ready {
                return;
            }
        }
    }

    fn write(&self, output: &mut Output, written: Result<Written>) {
        let len = written
            .as_ref()
            .map_or(0, |written| written.frame.len() as u64);
        let result = output.write(written).and_then(|pack| match pack {
            Some(pack) => self.add_pack(pack),
            None => Ok(()),
        });
        match result {
            Ok(()) => {
                self.stored_len_bytes.fetch_add(len, Ordering::Relaxed);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Begins to make a pack durable; writes an index when there are enough of them.
    fn add_pack(&self, pack: FinishedPack) -> Result<()> {
        let mut unindexed = self.unindexed.lock();
        let news = unindexed.add(pack)?;
        self.news.lock().push(Some(news));
        if unindexed.wants_index() {
            unindexed.write_index(self.store.indexes())?;
            self.news.lock().push(None);
        }
        Ok(())
    }

    fn hear_news(&self, dedup: &mut Dedup) {
        for news in self.news.lock().drain(..) {
            match news {
                Some(PackNews {
                    pack,
                    object,
                    windows,
                    hooks,
                }) => {
                    dedup.add_pack(pack, object, windows, &hooks);
                }
                None => dedup.forget_packs(),
            }
        }
    }

    fn complete_segments(&self, output: &mut Output) {
        loop {
            let waiting = {
                let mut all = self.waiting.lock();
                match all.front() {
                    Some(first) if first.needed <= output.next_chunk() => {}
                    _ => return,
                }
                let Some(first) = all.pop_front() else { return };
                first
            };
            let result = self
                .check_failed()
                .and_then(|()| output.resolve(&waiting.runs));
            output.forget_below(waiting.oldest);
            let done = waiting.done;
            drop(catch_unwind(AssertUnwindSafe(|| done(result))));
            self.counts.lock().done += 1;
            self.progressed.notify_all();
        }
    }

    /// Stores an encoded map node unless the store has it.
    pub fn put_node(&self, encoded: &[u8]) -> Result<ChunkId> {
        self.put_small(ContentKind::MapNode, encoded)
    }

    /// Stores what a snapshot is beside its map, so that the catalog can be rebuilt from
    /// packs alone. Nothing names it.
    pub fn put_manifest(&self, encoded: &[u8]) -> Result<ChunkId> {
        self.put_small(ContentKind::Manifest, encoded)
    }

    fn put_small(&self, kind: ContentKind, content: &[u8]) -> Result<ChunkId> {
        self.check_failed()?;
        let id = ChunkId::of(content);
        if self.own_nodes.lock().contains(&id) || self.store.has_node(&id)? {
            return Ok(id);
        }
        let level = self.store.config().zstd_level;
        let (header, frame) = seal_chunk(id, kind, content, level)?;
        let result = self.write_node(&header, &frame);
        self.stored_len_bytes
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        result.inspect_err(|error| self.fail(error))?;
        self.own_nodes.lock().insert(id);
        Ok(id)
    }

    fn write_node(&self, header: &FrameHeader, frame: &[u8]) -> Result<()> {
        let mut nodes = self.nodes.lock();
        nodes.append(header, frame, vec![])?;
        match nodes.finish(false)? {
            Some(pack) => self.add_pack(pack),
            None => Ok(()),
        }
    }

    /// Waits until every `done` has been called; a chunk that is not full is written,
    /// too. Not for a thread of the pool.
    pub fn drain(self: &Arc<Self>) -> Result<()> {
        let _flushing = self.flushing.lock();
        self.drain_locked()
    }

    /// Waits for the segments that were submitted before; others may come meanwhile.
    fn drain_locked(self: &Arc<Self>) -> Result<()> {
        let target = {
            let mut counts = self.counts.lock();
            let target = counts.submitted;
            while counts.placed < target {
                self.progressed.wait(&mut counts);
            }
            target
        };
        let open = self.dedup.lock().dedup.take_open();
        if let Some(chunk) = open {
            self.compress(chunk, None);
        }
        self.take_turns();
        let mut counts = self.counts.lock();
        while counts.done < target {
            self.progressed.wait(&mut counts);
        }
        drop(counts);
        self.check_failed()
    }

    /// Takes turns that others left to us while we held a lock.
    fn take_turns(self: &Arc<Self>) {
        self.take_dedup_turn();
        self.take_output_turn();
    }

    /// Drains, then makes packs and index durable. The writer can go on afterwards.
    pub fn flush(self: &Arc<Self>) -> Result<()> {
        let _flushing = self.flushing.lock();
        self.drain_locked()?;
        let result = self.write_index();
        self.take_turns();
        result.inspect_err(|error| self.fail(error))?;
        if let Err(error) = self.store.indexes().merge_tiers() {
            // The indexes are complete without the merging.
            log::warn!("merging indexes failed: {error}");
        }
        Ok(())
    }

    fn write_index(&self) -> Result<()> {
        let data = self.output.lock().finish()?;
        let nodes = self.nodes.lock().finish(true)?;
        for pack in [data, nodes].into_iter().flatten() {
            self.add_pack(pack)?;
        }
        self.unindexed.lock().write_index(self.store.indexes())?;
        self.own_nodes.lock().clear();
        self.news.lock().push(None);
        Ok(())
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> WriterStats {
        WriterStats {
            new_block_count: self.new_block_count.load(Ordering::Relaxed),
            stored_len_bytes: self.stored_len_bytes.load(Ordering::Relaxed),
        }
    }

    /// Remembers the first failure; nothing is taken afterwards.
    fn fail(&self, error: &Error) {
        let mut failed = self.failed.lock();
        if failed.is_none() {
            *failed = Some(error.duplicate());
        }
    }

    fn check_failed(&self) -> Result<()> {
        match &*self.failed.lock() {
            Some(error) => Err(error.duplicate()),
            None => Ok(()),
        }
    }

    /// Returns the reader of the store, which sees what this writer has written.
    pub fn reader(&self) -> &Arc<ChunkReader> {
        self.store.reader()
    }
}

fn panicked(doing: &str) -> Error {
    Error::Invalid(format!("{doing} panicked; this is a fault of tintype"))
}
