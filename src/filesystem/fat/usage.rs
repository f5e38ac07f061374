//! How full a volume is, and which ranges of the image it uses.

use super::Fat;
use super::superblock::{Root, Superblock};
use super::table::{Width, Window};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{
    BlockReader, Consistency, Error, RangeVisitor, Result, SpaceUsage, index_of,
};
use std::ops::{ControlFlow, Range};

/// 255 units of UTF-16, each up to 6 bytes: what Linux tells of FAT and exFAT.
pub(in super::super) const NAME_LEN_MAX: u32 = 1530;

/// Tables up to this length, 64 MiB, are counted as Linux counts them; above, the number
/// that is stored is taken if it can be. It may be old.
const COUNTED_CLUSTERS_MAX: u32 = 1 << 24;

/// Bytes of the tables that are compared at once.
const PIECE_LEN: u64 = 64 << 10;

/// The sector with the numbers of free space (FSInfo).
///
/// Source: Microsoft FAT specification 1.03, "FSInfo Sector Structure".
mod info {
    pub(super) const LEN: usize = 512;
    pub(super) const LEAD: (usize, u32) = (0, 0x4161_5252);
    pub(super) const STRUCTURE: (usize, u32) = (484, 0x6141_7272);
    pub(super) const FREE: usize = 488;
}

/// Returns what `statfs` of the kernel tells.
pub(super) fn space(fat: &Fat) -> Result<SpaceUsage> {
    let free = match fat.free_clusters.get() {
        Some(free) => *free,
        None => {
            let free = free_clusters(fat)?;
            *fat.free_clusters.get_or_init(|| free)
        }
    };
    Ok(SpaceUsage {
        fs_block_len: u32::try_from(fat.clusters.cluster_len()).unwrap_or(0),
        block_count: fat.superblock.cluster_count.into(),
        free_block_count: free.into(),
        available_block_count: free.into(),
        node_count: 0,
        free_node_count: 0,
        name_len_max: NAME_LEN_MAX,
    })
}

fn free_clusters(fat: &Fat) -> Result<u32> {
    if fat.superblock.cluster_count > COUNTED_CLUSTERS_MAX
        && let Some(stored) = stored_free_clusters(&fat.clusters.reader, &fat.superblock)?
    {
        return Ok(stored);
    }
    let mut free = fat.superblock.cluster_count;
    let table = &fat.clusters.table;
    table.scan(&fat.clusters.reader, &mut |used| {
        free = free.saturating_sub(used.end.saturating_sub(used.start));
        ControlFlow::Continue(())
    })?;
    Ok(free)
}

/// Returns the stored number of free clusters, unless it cannot be.
fn stored_free_clusters(reader: &BlockReader, superblock: &Superblock) -> Result<Option<u32>> {
    let Some(offset) = superblock.info_offset else {
        return Ok(None);
    };
    let block = reader.block(offset, info::LEN)?;
    let fields = Fields::new(&block, offset);
    for (position, expected) in [info::LEAD, info::STRUCTURE] {
        if fields.le_u32(position)? != expected {
            return Ok(None);
        }
    }
    let free = fields.le_u32(info::FREE)?;
    Ok((free <= superblock.cluster_count).then_some(free))
}

/// Tells, from the second entry of the table, how it was left; nothing for FAT12.
///
/// Source: Microsoft FAT specification 1.03, "FAT\[1\]".
pub(super) fn state_in_table(width: Width, entry: u32) -> Option<&'static str> {
    let (clean, good) = match width {
        Width::Bits16 => (0x8000, 0x4000),
        Width::Bits32 => (0x0800_0000, 0x0400_0000),
        Width::Bits12 | Width::ExFat => return None,
    };
    if entry & clean == 0 {
        return Some("it was not unmounted");
    }
    (entry & good == 0).then_some("errors of the medium were seen")
}

/// Joins ranges of the image that come in rising order and gives them to a visitor.
pub(in super::super) struct Ranges<'a, 'b> {
    pending: Range<ByteOffset>,
    visit: &'a mut RangeVisitor<'b>,
}

impl<'a, 'b> Ranges<'a, 'b> {
    /// Begins with everything up to `end`.
    pub(in super::super) fn new(end: ByteOffset, visit: &'a mut RangeVisitor<'b>) -> Self {
        let pending = 0..end;
        Self { pending, visit }
    }

