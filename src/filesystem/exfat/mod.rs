//! exFAT: names, sizes, times and content, as Linux's driver shows them. Owners and
//! modes are those of the options. Entries of vendors are not read.
//!
//! Source: exFAT file system specification (Microsoft, revision 1.00).

mod dir;
mod entry_set;
mod inode;
mod superblock;
mod system;
pub(super) mod upcase;
mod usage;

use super::fat::clusters::Clusters;
use super::fat::file;
use super::fat::numbers::DirectoryNumbers;
use super::fat::slots::Place;
use super::fat::table::{Table, Width};
use super::name_hashes::NameHashes;
use super::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentVisitor, FileSystem, FileType,
    Metadata, Name, NodeId, OpenOptions, RangeVisitor, Result, SpaceUsage, Substitutes, Summary,
};
use crate::base::{ByteOffset, ReadAt};
use std::sync::{Arc, OnceLock};
use superblock::Superblock;
use system::System;

/// An opened exFAT.
pub struct ExFat {
    summary: Summary,
    superblock: Superblock,
    clusters: Clusters,
    system: System,
    names: NameHashes,
    numbers: DirectoryNumbers,
    /// Counted when somebody asks.
    free_clusters: OnceLock<u32>,
    substitutes: Substitutes,
}

/// Opens the exFAT that fills `image`.
///
/// # Errors
///
/// See [`FileSystem`].
pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<ExFat> {
    let reader = BlockReader::new(image, Arc::clone(&options.cache));
    let superblock = Superblock::read(&reader)?;
    let table = Table {
        width: Width::ExFat,
        offset: superblock.table_offset,
        cluster_count: superblock.cluster_count,
    };
    let image_len = reader.len();
    let (heap_offset, cluster_log) = (superblock.heap_offset, superblock.cluster_log);
    let clusters = Clusters::new(reader, table, heap_offset, cluster_log);
    let root = Place::Chain {
        allocation: super::fat::clusters::Allocation {
            first: superblock.root_cluster,
            contiguous: None,
            place: 0,
        },
        len_max: inode::DIRECTORY_LEN_MAX,
    };
    let system = System::read(&clusters, root, superblock.active_table)?;
    Ok(ExFat {
        summary: summarize(&superblock, &system, image_len),
        superblock,
        clusters,
        system,
        names: NameHashes::new(),
        numbers: DirectoryNumbers::new(),
        free_clusters: OnceLock::new(),
        substitutes: options.substitutes,
    })
}

fn summarize(superblock: &Superblock, system: &System, image_len: u64) -> Summary {
    let mut warnings = system.warnings.clone();
    if superblock.len > image_len {
        let len = superblock.len;
        warnings.push(format!(
            "the file system has {len} bytes, the image {image_len}"
        ));
    }
    if superblock.is_copy {
        warnings.push("the boot region is damaged; its copy was read".to_owned());
    }
    let serial = superblock.serial;
    Summary {
        format: "exfat",
        label: system.label.clone(),
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
        fs_block_len: 1_u32.wrapping_shl(superblock.cluster_log),
        len: superblock.len,
        features: vec![],
        consistency: match superblock.damage() {
            Some(reason) => Consistency::Dirty { reason },
            None => Consistency::Clean,
        },
        warnings,
    }
}

impl FileSystem for ExFat {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(inode::ROOT_INODE)
    }

    /// Any case by the volume's own table, and dots at the end, as Linux does; exact
    /// names first.
    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        dir::lookup(self, &dir::directory(self, directory)?, name)
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        dir::read(self, &dir::directory(self, directory)?, cursor, visit)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        self.metadata(&self.node(node)?)
    }

    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let node = self.node_of_type(node, FileType::Regular)?;
        file::read(&self.clusters, &Self::content(&node), offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        let node = self.node_of_type(node, FileType::Regular)?;
        file::extents(&self.clusters, &Self::content(&node), offset, visit)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        Err(Error::WrongType {
            expected: FileType::Symlink,
            actual: self.node(node)?.file_type,
        })
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.node(node).map(|_| vec![])
    }

    fn xattr(&self, node: NodeId, _name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.node(node).map(|_| None)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        usage::space(self)
    }

    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        usage::allocated_ranges(self, visit)
    }
}
