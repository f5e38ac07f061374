//! How full a volume is, and which ranges of the image it uses: the allocation bitmap.
//!
//! Source: exFAT file system specification, section 7.1.

use super::ExFat;
use crate::filesystem::fat::table::FIRST_CLUSTER;
use crate::filesystem::fat::usage::{NAME_LEN_MAX, Ranges};
use crate::filesystem::{Consistency, Error, RangeVisitor, Result, SpaceUsage, index_of};
use std::ops::ControlFlow;

/// Bitmaps up to this length are counted, which is 64 TiB in the clusters that Windows
/// makes; above, the percentage that is stored is taken. Linux never changes that one.
const COUNTED_LEN_MAX: u64 = 64 << 20;

/// Bytes of the bitmap that are read at once.
const PIECE_LEN: u64 = 64 << 10;

/// Returns what `statfs` of the kernel tells.
pub(super) fn space(exfat: &ExFat) -> Result<SpaceUsage> {
    let count = exfat.superblock.cluster_count;
    let free = match exfat.free_clusters.get() {
        Some(free) => *free,
        None => {
            let free = free_clusters(exfat)?;
            *exfat.free_clusters.get_or_init(|| free)
        }
    };
    Ok(SpaceUsage {
        fs_block_len: u32::try_from(exfat.clusters.cluster_len()).unwrap_or(0),
        block_count: count.into(),
        free_block_count: free.into(),
        available_block_count: free.into(),
        node_count: 0,
        free_node_count: 0,
        name_len_max: NAME_LEN_MAX,
    })
}

fn free_clusters(exfat: &ExFat) -> Result<u32> {
    let count = exfat.superblock.cluster_count;
    let percent = u64::from(exfat.superblock.percent_in_use);
    if u64::from(count) / 8 > COUNTED_LEN_MAX && percent <= 100 {
        let used = u64::from(count).saturating_mul(percent) / 100;
        return Ok(count.saturating_sub(u32::try_from(used).unwrap_or(count)));
    }
    let mut used: u32 = 0;
    read_bitmap(exfat, &mut |piece| {
        for byte in piece {
            used = used.saturating_add(byte.count_ones());
        }
        ControlFlow::Continue(())
    })?;
    Ok(count.saturating_sub(used))
}

/// Gives every cluster, and whether it is in use, to `visit`.
fn scan(exfat: &ExFat, visit: &mut dyn FnMut(u32, bool) -> ControlFlow<()>) -> Result<()> {
    let count = exfat.superblock.cluster_count;
    let mut index: u32 = 0;
    read_bitmap(exfat, &mut |piece| {
        for byte in piece {
            for bit in 0..8_u8 {
                let cluster = index.saturating_add(FIRST_CLUSTER);
                if index < count {
                    visit(cluster, byte >> bit & 1 == 1)?;
                }
                index = index.saturating_add(1);
            }
        }
        ControlFlow::Continue(())
    })
}

/// Gives the bitmap to `visit` in pieces, without bits of clusters that there are not.
fn read_bitmap(exfat: &ExFat, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
    let count = exfat.superblock.cluster_count;
    let len = u64::from(count).div_ceil(8);
    let bitmap = exfat.system.bitmap.filter(|bitmap| bitmap.len >= len);
    let Some(bitmap) = bitmap else {
        let found = exfat.system.bitmap.map_or(0, |bitmap| bitmap.len);
        let expected = "a bit for each cluster";
        return Err(Error::corrupt("allocation bitmap", 0, expected, found));
    };
    let mut position = 0;
    while position < len {
        let mut piece = vec![0; index_of(PIECE_LEN.min(len.saturating_sub(position)))];
        exfat
            .clusters
            .read(bitmap.allocation, position, &mut piece)?;
        position = position.saturating_add(PIECE_LEN);
        if position >= len
            && let Some(last) = piece.last_mut()
            && !count.is_multiple_of(8)
        {
            *last &= 1_u8.wrapping_shl(count & 7).wrapping_sub(1);
        }
        if visit(&piece).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Gives the used ranges of the image to `visit`.
pub(super) fn allocated_ranges(exfat: &ExFat, visit: &mut RangeVisitor<'_>) -> Result<()> {
    if let Consistency::Dirty { .. } = exfat.summary.consistency {
        return Err(Error::unsupported(
            "free space of an exFAT that was not unmounted",
        ));
    }
    let superblock = &exfat.superblock;
    let mut ranges = Ranges::new(superblock.heap_offset, visit);
    let mut flow = ControlFlow::Continue(());
    // A bitmap without itself and the root directory is damaged.
    let bitmap = exfat
        .system
        .bitmap
        .map_or(0, |bitmap| bitmap.allocation.first);
    let mut is_damaged = false;
    scan(exfat, &mut |cluster, is_used| {
        is_damaged |= !is_used && (cluster == bitmap || cluster == superblock.root_cluster);
        if is_used {
            let start = exfat.clusters.offset_of(cluster);
            let end = start.saturating_add(exfat.clusters.cluster_len());
            flow = ranges.add(start..end);
        }
        flow
    })?;
    if flow.is_break() {
        return Ok(());
    }
    if is_damaged {
        let expected = "itself and the root directory in it";
        return Err(Error::corrupt("allocation bitmap", 0, expected, bitmap));
    }
    // What is behind the last cluster belongs to nobody that is known here.
    let end = exfat.clusters.bytes_of(superblock.cluster_count);
    let end = superblock.heap_offset.saturating_add(end);
    if ranges.add(end..superblock.len.max(end)).is_continue() {
        let _ = ranges.finish();
    }
    Ok(())
}
