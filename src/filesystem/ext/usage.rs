//! How full the file system is, and which ranges of the image it uses.

use super::Ext;
use super::checksum::crc32c;
use super::group::{Group, inode_table_blocks};
use super::superblock::feature;
use crate::base::Fields;
use crate::filesystem::{Consistency, Error, RangeVisitor, Result, SpaceUsage};
use std::ops::Range;
use std::sync::Arc;

const NAME_LEN_MAX: u32 = 255;
/// Ranges of metadata in memory: 8 MiB of them. Joined, even 64 TiB have fewer.
const RANGE_COUNT_MAX: usize = 1 << 19;
/// Clusters that the kernel keeps for itself at most.
const KERNEL_RESERVE_MAX: u64 = 4096;

/// Returns the blocks of superblock copy, descriptors and their growth in `group`.
fn base_blocks(ext: &Ext, group: u32) -> u64 {
    let superblock = &ext.superblock;
    let per_block = superblock.descriptors_per_block();
    let descriptor_blocks = superblock.group_count().div_ceil(per_block.max(1));
    let meta_group = group.checked_div(per_block).unwrap_or(0);
    let has_superblock = superblock.has_superblock(group);
    if superblock.has_incompat(feature::META_BG) && meta_group >= superblock.first_meta_bg {
        let inside = group.checked_rem(per_block).unwrap_or(0);
        let has_descriptors = inside <= 1 || inside == per_block.saturating_sub(1);
        return u64::from(has_superblock).saturating_add(has_descriptors.into());
    }
    if !has_superblock {
        return 0;
    }
    let count = if superblock.has_incompat(feature::META_BG) {
        superblock.first_meta_bg
    } else {
        descriptor_blocks.saturating_add(superblock.reserved_gdt_blocks.into())
    };
    u64::from(count).saturating_add(1)
}

/// Returns what `statfs` of the kernel tells.
pub(super) fn space(ext: &Ext) -> Result<SpaceUsage> {
    let superblock = &ext.superblock;
    let (mut free_clusters, mut free_nodes, mut overhead) = (0_u64, 0_u64, 0_u64);
    let table_blocks = inode_table_blocks(superblock);
    for number in 0..superblock.group_count() {
        let group = ext.group(number)?;
        free_clusters = free_clusters.saturating_add(group.free_clusters.into());
        free_nodes = free_nodes.saturating_add(group.free_inodes.into());
        let tables = table_blocks
            .saturating_add(2)
            .saturating_add(base_blocks(ext, number));
        overhead = overhead.saturating_add(tables);
    }
    let cluster_blocks = u64::from(superblock.cluster_blocks.get());
    if superblock.overhead_clusters != 0 {
        overhead = u64::from(superblock.overhead_clusters).saturating_mul(cluster_blocks);
    }
    let free = free_clusters.saturating_mul(cluster_blocks);
    let clusters = superblock
        .block_count
        .checked_div(cluster_blocks)
        .unwrap_or(0);
    // The kernel keeps some for turning unwritten extents into written ones.
    let kernel_reserve = if superblock.has_incompat(feature::EXTENTS) {
        (clusters / 50)
            .min(KERNEL_RESERVE_MAX)
            .saturating_mul(cluster_blocks)
    } else {
        0
    };
    let reserved = superblock
        .reserved_block_count
        .saturating_add(kernel_reserve);
    Ok(SpaceUsage {
        fs_block_len: superblock.block_len.get(),
        block_count: superblock.block_count.saturating_sub(overhead),
        free_block_count: free,
        available_block_count: free.saturating_sub(reserved),
        node_count: superblock.inode_count.into(),
        free_node_count: free_nodes,
        name_len_max: NAME_LEN_MAX,
    })
}

/// Joins ranges of blocks and gives them to a visitor as bytes.
struct Ranges<'a, 'b> {
    ext: &'a Ext,
    pending: Range<u64>,
    visit: &'a mut RangeVisitor<'b>,
}

impl Ranges<'_, '_> {
    /// Adds a range that begins where the last one ended or behind; tells whether to
    /// go on.
    fn add(&mut self, blocks: Range<u64>) -> bool {
        if blocks.start <= self.pending.end {
            self.pending.end = self.pending.end.max(blocks.end);
            return true;
        }
        let go_on = self.flush();
        self.pending = blocks;
        go_on
    }

    fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        let superblock = &self.ext.superblock;
        let bytes =
            superblock.offset_of(self.pending.start)..superblock.offset_of(self.pending.end);
        (self.visit)(bytes).is_continue()
    }
}

