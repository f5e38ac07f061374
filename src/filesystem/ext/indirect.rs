//! Block maps of ext2 and ext3: direct, indirect, double and triple indirect blocks.
//!
//! Source: Linux documentation, filesystems/ext4 "Direct/Indirect Block Addressing".

use super::Ext;
use super::file::Mapping;
use super::inode::Inode;
use crate::base::Fields;
use crate::filesystem::{Error, Result, index_of};
use std::sync::Arc;

const DIRECT_COUNT: u64 = 12;
const POINTER_LEN: u64 = 4;
const LEVEL_COUNT: u32 = 3;

/// Returns what lies at block `block` of the file and how far that goes.
pub(super) fn find(ext: &Ext, inode: &Inode, block: u64) -> Result<Mapping> {
    let map = inode.block_map()?;
    if block < DIRECT_COUNT {
        return run(ext, &map, block, DIRECT_COUNT, block);
    }
    let per_block = u64::from(ext.superblock.block_len.get()) / POINTER_LEN;
    let mut first = DIRECT_COUNT;
    let mut span = per_block;
    for level in 0..LEVEL_COUNT {
        let end = first.saturating_add(span);
        if block < end {
            let slot = DIRECT_COUNT.saturating_add(level.into());
            let top = map.le_u32(index_of(slot.saturating_mul(POINTER_LEN)))?;
            return descend(ext, top, block, first..end, span, per_block);
        }
        first = end;
        span = span.saturating_mul(per_block);
    }
    Err(Error::corrupt(
        "file block",
        map.offset(),
        "below the triple indirect end",
        block,
    ))
}

/// Goes down from the block `pointer`, whose pointers cover `range`.
fn descend(
    ext: &Ext,
    pointer: u32,
    block: u64,
    range: std::ops::Range<u64>,
    span: u64,
    per_block: u64,
) -> Result<Mapping> {
    let (mut pointer, mut range, mut span) = (pointer, range, span);
    let mut bytes: Arc<[u8]>;
    // The span shrinks with each step, so at most three are made.
    loop {
        if pointer == 0 {
            return Ok(Mapping::hole(block, range.end));
        }
        let offset = ext.superblock.offset_of(pointer.into());
        if !ext.superblock.contains(pointer.into(), 1) {
            let expected = "a block inside the file system";
            return Err(Error::corrupt("indirect block", offset, expected, pointer));
        }
        bytes = ext.reader.block(offset, ext.superblock.block_size())?;
        let fields = Fields::new(&bytes, offset);
        let inside = block.saturating_sub(range.start);
        span = span.checked_div(per_block).unwrap_or(0);
        if span <= 1 {
            return run(ext, &fields, inside, per_block, block);
        }
        let index = inside.checked_div(span).unwrap_or(0);
        pointer = fields.le_u32(index_of(index.saturating_mul(POINTER_LEN)))?;
        let start = range.start.saturating_add(index.saturating_mul(span));
        range = start..start.saturating_add(span);
    }
}

/// Returns the run of pointers from `index` on that go on or are all zero.
fn run(ext: &Ext, fields: &Fields<'_>, index: u64, count: u64, block: u64) -> Result<Mapping> {
    let pointer_at = |index: u64| fields.le_u32(index_of(index.saturating_mul(POINTER_LEN)));
    let first = pointer_at(index)?;
    let mut len: u64 = 1;
    while index.saturating_add(len) < count {
        let expected = if first == 0 {
            0
        } else {
            u64::from(first).saturating_add(len)
        };
        if u64::from(pointer_at(index.saturating_add(len))?) != expected {
            break;
        }
        len = len.saturating_add(1);
    }
    let end = block.saturating_add(len);
    if first == 0 {
        return Ok(Mapping::hole(block, end));
    }
    if !ext.superblock.contains(first.into(), len) {
        let expected = "blocks inside the file system";
        return Err(Error::corrupt(
            "block pointer",
            fields.offset(),
            expected,
            first,
        ));
    }
    Ok(Mapping::data(block, end, first.into()))
}
