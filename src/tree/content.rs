//! The bytes of a draft while it is worked on. A block is either in the spool (its
//! bit in `dirty` is set) or in the map; the spool wins.
//!
//! Locks, outermost first: `edit` (changes that read before they write), `map`,
//! `gate` (held shared while the spool is used for a block whose bit was looked at,
//! alone while space of the spool is freed), `state`. Nothing waits for the chunk
//! writer with any of them held.

use crate::base::{
    BLOCK_LEN, BLOCK_LEN_BYTES, ByteLen, ByteOffset, Extent, block_count_for, block_of, limits,
};
use crate::image::{Image, MapEditor};
use crate::store::{ChunkWriter, Store};
use crate::tree::block_set::BlockSet;
use crate::tree::ingest::Ingest;
use crate::tree::spool::Spool;
use crate::tree::{Error, Kind, Result};
use parking_lot::{Mutex, RwLock};
use std::ops::Range;
use std::sync::Arc;

/// What is where.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Length of the image in bytes.
    pub(super) len: ByteLen,
    /// Blocks whose content is in the spool.
    pub(super) dirty: BlockSet,
    /// Dirty blocks that are on their way into chunks and unchanged since.
    pub(super) taken: BlockSet,
    /// Queues of the ingester.
    pub(super) ingest: Ingest,
    /// Whether the map changed in a way that is not in the spool too: after a crash
    /// only a record can tell.
    pub(super) map_is_ahead: bool,
}

/// The bytes of a draft.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) store: Arc<Store>,
    pub(super) spool: Spool,
    pub(super) writer: Arc<ChunkWriter>,
    /// Where chunks that are there already are looked for first.
    pub(super) parent: Option<Image>,
    edit: Mutex<()>,
    pub(super) map: Mutex<MapEditor>,
    pub(super) gate: RwLock<()>,
    pub(super) state: Mutex<State>,
}

impl Content {
    /// Begins with `base` (or with nothing), and with what `spool` holds.
    pub(super) fn new(
        store: Arc<Store>,
        spool: Spool,
        base: Option<Image>,
        parent: Option<Image>,
    ) -> Result<Self> {
        let mut state = State {
            len: spool.len()?,
            ..State::default()
        };
        state.dirty = spool.held_blocks()?;
        for run in state.dirty.runs(0..u64::MAX) {
            state.ingest.note_write(&state.dirty, run);
        }
        let writer = store.writer()?;
        let map = MapEditor::new(Arc::clone(&store), Arc::clone(&writer), base);
        Ok(Self {
            store,
            spool,
            writer,
            parent,
            edit: Mutex::new(()),
            map: Mutex::new(map),
            gate: RwLock::new(()),
            state: Mutex::new(state),
        })
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> ByteLen {
        self.state.lock().len
    }

    /// Fills the start of `target` from `offset`; shorter only at the end.
    pub(super) fn read(&self, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let len = self.len().saturating_sub(offset).min(target.len() as u64);
        let target = target.get_mut(..to_usize(len)).unwrap_or_default();
        let clean = self.read_spooled(offset, target)?;
        for run in clean {
            self.read_mapped(run, offset, target)?;
        }
        Ok(target.len())
    }

    /// Reads the dirty blocks, fills the rest with zeros, and returns the others.
    fn read_spooled(&self, offset: ByteOffset, target: &mut [u8]) -> Result<Vec<Range<u64>>> {
        let blocks = block_of(offset)..block_count_for(offset + target.len() as u64);
        let _space_stays = self.gate.read();
        let dirty = self.state.lock().dirty.runs(blocks.clone());
        let mut clean = vec![];
        let mut next = blocks.start;
        for run in dirty {
            if next < run.start {
                clean.push(next..run.start);
            }
            next = run.end;
            if let Some((start, part)) = part_of(target, offset, &run) {
                let read = self.spool.read(start, part);
                read.map_err(|source| Error::File {
                    action: "reading a draft",
                    source,
                })?;
            }
        }
        if next < blocks.end {
            clean.push(next..blocks.end);
        }
        for run in &clean {
            if let Some((_, part)) = part_of(target, offset, run) {
                part.fill(0);
            }
        }
        Ok(clean)
    }

    /// Copies from chunks what the map has in `blocks`.
    fn read_mapped(&self, blocks: Range<u64>, offset: u64, target: &mut [u8]) -> Result<()> {
        let extents = self.map.lock().extents(blocks)?;
        for extent in extents {
            let Some((start, part)) = part_of(target, offset, &(extent.image_block..extent.end()))
            else {
                continue;
            };
            let skipped = start - extent.image_block * BLOCK_LEN_BYTES
                + u64::from(extent.chunk_block) * BLOCK_LEN_BYTES;
            self.store
                .reader()
                .read_into(&extent.chunk, to_usize(skipped), part)?;
        }
        Ok(())
    }

    /// Writes all of `data`, and makes the image longer if it has to be.
    pub(super) fn write(&self, offset: ByteOffset, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= limits::IMAGE_LEN_MAX)
            .ok_or(Kind::TooLarge)?;
        if data.is_empty() {
            return Ok(());
        }
        self.fill_edges(offset, end)?;
        let _space_stays = self.gate.read();
        self.spool.write(offset, data)?;
        self.mark_dirty(block_of(offset)..block_count_for(end), end);
        Ok(())
    }

