//! btrfs on one device: everything that a mount shows, read from the bytes alone.
//!
//! Metadata and data are verified by their checksums, and another copy is read where
//! one is wrong. What lies on other devices of the same file system, RAID5 and RAID6
//! are not read; `docs/reference/filesystems-btrfs.md` says what that means.

mod checksum;
mod chunk;
mod compression;
mod data;
mod dir;
mod dir_item;
mod extent;
mod file;
#[cfg(test)]
mod fixture;
mod inode;
mod key;
mod log;
mod node;
mod space;
mod superblock;
mod tree;
mod usage;
mod volume;
mod work;
mod xattr;

use super::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentVisitor, FileSystem, Metadata,
    Name, NodeId, OpenOptions, RangeVisitor, Result, RootSelector, SpaceUsage, Summary,
};
use crate::base::{ByteOffset, ReadAt};
use std::fmt::Write;
use std::sync::Arc;
use superblock::{PLACES, Superblock};
use volume::Volume;

/// An opened btrfs.
pub struct Btrfs {
    summary: Summary,
    volume: Volume,
    root: NodeId,
}

impl Btrfs {
    /// Opens the file system that `image` is a device of.
    ///
    /// # Errors
    ///
    /// Unsupported if it is no btrfs or has a feature that is not read here; Corrupt
    /// if what everything depends on is damaged; Io if the medium fails.
    pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Self> {
        let superblock = Superblock::read(&*image)?;
        let mut summary = summarize(&superblock, image.len());
        let blocks = BlockReader::new(image, Arc::clone(&options.cache));
        let mut volume = Volume::new(space::Space::new(superblock, blocks)?);
        if volume.space.superblock.log_root != 0 {
            summary.consistency = match log::recover(&volume)? {
                log::Recovery::Done(overlay) => {
                    volume.overlay = overlay;
                    Consistency::Replayed
                }
                log::Recovery::Refused(reason) => Consistency::Dirty { reason },
            };
        }
        let number = volume.default_subvolume()?;
        let root = match volume.subvolume_by_number(number) {
            Ok(root) => root,
            Err(error) if number == key::object::FS_TREE => return Err(error),
            Err(error) => {
                let warning = format!("the default subvolume {number} cannot be opened: {error}");
                summary.warnings.push(warning);
                volume.subvolume_by_number(key::object::FS_TREE)?
            }
        };
        Ok(Self {
            summary,
            volume,
            root,
        })
    }
}

fn summarize(superblock: &Superblock, image_len: u64) -> Summary {
    let mut warnings = vec![];
    if superblock.place != PLACES[0] {
        let place = superblock.place;
        warnings.push(format!(
            "the first superblock is damaged or old, its copy at byte {place} was taken"
        ));
    }
    if superblock.device_bytes > image_len {
        let len = superblock.device_bytes;
        warnings.push(format!(
            "the device has {len} bytes, the image only {image_len}"
        ));
    }
    if superblock.device_count > 1 {
        warnings.push(format!(
            "this is one of {} devices; what lies on the others cannot be read",
            superblock.device_count
        ));
    }
    if superblock.is_metadump() {
        warnings.push("made by btrfs-image: the content of files was left out".to_owned());
    }
    Summary {
        format: "btrfs",
        label: superblock.label.clone(),
        uuid: Some(format_uuid(&superblock.fsid)),
        fs_block_len: superblock.sector_len,
        len: superblock.device_bytes,
        features: superblock.feature_names(),
        // Each commit is a whole state: only a log makes a difference.
        consistency: Consistency::Clean,
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

impl FileSystem for Btrfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn root_of(&self, selector: &RootSelector) -> Result<NodeId> {
        match selector {
            RootSelector::Default => Ok(self.root),
            RootSelector::TopLevel => self.volume.subvolume_by_number(key::object::FS_TREE),
            RootSelector::Id(number) => self.volume.subvolume_by_number(*number),
            RootSelector::Path(path) => self.volume.subvolume_by_path(path),
        }
    }

    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        self.volume.lookup(directory, name)
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        self.volume.read_dir(directory, cursor, visit)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        Ok(self.volume.inode(node)?.metadata)
    }

    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        self.volume.read_file(node, offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        self.volume.file_extents(node, offset, visit)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        self.volume.read_link(node)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.volume.xattr_names(node)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.volume.xattr(node, name)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        self.volume.statfs()
    }

    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        let is_known = !self.volume.space.superblock.has_unknown_compat_ro();
        if self.summary.consistency != Consistency::Clean || !is_known {
            let feature = "free space of a btrfs with a log or with unknown features";
            return Err(Error::unsupported(feature));
        }
        self.volume.allocated_ranges(visit)
    }
}
