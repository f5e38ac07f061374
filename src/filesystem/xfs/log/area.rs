//! The ring of 512-byte blocks that the log is.

use super::super::superblock::Superblock;
use crate::base::{ByteOffset, ReadAt};
use crate::filesystem::{Error, Result};
use std::sync::Arc;

/// Bytes of a block of the log (`BBSIZE`).
pub(super) const BASIC_BLOCK_LEN: usize = 512;

/// The smallest log that can be: its head is searched in more than one record.
const BLOCK_COUNT_MIN: u64 = 512;

/// The largest log that the kernel takes is just below 2 GiB.
const BLOCK_COUNT_MAX: u64 = 1 << 23;

/// First word of the header of a record; never the first word of another block.
pub(super) const HEADER_MAGIC: u32 = 0xFEED_BABE;

/// The log of a file system.
pub(super) struct LogArea {
    image: Arc<dyn ReadAt>,
    start: ByteOffset,
    /// In blocks of 512 bytes.
    pub(super) block_count: u64,
    pub(super) has_log_v2: bool,
    /// Records carry a checksum that has to be right.
    pub(super) has_checksums: bool,
    pub(super) uuid: [u8; 16],
}

impl LogArea {
    /// Finds the log of a file system.
    ///
    /// # Errors
    ///
    /// Corrupt if it does not lie inside the file system.
    pub(super) fn new(image: Arc<dyn ReadAt>, superblock: &Superblock) -> Result<Self> {
        let count = u64::from(superblock.log_blocks);
        if !superblock.has_blocks(superblock.log_start, count) {
            let expected = "a log inside one allocation group";
            return Err(Error::corrupt("sb_logblocks", 96, expected, count));
        }
        let start = superblock.block_offset(superblock.log_start)?;
        let block_count = count.saturating_mul(superblock.block_len() >> 9);
        if !(BLOCK_COUNT_MIN..=BLOCK_COUNT_MAX).contains(&block_count) {
            let expected = "256 KiB to 4 GiB of log";
            return Err(Error::corrupt("sb_logblocks", 96, expected, block_count));
        }
        let end = start.saturating_add(block_count << 9);
        if end > image.len() {
            let expected = "a log inside the image";
            return Err(Error::corrupt("sb_logstart", 48, expected, end));
        }
        Ok(Self {
            image,
            start,
            block_count,
            has_log_v2: superblock.features.has_log_v2(),
            has_checksums: superblock.features.is_v5(),
            uuid: superblock.uuid,
        })
    }

    /// Returns where `block` of the log lies in the image.
    pub(super) fn place(&self, block: u64) -> ByteOffset {
        self.start.saturating_add(block.saturating_mul(512))
    }

    /// Returns the block `count` behind `block`, around the end.
    pub(super) fn advance(&self, block: u64, count: u64) -> u64 {
        block
            .saturating_add(count)
            .checked_rem(self.block_count)
            .unwrap_or(0)
    }

    /// Reads blocks from `block` on, around the end; `target` is whole blocks.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if there are not so many.
    pub(super) fn read(&self, block: u64, target: &mut [u8]) -> Result<()> {
        let len = crate::filesystem::len_of(target);
        if block >= self.block_count || len > self.block_count << 9 {
            let place = self.place(block);
            return Err(Error::corrupt("log block", place, "inside the log", block));
        }
        let before_end = self.block_count.saturating_sub(block).saturating_mul(512);
        let split = usize::try_from(before_end)
            .unwrap_or(usize::MAX)
            .min(target.len());
        let (first, wrapped) = target.split_at_mut(split);
        self.image.read_exact_at(self.place(block), first)?;
        if !wrapped.is_empty() {
            self.image.read_exact_at(self.start, wrapped)?;
        }
        Ok(())
    }

    /// Returns the cycle in which a block was written last.
    ///
    /// # Errors
    ///
    /// As [`LogArea::read`].
    pub(super) fn cycle(&self, block: u64) -> Result<u32> {
        let mut bytes = [0; BASIC_BLOCK_LEN];
        self.read(block, &mut bytes)?;
        Ok(cycle_of(&bytes))
    }
}

/// Returns the cycle of a block: its first word, or the second of a header.
pub(super) fn cycle_of(block: &[u8]) -> u32 {
    match word(block, 0) {
        HEADER_MAGIC => word(block, 4),
        cycle => cycle,
    }
}

/// Returns the big-endian word at `position`, 0 beyond the end.
pub(super) fn word(bytes: &[u8], position: usize) -> u32 {
    let end = position.saturating_add(4);
    bytes
        .get(position..end)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}
