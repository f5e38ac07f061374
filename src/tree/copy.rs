//! `copy_file_range` into a draft: whole blocks that are in chunks are shared, the
//! rest is copied.

use crate::base::{BLOCK_LEN_BYTES, ByteLen, ByteOffset, Extent, ReadAt, block_count_for, limits};
use crate::tree::draft::Draft;
use crate::tree::files::Open;
use crate::tree::{Kind, Result, Tree};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one request that are copied through memory; the caller asks again.
const COPY_LEN_MAX: u64 = 16 << 20;
/// Bytes of one request that are shared.
const SHARE_LEN_MAX: u64 = 256 << 20;
/// Bytes in memory at a time.
const STEP_LEN: u64 = 1 << 20;

/// A range to be copied.
#[derive(Clone, Copy, Debug)]
pub struct CopyRange {
    /// Handle that is read.
    pub source: u64,
    /// Where in the source it begins.
    pub source_offset: ByteOffset,
    /// Handle that is written.
    pub target: u64,
    /// Where in the target it begins.
    pub target_offset: ByteOffset,
    /// Bytes asked for.
    pub len: ByteLen,
}

impl Tree {
    /// Copies a range into a draft and returns how many bytes of it. May wait.
    pub fn copy(&self, range: CopyRange) -> Result<ByteLen> {
        let source = self.opened(range.source)?;
        let target = self.opened(range.target)?;
        let Some((target, true)) = target.as_draft() else {
            return Err(Kind::ReadOnly.into());
        };
        let source_len = match (source.as_image(), source.as_draft()) {
            (Some(open), _) => ReadAt::len(&open.image),
            (None, Some((draft, _))) => draft.len(),
            // The kernel copies it itself then.
            (None, None) => return Err(Kind::Unsupported.into()),
        };
        let len = range
            .len
            .min(source_len.saturating_sub(range.source_offset));
        if len == 0 {
            return Ok(0);
        }
        let end = range.target_offset.checked_add(len).ok_or(Kind::TooLarge)?;
        if end > limits::IMAGE_LEN_MAX {
            return Err(Kind::TooLarge.into());
        }
        let shift_fits =
            range.source_offset % BLOCK_LEN_BYTES == range.target_offset % BLOCK_LEN_BYTES;
        let is_same = source
            .as_draft()
            .is_some_and(|(draft, _)| Arc::ptr_eq(draft, target));
        let whole = if shift_fits && !is_same {
            self.share(&source, target, &range, len, source_len)?
        } else {
            0
        };
        if whole > 0 {
            return Ok(whole);
        }
        let head = match range.target_offset % BLOCK_LEN_BYTES {
            // Up to the next whole block, from where on it can be shared.
            inside if shift_fits && inside != 0 => BLOCK_LEN_BYTES - inside,
            _ => COPY_LEN_MAX,
        };
        self.copy_bytes(target, &range, len.min(head))
    }

    fn copy_bytes(&self, target: &Draft, range: &CopyRange, len: ByteLen) -> Result<ByteLen> {
        let step = usize::try_from(len.min(STEP_LEN)).unwrap_or(0);
        let mut bytes = vec![0; step];
        let mut copied = 0;
        while copied < len {
            let want = usize::try_from((len - copied).min(STEP_LEN)).unwrap_or(0);
            let part = bytes.get_mut(..want).unwrap_or_default();
            let count = self.read(range.source, range.source_offset + copied, part, false)?;
            if count == 0 {
                break;
            }
            target.write(
                range.target_offset + copied,
                part.get(..count).unwrap_or_default(),
            )?;
            copied += count as u64;
        }
        Ok(copied)
    }

    /// Shares whole blocks from the start of the range; returns how many bytes, 0 if
    /// it does not begin with one, or if that one is not in a chunk.
    fn share(
        &self,
        source: &Open,
        target: &Draft,
        range: &CopyRange,
        len: ByteLen,
        source_len: ByteLen,
    ) -> Result<ByteLen> {
        let len = len.min(SHARE_LEN_MAX);
        if !range.source_offset.is_multiple_of(BLOCK_LEN_BYTES) {
            return Ok(0);
        }
        let source_end = range.source_offset + len;
        let target_end = range.target_offset + len;
        // The last block of the source is padded with zeros, so it may stand for the
        // last block of the target, but not for a part of one.
        let is_tail = source_end == source_len && target_end >= target.len();
        let end = if is_tail {
            source_end
        } else {
            source_end - source_end % BLOCK_LEN_BYTES
        };
        let first = range.source_offset / BLOCK_LEN_BYTES;
        let last = block_count_for(end);
        let mut next = first;
        while next < last {
            let blocks = next..last.min((next / limits::LEAF_BLOCKS + 1) * limits::LEAF_BLOCKS);
            let Some(extents) = extents_of(source, blocks.clone())? else {
                break;
            };
            let moved = |block: u64| block - first + range.target_offset / BLOCK_LEN_BYTES;
            let extents: Vec<Extent> = extents
                .into_iter()
                .map(|extent| Extent {
                    image_block: moved(extent.image_block),
                    ..extent
                })
                .collect();
            let done = (blocks.end * BLOCK_LEN_BYTES).min(end) - range.source_offset;
            let len_min = range.target_offset + done;
            target.share(moved(blocks.start)..moved(blocks.end), &extents, len_min)?;
            next = blocks.end;
        }
        Ok((next * BLOCK_LEN_BYTES)
            .min(end)
            .saturating_sub(range.source_offset))
    }
}

fn extents_of(source: &Open, blocks: Range<u64>) -> Result<Option<Vec<Extent>>> {
    match (source.as_image(), source.as_draft()) {
        (Some(open), _) => Ok(Some(open.image.extents(blocks)?)),
        (None, Some((draft, _))) => draft.extents(blocks),
        (None, None) => Ok(None),
    }
}