    fn mark_dirty(&self, blocks: Range<u64>, end: ByteOffset) {
        let state = &mut *self.state.lock();
        state.dirty.insert(blocks.clone());
        // What is on its way into chunks is no longer what the draft holds.
        state.taken.remove(blocks.clone());
        state.len = state.len.max(end);
        state.ingest.note_write(&state.dirty, blocks);
    }

    /// Brings blocks that a change of `offset..end` covers only in part into the spool.
    fn fill_edges(&self, offset: ByteOffset, end: ByteOffset) -> Result<()> {
        let first = block_of(offset);
        let last = block_of(end.saturating_sub(1));
        if self.is_fill_needed(first, offset, end) || self.is_fill_needed(last, offset, end) {
            let _alone = self.edit.lock();
            for block in [first, last] {
                if self.is_fill_needed(block, offset, end) {
                    self.fill(block)?;
                }
            }
        }
        Ok(())
    }

    fn is_fill_needed(&self, block: u64, offset: ByteOffset, end: ByteOffset) -> bool {
        let start = block * BLOCK_LEN_BYTES;
        let state = self.state.lock();
        let block_end = (start + BLOCK_LEN_BYTES).min(state.len.max(start));
        let is_covered = offset <= start && end >= block_end;
        start < state.len && !is_covered && !state.dirty.contains(block)
    }

    /// Brings one block into the spool; the caller holds `edit`.
    fn fill(&self, block: u64) -> Result<()> {
        let start = block * BLOCK_LEN_BYTES;
        let len = self.len().saturating_sub(start).min(BLOCK_LEN_BYTES);
        let mut bytes = [0; BLOCK_LEN];
        let bytes = bytes.get_mut(..to_usize(len)).unwrap_or_default();
        self.read_mapped(block..block + 1, start, bytes)?;
        let _space_stays = self.gate.read();
        self.spool.write(start, bytes)?;
        self.mark_dirty(block..block + 1, start);
        Ok(())
    }

    /// Makes a range zero, at most up to the end of the image.
    pub(super) fn zero(&self, range: Range<u64>) -> Result<()> {
        let end = range.end.min(self.len());
        if range.start >= end {
            return Ok(());
        }
        let is_whole_tail = end == self.len();
        let first = block_count_for(range.start);
        let last = if is_whole_tail {
            block_count_for(end)
        } else {
            block_of(end)
        };
        if first >= last {
            return self.write_zeros(range.start..end);
        }
        self.write_zeros(range.start..first * BLOCK_LEN_BYTES)?;
        if !is_whole_tail {
            self.write_zeros(last * BLOCK_LEN_BYTES..end)?;
        }
        let _alone = self.edit.lock();
        self.replace(first..last, &[], None)
    }

    /// Writes less than two blocks of zeros.
    fn write_zeros(&self, range: Range<u64>) -> Result<()> {
        let zeros = [0; 2 * BLOCK_LEN];
        self.write(
            range.start,
            zeros
                .get(..to_usize(range.end - range.start))
                .unwrap_or_default(),
        )
    }

    /// Replaces whole blocks by what the map is told; the caller holds `edit`.
    fn replace(&self, blocks: Range<u64>, extents: &[Extent], len: Option<u64>) -> Result<()> {
        let mut map = self.map.lock();
        {
            let _nobody_uses_the_spool = self.gate.write();
            {
                let mut state = self.state.lock();
                state.dirty.remove(blocks.clone());
                state.taken.remove(blocks.clone());
                state.map_is_ahead = true;
            }
            self.spool.punch(blocks.clone())?;
            if let Some(len) = len {
                self.spool.set_len(len)?;
                self.state.lock().len = len;
            }
        }
        if extents.is_empty() {
            return clear(&mut map, blocks);
        }
        map.replace(blocks, extents)?;
        Ok(())
    }

