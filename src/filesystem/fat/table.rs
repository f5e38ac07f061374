//! The file allocation table: which cluster follows which. One type for the tables of
//! FAT12, FAT16, FAT32 and exFAT, read a window at a time through the cache.
//!
//! Source: Microsoft FAT specification 1.03, "FAT Data Structure"; exFAT file system
//! specification, section 4.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{BlockReader, Error, Result, index_of, len_of};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The number of the first cluster.
pub(in super::super) const FIRST_CLUSTER: u32 = 2;

/// Entries that a walk over the whole table looks at in one piece.
const SCAN_ENTRY_COUNT: u64 = 16_384;

/// A piece without a cluster that is in use.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What the entries of a table look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Width {
    /// Two entries in three bytes.
    Bits12,
    Bits16,
    /// 28 bits and 4 that are reserved.
    Bits32,
    ExFat,
}

impl Width {
    /// Returns the bits of an entry.
    pub(in super::super) const fn bits(self) -> u64 {
        match self {
            Self::Bits12 => 12,
            Self::Bits16 => 16,
            Self::Bits32 | Self::ExFat => 32,
        }
    }

    /// Returns the bytes of a window: no entry lies in two.
    const fn window_len(self) -> u64 {
        match self {
            Self::Bits12 => 6144,
            Self::Bits16 | Self::Bits32 | Self::ExFat => 4096,
        }
    }

    /// Returns the value of a bad cluster; FAT takes it, and all above, as the end.
    const fn bad(self) -> u32 {
        match self {
            Self::Bits12 => 0xFF7,
            Self::Bits16 => 0xFFF7,
            Self::Bits32 => 0x0FFF_FFF7,
            Self::ExFat => 0xFFFF_FFF7,
        }
    }

    /// Returns an entry of 32 bits without those that are reserved.
    const fn without_reserved(self, entry: u32) -> u32 {
        match self {
            Self::Bits32 => entry & 0x0FFF_FFFF,
            Self::Bits12 | Self::Bits16 | Self::ExFat => entry,
        }
    }

    const fn is_end(self, value: u32) -> bool {
        match self {
            Self::Bits12 | Self::Bits16 | Self::Bits32 => value >= self.bad(),
            Self::ExFat => value == u32::MAX,
        }
    }
}

/// The table that counts, of those that a volume has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Table {
    pub(in super::super) width: Width,
    pub(in super::super) offset: ByteOffset,
    /// Clusters of the volume; the table has two entries more.
    pub(in super::super) cluster_count: u32,
}

/// The part of a table that was read last.
#[derive(Clone, Default)]
pub(in super::super) struct Window {
    block: Option<(ByteOffset, Arc<[u8]>)>,
}

impl Table {
    /// Returns the length of all entries in bytes.
    fn len(&self) -> u64 {
        let count = u64::from(self.cluster_count).saturating_add(FIRST_CLUSTER.into());
        count.saturating_mul(self.width.bits()).div_ceil(8)
    }

    /// Tells whether the volume has this cluster.
    pub(in super::super) fn contains(&self, cluster: u32) -> bool {
        cluster
            .checked_sub(FIRST_CLUSTER)
            .is_some_and(|index| index < self.cluster_count)
    }

    /// Returns where the entry of `cluster` begins, relative to the table.
    fn position(&self, cluster: u32) -> u64 {
        // Twelve bits begin in the middle of a byte for every other entry.
        u64::from(cluster).saturating_mul(self.width.bits()) / 8
    }

    /// Returns where the entries of all clusters begin and end, whole ones of 16 bits or
    /// more.
    pub(in super::super) fn cluster_places(&self) -> (ByteOffset, ByteOffset) {
        let end = self.offset.saturating_add(self.len());
        (self.place(FIRST_CLUSTER), end)
    }

    /// Returns where the entry of `cluster` lies.
    pub(in super::super) fn place(&self, cluster: u32) -> ByteOffset {
        self.offset.saturating_add(self.position(cluster))
    }

    /// Returns what the entry of `cluster` holds, without its reserved bits.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the table does not lie inside the image.
    pub(in super::super) fn value(
        &self,
        reader: &BlockReader,
        window: &mut Window,
        cluster: u32,
    ) -> Result<u32> {
        let unit = self.width.window_len();
        let position = self.position(cluster);
        let inside = position.checked_rem(unit).unwrap_or(0);
        let start = position.saturating_sub(inside);
        let offset = self.offset.saturating_add(start);
        let block = match &window.block {
            Some((known, block)) if *known == offset => block,
            _ => {
                let len = self.len().saturating_sub(start).min(unit);
                let block = reader.block(offset, index_of(len))?;
                &window.block.insert((offset, block)).1
            }
        };
        decode(self.width, &Fields::new(block, offset), inside, cluster)
    }

