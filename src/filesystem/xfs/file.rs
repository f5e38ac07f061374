//! The content of files and the targets of symlinks.

use super::checksum::CheckLayout;
use super::inode::{Format, Inode};
use super::volume::{Volume, expect, to_usize};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, ExtentPlace, ExtentVisitor, FileExtent, FileType, Result};
use std::ops::ControlFlow;

/// The longest target that the kernel makes (`XFS_SYMLINK_MAXLEN` is 1,024; Linux
/// itself takes 4,095).
const TARGET_LEN_MAX: u64 = 4095;

/// `XSLM`.
const SYMLINK_MAGIC: u64 = 0x5853_4C4D;

/// Bytes of `xfs_dsymlink_hdr`.
const SYMLINK_HEADER_LEN: usize = 56;

impl Volume {
    fn regular(&self, node: u64) -> Result<Inode> {
        let inode = self.inode_of_type(node, FileType::Regular)?;
        if inode.is_realtime {
            return Err(Error::unsupported("a file on the realtime device"));
        }
        Ok(inode)
    }

    /// See [`crate::filesystem::FileSystem::read_at`].
    pub(super) fn read_at(
        &self,
        node: u64,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let inode = self.regular(node)?;
        let left = inode.metadata.size.saturating_sub(offset);
        let len = to_usize(left).min(target.len());
        let target = target.get_mut(..len).unwrap_or_default();
        target.fill(0);
        let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        self.written_extents(&inode, offset, &mut |extent, place| {
            if extent.offset >= end {
                return Ok(ControlFlow::Break(()));
            }
            let from = extent.offset.max(offset);
            let to = extent.offset.saturating_add(extent.len).min(end);
            let start = to_usize(from.saturating_sub(offset));
            let stop = to_usize(to.saturating_sub(offset));
            let part = target.get_mut(start..stop).unwrap_or_default();
            let skipped = from.saturating_sub(extent.offset);
            self.blocks
                .read_exact_at(place.saturating_add(skipped), part)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(len)
    }

    /// See [`crate::filesystem::FileSystem::extents`].
    pub(super) fn file_extents(
        &self,
        node: u64,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        let inode = self.regular(node)?;
        let size = inode.metadata.size;
        self.written_extents(&inode, offset, &mut |extent, _| {
            if extent.offset >= size {
                return Ok(ControlFlow::Break(()));
            }
            Ok(visit(extent))
        })
    }

    /// Gives the written extents that end behind `offset`, and where they lie.
    fn written_extents(
        &self,
        inode: &Inode,
        offset: ByteOffset,
        visit: &mut dyn FnMut(FileExtent, ByteOffset) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let block_log = self.superblock.block_log;
        let first = offset.checked_shr(block_log).unwrap_or(0);
        self.extents(&inode.data, inode.number, first, &mut |extent| {
            if extent.is_unwritten {
                return Ok(ControlFlow::Continue(()));
            }
            let place = self.superblock.block_offset(extent.fs_block)?;
            // 54 bits of blocks of at most 2^16 bytes may be too long for 64 bits.
            let Some(start) = extent.file_block.checked_mul(self.superblock.block_len()) else {
                return Ok(ControlFlow::Break(()));
            };
            let len = extent.count.saturating_mul(self.superblock.block_len());
            let is_replayed = self
                .overlay
                .as_ref()
                .is_some_and(|overlay| overlay.touches(place, len));
            let extent = FileExtent {
                offset: start,
                len,
                place: match is_replayed {
                    true => ExtentPlace::Encoded,
                    false => ExtentPlace::Image { offset: place },
                },
            };
            visit(extent, place)
        })
    }

    /// See [`crate::filesystem::FileSystem::read_link`].
    pub(super) fn read_link(&self, node: u64) -> Result<Vec<u8>> {
        let inode = self.inode_of_type(node, FileType::Symlink)?;
        let size = inode.metadata.size;
        let area = inode.data.area.fields();
        if size == 0 || size > TARGET_LEN_MAX {
            let expected = "1 to 4095 bytes of target";
            return Err(Error::corrupt("di_size", area.offset(), expected, size));
        }
        if inode.data.format == Format::Local {
            return Ok(area.slice(0, to_usize(size))?.to_vec());
        }
        self.remote_target(&inode, to_usize(size))
    }

    /// Reads a target from blocks; each extent has one header in version 5.
    fn remote_target(&self, inode: &Inode, len: usize) -> Result<Vec<u8>> {
        let mut target = Vec::with_capacity(len);
        let is_v5 = self.superblock.features.is_v5();
        self.extents(&inode.data, inode.number, 0, &mut |extent| {
            let place = self.superblock.block_offset(extent.fs_block)?;
            let extent_len = extent.count.saturating_mul(self.superblock.block_len());
            if extent_len > 1 << 17 {
                let expected = "an extent of a target";
                return Err(Error::corrupt(
                    "symlink extent",
                    place,
                    expected,
                    extent_len,
                ));
            }
            let extent_len = to_usize(extent_len);
            let layout = &CheckLayout::SYMLINK;
            let block = self.block(place, extent_len, layout, inode.number)?;
            let fields = Fields::new(&block, place);
            let left = len.saturating_sub(target.len());
            let part = if is_v5 {
                expect(&fields, 0, "sl_magic", SYMLINK_MAGIC, fields.be_u32(0)?)?;
                let have = u64::try_from(target.len()).unwrap_or(u64::MAX);
                expect(&fields, 4, "sl_offset", have, fields.be_u32(4)?)?;
                let stored = to_usize(u64::from(fields.be_u32(8)?));
                fields.slice(SYMLINK_HEADER_LEN, stored.min(left))?
            } else {
                fields.slice(0, left.min(extent_len))?
            };
            target.extend_from_slice(part);
            Ok(match target.len() < len && !part.is_empty() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        if target.len() == len {
            return Ok(target);
        }
        let place = inode.data.area.fields().offset();
        let found = u64::try_from(target.len()).unwrap_or(u64::MAX);
        Err(Error::corrupt(
            "symlink target",
            place,
            "di_size bytes",
            found,
        ))
    }
}