    /// Puts `extents` in the place of whole blocks; the image becomes at least `len`.
    pub(super) fn share(&self, blocks: Range<u64>, extents: &[Extent], len: u64) -> Result<()> {
        let _alone = self.edit.lock();
        let len = Some(len).filter(|len| *len > self.len());
        self.replace(blocks, extents, len)
    }

    /// Makes the image shorter or longer; what is added is zero.
    pub(super) fn set_len(&self, len: ByteLen) -> Result<()> {
        if len > limits::IMAGE_LEN_MAX {
            return Err(Kind::TooLarge.into());
        }
        let _alone = self.edit.lock();
        let old = self.len();
        if len < old && !len.is_multiple_of(BLOCK_LEN_BYTES) {
            let tail = block_of(len);
            if !self.state.lock().dirty.contains(tail) {
                self.fill(tail)?;
            }
            // What is on its way into chunks would bring the cut bytes back.
            self.state.lock().taken.remove(tail..tail + 1);
        }
        if len < old {
            return self.replace(block_count_for(len)..block_count_for(old), &[], Some(len));
        }
        let _nobody_uses_the_spool = self.gate.write();
        self.spool.set_len(len)?;
        self.state.lock().len = len;
        Ok(())
    }

    /// Returns the first byte at or after `offset` that is data.
    pub(super) fn next_data(&self, offset: ByteOffset) -> Result<Option<ByteOffset>> {
        let block = block_of(offset);
        let len = self.len();
        let mapped = self.map.lock().next_allocated(block)?;
        let dirty = self.state.lock().dirty.next(block);
        let next = match (mapped, dirty) {
            (Some(mapped), Some(dirty)) => Some(mapped.min(dirty)),
            (one, other) => one.or(other),
        };
        Ok(next
            .map(|block| offset.max(block * BLOCK_LEN_BYTES))
            .filter(|place| *place < len))
    }

    /// Returns the first byte at or after `offset` that is in a hole.
    pub(super) fn next_hole(&self, offset: ByteOffset) -> Result<ByteOffset> {
        let len = self.len();
        let mut block = block_of(offset);
        while block * BLOCK_LEN_BYTES < len {
            let start = block;
            block = self.state.lock().dirty.next_absent(block);
            let window = block..block + limits::LEAF_BLOCKS;
            for extent in self.map.lock().extents(window)? {
                if extent.image_block > block {
                    break;
                }
                block = extent.end().max(block);
            }
            if block == start {
                return Ok(offset.max(block * BLOCK_LEN_BYTES));
            }
        }
        Ok(len)
    }

    /// Returns the extents of `blocks` if none of them is only in the spool.
    pub(super) fn extents(&self, blocks: Range<u64>) -> Result<Option<Vec<Extent>>> {
        let mut map = self.map.lock();
        if self.state.lock().dirty.count_in(blocks.clone()) > 0 {
            return Ok(None);
        }
        Ok(Some(map.extents(blocks)?))
    }

    /// Returns how many bytes wait in the spool.
    pub(super) fn backlog(&self) -> ByteLen {
        self.state.lock().dirty.count() * BLOCK_LEN_BYTES
    }
}

/// Makes blocks of a map zero. Where there is nothing it does nothing: a whole disk may
/// be discarded.
fn clear(map: &mut MapEditor, blocks: Range<u64>) -> Result<()> {
    let mut next = blocks.start;
    while let Some(start) = map
        .next_allocated(next)?
        .filter(|start| *start < blocks.end)
    {
        next = (start / limits::LEAF_BLOCKS + 1) * limits::LEAF_BLOCKS;
        map.replace(start..next.min(blocks.end), &[])?;
    }
    Ok(())
}

/// Returns the part of `target`, which begins at `offset`, that lies in `blocks`, and
/// where it begins in the image.
fn part_of<'a>(
    target: &'a mut [u8],
    offset: ByteOffset,
    blocks: &Range<u64>,
) -> Option<(ByteOffset, &'a mut [u8])> {
    let start = (blocks.start * BLOCK_LEN_BYTES).max(offset);
    let end = (blocks.end * BLOCK_LEN_BYTES).min(offset + target.len() as u64);
    let range = to_usize(start.checked_sub(offset)?)..to_usize(end.checked_sub(offset)?);
    target.get_mut(range).map(|part| (start, part))
}

/// A number of bytes in memory always fits.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
