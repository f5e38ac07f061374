//! Extent trees: which blocks of a file lie where.
//!
//! Source: Linux documentation, filesystems/ext4 "Extent Tree".

use super::checksum::crc32c;
use super::file::Mapping;
use super::inode::Inode;
use super::superblock::feature;
use super::{BLOCK_KIND_EXTENT, Ext};
use crate::base::Fields;
use crate::filesystem::{BlockKind, Error, Result, index_of};
use std::ops::Range;
use std::sync::Arc;

const MAGIC: u16 = 0xF30A;
const HEADER_LEN: usize = 12;
const ENTRY_LEN: usize = 12;
const HEADER_ENTRIES: usize = 2;
const HEADER_MAX: usize = 4;
const HEADER_DEPTH: usize = 6;
/// The kernel makes and takes no deeper trees.
const DEPTH_MAX: u16 = 5;
/// Lengths above this are of unwritten extents.
const WRITTEN_LEN_MAX: u16 = 32_768;

struct Node<'a> {
    fields: Fields<'a>,
    entry_count: usize,
    depth: u16,
}

impl<'a> Node<'a> {
    fn new(fields: Fields<'a>) -> Result<Self> {
        let bad = |position, expected, actual: u16| {
            Err(Error::corrupt(
                "extent header",
                fields.place(position),
                expected,
                actual,
            ))
        };
        let magic = fields.le_u16(0)?;
        if magic != MAGIC {
            return bad(0, "magic 0xf30a", magic);
        }
        let (entries, max) = (fields.le_u16(HEADER_ENTRIES)?, fields.le_u16(HEADER_MAX)?);
        let end = usize::from(max)
            .saturating_mul(ENTRY_LEN)
            .saturating_add(HEADER_LEN);
        if entries > max || end > fields.bytes().len() {
            return bad(HEADER_ENTRIES, "entries inside the node", entries);
        }
        let depth = fields.le_u16(HEADER_DEPTH)?;
        if depth > DEPTH_MAX || (depth > 0 && entries == 0) {
            return bad(HEADER_DEPTH, "at most 5 levels, none empty", depth);
        }
        Ok(Self {
            fields,
            entry_count: entries.into(),
            depth,
        })
    }

    fn entry(&self, index: usize) -> Result<Fields<'a>> {
        let position = index.saturating_mul(ENTRY_LEN).saturating_add(HEADER_LEN);
        Ok(self.fields.part(position, ENTRY_LEN)?)
    }

    fn first_block_of(&self, index: usize) -> Result<u64> {
        Ok(self.entry(index)?.le_u32(0)?.into())
    }

    /// Returns the last entry that does not begin behind `block`, and where the next
    /// one begins.
    fn search(&self, block: u64, range: &Range<u64>) -> Result<(Option<usize>, u64)> {
        let (mut low, mut high) = (0, self.entry_count);
        while low < high {
            let middle = low.midpoint(high);
            if self.first_block_of(middle)? <= block {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let next = if low < self.entry_count {
            self.first_block_of(low)?
        } else {
            range.end
        };
        // Entries out of order would show the same content twice.
        if next <= block || next > range.end {
            let place = self.fields.offset();
            return Err(Error::corrupt(
                "extent order",
                place,
                "rising inside the parent",
                next,
            ));
        }
        Ok((low.checked_sub(1), next))
    }
}

/// Returns what lies at block `block` of the file and how far that goes.
pub(super) fn find(ext: &Ext, inode: &Inode, block: u64) -> Result<Mapping> {
    let mut bytes: Arc<[u8]>;
    let mut node = Node::new(inode.block_map()?)?;
    let mut range = 0..u64::from(u32::MAX).saturating_add(1);
    if block >= range.end {
        return Err(Error::corrupt(
            "file block",
            node.fields.offset(),
            "below 2^32",
            block,
        ));
    }
    // Each step down has a smaller depth, so at most five steps are made.
    loop {
        let (index, next) = node.search(block, &range)?;
        let Some(index) = index else {
            return Ok(Mapping::hole(block, next));
        };
        let entry = node.entry(index)?;
        let first = u64::from(entry.le_u32(0)?);
        if first < range.start {
            let place = entry.offset();
            return Err(Error::corrupt(
                "extent order",
                place,
                "rising inside the parent",
                first,
            ));
        }
        if node.depth == 0 {
            return leaf(ext, &entry, first, block, next);
        }
        let child = u64::from(entry.le_u32(4)?) | u64::from(entry.le_u16(8)?) << 32;
        let depth = node.depth;
        bytes = read_node(ext, inode, child)?;
        node = Node::new(Fields::new(&bytes, ext.superblock.offset_of(child)))?;
        if node.depth.checked_add(1) != Some(depth) {
            let place = node.fields.offset();
            return Err(Error::corrupt(
                "extent depth",
                place,
                "one below its parent",
                node.depth,
            ));
        }
        range = first..next;
    }
}

fn leaf(ext: &Ext, entry: &Fields<'_>, first: u64, block: u64, next: u64) -> Result<Mapping> {
    let raw_len = entry.le_u16(4)?;
    let is_written = raw_len <= WRITTEN_LEN_MAX;
    let len = if is_written {
        raw_len
    } else {
        raw_len.saturating_sub(WRITTEN_LEN_MAX)
    };
    let end = first.saturating_add(len.into());
    if len == 0 || end > next {
        let expected = "an end before the next extent";
        return Err(Error::corrupt(
            "extent length",
            entry.offset(),
            expected,
            raw_len,
        ));
    }
    if block >= end {
        return Ok(Mapping::hole(block, next));
    }
    let start = u64::from(entry.le_u32(8)?) | u64::from(entry.le_u16(6)?) << 32;
    if !ext.superblock.contains(start, len.into()) {
        let expected = "blocks inside the file system";
        return Err(Error::corrupt("extent", entry.offset(), expected, start));
    }
    if !is_written {
        return Ok(Mapping::unwritten(block, end));
    }
    let place = start.saturating_add(block.saturating_sub(first));
    Ok(Mapping::data(block, end, place))
}

fn read_node(ext: &Ext, inode: &Inode, block: u64) -> Result<Arc<[u8]>> {
    let superblock = &ext.superblock;
    let offset = superblock.offset_of(block);
    if !superblock.contains(block, 1) {
        let expected = "a block inside the file system";
        return Err(Error::corrupt("extent node", offset, expected, block));
    }
    let kind = BlockKind(BLOCK_KIND_EXTENT ^ inode.checksum_seed);
    ext.reader
        .checked_block(offset, superblock.block_size(), kind, |bytes| {
            if !superblock.has(feature::METADATA_CSUM) {
                return Ok(());
            }
            let fields = Fields::new(bytes, offset);
            let max = index_of(fields.le_u16(HEADER_MAX)?);
            let tail = max.saturating_mul(ENTRY_LEN).saturating_add(HEADER_LEN);
            let stored = fields.le_u32(tail)?;
            if crc32c(inode.checksum_seed, fields.slice(0, tail)?) != stored {
                let place = fields.place(tail);
                return Err(Error::corrupt(
                    "extent checksum",
                    place,
                    "that of its bytes",
                    stored,
                ));
            }
            Ok(())
        })
}
