//! Content of files and where it lies.

use super::Fat;
use super::clusters::{Allocation, Clusters};
use super::inode::Node;
use crate::base::{ByteLen, ByteOffset};
use crate::filesystem::{ExtentPlace, ExtentVisitor, FileExtent, Result, index_of, len_of};

/// Content of a file: what is written, and zeros up to its size.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Content {
    pub(in super::super) allocation: Allocation,
    pub(in super::super) size: ByteLen,
    /// Bytes that were written; the rest is zeros.
    pub(in super::super) written: ByteLen,
}

impl Fat {
    /// Returns the content of a regular file: all of it is written.
    pub(super) fn content(&self, node: &Node) -> Content {
        Content {
            allocation: self.allocation(node),
            size: node.size,
            written: node.size,
        }
    }
}

/// See [`crate::filesystem::FileSystem::read_at`].
pub(in super::super) fn read(
    clusters: &Clusters,
    content: &Content,
    offset: ByteOffset,
    target: &mut [u8],
) -> Result<usize> {
    let available = content.size.saturating_sub(offset).min(len_of(target));
    let Some(target) = target.get_mut(..index_of(available)) else {
        return Ok(0);
    };
    let count = target.len();
    let written = content.written.saturating_sub(offset);
    let (data, zeros) = target.split_at_mut(index_of(written).min(count));
    zeros.fill(0);
    clusters.read(content.allocation, offset, data)?;
    Ok(count)
}

/// See [`crate::filesystem::FileSystem::extents`].
pub(in super::super) fn extents(
    clusters: &Clusters,
    content: &Content,
    offset: ByteOffset,
    visit: &mut ExtentVisitor<'_>,
) -> Result<()> {
    let end = content.written.min(content.size);
    if offset >= end {
        return Ok(());
    }
    let index = clusters.index_at(offset);
    let mut walker = clusters.walk(content.allocation, index)?;
    let mut position = clusters.bytes_of(index);
    let mut pending: Option<(ByteOffset, ByteOffset, ByteLen)> = None;
    while position < end {
        let wanted = clusters.count_for(end.saturating_sub(position));
        let run = walker.next_run(u32::try_from(wanted).unwrap_or(u32::MAX));
        let run = match run {
            Ok(Some(run)) => run,
            damage => {
                // What comes before the damage is good.
                if let Some(extent) = pending {
                    let _ = visit(extent_of(extent));
                }
                return damage.and_then(|_| Err(clusters.too_short(content.allocation)));
            }
        };
        let place = clusters.offset_of(run.cluster);
        let left = end.saturating_sub(position);
        let len = clusters.bytes_of(run.count).min(left);
        pending = match pending {
            Some((start, from, had)) if from.saturating_add(had) == place => {
                Some((start, from, had.saturating_add(len)))
            }
            Some(extent) if visit(extent_of(extent)).is_break() => return Ok(()),
            _ => Some((position, place, len)),
        };
        position = position.saturating_add(len);
    }
    if let Some(extent) = pending {
        let _ = visit(extent_of(extent));
    }
    Ok(())
}

const fn extent_of((start, from, len): (ByteOffset, ByteOffset, ByteLen)) -> FileExtent {
    FileExtent {
        offset: start,
        len,
        place: ExtentPlace::Image { offset: from },
    }
}
