//! Content of files: mappings of all kinds, reading, holes and symlinks.

use super::inode::{BLOCK_MAP_LEN, Inode, flag};
use super::{Ext, extent, indirect, xattr};
use crate::base::ByteOffset;
use crate::filesystem::{
    Error, ExtentPlace, ExtentVisitor, FileExtent, FileType, Result, index_of, len_of,
};

/// Holes and unwritten runs one behind the other in a list of extents. One block of
/// pointers may lie at many places of a crafted file, which would never end.
const EMPTY_RUN_COUNT_MAX: u32 = 1 << 22;

/// The longest target of a symlink that Linux takes.
const SYMLINK_LEN_MAX: u64 = 4096;

/// What a run of blocks of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Hole,
    /// Allocated and never written: zeros.
    Unwritten,
    /// Data from this block on.
    Data(u64),
}

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// First block in the file: the one that was asked for.
    pub(super) start: u64,
    /// Block behind the last one, above `start`.
    pub(super) end: u64,
    pub(super) content: Content,
}

impl Mapping {
    pub(super) const fn hole(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            content: Content::Hole,
        }
    }

    pub(super) const fn unwritten(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            content: Content::Unwritten,
        }
    }

    pub(super) const fn data(start: u64, end: u64, place: u64) -> Self {
        Self {
            start,
            end,
            content: Content::Data(place),
        }
    }
}

/// Returns what lies at block `block` of `inode`.
pub(super) fn map(ext: &Ext, inode: &Inode, block: u64) -> Result<Mapping> {
    let mapping = if inode.has(flag::EXTENTS) {
        extent::find(ext, inode, block)?
    } else {
        indirect::find(ext, inode, block)?
    };
    if mapping.end <= mapping.start {
        let place = inode.fields()?.offset();
        return Err(Error::corrupt(
            "file mapping",
            place,
            "at least one block",
            mapping.end,
        ));
    }
    Ok(mapping)
}

/// Returns an error if `inode` is not a regular file whose content can be shown.
pub(super) fn check_readable(inode: &Inode) -> Result<()> {
    if inode.file_type != FileType::Regular {
        return Err(Error::WrongType {
            expected: FileType::Regular,
            actual: inode.file_type,
        });
    }
    if inode.has(flag::ENCRYPT) {
        return Err(Error::unsupported("encrypted file content (fscrypt)"));
    }
    if inode.has(flag::COMPRESSED) {
        return Err(Error::unsupported("compressed ext2 file content"));
    }
    Ok(())
}

/// Fills `target` from `offset` of `inode`, whatever its type; returns the count.
pub(super) fn read(
    ext: &Ext,
    inode: &Inode,
    offset: ByteOffset,
    target: &mut [u8],
) -> Result<usize> {
    let available = inode.size.saturating_sub(offset).min(len_of(target));
    let Some(target) = target.get_mut(..index_of(available)) else {
        return Ok(0);
    };
    let count = target.len();
    if inode.has(flag::INLINE_DATA) {
        let content = inline_data(ext, inode)?;
        let from = content.get(index_of(offset)..).unwrap_or_default();
        target.fill(0);
        for (to, byte) in target.iter_mut().zip(from) {
            *to = *byte;
        }
        return Ok(count);
    }
    let block_len = u64::from(ext.superblock.block_len.get());
    let (mut offset, mut rest) = (offset, target);
    while !rest.is_empty() {
        let block = offset.checked_div(block_len).unwrap_or(0);
        let inside = offset.checked_rem(block_len).unwrap_or(0);
        let mapping = map(ext, inode, block)?;
        let run_len = mapping
            .end
            .saturating_sub(block)
            .saturating_mul(block_len)
            .saturating_sub(inside);
        let (now, later) = rest.split_at_mut(index_of(run_len).min(rest.len()));
        match mapping.content {
            Content::Hole | Content::Unwritten => now.fill(0),
            Content::Data(place) => {
                let place = ext.superblock.offset_of(place).saturating_add(inside);
                ext.reader.read_exact_at(place, now)?;
            }
        }
        offset = offset.saturating_add(len_of(now));
        rest = later;
    }
    Ok(count)
}

