//! Extents of logged files: each takes the place of what was there.

use super::super::extent::{
    DISK_BYTENR, EXTENT_ITEM_LEN, NUM_BYTES, OFFSET, RAM_BYTES, TYPE, TYPE_INLINE, TYPE_PREALLOC,
    TYPE_REGULAR,
};
use super::super::inode::NBYTES;
use super::super::key::{Key, kind};
use super::super::node::Item;
use super::replay::{Replay, contradiction, set};
use crate::filesystem::{Error, Result};

/// `no-holes`: holes have no items.
const INCOMPAT_NO_HOLES: u64 = 1 << 9;

/// Extents that are collected before they are changed.
const BATCH_COUNT_MAX: usize = 1024;

/// An extent of a file as a replay sees it.
struct Old {
    key: Key,
    bytes: Vec<u8>,
    end: u64,
    is_inline: bool,
    /// Whether it takes space.
    is_allocated: bool,
}

impl Old {
    fn decode(item: &Item) -> Result<Self> {
        let fields = item.fields();
        let extent_type = fields.u8(TYPE)?;
        let is_inline = extent_type == TYPE_INLINE;
        let len = match extent_type {
            TYPE_INLINE => fields.le_u64(RAM_BYTES)?,
            TYPE_REGULAR | TYPE_PREALLOC => fields.part(0, EXTENT_ITEM_LEN)?.le_u64(NUM_BYTES)?,
            other => return Err(contradiction("extent type", other.into())),
        };
        let end = item.key.offset.checked_add(len);
        Ok(Self {
            key: item.key,
            bytes: item.bytes().to_vec(),
            end: end.ok_or_else(|| contradiction("extent length", len))?,
            is_inline,
            is_allocated: is_inline || fields.le_u64(DISK_BYTENR)? != 0,
        })
    }

    /// Returns the item of the part from `start` to `end`.
    fn part(&self, start: u64, end: u64) -> Result<(Key, Vec<u8>)> {
        let mut bytes = self.bytes.clone();
        let skipped = start.saturating_sub(self.key.offset);
        let old = crate::base::Fields::new(&self.bytes, 0).le_u64(OFFSET)?;
        for (position, value) in [
            (OFFSET, old.saturating_add(skipped)),
            (NUM_BYTES, end.saturating_sub(start)),
        ] {
            set(&mut bytes, position, value.to_le_bytes());
        }
        let key = Key {
            offset: start,
            ..self.key
        };
        Ok((key, bytes))
    }
}

impl Replay<'_> {
    /// Takes away what the file has between `start` and `end`; returns the bytes of
    /// space that it took.
    ///
    /// # Errors
    ///
    /// Corrupt if an inline extent would have to be cut.
    pub(super) fn drop_extents(&mut self, inode: u64, start: u64, end: u64) -> Result<u64> {
        let mut freed = 0_u64;
        let mut from = start;
        loop {
            let batch = self.extents_between(inode, from, end)?;
            let is_last = batch.len() < BATCH_COUNT_MAX;
            for old in batch {
                from = old.end.max(from);
                freed = freed.saturating_add(self.drop_extent(&old, start, end)?);
            }
            if is_last || from >= end {
                return Ok(freed);
            }
        }
    }

    fn extents_between(&self, inode: u64, start: u64, end: u64) -> Result<Vec<Old>> {
        let key = Key::new(inode, kind::EXTENT_DATA, start);
        let mut items = self.items_around(&key, end.saturating_sub(1))?;
        let mut found = vec![];
        while let Some(item) = items.next_beside(&key)? {
            if item.key.offset >= end || found.len() >= BATCH_COUNT_MAX {
                break;
            }
            let old = Old::decode(&item)?;
            if old.end > start {
                found.push(old);
            }
        }
        Ok(found)
    }

    fn drop_extent(&mut self, old: &Old, start: u64, end: u64) -> Result<u64> {
        let old_start = old.key.offset;
        let (cut_start, cut_end) = (old_start.max(start), old.end.min(end));
        let is_whole = cut_start == old_start && cut_end == old.end;
        if old.is_inline && !is_whole {
            return Err(contradiction("inline extent of a log tree", old_start));
        }
        self.remove(old.key)?;
        if cut_start > old_start {
            let (key, bytes) = old.part(old_start, cut_start)?;
            self.put(key, bytes)?;
        }
        if cut_end < old.end {
            let (key, bytes) = old.part(cut_end, old.end)?;
            self.put(key, bytes)?;
        }
        Ok(match old.is_allocated {
            true => cut_end.saturating_sub(cut_start),
            false => 0,
        })
    }

    /// Brings an extent of the log into its file.
    pub(super) fn replay_extent(&mut self, item: &Item) -> Result<()> {
        let inode = item.key.object;
        let new = Old::decode(item)?;
        self.expect_inode(inode)?;
        let present = self.find(&item.key)?;
        if !new.is_inline && present.is_some_and(|present| present.bytes() == item.bytes()) {
            return Ok(());
        }
        let superblock = &self.volume.space.superblock;
        let has_holes = superblock.incompat & INCOMPAT_NO_HOLES == 0;
        let unit = u64::from(superblock.sector_len).max(1);
        let end = match new.is_inline {
            true => new.end.checked_next_multiple_of(unit),
            false => Some(new.end),
        };
        let too_long = || Error::corrupt("extent length", 0, "one that fits", new.end);
        let freed = self.drop_extents(inode, item.key.offset, end.ok_or_else(too_long)?)?;
        if new.is_allocated || has_holes {
            self.copy(item)?;
        }
        let taken = match new.is_allocated {
            true => new.end.saturating_sub(item.key.offset),
            false => 0,
        };
        self.change_inode(inode, NBYTES, |old| {
            old.saturating_add(taken).saturating_sub(freed)
        })
    }
}
