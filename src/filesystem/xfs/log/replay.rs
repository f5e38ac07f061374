//! The two passes over the log: which buffers were cancelled, then every committed
//! transaction in order.

use super::super::overlay::Overlay;
use super::super::superblock::Superblock;
use super::Recovery;
use super::area::LogArea;
use super::head::Ends;
use super::intent::Intents;
use super::record::RecordHeader;
use super::transaction::{Assembler, Item, Transaction};
use crate::filesystem::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of items.
///
/// Source: `xfs_log_format.h`, `XFS_LI_*`.
pub(super) mod kind {
    pub(in super::super) const UNLINK: u16 = 0x1238;
    pub(in super::super) const INODE: u16 = 0x123B;
    pub(in super::super) const BUFFER: u16 = 0x123C;
    pub(in super::super) const DQUOT: u16 = 0x123D;
    pub(in super::super) const QUOTA_OFF: u16 = 0x123E;
    pub(in super::super) const INODE_CREATE: u16 = 0x123F;
    /// Intents to free extents and to change reverse maps and reference counts, and
    /// that they are done: nothing that a reader sees.
    pub(in super::super) const EXTENT_FREE: [u16; 2] = [0x1236, 0x1237];
    pub(in super::super) const REVERSE_MAP: [u16; 2] = [0x1240, 0x1241];
    pub(in super::super) const REFERENCE_COUNT: [u16; 2] = [0x1242, 0x1243];
    pub(in super::super) const REALTIME: std::ops::RangeInclusive<u16> = 0x124A..=0x124F;
}

/// Buffers that a log frees: with the inodes that they held, more than fit into one.
const CANCELLED_MAX: usize = 1 << 20;

/// The state of a replay.
pub(super) struct Replay<'a> {
    pub(super) superblock: &'a Superblock,
    pub(super) overlay: Overlay,
    /// Buffers (block and length in 512 bytes) that are freed later in the log, and how
    /// often: what is logged for them before must not be replayed.
    cancelled: BTreeMap<(u64, u32), u32>,
    /// Buffers that this replay has changed: newer than whatever their blocks say.
    pub(super) replayed: BTreeSet<u64>,
    pub(super) reowned: BTreeSet<u64>,
    intents: Intents,
}

impl<'a> Replay<'a> {
    pub(super) fn new(superblock: &'a Superblock, overlay: Overlay) -> Self {
        Self {
            superblock,
            overlay,
            cancelled: BTreeMap::new(),
            replayed: BTreeSet::new(),
            reowned: BTreeSet::new(),
            intents: Intents::default(),
        }
    }

    /// Replays what lies between the ends.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the log is damaged; Unsupported if it needs what is missing here.
    pub(super) fn run(&mut self, area: &LogArea, ends: &Ends) -> Result<()> {
        each_transaction(area, ends, &mut |transaction| {
            for item in &transaction.items {
                if item.kind()? == kind::BUFFER {
                    self.note_cancelled(item)?;
                }
            }
            Ok(())
        })?;
        each_transaction(area, ends, &mut |transaction| self.commit(&transaction))
    }

    /// Makes the items of a transaction: new inodes and ordinary buffers, then inodes
    /// and intents, then unlinked lists, then cancellations.
    fn commit(&mut self, transaction: &Transaction) -> Result<()> {
        for stage in 0..4 {
            for item in &transaction.items {
                if stage_of(item)? == stage {
                    self.commit_item(item, transaction.lsn)?;
                }
            }
        }
        Ok(())
    }

    fn commit_item(&mut self, item: &Item, lsn: u64) -> Result<()> {
        let kind = item.kind()?;
        match kind {
            kind::BUFFER => self.buffer(item, lsn),
            kind::INODE => self.inode(item, lsn),
            kind::INODE_CREATE => self.create_inodes(item),
            // Quotas and lists of deleted files that were open are not shown.
            kind::DQUOT | kind::QUOTA_OFF | kind::UNLINK => Ok(()),
            _ if kind::EXTENT_FREE.contains(&kind)
                || kind::REVERSE_MAP.contains(&kind)
                || kind::REFERENCE_COUNT.contains(&kind)
                || kind::REALTIME.contains(&kind) =>
            {
                Ok(())
            }
            _ => self.intents.add(item, kind),
        }
    }

    fn note_cancelled(&mut self, item: &Item) -> Result<()> {
        let format = item.format();
        if format.le_u16(4)? & FLAG_CANCEL != 0 {
            let key = buffer_key(item)?;
            let count = self.cancelled.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        if self.cancelled.len() > CANCELLED_MAX {
            return Err(Error::unsupported("more than a million freed buffers"));
        }
        Ok(())
    }

    /// Tells whether a buffer is freed later in the log.
    pub(super) fn is_cancelled(&self, block: u64, len: u32) -> bool {
        self.cancelled.contains_key(&(block, len))
    }

    /// Passes one cancellation of a buffer: behind the last one it counts again.
    pub(super) fn pass_cancelled(&mut self, block: u64, len: u32) {
        if let Some(count) = self.cancelled.get_mut(&(block, len)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.cancelled.remove(&(block, len));
            }
        }
    }

    /// Returns what became of the log.
    ///
    /// # Errors
    ///
    /// Corrupt if what is left to do cannot be done.
    pub(super) fn finish(self) -> Result<Recovery> {
        let outcome = self.intents.finish(self.superblock)?;
        Ok(Recovery {
            consistency: outcome.consistency,
            overlay: Some(Arc::new(self.overlay)),
            reowned: self.reowned,
            patches: outcome.patches,
            warnings: outcome.warnings,
        })
    }
}

/// Flags of a buffer item.
pub(super) const FLAG_INODE_BUFFER: u16 = 0x01;
pub(super) const FLAG_CANCEL: u16 = 0x02;

/// Returns the block and the length of a buffer item, in 512 bytes.
pub(super) fn buffer_key(item: &Item) -> Result<(u64, u32)> {
    let format = item.format();
    Ok((format.le_u64(8)?, u32::from(format.le_u16(6)?)))
}

fn stage_of(item: &Item) -> Result<u32> {
    Ok(match item.kind()? {
        kind::INODE_CREATE => 0,
        kind::BUFFER => {
            let flags = item.format().le_u16(4)?;
            match (flags & FLAG_CANCEL != 0, flags & FLAG_INODE_BUFFER != 0) {
                (true, _) => 3,
                (false, true) => 2,
                (false, false) => 0,
            }
        }
        _ => 1,
    })
}

/// Gives each committed transaction between the ends to `visit`, in order.
fn each_transaction(
    area: &LogArea,
    ends: &Ends,
    visit: &mut dyn FnMut(Transaction) -> Result<()>,
) -> Result<()> {
    let mut assembler = Assembler::default();
    let mut left = match ends.head.checked_sub(ends.tail) {
        Some(distance) => distance,
        None => ends
            .head
            .saturating_add(area.block_count)
            .saturating_sub(ends.tail),
    };
    let mut block = ends.tail;
    while left > 0 {
        let header = RecordHeader::read(area, block)?;
        let count = header.block_count();
        if header.lsn & 0xFFFF_FFFF != block || count > left {
            let place = area.place(block);
            let expected = "a record before the head of the log";
            return Err(Error::corrupt("h_lsn", place, expected, header.lsn));
        }
        let data = header.data(area)?;
        assembler.add_record(header.lsn, header.operation_count, &data, visit)?;
        block = area.advance(block, count);
        left = left.saturating_sub(count);
    }
    Ok(())
}
