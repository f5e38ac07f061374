//! How full a volume is, and which ranges of the image it uses: `$Bitmap` has a bit for
//! each cluster.
//!
//! Source: Linux-NTFS project, NTFS documentation, "$Bitmap".

use super::Ntfs;
use super::record::{kind, number};
use super::stream::Stream;
use crate::base::ByteOffset;
use crate::filesystem::{
    Consistency, Error, ExtentPlace, RangeVisitor, Result, SpaceUsage, index_of, len_of,
};
use std::ops::{ControlFlow, Range};

/// 255 units of UTF-16 take up to 3 bytes each.
const NAME_LEN_MAX: u32 = 765;

/// Bytes of a bitmap that are read at once.
const PIECE_LEN: u64 = 64 << 10;

/// Bitmaps of records up to this length are counted.
const RECORD_BITMAP_LEN_MAX: u64 = 8 << 20;

/// Takes where a piece begins, in clusters, and its bytes.
type PieceVisitor<'a> = dyn FnMut(u64, &[u8]) -> ControlFlow<()> + 'a;

impl Ntfs {
    fn bitmap(&self) -> Result<Stream> {
        let inode = self.volume.inode(number::BITMAP)?;
        let found = inode.stream(&self.volume, kind::DATA, b"")?;
        let needed = self.volume.superblock.cluster_count.div_ceil(8);
        let size = found.as_ref().map_or(0, Stream::size);
        found.filter(|_| size >= needed).ok_or_else(|| {
            let expected = "a bit for each cluster";
            Error::corrupt("bitmap", inode.record.offset, expected, size)
        })
    }

    /// Gives pieces of a bitmap of `count` bits to `visit`.
    fn scan(&self, bitmap: &Stream, count: u64, visit: &mut PieceVisitor<'_>) -> Result<()> {
        let len = count.div_ceil(8);
        let mut offset = 0;
        while offset < len {
            let piece_len = len.saturating_sub(offset).min(PIECE_LEN);
            let mut piece = vec![0; index_of(piece_len)];
            bitmap.read(&self.volume, offset, &mut piece)?;
            if visit(offset.saturating_mul(8), &piece).is_break() {
                break;
            }
            offset = offset.saturating_add(piece_len);
        }
        Ok(())
    }

    /// Counts the bits that are not set.
    fn free_bits(&self, bitmap: &Stream, count: u64) -> Result<u64> {
        let mut used: u64 = 0;
        self.scan(bitmap, count, &mut |first, piece| {
            let left = count.saturating_sub(first);
            used = used.saturating_add(set_bits(piece, left));
            ControlFlow::Continue(())
        })?;
        Ok(count.saturating_sub(used))
    }

    /// Counts the records that are free; none if the bitmap of the MFT is damaged.
    fn free_records(&self) -> Result<u64> {
        let count = self.volume.record_count();
        if count / 8 > RECORD_BITMAP_LEN_MAX {
            return Ok(0);
        }
        let found = self.volume.inode(number::MFT).and_then(|inode| {
            match inode.stream(&self.volume, kind::BITMAP, b"")? {
                Some(bitmap) => self.free_bits(&bitmap, count),
                None => Ok(0),
            }
        });
        match found {
            Err(Error::Io(error)) => Err(Error::Io(error)),
            found => Ok(found.unwrap_or(0)),
        }
    }
}

/// Counts the bits that are set among the first `count`.
fn set_bits(piece: &[u8], count: u64) -> u64 {
    let whole = index_of(count / 8).min(piece.len());
    let (full, rest) = piece.split_at(whole);
    let sum = full.iter().fold(0_u64, |sum, byte| {
        sum.saturating_add(byte.count_ones().into())
    });
    let mask = match count / 8 >= len_of(piece) {
        true => 0,
        false => 1_u8
            .wrapping_shl(u32::try_from(count % 8).unwrap_or(0))
            .wrapping_sub(1),
    };
    let last = rest.first().map_or(0, |byte| (byte & mask).count_ones());
    sum.saturating_add(last.into())
}

/// Returns what `statfs` of ntfs-3g tells.
pub(super) fn space(ntfs: &Ntfs) -> Result<SpaceUsage> {
    let superblock = &ntfs.volume.superblock;
    let (free, free_records) = match ntfs.free.get() {
        Some(free) => *free,
        None => {
            let free = ntfs.free_bits(&ntfs.bitmap()?, superblock.cluster_count)?;
            let free_records = ntfs.free_records()?;
            *ntfs.free.get_or_init(|| (free, free_records))
        }
    };
    let record_len = len_of_usize(superblock.record_len);
    let new_records = superblock
        .offset_of(free)
        .checked_div(record_len)
        .unwrap_or(0);
    Ok(SpaceUsage {
        fs_block_len: u32::try_from(superblock.cluster_len()).unwrap_or(0),
        block_count: superblock.cluster_count,
        free_block_count: free,
        available_block_count: free,
        node_count: ntfs.volume.record_count().saturating_add(new_records),
        free_node_count: free_records.saturating_add(new_records),
        name_len_max: NAME_LEN_MAX,
    })
}