    /// Returns the cluster that follows `cluster`, or `None` at the end of a chain.
    ///
    /// # Errors
    ///
    /// As [`Table::value`]; Corrupt if what follows is no cluster.
    pub(in super::super) fn next(
        &self,
        reader: &BlockReader,
        window: &mut Window,
        cluster: u32,
    ) -> Result<Option<u32>> {
        let value = self.value(reader, window, cluster)?;
        if self.width.is_end(value) {
            return Ok(None);
        }
        if !self.contains(value) {
            let expected = "a cluster of the volume or the end of a chain";
            let place = self.place(cluster);
            return Err(Error::corrupt("FAT entry", place, expected, value));
        }
        Ok(Some(value))
    }

    /// Gives runs of clusters that are in use to `visit`, in rising order, past the cache.
    ///
    /// # Errors
    ///
    /// As [`Table::value`].
    pub(in super::super) fn scan(
        &self,
        reader: &BlockReader,
        visit: &mut dyn FnMut(Range<u32>) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = u64::from(self.cluster_count).saturating_add(FIRST_CLUSTER.into());
        let mut run = 0..0;
        let mut piece = vec![];
        let mut start = 0;
        while start < end {
            let count = SCAN_ENTRY_COUNT.min(end.saturating_sub(start));
            let position = start.saturating_mul(self.width.bits()) / 8;
            let len = count.saturating_mul(self.width.bits()).div_ceil(8);
            let offset = self.offset.saturating_add(position);
            piece.resize(index_of(len), 0);
            reader.read_exact_at(offset, &mut piece)?;
            let first = u32::try_from(start).unwrap_or(u32::MAX);
            // Most of a large table is often free.
            let is_free = ZEROS.get(..piece.len()) == Some(piece.as_slice());
            if !is_free && self.add_used(first, &piece, &mut run, visit).is_break() {
                return Ok(());
            }
            start = start.saturating_add(count);
        }
        if !run.is_empty() {
            let _ = visit(run);
        }
        Ok(())
    }

