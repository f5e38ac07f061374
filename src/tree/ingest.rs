//! The ingester of a draft follows the writer: segments that are complete, or that a
//! writer who only goes forward has left, become chunks while the writing goes on.
//! What a writer who jumps about has touched stays in the spool until the FLUSH, or
//! until too much waits there.

use crate::base::{BLOCK_LEN_BYTES, ByteLen, Extent};
use crate::image::MapSummary;
use crate::store::{self, Segment};
use crate::tree::block_set::BlockSet;
use crate::tree::content::Content;
use crate::tree::{Error, Result};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Blocks in a segment (1 MiB).
const SEGMENT_BLOCKS: u64 = 256;
/// Bytes that may wait in the spool before old segments are taken as they are.
const BACKLOG_MAX: ByteLen = 256 << 20;
/// Writes that go forward, one after the other, before a writer counts as sequential.
const FORWARD_COUNT: u32 = 8;

/// Queues of the ingester.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    /// Segments to be taken now.
    ready: VecDeque<u64>,
    is_ready: HashSet<u64>,
    /// Segments in the order in which they got their first dirty block.
    order: VecDeque<u64>,
    is_ordered: HashSet<u64>,
    /// Runs of each segment that are on their way into chunks.
    busy: HashMap<u64, u32>,
    completed: VecDeque<Completed>,
    /// Runs in the map whose space in the spool is not freed yet.
    settled: Vec<Range<u64>>,
    settled_len: ByteLen,
    last_end: u64,
    forward_count: u32,
}

#[derive(Debug)]
struct Completed {
    blocks: Range<u64>,
    extents: store::Result<Vec<Extent>>,
}

impl Ingest {
    /// Notes that `blocks` were written; they are in `dirty` already.
    pub(super) fn note_write(&mut self, dirty: &BlockSet, blocks: Range<u64>) {
        let is_forward = blocks.start + 1 >= self.last_end;
        let left = self.last_end.saturating_sub(1) / SEGMENT_BLOCKS;
        let segments = blocks.start / SEGMENT_BLOCKS..=(blocks.end - 1) / SEGMENT_BLOCKS;
        self.forward_count = if is_forward {
            self.forward_count.saturating_add(1)
        } else {
            0
        };
        if self.forward_count >= FORWARD_COUNT && left < *segments.start() {
            self.push_ready(left);
        }
        self.last_end = blocks.end;
        for segment in segments {
            if self.is_ordered.insert(segment) {
                self.order.push_back(segment);
            }
            if dirty.count_in(range_of(segment)) == SEGMENT_BLOCKS {
                self.push_ready(segment);
            }
        }
    }

    fn push_ready(&mut self, segment: u64) {
        if self.is_ready.insert(segment) {
            self.ready.push_back(segment);
        }
    }

    /// Tells whether the ingester has something to do.
    pub(super) fn has_work(&self, backlog: ByteLen) -> bool {
        let is_behind = || self.oldest_waiting(backlog).is_some();
        !self.ready.is_empty() || !self.completed.is_empty() || is_behind()
    }

    /// Returns the segment to be taken next.
    fn next(&mut self, backlog: ByteLen) -> Option<u64> {
        if let Some(segment) = self.ready.pop_front() {
            self.is_ready.remove(&segment);
            return Some(segment);
        }
        self.oldest_waiting(backlog)
    }

    /// Returns the segment that has waited longest, if too much waits.
    fn oldest_waiting(&self, backlog: ByteLen) -> Option<u64> {
        if backlog <= BACKLOG_MAX {
            return None;
        }
        let is_waiting = |old: &&u64| self.is_ordered.contains(old) && !self.busy.contains_key(old);
        self.order.iter().find(is_waiting).copied()
    }

    fn forget(&mut self, segment: u64) {
        self.is_ordered.remove(&segment);
        // Mostly the oldest, so this looks at the front only.
        while self
            .order
            .front()
            .is_some_and(|oldest| !self.is_ordered.contains(oldest))
        {
            self.order.pop_front();
        }
    }
}

fn range_of(segment: u64) -> Range<u64> {
    segment * SEGMENT_BLOCKS..(segment + 1) * SEGMENT_BLOCKS
}

/// Tells the owner of the content that something was completed.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

impl Content {
    /// Tells whether the ingester has something to do.
    pub(super) fn has_work(&self) -> bool {
        let state = self.state.lock();
        state.ingest.has_work(state.dirty.count() * BLOCK_LEN_BYTES)
    }

    /// Does a step of the ingester; false if there was nothing to do. Callers take
    /// turns, and may have to wait.
    pub(super) fn ingest_step(self: &Arc<Self>, wake: &Wake) -> Result<bool> {
        let applied = self.apply_completed()?;
        let next = {
            let mut state = self.state.lock();
            let backlog = state.dirty.count() * BLOCK_LEN_BYTES;
            state.ingest.next(backlog)
        };
        match next {
            Some(segment) => {
                self.submit(segment, Some(wake));
                Ok(true)
            }
            None => Ok(applied),
        }
    }

