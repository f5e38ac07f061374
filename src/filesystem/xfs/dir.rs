//! Directories in all forms: inside the inode, one block, and data blocks with leaves.
//! Listing reads the data blocks in order; the leaves are for look-ups alone.

use super::checksum::CheckLayout;
use super::dir_entry::{DataEntries, ShortEntries, StoredEntry};
use super::inode::{Format, Inode};
use super::volume::{Volume, to_usize};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::damage::Damage;
use crate::filesystem::{DirCursor, DirEntry, DirVisitor, Error, FileType, Name, NodeId, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Where the leaves of a directory begin, in bytes of the directory.
pub(super) const LEAF_OFFSET: ByteOffset = 1 << 35;

/// Magic numbers of blocks of entries, of version 4 and 5.
///
/// Source: `xfs_da_format.h`.
pub(super) const BLOCK_MAGICS: [u32; 2] = [0x5844_3242, 0x5844_4233];
pub(super) const DATA_MAGICS: [u32; 2] = [0x5844_3244, 0x5844_4433];

/// A block of a directory and its place in it.
pub(super) struct DirBlock {
    pub(super) bytes: Arc<[u8]>,
    /// Where its first byte lies in the image.
    pub(super) place: ByteOffset,
}

impl DirBlock {
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, self.place)
    }
}

impl Volume {
    /// Returns the block of a directory that begins at `offset` of it, or `None` for
    /// a hole.
    ///
    /// # Errors
    ///
    /// Corrupt if it is damaged.
    pub(super) fn dir_block(
        &self,
        inode: &Inode,
        offset: u64,
        layout: &CheckLayout,
    ) -> Result<Option<DirBlock>> {
        let block_log = self.superblock.block_log;
        let file_block = offset.checked_shr(block_log).unwrap_or(0);
        let count = self
            .superblock
            .dir_block_len()
            .checked_shr(block_log)
            .unwrap_or(1);
        let Some(extent) = self.extent_at(&inode.data, inode.number, file_block)? else {
            return Ok(None);
        };
        let len = to_usize(self.superblock.dir_block_len());
        let skipped = file_block.saturating_sub(extent.file_block);
        let fs_block = extent.fs_block.saturating_add(skipped);
        let place = self.superblock.block_offset(fs_block)?;
        if extent.end() >= file_block.saturating_add(count) {
            let bytes = self.block(place, len, layout, inode.number)?;
            return Ok(Some(DirBlock { bytes, place }));
        }
        let bytes = self.scattered_block(inode, file_block, count)?;
        self.check_scattered(&bytes, place, layout, inode.number)?;
        Ok(Some(DirBlock { bytes, place }))
    }

    /// Puts a block of a directory together from blocks that lie apart.
    fn scattered_block(&self, inode: &Inode, first: u64, count: u64) -> Result<Arc<[u8]>> {
        let mut bytes = Vec::with_capacity(to_usize(self.superblock.dir_block_len()));
        let end = first.saturating_add(count);
        let mut next = first;
        while next < end {
            let extent = self.extent_at(&inode.data, inode.number, next)?;
            let Some(extent) = extent else {
                let place = inode.data.area.fields().offset();
                return Err(Error::corrupt(
                    "directory block",
                    place,
                    "no hole inside",
                    next,
                ));
            };
            let skipped = next.saturating_sub(extent.file_block);
            let fs_block = extent.fs_block.saturating_add(skipped);
            let place = self.superblock.block_offset(fs_block)?;
            bytes.extend_from_slice(&self.blocks.block(place, self.block_len())?);
            next = next.saturating_add(1);
        }
        Ok(bytes.into())
    }