fn len_of_usize(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Gives the used ranges of the image to `visit`.
pub(super) fn allocated_ranges(ntfs: &Ntfs, visit: &mut RangeVisitor<'_>) -> Result<()> {
    let is_whole = ntfs.summary.warnings.is_empty();
    if ntfs.summary.consistency != Consistency::Clean || !is_whole {
        return Err(Error::unsupported(
            "free space of an NTFS that was not unmounted or is damaged",
        ));
    }
    if has_shadow_copies(ntfs)? {
        return Err(Error::unsupported(
            "free space of an NTFS with shadow copies, which may need it",
        ));
    }
    let bitmap = ntfs.bitmap()?;
    let superblock = &ntfs.volume.superblock;
    expect_written(ntfs, &bitmap)?;
    expect_own(ntfs, &bitmap)?;
    let mut pending: Range<u64> = 0..0;
    let mut flow = ControlFlow::Continue(());
    ntfs.scan(&bitmap, superblock.cluster_count, &mut |first, piece| {
        flow = used_ranges(first, piece, superblock.cluster_count, &mut |clusters| {
            let range = superblock.offset_of(clusters.start)..superblock.offset_of(clusters.end);
            give(&mut pending, range, visit)
        });
        flow
    })?;
    if flow.is_break() {
        return Ok(());
    }
    // The copy of the boot sector, and what does not make a cluster.
    let end = superblock.offset_of(superblock.cluster_count);
    let rest = end..superblock.len.max(end);
    if give(&mut pending, rest, visit).is_continue() {
        let _ = give(&mut pending, u64::MAX..u64::MAX, visit);
    }
    Ok(())
}

/// Tells whether Windows keeps older states of the volume: blocks that are free now are
/// theirs until something is written over them.
///
/// Source: J. Metz, "Volume Shadow Snapshot (VSS) format", volume header.
fn has_shadow_copies(ntfs: &Ntfs) -> Result<bool> {
    const HEADER: ByteOffset = 0x1E00;
    const MARK: [u8; 16] = [
        0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7,
        0x52,
    ];
    let mut found = [0; MARK.len()];
    ntfs.volume.blocks.read_exact_at(HEADER, &mut found)?;
    Ok(found == MARK)
}

/// A bitmap that has not even the boot sector, the MFT, its copy and itself is damaged.
fn expect_own(ntfs: &Ntfs, bitmap: &Stream) -> Result<()> {
    let superblock = &ntfs.volume.superblock;
    let mut own = vec![0, superblock.mft_cluster, superblock.mirror_cluster];
    bitmap.extents(&ntfs.volume, 0, &mut |extent| {
        if let ExtentPlace::Image { offset } = extent.place {
            own.push(offset.checked_div(superblock.cluster_len()).unwrap_or(0));
        }
        ControlFlow::Continue(())
    })?;
    for cluster in own {
        let mut byte = [0];
        bitmap.read(&ntfs.volume, cluster / 8, &mut byte)?;
        let [byte] = byte;
        if byte >> (cluster % 8) & 1 == 0 {
            let expected = "the volume's own files in it";
            return Err(Error::corrupt(
                "bitmap",
                superblock.offset_of(cluster),
                expected,
                cluster,
            ));
        }
    }
    Ok(())
}

/// A bitmap with holes does not tell what is free.
fn expect_written(ntfs: &Ntfs, bitmap: &Stream) -> Result<()> {
    let needed = ntfs.volume.superblock.cluster_count.div_ceil(8);
    let mut end = 0;
    bitmap.extents(&ntfs.volume, 0, &mut |extent| {
        if extent.offset == end {
            end = end.saturating_add(extent.len);
        }
        ControlFlow::Continue(())
    })?;
    match end >= needed {
        true => Ok(()),
        false => Err(Error::corrupt("bitmap", 0, "no holes", end)),
    }
}

/// Gives runs of clusters whose bits are set.
fn used_ranges(
    first: u64,
    piece: &[u8],
    count: u64,
    visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut run: Range<u64> = first..first;
    for (number, byte) in (first..).step_by(8).zip(piece) {
        if *byte == 0xFF && number.saturating_add(8) <= count {
            if run.end != number {
                visit(run.clone())?;
                run = number..number;
            }
            run.end = number.saturating_add(8);
            continue;
        }
        for bit in 0..8_u32 {
            let cluster = number.saturating_add(bit.into());
            if byte.checked_shr(bit).unwrap_or(0) & 1 == 0 || cluster >= count {
                continue;
            }
            if run.end != cluster {
                visit(run.clone())?;
                run = cluster..cluster;
            }
            run.end = cluster.saturating_add(1);
        }
    }
    visit(run)
}

/// Joins ranges that touch, and gives the one before when another begins.
fn give(
    pending: &mut Range<u64>,
    range: Range<u64>,
    visit: &mut RangeVisitor<'_>,
) -> ControlFlow<()> {
    if range.is_empty() && range.start != u64::MAX {
        return ControlFlow::Continue(());
    }
    if range.start == pending.end {
        pending.end = range.end;
        return ControlFlow::Continue(());
    }
    let done = std::mem::replace(pending, range);
    match done.is_empty() {
        true => ControlFlow::Continue(()),
        false => visit(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_behind_the_last_cluster_do_not_count() {
        assert_eq!(set_bits(&[0xFF, 0x0F, 0xFF], 10), 10);
        assert_eq!(set_bits(&[0xFF, 0x0F, 0xFF], 24), 20);
        assert_eq!(set_bits(&[0xFF], 100), 8);
        assert_eq!(set_bits(&[0xFF], 0), 0);
    }

    #[test]
    fn runs_of_bits_are_joined() {
        let mut given = vec![];
        let mut pending = 0..0;
        let mut visit = |range| {
            given.push(range);
            ControlFlow::Continue(())
        };
        for (first, piece) in [(0, [0xF1, 0xFF]), (16, [0x01, 0x80]), (32, [0xFF, 0])] {
            let flow = used_ranges(first, &piece, 38, &mut |range| {
                give(&mut pending, range, &mut visit)
            });
            assert!(flow.is_continue());
        }
        let _ = give(&mut pending, 40..41, &mut visit);
        let _ = give(&mut pending, u64::MAX..u64::MAX, &mut visit);
        assert_eq!(given, [0..1, 4..17, 31..38, 40..41]);
    }
}