    /// Brings all that is dirty now into chunks and into the map. Callers take turns.
    pub(super) fn drain(self: &Arc<Self>) -> Result<()> {
        // A block that is written while it is on its way stays dirty; with no writer
        // beside us the second pass finds nothing.
        for _ in 0..3 {
            let mut next = 0;
            loop {
                let segment = self
                    .state
                    .lock()
                    .dirty
                    .next(next)
                    .map(|block| block / SEGMENT_BLOCKS);
                let Some(segment) = segment else { break };
                self.submit(segment, None);
                next = (segment + 1) * SEGMENT_BLOCKS;
            }
            self.writer.drain()?;
            self.apply_completed()?;
            if self.state.lock().dirty.count() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Sends the dirty blocks of a segment on their way.
    fn submit(self: &Arc<Self>, segment: u64, wake: Option<&Wake>) {
        let runs = {
            let state = &mut *self.state.lock();
            if state.ingest.busy.contains_key(&segment) {
                return;
            }
            let runs = state.dirty.runs(range_of(segment));
            for run in &runs {
                state.taken.insert(run.clone());
            }
            if let Ok(count) = u32::try_from(runs.len())
                && count > 0
            {
                state.ingest.busy.insert(segment, count);
            } else {
                state.ingest.forget(segment);
            }
            runs
        };
        for run in runs {
            self.submit_run(run, wake.cloned());
        }
    }

    fn submit_run(self: &Arc<Self>, run: Range<u64>, wake: Option<Wake>) {
        let (source, target) = (Arc::clone(self), Arc::clone(self));
        let blocks = run.clone();
        self.writer.submit(Segment {
            image_block: run.start,
            fill: Box::new(move |bytes| {
                let len = usize::try_from((blocks.end - blocks.start) * BLOCK_LEN_BYTES)
                    .map_err(std::io::Error::other)?;
                // The buffer is used again and again: its old content is replaced below.
                bytes.resize(len, 0);
                // Blocks that are freed or written meanwhile are no longer taken, and
                // what comes of them here is dropped.
                source.spool.read(blocks.start * BLOCK_LEN_BYTES, bytes)?;
                let parent = source.parent.as_ref().map(|parent| parent.extents(blocks));
                Ok(parent.and_then(store::Result::ok).unwrap_or_default())
            }),
            done: Box::new(move |extents| {
                let completed = Completed {
                    blocks: run,
                    extents,
                };
                target.state.lock().ingest.completed.push_back(completed);
                if let Some(wake) = wake {
                    wake();
                }
            }),
        });
    }

    /// Puts what has become chunks into the map; false if there was nothing.
    fn apply_completed(&self) -> Result<bool> {
        let mut any = false;
        while let Some(completed) = self.pop_completed() {
            any = true;
            self.apply(completed)?;
        }
        Ok(any)
    }

    fn pop_completed(&self) -> Option<Completed> {
        self.state.lock().ingest.completed.pop_front()
    }

    fn apply(&self, completed: Completed) -> Result<()> {
        let Completed { blocks, extents } = completed;
        let mut map = self.map.lock();
        let unchanged = self.state.lock().taken.runs(blocks.clone());
        let applied = extents.map_err(Error::from).and_then(|extents| {
            for run in &unchanged {
                let clipped: Vec<Extent> = extents
                    .iter()
                    .filter_map(|extent| extent.clip(run))
                    .collect();
                map.replace(run.clone(), &clipped)?;
            }
            Ok(())
        });
        let state = &mut *self.state.lock();
        if applied.is_ok() {
            // A block written since is no longer taken and stays dirty: the spool wins.
            for run in state.taken.runs(blocks.clone()) {
                state.dirty.remove(run.clone());
                state.ingest.settled_len += (run.end - run.start) * BLOCK_LEN_BYTES;
                state.ingest.settled.push(run);
            }
        }
        state.taken.remove(blocks.clone());
        let segment = blocks.start / SEGMENT_BLOCKS;
        if let Some(count) = state.ingest.busy.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                state.ingest.busy.remove(&segment);
                if state.dirty.count_in(range_of(segment)) == 0 {
                    state.ingest.forget(segment);
                }
            }
        }
        applied
    }

    /// Writes the map, lets `describe` write what goes with it, and makes all durable.
    /// Callers take turns.
    pub(super) fn finish<T>(
        &self,
        describe: impl FnOnce(&MapSummary, ByteLen) -> Result<T>,
    ) -> Result<(MapSummary, ByteLen, T)> {
        let (summary, len) = {
            let mut map = self.map.lock();
            let len = self.len();
            self.state.lock().map_is_ahead = false;
            (map.finish(len)?, len)
        };
        let durable = describe(&summary, len).and_then(|described| {
            self.writer.flush()?;
            Ok(described)
        });
        match durable {
            Ok(described) => Ok((summary, len, described)),
            Err(error) => {
                self.state.lock().map_is_ahead = true;
                Err(error)
            }
        }
    }

    /// Returns how many bytes have left the spool since its space was freed last.
    pub(super) fn settled_len(&self) -> ByteLen {
        self.state.lock().ingest.settled_len
    }

    /// Remembers which space of the spool a durable record makes free.
    pub(super) fn take_settled(&self) -> Vec<Range<u64>> {
        let state = &mut *self.state.lock();
        state.ingest.settled_len = 0;
        std::mem::take(&mut state.ingest.settled)
    }

    /// Frees the space of runs that are in a durable record, except for blocks that
    /// were written again.
    pub(super) fn free(&self, settled: Vec<Range<u64>>) -> Result<()> {
        for run in settled {
            let _nobody_uses_the_spool = self.gate.write();
            let dirty = self.state.lock().dirty.runs(run.clone());
            let mut next = run.start;
            for kept in dirty {
                self.spool.punch(next..kept.start)?;
                next = kept.end;
            }
            self.spool.punch(next..run.end)?;
        }
        Ok(())
    }

    /// Tells whether only a record could tell all of the map after a crash.
    pub(super) fn is_map_ahead(&self) -> bool {
        self.state.lock().map_is_ahead
    }
}