/// Gives the used ranges of the image to `visit`.
pub(super) fn allocated_ranges(ext: &Ext, visit: &mut RangeVisitor<'_>) -> Result<()> {
    if matches!(ext.summary.consistency, Consistency::Dirty { .. }) || !ext.is_settled {
        return Err(Error::unsupported(
            "free space of a file system that was not unmounted",
        ));
    }
    let superblock = &ext.superblock;
    if superblock.has_errors {
        let feature = "free space of a file system that has seen errors";
        return Err(Error::unsupported(feature));
    }
    let unknown_compat = superblock.compat & !feature::COMPAT_KNOWN;
    let unknown_ro_compat = superblock.ro_compat & !feature::RO_COMPAT_KNOWN;
    if unknown_compat != 0 || unknown_ro_compat != 0 {
        let feature = "free space of a file system with unknown features";
        return Err(Error::unsupported(feature));
    }
    let metadata = metadata_ranges(ext)?;
    let boot_end = u64::from(superblock.first_data_block).saturating_add(1);
    let mut ranges = Ranges {
        ext,
        pending: 0..boot_end,
        visit,
    };
    for number in 0..superblock.group_count() {
        let group = ext.group(number)?;
        let first = superblock.first_block_of(number);
        let end = superblock
            .first_block_of(number.saturating_add(1))
            .min(superblock.block_count);
        let behind = metadata.partition_point(|range| range.end <= first);
        let tables = metadata
            .iter()
            .skip(behind)
            .take_while(|range| range.start < end);
        let mut tables = tables.map(|range| range.start.max(first)..range.end.min(end));
        let go_on = if group.is_block_uninit {
            let base_end = first.saturating_add(base_blocks(ext, number)).min(end);
            let mut all = std::iter::once(first..base_end).chain(tables);
            all.all(|range| range.is_empty() || ranges.add(range))
        } else {
            let bitmap = read_bitmap(ext, &group)?;
            let copy = u64::from(superblock.has_superblock(number));
            let own = first..first.saturating_add(copy);
            if !is_used(ext, &bitmap, first, &own)
                || !tables.all(|range| is_used(ext, &bitmap, first, &range))
            {
                let place = superblock.offset_of(group.block_bitmap);
                let expected = "the blocks of bitmaps and tables in it";
                return Err(Error::corrupt("block bitmap", place, expected, number));
            }
            add_bitmap(ext, &group, &bitmap, first..end, &mut ranges)?
        };
        if !go_on {
            return Ok(());
        }
    }
    ranges.flush();
    Ok(())
}

/// Returns where bitmaps and tables of all groups lie, joined and rising: a group without
/// a bitmap may hold some of them, and a bitmap without them is damaged.
fn metadata_ranges(ext: &Ext) -> Result<Vec<Range<u64>>> {
    let table_blocks = inode_table_blocks(&ext.superblock);
    let mut found: Vec<Range<u64>> = vec![];
    for number in 0..ext.superblock.group_count() {
        let group = ext.group(number)?;
        for (block, count) in [
            (group.block_bitmap, 1),
            (group.inode_bitmap, 1),
            (group.inode_table, table_blocks),
        ] {
            found.push(block..block.saturating_add(count));
        }
        if found.len() > RANGE_COUNT_MAX {
            join(&mut found);
            if found.len() > RANGE_COUNT_MAX / 2 {
                return Err(Error::unsupported("metadata in more than 262,144 places"));
            }
        }
    }
    join(&mut found);
    Ok(found)
}

/// Sorts ranges and makes one of those that touch.
fn join(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let is_joined = next.start <= last.end;
        if is_joined {
            last.end = last.end.max(next.end);
        }
        is_joined
    });
}

/// Returns the block bitmap of a group.
fn read_bitmap(ext: &Ext, group: &Group) -> Result<Arc<[u8]>> {
    let superblock = &ext.superblock;
    let offset = superblock.offset_of(group.block_bitmap);
    let bitmap = ext.reader.block(offset, superblock.block_size())?;
    if superblock.has(feature::METADATA_CSUM) {
        let len = superblock.blocks_per_group.get() / superblock.cluster_blocks / 8;
        let bytes = Fields::new(&bitmap, offset).slice(0, crate::filesystem::index_of(len))?;
        let mut computed = crc32c(superblock.checksum_seed, bytes);
        if superblock.descriptor_len < 64 {
            computed &= 0xFFFF;
        }
        if computed != group.block_bitmap_checksum {
            let expected = "the checksum of its group";
            return Err(Error::corrupt("block bitmap", offset, expected, computed));
        }
    }
    Ok(bitmap)
}

/// Tells whether all blocks of a range are used, by the bitmap of a group from `first` on.
fn is_used(ext: &Ext, bitmap: &[u8], first: u64, blocks: &Range<u64>) -> bool {
    let cluster_blocks = u64::from(ext.superblock.cluster_blocks.get()).max(1);
    let cluster = |block: u64| block.saturating_sub(first).checked_div(cluster_blocks);
    let (start, last) = (cluster(blocks.start), cluster(blocks.end.saturating_sub(1)));
    let (Some(start), Some(last)) = (start, last) else {
        return false;
    };
    blocks.is_empty()
        || (start..=last).all(|number| {
            let byte = bitmap.get(crate::filesystem::index_of(number / 8));
            byte.is_some_and(|byte| byte >> (number % 8) & 1 == 1)
        })
}

fn add_bitmap(
    ext: &Ext,
    group: &Group,
    bitmap: &[u8],
    blocks: Range<u64>,
    ranges: &mut Ranges<'_, '_>,
) -> Result<bool> {
    let cluster_blocks = u64::from(ext.superblock.cluster_blocks.get());
    let mut first = blocks.start;
    let mut free = 0_u64;
    let bits = bitmap
        .iter()
        .flat_map(|byte| (0..8_u8).map(move |bit| byte >> bit & 1));
    for bit in bits {
        if first >= blocks.end {
            break;
        }
        let end = first.saturating_add(cluster_blocks).min(blocks.end);
        free = free.saturating_add(u64::from(bit == 0));
        if bit == 1 && !ranges.add(first..end) {
            return Ok(false);
        }
        first = end;
    }
    if free != u64::from(group.free_clusters) {
        let place = ext.superblock.offset_of(group.block_bitmap);
        let expected = "as many free blocks as its group says";
        return Err(Error::corrupt("block bitmap", place, expected, free));
    }
    Ok(true)
}
