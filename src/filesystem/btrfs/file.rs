//! Content of files: reading, holes and symlinks.

use super::extent::{Content, Run, inline_bytes};
use super::inode::Inode;
use super::volume::Volume;
use crate::base::ByteOffset;
use crate::filesystem::{
    Error, ExtentPlace, ExtentVisitor, FileExtent, FileType, NodeId, Result, index_of, len_of,
};
use std::ops::ControlFlow;

/// The longest target of a symlink that Linux takes.
const SYMLINK_LEN_MAX: u64 = 4095;

impl Volume {
    /// See [`crate::filesystem::FileSystem::read_at`].
    pub(super) fn read_file(
        &self,
        node: NodeId,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let inode = self.inode_of_type(node, FileType::Regular)?;
        self.read_content(node, &inode, offset, target)
    }

    fn read_content(
        &self,
        node: NodeId,
        inode: &Inode,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        let available = inode
            .metadata
            .size
            .saturating_sub(offset)
            .min(len_of(target));
        let Some(target) = target.get_mut(..index_of(available)) else {
            return Ok(0);
        };
        let count = target.len();
        let mut runs = self.runs(node, offset, offset.saturating_add(available))?;
        let mut rest = target;
        while let Some(run) = runs.next()? {
            let len = index_of(run.end.saturating_sub(run.start)).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            self.read_run_of(&run, inode.has_checksums, now)?;
            rest = later;
        }
        Ok(count)
    }

    fn read_run_of(&self, run: &Run, has_checksums: bool, target: &mut [u8]) -> Result<()> {
        let (source, skip) = match &run.content {
            Content::Hole => {
                target.fill(0);
                return Ok(());
            }
            Content::Plain { logical } => return self.read_data(*logical, target, has_checksums),
            Content::Compressed(extent) => {
                let bytes = self.decompressed(extent, has_checksums)?;
                copy_from(&bytes, extent.skip, target);
                return Ok(());
            }
            Content::Inline(item) => (
                inline_bytes(item, self.space.superblock.sector_len)?,
                run.start,
            ),
        };
        copy_from(&source, skip, target);
        Ok(())
    }

    /// See [`crate::filesystem::FileSystem::extents`]. What has checksums is told as
    /// encoded: only reading it here finds out whether it is right.
    pub(super) fn file_extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        let inode = self.inode_of_type(node, FileType::Regular)?;
        let mut runs = self.runs(node, offset, inode.metadata.size)?;
        while let Some(run) = runs.next()? {
            let flow = match run.content {
                Content::Hole => continue,
                Content::Plain { logical } if !inode.has_checksums => {
                    self.give_places(&run, logical, visit)?
                }
                _ => visit(FileExtent {
                    offset: run.start,
                    len: run.end.saturating_sub(run.start),
                    place: ExtentPlace::Encoded,
                }),
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Gives the pieces of a run of plain data to `visit`.
    fn give_places(
        &self,
        run: &Run,
        logical: u64,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<ControlFlow<()>> {
        let (mut start, mut logical) = (run.start, logical);
        while start < run.end {
            let chunk = self.space.chunk(logical)?;
            let found = (0..chunk.copy_count()).find_map(|copy| chunk.place(logical, copy));
            // What is elsewhere is there, but cannot be read.
            let (place, len) = match found {
                Some(place) => (
                    ExtentPlace::Image {
                        offset: place.offset,
                    },
                    place.len,
                ),
                None => (ExtentPlace::Encoded, run.end.saturating_sub(start)),
            };
            let len = len.min(run.end.saturating_sub(start)).max(1);
            let extent = FileExtent {
                offset: start,
                len,
                place,
            };
            if visit(extent).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            start = start.saturating_add(len);
            logical = logical.saturating_add(len);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// See [`crate::filesystem::FileSystem::read_link`].
    pub(super) fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.inode_of_type(node, FileType::Symlink)?;
        let size = inode.metadata.size;
        if size == 0 || size > SYMLINK_LEN_MAX {
            let expected = "1 to 4,095";
            return Err(Error::corrupt("symlink length", node.inode, expected, size));
        }
        let mut target = vec![0; index_of(size)];
        self.read_content(node, &inode, 0, &mut target)?;
        if let Some(end) = target.iter().position(|byte| *byte == 0) {
            target.truncate(end);
        }
        Ok(target)
    }
}

/// Fills `target` from `skip` of `source`; behind its end are zeros.
fn copy_from(source: &[u8], skip: u64, target: &mut [u8]) {
    let from = source.get(index_of(skip)..).unwrap_or_default();
    let count = from.len().min(target.len());
    let (now, later) = target.split_at_mut(count);
    now.copy_from_slice(from.get(..count).unwrap_or_default());
    later.fill(0);
}
