//! FAT12, FAT16 and FAT32 with long names, as Linux's vfat shows them. Names, sizes,
//! times and content are read; owners and modes are those of the options. OS/2
//! extended attributes are not read.
//!
//! Tables, clusters, slots and times are also those of exFAT, which uses them.
//!
//! Source: Microsoft FAT specification 1.03 (fatgen103), and what Linux's driver does
//! where that leaves it open.

pub(super) mod backup;
pub(super) mod clusters;
mod code_page;
mod dir;
pub(super) mod file;
mod inode;
mod long_name;
pub(super) mod numbers;
mod short_name;
pub(super) mod slots;
mod superblock;
pub(super) mod table;
pub(super) mod time;
pub(super) mod usage;

pub use code_page::CodePage;

use super::name_hashes::NameHashes;
use super::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentVisitor, FileSystem, FileType,
    Metadata, Name, NodeId, OpenOptions, RangeVisitor, Result, SpaceUsage, Substitutes, Summary,
};
use crate::base::{ByteOffset, ReadAt};
use clusters::Clusters;
use numbers::DirectoryNumbers;
use std::sync::{Arc, OnceLock};
use superblock::{Root, Superblock};
use table::{Table, Width, Window};

/// An opened FAT.
pub struct Fat {
    summary: Summary,
    superblock: Superblock,
    clusters: Clusters,
    names: NameHashes,
    numbers: DirectoryNumbers,
    /// Counted when somebody asks.
    free_clusters: OnceLock<u32>,
    substitutes: Substitutes,
}

/// How sure it is that a volume is a FAT: there is no magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The boot sector says it, and its numbers can be.
    Named,
    /// Its numbers can be, and the table begins as one does.
    Unnamed,
}

/// Tells whether `image` begins like a FAT.
///
/// # Errors
///
/// Only if reading fails.
pub(super) fn recognize(image: &dyn ReadAt) -> Result<Option<Likeness>> {
    let mut sector = [0; superblock::LEN];
    if image.len() < super::len_of(&sector) {
        return Ok(None);
    }
    image.read_exact_at(0, &mut sector)?;
    let Ok(found) = Superblock::parse(&sector) else {
        return Ok(None);
    };
    if found.has_type {
        return Ok(Some(Likeness::Named));
    }
    let mut table = [0; 3];
    let end = found.first_table_offset.saturating_add(3);
    if image.len() < end {
        return Ok(None);
    }
    image.read_exact_at(found.first_table_offset, &mut table)?;
    let has_jump = matches!(sector.first(), Some(0xEB | 0xE9));
    let has_signature = sector.ends_with(&[0x55, 0xAA]);
    let begins_like_one = table.starts_with(&[found.media, 0xFF])
        && (table.ends_with(&[0xFF]) || found.width == Width::Bits16);
    let is_one = (has_jump || has_signature) && begins_like_one;
    Ok(is_one.then_some(Likeness::Unnamed))
}

/// Opens the FAT that fills `image`.
///
/// # Errors
///
/// See [`FileSystem`].
pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Fat> {
    let reader = BlockReader::new(Arc::clone(&image), Arc::clone(&options.cache));
    let mut sector = [0; superblock::LEN];
    reader.read_exact_at(0, &mut sector)?;
    let (superblock, is_copy) = backup::read(&*image, &sector)?;
    let table = Table {
        width: superblock.width,
        offset: superblock.table_offset,
        cluster_count: superblock.cluster_count,
    };
    if let Root::Cluster(first) = superblock.root
        && !table.contains(first)
    {
        let expected = "a cluster of the volume";
        return Err(Error::corrupt("root cluster", 0, expected, first));
    }
    let page = options.substitutes.code_page;
    let mut summary = summarize(&reader, &superblock, &table, page)?;
    if is_copy {
        summary.consistency = Consistency::Dirty {
            reason: "its boot sector is damaged, and the copy was read",
        };
        let warning = "the boot sector is damaged; its copy was read";
        summary.warnings.push(warning.to_owned());
    }
    let (data_offset, cluster_log) = (superblock.data_offset, superblock.cluster_log);
    let mut fat = Fat {
        summary,
        superblock,
        clusters: Clusters::new(reader, table, data_offset, cluster_log),
        names: NameHashes::new(),
        numbers: DirectoryNumbers::new(),
        free_clusters: OnceLock::new(),
        substitutes: options.substitutes,
    };
    let root = fat.node(fat.root())?;
    match dir::label(&fat, &root) {
        Ok(Some(label)) => fat.summary.label = label,
        Ok(None) | Err(Error::Corrupt { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(fat)
}

fn summarize(
    reader: &BlockReader,
    superblock: &Superblock,
    table: &Table,
    page: CodePage,
) -> Result<Summary> {
    let mut warnings = vec![];
    if superblock.len > reader.len() {
        warnings.push(format!(
            "the file system has {} bytes, the image {}",
            superblock.len,
            reader.len()
        ));
    }
    let state = match table.value(reader, &mut Window::default(), 1) {
        Ok(entry) => usage::state_in_table(superblock.width, entry),
        Err(Error::Io(error)) => return Err(Error::Io(error)),
        Err(_) => Some("its table lies behind the end of the image"),
    };
    let marked = superblock.is_dirty.then_some("it was not unmounted");
    let consistency = match marked.or(state) {
        Some(reason) => Consistency::Dirty { reason },
        None => Consistency::Clean,
    };
    let format = match superblock.width {
        Width::Bits12 => "fat12",
        Width::Bits16 => "fat16",
        Width::Bits32 | Width::ExFat => "fat32",
    };
    let serial = superblock.serial;
    Ok(Summary {
        format,
        label: superblock.label(page),
        uuid: serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
        fs_block_len: 1_u32.wrapping_shl(superblock.cluster_log),
        len: superblock.len,
        features: vec![],
        consistency,
        warnings,
    })
}

impl FileSystem for Fat {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(inode::ROOT_INODE)
    }

    /// Any case of ASCII letters, dots at the end and the short name too, as vfat does;
    /// exact bytes first.
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
        file::read(&self.clusters, &self.content(&node), offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        let node = self.node_of_type(node, FileType::Regular)?;
        file::extents(&self.clusters, &self.content(&node), offset, visit)
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
