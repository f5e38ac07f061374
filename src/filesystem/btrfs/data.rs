//! Data behind addresses: read from the first copy, verified by the checksums of the
//! checksum tree, and replaced by another copy sector by sector where it is wrong.

use super::compression::DecodedKey;
use super::extent::CompressedExtent;
use super::key::{Key, kind, object};
use super::volume::Volume;
use crate::filesystem::{Error, Result, index_of, len_of};
use std::sync::Arc;

impl Volume {
    fn sector_len(&self) -> u64 {
        u64::from(self.space.superblock.sector_len)
    }

    /// Fills `target` from address `logical`.
    ///
    /// # Errors
    ///
    /// Corrupt if no copy has the bytes that were written; Unsupported if they are on
    /// another device.
    pub(super) fn read_data(
        &self,
        logical: u64,
        target: &mut [u8],
        has_checksums: bool,
    ) -> Result<()> {
        let unit = self.sector_len();
        let (mut logical, mut rest) = (logical, target);
        while !rest.is_empty() {
            let inside = logical.checked_rem(unit).unwrap_or(0);
            let whole = rest
                .len()
                .saturating_sub(rest.len().checked_rem(index_of(unit)).unwrap_or(0));
            // Whole sectors go where they belong, parts of one through a buffer.
            let now;
            if inside == 0 && whole > 0 {
                (now, rest) = rest.split_at_mut(whole);
                self.read_sectors(logical, now, has_checksums)?;
            } else {
                let len = index_of(unit.saturating_sub(inside)).min(rest.len());
                (now, rest) = rest.split_at_mut(len);
                let mut sector = vec![0; index_of(unit)];
                self.read_sectors(logical.saturating_sub(inside), &mut sector, has_checksums)?;
                let start = index_of(inside);
                let part = sector
                    .get(start..start.saturating_add(len))
                    .unwrap_or_default();
                now.copy_from_slice(part);
            }
            logical = logical.saturating_add(len_of(now));
        }
        Ok(())
    }

    /// Fills `target`, which is whole sectors from a sector on.
    fn read_sectors(&self, logical: u64, target: &mut [u8], has_checksums: bool) -> Result<()> {
        let unit = index_of(self.sector_len()).max(1);
        let sums = match has_checksums {
            true => Some(self.checksums(logical, target.chunks(unit).len())?),
            false => None,
        };
        let (mut position, mut rest) = (logical, target);
        while !rest.is_empty() {
            let chunk = self.space.chunk(position)?;
            let first = (0..chunk.copy_count()).find_map(|copy| chunk.place(position, copy));
            let run = first.ok_or_else(|| chunk.missing())?.len;
            let len = index_of(run).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            let done = index_of(position.saturating_sub(logical));
            let first_sum = done.checked_div(unit).unwrap_or(0);
            self.read_run(position, now, sums.as_deref(), first_sum)?;
            position = position.saturating_add(len_of(now));
            rest = later;
            if len == 0 {
                let expected = "whole sectors in a stripe";
                return Err(Error::corrupt("data address", position, expected, position));
            }
        }
        Ok(())
    }

    /// Fills `target`, which lies one after the other in each copy; its checksums
    /// begin with number `first_sum` of `sums`.
    fn read_run(
        &self,
        logical: u64,
        target: &mut [u8],
        sums: Option<&[u8]>,
        first_sum: usize,
    ) -> Result<()> {
        let is_read = self.read_copy(logical, target, 0).is_ok();
        let Some(sums) = sums else {
            return match is_read {
                true => Ok(()),
                false => self.read_by_sector(logical, target),
            };
        };
        let superblock = &self.space.superblock;
        let unit = index_of(superblock.sector_len).max(1);
        let sum_len = superblock.checksum.len();
        let mut address = logical;
        for (index, sector) in target.chunks_mut(unit).enumerate() {
            let place = first_sum.saturating_add(index).saturating_mul(sum_len);
            let sum = sums
                .get(place..place.saturating_add(sum_len))
                .unwrap_or_default();
            if !is_read || !superblock.checksum.is_right(sector, sum) {
                self.read_right_copy(address, sector, sum)?;
            }
            address = address.saturating_add(len_of(sector));
        }
        Ok(())
    }

    /// Fills `target` sector by sector: no copy could be read as a whole.
    fn read_by_sector(&self, logical: u64, target: &mut [u8]) -> Result<()> {
        let mut address = logical;
        for sector in target.chunks_mut(index_of(self.sector_len()).max(1)) {
            self.read_copy(address, sector, 0)?;
            address = address.saturating_add(len_of(sector));
        }
        Ok(())
    }