    fn check_scattered(
        &self,
        bytes: &[u8],
        place: ByteOffset,
        layout: &CheckLayout,
        owner: u64,
    ) -> Result<()> {
        if !self.superblock.features.is_v5() {
            return Ok(());
        }
        let uuid = &self.superblock.meta_uuid;
        match self.overlay {
            // Any of its parts may come from the log.
            Some(_) => layout.check_identity(bytes, place, uuid)?,
            None => layout.check(bytes, place, uuid)?,
        }
        layout.check_owner(bytes, place, owner)
    }

    /// See [`crate::filesystem::FileSystem::read_dir`].
    pub(super) fn read_dir(
        &self,
        directory: u64,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        let inode = self.inode_of_type(directory, FileType::Directory)?;
        if inode.data.format == Format::Local {
            return self.read_short_dir(&inode, cursor, visit);
        }
        let mut damage = Damage::default();
        let walked = self.each_data_block(&inode, cursor.0, &mut |start, block| {
            let entries = DataEntries::new(&block.fields(), &self.superblock)?;
            for entry in entries {
                let entry = entry?;
                let position = start.saturating_add(entry.position);
                if position < cursor.0 || is_dot(entry.name) {
                    continue;
                }
                // The places of entries are multiples of 8.
                let next = DirCursor(position.saturating_add(1));
                let given = give(&entry, next, block.place, visit);
                if damage.pass(given)?.is_some_and(|flow| flow.is_break()) {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        walked.and(damage.end())
    }

    fn read_short_dir(
        &self,
        inode: &Inode,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        let area = inode.data.area.fields();
        let mut damage = Damage::default();
        for entry in ShortEntries::new(&area, &self.superblock)? {
            let entry = entry?;
            if entry.position < cursor.0 {
                continue;
            }
            let next = DirCursor(entry.position.saturating_add(1));
            let given = give(&entry, next, area.offset(), visit);
            if damage.pass(given)?.is_some_and(|flow| flow.is_break()) {
                break;
            }
        }
        damage.end()
    }

    /// Gives the blocks of entries that end behind `offset` to `visit`, in order. One
    /// that is damaged, or that `visit` finds so, is passed over, and an error at the end.
    pub(super) fn each_data_block(
        &self,
        inode: &Inode,
        offset: u64,
        visit: &mut dyn FnMut(u64, &DirBlock) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let block_log = self.superblock.block_log;
        let dir_block_len = self.superblock.dir_block_len();
        let mut next = offset & !dir_block_len.wrapping_sub(1);
        let mut damage = Damage::default();
        while next < LEAF_OFFSET {
            // Skips holes without a step for each of their blocks.
            let mut start = None;
            let first = next.checked_shr(block_log).unwrap_or(0);
            self.extents(&inode.data, inode.number, first, &mut |extent| {
                start = Some(extent.file_block.max(first));
                Ok(ControlFlow::Break(()))
            })?;
            // A shift would drop the high bits of a crafted block, and go back to one that
            // was there before: a listing without an end.
            let block_len = self.superblock.block_len();
            let Some(start) = start.and_then(|block| block.checked_mul(block_len)) else {
                break;
            };
            next = start & !dir_block_len.wrapping_sub(1);
            if next >= LEAF_OFFSET {
                break;
            }
            let layout = &CheckLayout::DIR_DATA;
            let visited = self
                .dir_block(inode, next, layout)
                .and_then(|block| match block {
                    Some(block) => visit(next, &block),
                    None => Ok(ControlFlow::Continue(())),
                });
            if damage.pass(visited)?.is_some_and(|flow| flow.is_break()) {
                break;
            }
            next = next.saturating_add(dir_block_len);
        }
        damage.end()
    }
}

fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

fn give(
    entry: &StoredEntry<'_>,
    next: DirCursor,
    place: ByteOffset,
    visit: &mut DirVisitor<'_>,
) -> Result<ControlFlow<()>> {
    let name = Name::of_image(entry.name, place.saturating_add(entry.position))?;
    Ok(visit(DirEntry {
        name,
        node: NodeId::new(entry.inode),
        file_type: entry.file_type,
        next,
    }))
}