    /// Adds a range that begins where the last one ended or behind.
    pub(in super::super) fn add(&mut self, range: Range<ByteOffset>) -> ControlFlow<()> {
        if range.start == self.pending.end {
            self.pending.end = range.end;
            return ControlFlow::Continue(());
        }
        let done = std::mem::replace(&mut self.pending, range);
        match done.is_empty() {
            true => ControlFlow::Continue(()),
            false => (self.visit)(done),
        }
    }

    /// Gives what is left.
    pub(in super::super) fn finish(&mut self) -> ControlFlow<()> {
        self.add(u64::MAX..u64::MAX)
    }
}

/// Fails unless all tables say the same of all clusters, and the root directory is used.
fn check_tables(fat: &Fat) -> Result<()> {
    let superblock = &fat.superblock;
    if superblock.mirrors.is_empty() {
        let feature = "free space of a FAT without a second table that is kept equal";
        return Err(Error::unsupported(feature));
    }
    let (reader, table) = (&fat.clusters.reader, &fat.clusters.table);
    for mirror in &superblock.mirrors {
        compare(reader, table.cluster_places(), *mirror)?;
    }
    let Root::Cluster(first) = superblock.root else {
        return Ok(());
    };
    match table.value(reader, &mut Window::default(), first)? {
        0 => Err(Error::corrupt(
            "root cluster",
            table.place(first),
            "one in use",
            0_u8,
        )),
        _ => Ok(()),
    }
}

/// Fails unless the bytes between two places are there again, `distance` behind.
fn compare(
    reader: &BlockReader,
    (start, end): (ByteOffset, ByteOffset),
    distance: u64,
) -> Result<()> {
    let mut offset = start;
    while offset < end {
        let len = end.saturating_sub(offset).min(PIECE_LEN);
        let (mut one, mut other) = (vec![0; index_of(len)], vec![0; index_of(len)]);
        reader.read_exact_at(offset, &mut one)?;
        reader.read_exact_at(offset.saturating_add(distance), &mut other)?;
        if one != other {
            let expected = "that of the other table";
            return Err(Error::corrupt("part of a FAT", offset, expected, 0_u8));
        }
        offset = offset.saturating_add(len);
    }
    Ok(())
}

/// Gives the used ranges of the image to `visit`.
pub(super) fn allocated_ranges(fat: &Fat, visit: &mut RangeVisitor<'_>) -> Result<()> {
    if let Consistency::Dirty { .. } = fat.summary.consistency {
        return Err(Error::unsupported(
            "free space of a FAT that was not unmounted",
        ));
    }
    let superblock = &fat.superblock;
    if superblock.width == Width::Bits12 {
        return Err(Error::unsupported(
            "free space of a FAT12, which does not say whether it was unmounted",
        ));
    }
    check_tables(fat)?;
    let mut ranges = Ranges::new(superblock.data_offset, visit);
    let mut flow = ControlFlow::Continue(());
    fat.clusters.table.scan(&fat.clusters.reader, &mut |used| {
        let len = fat.clusters.bytes_of(used.end.saturating_sub(used.start));
        let start = fat.clusters.offset_of(used.start);
        flow = ranges.add(start..start.saturating_add(len));
        flow
    })?;
    if flow.is_break() {
        return Ok(());
    }
    // What is behind the last cluster belongs to nobody that is known here.
    let end = fat.clusters.bytes_of(superblock.cluster_count);
    let end = superblock.data_offset.saturating_add(end);
    if ranges.add(end..superblock.len.max(end)).is_continue() {
        let _ = ranges.finish();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_entry_tells_how_it_was_left() {
        assert_eq!(state_in_table(Width::Bits12, 0), None);
        assert_eq!(state_in_table(Width::Bits16, 0xFFFF), None);
        assert!(state_in_table(Width::Bits16, 0x7FFF).is_some());
        assert!(state_in_table(Width::Bits16, 0xBFFF).is_some());
        assert_eq!(state_in_table(Width::Bits32, 0x0FFF_FFFF), None);
        assert!(state_in_table(Width::Bits32, 0x07FF_FFFF).is_some());
        assert!(state_in_table(Width::Bits32, 0x0BFF_FFFF).is_some());
    }

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut given = vec![];
        let mut visit = |range| {
            given.push(range);
            ControlFlow::Continue(())
        };
        let mut ranges = Ranges::new(10, &mut visit);
        for range in [10..20, 20..30, 40..50, 50..60, 90..100] {
            assert!(ranges.add(range).is_continue());
        }
        let _ = ranges.finish();
        assert_eq!(given, [0..30, 40..60, 90..100]);
    }
}