    /// Goes on with the entries in `piece`, the first of which is that of `first`.
    fn add_used(
        &self,
        first: u32,
        piece: &[u8],
        run: &mut Range<u32>,
        visit: &mut dyn FnMut(Range<u32>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut add = |cluster: u32, is_used: bool| {
            if !is_used || cluster < FIRST_CLUSTER {
                return ControlFlow::Continue(());
            }
            if run.end != cluster {
                let done = std::mem::replace(run, cluster..cluster);
                if !done.is_empty() {
                    visit(done)?;
                }
            }
            run.end = cluster.saturating_add(1);
            ControlFlow::Continue(())
        };
        let fields = Fields::new(piece, 0);
        match self.width {
            Width::Bits12 => {
                let bits = len_of(piece).saturating_mul(8);
                let count = bits.checked_div(self.width.bits()).unwrap_or(0);
                for (step, cluster) in (0..count).zip(first..) {
                    let inside = step.saturating_mul(self.width.bits()) / 8;
                    // What is not in the table is nobody's.
                    let value = decode(self.width, &fields, inside, cluster);
                    add(cluster, value.is_ok_and(|value| value != 0))?;
                }
            }
            Width::Bits16 => {
                for (entry, cluster) in piece.chunks_exact(2).zip(first..) {
                    add(cluster, entry != [0; 2])?;
                }
            }
            Width::Bits32 | Width::ExFat => {
                for (entry, cluster) in piece.chunks_exact(4).zip(first..) {
                    let value = entry.first_chunk().copied().map_or(0, u32::from_le_bytes);
                    add(cluster, self.width.without_reserved(value) != 0)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn decode(width: Width, fields: &Fields<'_>, position: u64, cluster: u32) -> Result<u32> {
    let position = index_of(position);
    Ok(match width {
        Width::Bits12 if cluster & 1 == 0 => u32::from(fields.le_u16(position)? & 0xFFF),
        Width::Bits12 => u32::from(fields.le_u16(position)? >> 4),
        Width::Bits16 => u32::from(fields.le_u16(position)?),
        Width::Bits32 | Width::ExFat => width.without_reserved(fields.le_u32(position)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::BlockCache;

    fn table(width: Width, bytes: Vec<u8>, cluster_count: u32) -> (Table, BlockReader) {
        let reader = BlockReader::new(Arc::new(bytes), BlockCache::new(1 << 20));
        let table = Table {
            width,
            offset: 0,
            cluster_count,
        };
        (table, reader)
    }

    fn next(table: &Table, reader: &BlockReader, cluster: u32) -> Result<Option<u32>> {
        table.next(reader, &mut Window::default(), cluster)
    }

    #[test]
    fn twelve_bits_are_packed_and_never_cut_by_a_window() {
        let count = 4084_u32 + 2000;
        let mut bytes = vec![0; (count as usize + 2) * 3 / 2];
        for cluster in 0..count {
            let value = (cluster * 7) & 0xFFF;
            let at = cluster as usize * 3 / 2;
            if cluster & 1 == 0 {
                bytes[at] = value as u8;
                bytes[at + 1] |= (value >> 8) as u8;
            } else {
                bytes[at] |= (value << 4) as u8;
                bytes[at + 1] = (value >> 4) as u8;
            }
        }
        let (table, reader) = table(Width::Bits12, bytes, count - 2);
        let mut window = Window::default();
        for cluster in 0..count {
            let value = table.value(&reader, &mut window, cluster).unwrap();
            assert_eq!(value, (cluster * 7) & 0xFFF, "{cluster}");
        }
        let mut used = vec![];
        table
            .scan(&reader, &mut |run| {
                used.extend(run);
                ControlFlow::Continue(())
            })
            .unwrap();
        let expected: Vec<u32> = (2..count).filter(|n| (n * 7) & 0xFFF != 0).collect();
        assert_eq!(used, expected);
    }

    #[test]
    fn runs_in_use_are_joined_over_pieces_and_free_pieces_are_passed_over() {
        for (width, entry) in [
            (Width::Bits16, vec![1, 0]),
            (Width::Bits32, vec![0, 0, 1, 0]),
        ] {
            let count: u32 = 60_000;
            let mut bytes = vec![0; (count as usize + 2) * entry.len()];
            let mut expected = vec![];
            for run in [2..3, 16_000..16_500, 16_502..16_503, 59_000..60_002] {
                for cluster in run.clone() {
                    let at = cluster as usize * entry.len();
                    bytes[at..at + entry.len()].copy_from_slice(&entry);
                }
                expected.push(run);
            }
            // The first two are no clusters, and reserved bits do not count.
            bytes[..entry.len()].fill(0xFF);
            if width == Width::Bits32 {
                bytes[40_003] = 0xF0;
            }
            let (table, reader) = table(width, bytes, count);
            let mut found = vec![];
            let mut visit = |run| {
                found.push(run);
                ControlFlow::Continue(())
            };
            table.scan(&reader, &mut visit).unwrap();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn ends_and_what_is_none() {
        let mut bytes = vec![];
        for value in [
            0_u32,
            0,
            3,
            0xF000_0004,
            0x0FFF_FFF8,
            0x0FFF_FFF7,
            1,
            0,
            9,
            8,
        ] {
            bytes.extend(value.to_le_bytes());
        }
        let (fat32, reader) = table(Width::Bits32, bytes.clone(), 7);
        assert_eq!(next(&fat32, &reader, 2).unwrap(), Some(3));
        assert_eq!(next(&fat32, &reader, 3).unwrap(), Some(4));
        assert_eq!(next(&fat32, &reader, 4).unwrap(), None);
        assert_eq!(next(&fat32, &reader, 5).unwrap(), None);
        for bad in [6, 7, 8] {
            let corrupt = next(&fat32, &reader, bad);
            assert!(matches!(corrupt, Err(Error::Corrupt { .. })), "{bad}");
        }
        let (exfat, reader) = table(Width::ExFat, bytes, 7);
        assert!(next(&exfat, &reader, 3).is_err());
        assert!(next(&exfat, &reader, 4).is_err());
    }

    #[test]
    fn a_table_behind_the_image_is_corrupt() {
        let (table, reader) = table(Width::Bits16, vec![0; 100], 2000);
        let error = next(&table, &reader, 1000);
        assert!(matches!(error, Err(Error::Corrupt { .. })));
    }
}
