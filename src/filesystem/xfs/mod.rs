//! XFS, versions 4 and 5: everything that a mount shows, read from the bytes alone.
//!
//! A dirty log is replayed in memory, over the image. The realtime device, logs on
//! other devices, quotas and the reverse and reference trees are not read; what that
//! means is in `docs/reference/filesystems-xfs.md`.

mod acl;
mod checksum;
mod dir;
mod dir_entry;
mod dir_lookup;
mod extent;
mod feature;
mod file;
mod group;
mod inode;
mod log;
mod overlay;
mod patch;
mod superblock;
mod volume;
mod xattr;

use super::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentVisitor, FileSystem, Metadata,
    Name, NodeId, OpenOptions, RangeVisitor, Result, SpaceUsage, Summary,
};
use crate::base::{ByteOffset, ReadAt};
use std::fmt::Write;
use std::sync::Arc;
use superblock::Superblock;
use volume::Volume;

/// An opened XFS.
pub struct Xfs {
    summary: Summary,
    volume: Volume,
}

impl Xfs {
    /// Opens the file system that fills `image`, and replays its log if it is dirty.
    ///
    /// # Errors
    ///
    /// Unsupported if it is no XFS or has a feature that is not read here; Corrupt if
    /// the superblock is damaged; Io if the medium fails.
    pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Self> {
        let superblock = read_superblock(&*image, true)?;
        let recovery = log::recover(&image, &superblock, &options.spill)?;
        let (seen, superblock) = match &recovery.overlay {
            // The log may have changed the superblock too (counters, growth).
            Some(overlay) => {
                let seen: Arc<dyn ReadAt> = Arc::<overlay::Overlay>::clone(overlay);
                let superblock = read_superblock(&*seen, false)?;
                (seen, superblock)
            }
            None => (image, superblock),
        };
        let summary = summarize(&superblock, &recovery, seen.len());
        let volume = Volume {
            superblock,
            blocks: BlockReader::new(seen, Arc::clone(&options.cache)),
            overlay: recovery.overlay,
            reowned: recovery.reowned,
            patches: recovery.patches,
        };
        Ok(Self { summary, volume })
    }
}

fn read_superblock(image: &dyn ReadAt, is_checked: bool) -> Result<Superblock> {
    let mut first = vec![0; superblock::LEN_MIN];
    let has_one = image.len() >= super::len_of(&first);
    if !has_one {
        return Err(Error::unsupported("not an XFS file system"));
    }
    image.read_exact_at(0, &mut first)?;
    let mut sector = vec![0; Superblock::sector_len(&first)?];
    if image.len() < super::len_of(&sector) {
        return Err(Error::unsupported(
            "an XFS that is cut inside its superblock",
        ));
    }
    image.read_exact_at(0, &mut sector)?;
    Superblock::parse(&sector, is_checked)
}

fn summarize(superblock: &Superblock, recovery: &log::Recovery, image_len: u64) -> Summary {
    let mut warnings = recovery.warnings.clone();
    if superblock.len() > image_len {
        warnings.push(format!(
            "the file system has {} bytes, the image only {image_len}",
            superblock.len()
        ));
    }
    let consistency = if superblock.features.needs_repair() {
        warnings.push("the file system is marked as in need of xfs_repair".to_owned());
        Consistency::Dirty {
            reason: "marked as in need of xfs_repair",
        }
    } else {
        recovery.consistency
    };
    Summary {
        format: "xfs",
        label: superblock.label.clone(),
        uuid: Some(format_uuid(&superblock.uuid)),
        fs_block_len: u32::try_from(superblock.block_len()).unwrap_or(0),
        len: superblock.len(),
        features: superblock.features.names(),
        consistency,
        warnings,
    }
}

fn format_uuid(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// XFS has one tree of directories.
fn inode_of(node: NodeId) -> Result<u64> {
    match node.subvolume {
        0 => Ok(node.inode),
        _ => Err(Error::NotFound {
            what: "subvolume".into(),
        }),
    }
}

impl FileSystem for Xfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(self.volume.superblock.root_inode)
    }

    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        let found = self.volume.lookup(inode_of(directory)?, name)?;
        Ok(found.map(NodeId::new))
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        self.volume.read_dir(inode_of(directory)?, cursor, visit)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        Ok(self.volume.inode(inode_of(node)?)?.metadata)
    }

    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        self.volume.read_at(inode_of(node)?, offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        self.volume.file_extents(inode_of(node)?, offset, visit)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        self.volume.read_link(inode_of(node)?)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.volume.xattr_names(inode_of(node)?)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.volume.xattr(inode_of(node)?, name)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        self.volume.statfs()
    }

    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        let is_known = !self.volume.superblock.features.has_unknown_ro_compat();
        let is_dirty = matches!(self.summary.consistency, Consistency::Dirty { .. });
        if is_dirty || !is_known {
            return Err(Error::unsupported(
                "free space of an XFS that is not in order",
            ));
        }
        self.volume.allocated_ranges(visit)
    }
}