    /// Reads a sector from the copies one after the other until one is right: the first
    /// one too, which may only have been unreadable somewhere near.
    fn read_right_copy(&self, logical: u64, sector: &mut [u8], sum: &[u8]) -> Result<()> {
        let mut next = 0;
        loop {
            match self.read_copy(logical, sector, next) {
                Ok(_) if self.space.superblock.checksum.is_right(sector, sum) => return Ok(()),
                Ok(copy) => next = copy.saturating_add(1),
                Err(error) if next == 0 => return Err(error),
                Err(_) => break,
            }
        }
        let expected = "bytes with the checksum in the checksum tree";
        Err(Error::corrupt("file data", logical, expected, logical))
    }

    /// Fills `target` from the first copy, number `from` or behind, that can be read;
    /// returns which.
    fn read_copy(&self, logical: u64, target: &mut [u8], from: usize) -> Result<usize> {
        let chunk = self.space.chunk(logical)?;
        let mut first_error = None;
        for copy in from..chunk.copy_count() {
            let Some(place) = chunk.place(logical, copy) else {
                continue;
            };
            match self.space.blocks.read_exact_at(place.offset, target) {
                Ok(()) => return Ok(copy),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| chunk.missing()))
    }

    /// Returns the checksums of `count` sectors from `logical` on, one behind the other.
    ///
    /// # Errors
    ///
    /// Corrupt if one is missing.
    fn checksums(&self, logical: u64, count: usize) -> Result<Vec<u8>> {
        let unit = self.sector_len();
        let sum_len = self.space.superblock.checksum.len();
        let len_of_sum = u64::try_from(sum_len).unwrap_or(u64::MAX);
        let key = Key::new(object::CSUMS, kind::EXTENT_CSUM, logical);
        let mut sums = vec![0; count.saturating_mul(sum_len)];
        let mut is_known = vec![false; count];
        let end = logical.saturating_add(u64::try_from(count).unwrap_or(0).saturating_mul(unit));
        let overlay = &self.overlay;
        let lowest = logical.saturating_sub(overlay.csum_span);
        for (start, bytes) in overlay.csums.range(lowest..end) {
            put_all(
                &mut sums,
                &mut is_known,
                logical,
                (*start, bytes),
                (unit, sum_len),
            );
        }
        if !is_known.iter().all(|is_known| *is_known) {
            let mut items = self
                .tree(object::CSUM_TREE)?
                .items_around(&key, end.saturating_sub(1))?;
            while let Some(item) = items
                .next_beside(&key)?
                .filter(|item| item.key.offset < end)
            {
                let found = (item.key.offset, item.bytes());
                put_all(&mut sums, &mut is_known, logical, found, (unit, sum_len));
                // The next one is often in another block: it is not read in vain.
                let item_count = len_of(item.bytes()).checked_div(len_of_sum).unwrap_or(0);
                let item_end = item
                    .key
                    .offset
                    .saturating_add(item_count.saturating_mul(unit));
                if item_end >= end {
                    break;
                }
            }
        }
        match is_known.iter().position(|is_known| !is_known) {
            None => Ok(sums),
            Some(_) => {
                let expected = "a checksum for each sector";
                Err(Error::corrupt("checksum tree", logical, expected, logical))
            }
        }
    }

    /// Returns a compressed extent, decompressed.
    pub(super) fn decompressed(
        &self,
        extent: &CompressedExtent,
        has_checksums: bool,
    ) -> Result<Arc<[u8]>> {
        let key = DecodedKey {
            logical: extent.logical,
            disk_len: extent.disk_len,
            len: extent.len,
            compression: extent.compression,
            has_checksums,
        };
        if let Some(found) = self.decoded.get(&key) {
            return Ok(found);
        }
        let mut source = vec![0; index_of(extent.disk_len)];
        self.read_data(extent.logical, &mut source, has_checksums)?;
        let sector_len = self.space.superblock.sector_len;
        let bytes =
            extent
                .compression
                .decompress(&source, extent.len, sector_len, extent.logical)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.decoded.put(key, Arc::clone(&bytes));
        Ok(bytes)
    }
}

/// Takes from the checksums `found`, which begin at an address, those of the sectors
/// from `logical` on that are not known yet.
fn put_all(
    sums: &mut [u8],
    is_known: &mut [bool],
    logical: u64,
    found: (u64, &[u8]),
    (unit, sum_len): (u64, usize),
) {
    let (start, bytes) = found;
    let count = |bytes: u64| index_of(bytes.checked_div(unit).unwrap_or(0));
    let skipped = count(logical.saturating_sub(start));
    let first = count(start.saturating_sub(logical));
    let targets = sums
        .chunks_exact_mut(sum_len.max(1))
        .zip(is_known)
        .skip(first);
    let sources = bytes.chunks_exact(sum_len.max(1)).skip(skipped);
    for ((target, is_known), source) in targets.zip(sources) {
        if !*is_known {
            target.copy_from_slice(source);
            *is_known = true;
        }
    }
}