/// Returns all inline data of `inode`: the block map, then the `system.data` attribute.
pub(super) fn inline_data(ext: &Ext, inode: &Inode) -> Result<Vec<u8>> {
    let mut content = inode.block_map()?.bytes().to_vec();
    content.extend(xattr::inline_data(ext, inode)?);
    Ok(content)
}

/// Gives the written extents of `inode` behind `offset` to `visit`.
pub(super) fn extents(
    ext: &Ext,
    inode: &Inode,
    offset: ByteOffset,
    visit: &mut ExtentVisitor<'_>,
) -> Result<()> {
    if offset >= inode.size {
        return Ok(());
    }
    if inode.has(flag::INLINE_DATA) {
        let _ = visit(FileExtent {
            offset: 0,
            len: inode.size,
            place: ExtentPlace::Encoded,
        });
        return Ok(());
    }
    let block_len = u64::from(ext.superblock.block_len.get());
    let end = inode.size.div_ceil(block_len.max(1));
    let mut block = offset.checked_div(block_len).unwrap_or(0);
    let mut empty_count: u32 = 0;
    while block < end {
        let mapping = map(ext, inode, block)?;
        empty_count = empty_count.saturating_add(1);
        if empty_count > EMPTY_RUN_COUNT_MAX {
            return Err(Error::unsupported(
                "a file with more than 4 million holes in a row",
            ));
        }
        if let Content::Data(place) = mapping.content {
            let count = mapping.end.saturating_sub(block);
            empty_count = 0;
            if ext.give_pieces(block, place, count, visit).is_break() {
                return Ok(());
            }
        }
        block = mapping.end;
    }
    Ok(())
}

/// Returns the target of a symlink.
pub(super) fn read_link(ext: &Ext, inode: &Inode) -> Result<Vec<u8>> {
    if inode.file_type != FileType::Symlink {
        return Err(Error::WrongType {
            expected: FileType::Symlink,
            actual: inode.file_type,
        });
    }
    if inode.has(flag::ENCRYPT) {
        return Err(Error::unsupported("encrypted symlink (fscrypt)"));
    }
    let place = inode.fields()?.offset();
    if inode.size == 0 || inode.size > SYMLINK_LEN_MAX {
        return Err(Error::corrupt(
            "symlink length",
            place,
            "1 to 4,096",
            inode.size,
        ));
    }
    let mut target = vec![0; index_of(inode.size)];
    if !inode.has(flag::INLINE_DATA) && is_fast_symlink(ext, inode)? {
        if target.len() >= BLOCK_MAP_LEN {
            return Err(Error::corrupt(
                "symlink length",
                place,
                "below 60",
                inode.size,
            ));
        }
        let len = target.len();
        target.copy_from_slice(inode.block_map()?.slice(0, len)?);
    } else {
        read(ext, inode, 0, &mut target)?;
    }
    if let Some(end) = target.iter().position(|byte| *byte == 0) {
        target.truncate(end);
    }
    Ok(target)
}

/// Tells whether the target lies in the inode: it has no blocks but that of its
/// attributes.
fn is_fast_symlink(ext: &Ext, inode: &Inode) -> Result<bool> {
    if inode.has(flag::EA_INODE) || ext.superblock.has_incompat(0x400) {
        // Blocks of ea_inodes are counted too, so the length decides.
        return Ok(inode.size < len_of(&[0; BLOCK_MAP_LEN]));
    }
    let cluster_len = ext
        .superblock
        .block_len
        .get()
        .saturating_mul(ext.superblock.cluster_blocks.get());
    let xattr_blocks = match inode.xattr_block(&ext.superblock)? {
        0 => 0,
        _ => u64::from(cluster_len / 512),
    };
    Ok(inode
        .block_count_512(&ext.superblock)?
        .saturating_sub(xattr_blocks)
        == 0)
}
