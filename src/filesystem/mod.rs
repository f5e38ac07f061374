//! The files inside an image: one trait for all file systems, and a reader for each
//! format in a folder of its own.
//!
//! A reader gets one [`ReadAt`] (the range of the file system) and nothing else: it
//! cannot open files of the host or follow its symlinks. It trusts no byte of the
//! image: every loop, depth and allocation is bounded, and damage is an error of the
//! place that is damaged. Nothing here writes, decrypts or checks permissions.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod block_cache;
pub mod btrfs;
mod damage;
mod error;
pub mod exfat;
pub mod ext;
pub mod fat;
mod metadata;
mod name;
mod name_hashes;
pub mod ntfs;
mod probe;
mod utf16;
pub mod xfs;

pub use block_cache::{BLOCK_LEN_MAX, BlockCache, BlockKind, BlockReader};
pub use error::{Error, ErrorKind, Result};
pub use fat::CodePage;
pub use metadata::{
    Consistency, DeviceNumber, DirCursor, DirEntry, ExtentPlace, FileExtent, FileTime, FileType,
    Metadata, NodeFlags, NodeId, RootSelector, SpaceUsage, Summary,
};
pub use name::Name;
pub use probe::{Recognized, is_suspended, probe, probe_all};

use crate::base::{ByteLen, ByteOffset, ReadAt};
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The longest value of an extended attribute that is shown: the kernel's own limit.
pub const XATTR_VALUE_LEN_MAX: usize = 65_536;

/// A temporary place for what a replay changes, above what memory should hold.
pub trait SpillFile: Send + Sync {
    /// Fills `target` from `offset`, where it was written before.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()>;

    /// Writes all of `source` at `offset`.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn write_all_at(&self, offset: ByteOffset, source: &[u8]) -> io::Result<()>;
}

/// Makes temporary places; where they lie is decided above.
pub trait Spill: Send + Sync {
    /// Returns a new, empty one that is gone when it is dropped.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn create(&self) -> io::Result<Box<dyn SpillFile>>;
}

/// No temporary place: a replay that needs one fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSpill;

impl Spill for NoSpill {
    fn create(&self) -> io::Result<Box<dyn SpillFile>> {
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            "no place for a large replay was given",
        ))
    }
}

/// What is shown of files where the format does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Substitutes {
    /// The owner that formats without owners show.
    pub user: u32,
    /// The group that formats without groups show.
    pub group: u32,
    /// The bits that formats without modes do not show of files, of 0777.
    pub file_umask: u16,
    /// Those of directories.
    pub directory_umask: u16,
    /// The code page of short names of FAT.
    pub code_page: CodePage,
}

impl Substitutes {
    /// Returns the permissions of a node that are shown where the format has none.
    pub const fn permissions(&self, file_type: FileType) -> u16 {
        match file_type {
            FileType::Symlink => 0o777,
            FileType::Directory => 0o777 & !self.directory_umask,
            _ => 0o777 & !self.file_umask,
        }
    }
}

impl Default for Substitutes {
    /// Files of root that only root may write.
    fn default() -> Self {
        Self {
            user: 0,
            group: 0,
            file_umask: 0o022,
            directory_umask: 0o022,
            code_page: CodePage::default(),
        }
    }
}

/// What a reader needs beside the image.
#[derive(Clone)]
pub struct OpenOptions {
    /// The cache of metadata blocks, shared by all that is open.
    pub cache: Arc<BlockCache>,
    /// Where a large replay goes.
    pub spill: Arc<dyn Spill>,
    /// What is shown of files where the format does not say it.
    pub substitutes: Substitutes,
}

impl OpenOptions {
    /// Returns options with this cache, no spilling, and the usual substitutes.
    pub fn new(cache: Arc<BlockCache>) -> Self {
        Self {
            cache,
            spill: Arc::new(NoSpill),
            substitutes: Substitutes::default(),
        }
    }
}

/// Takes directory entries one after the other; `Break` ends the listing.
pub type DirVisitor<'a> = dyn FnMut(DirEntry<'_>) -> ControlFlow<()> + 'a;

/// Takes extents one after the other; `Break` ends the listing.
pub type ExtentVisitor<'a> = dyn FnMut(FileExtent) -> ControlFlow<()> + 'a;

/// Takes ranges of the image one after the other; `Break` ends the listing.
pub type RangeVisitor<'a> = dyn FnMut(Range<ByteOffset>) -> ControlFlow<()> + 'a;

/// An opened file system, read by many threads at once.
///
/// Every method MUST end in bounded time and memory whatever the image holds, MUST
/// NOT panic, and MUST answer the same for the life of the value. All are read-only.
/// Errors are those of [`Error`]: a node that the image does not have is NotFound or
/// Corrupt, a node of the wrong type is WrongType.
pub trait FileSystem: Send + Sync {
    /// Returns what this file system is.
    fn summary(&self) -> &Summary;

    /// Returns the root directory that a mount without options shows.
    fn root(&self) -> NodeId;

    /// Returns another root.
    ///
    /// # Errors
    ///
    /// NotFound if there is none like it.
    fn root_of(&self, selector: &RootSelector) -> Result<NodeId> {
        match selector {
            RootSelector::Default | RootSelector::TopLevel => Ok(self.root()),
            _ => Err(Error::NotFound {
                what: "subvolume".into(),
            }),
        }
    }

    /// Returns the node that `name` names in `directory`, or `None`. Exact bytes,
    /// except where the image asks for folding, and in formats that always fold (FAT,
    /// exFAT): there exact bytes come first.
    ///
    /// # Errors
    ///
    /// See the trait.
    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>>;

    /// Gives the entries of `directory` behind `cursor` to `visit` in an order that
    /// never changes, each exactly once, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// See the trait. What is behind a damaged place is given as far as it can be found;
    /// the error comes when `visit` ends the listing behind that place, or at the end. Who
    /// lists in pieces MUST keep it: later pieces do not tell it again.
    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()>;

    /// Returns everything that `stat` tells about `node`.
    ///
    /// # Errors
    ///
    /// See the trait.
    fn metadata(&self, node: NodeId) -> Result<Metadata>;

    /// Fills `target` with content from `offset` and returns how much there was:
    /// less than asked for only at the end of the file, 0 behind it. Holes are zeros.
    ///
    /// # Errors
    ///
    /// See the trait; WrongType if it is no regular file.
    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize>;

    /// Gives the written extents that end behind `offset` to `visit`, in rising
    /// order, without overlaps; everything else up to the size is zeros.
    ///
    /// # Errors
    ///
    /// See the trait; WrongType if it is no regular file.
    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()>;

    /// Returns the target of a symlink, at most 4,095 bytes where the format obeys Linux.
    ///
    /// # Errors
    ///
    /// See the trait; WrongType if it is none.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>>;

    /// Returns the full names (`user.x`) of the extended attributes, as `listxattr`
    /// of root shows them, in an order that never changes.
    ///
    /// # Errors
    ///
    /// See the trait.
    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>>;

    /// Returns the value of the extended attribute `name` as the kernel shows it,
    /// at most [`XATTR_VALUE_LEN_MAX`] bytes, or `None`.
    ///
    /// # Errors
    ///
    /// See the trait; Unsupported if the value is longer.
    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Returns how full the file system is.
    ///
    /// # Errors
    ///
    /// See the trait.
    fn statfs(&self) -> Result<SpaceUsage>;

    /// Gives the ranges of the image that the file system uses to `visit`, in rising
    /// order, without overlaps. What is in none of them, below [`Summary::len`], MAY
    /// be thrown away: a reader that is not sure of a range MUST give it.
    ///
    /// # Errors
    ///
    /// Unsupported if the file system is dirty or not fully understood.
    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()>;
}

/// Returns `value` as an index; what does not fit becomes the largest, which no
/// checked access takes.
pub(crate) fn index_of(value: impl TryInto<usize>) -> usize {
    value.try_into().unwrap_or(usize::MAX)
}

/// Returns the length of `bytes` as offsets are counted.
pub(crate) fn len_of(bytes: &[u8]) -> ByteLen {
    // A slice never has more than isize::MAX bytes.
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Opens the file system that fills `image`.
///
/// # Errors
///
/// Unsupported if it is none that is read here, and why; otherwise see [`FileSystem`].
pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Arc<dyn FileSystem>> {
    let Some(found) = probe(&image)? else {
        return Err(Error::unsupported("no file system that is known here"));
    };
    match (found.format, found.unreadable) {
        ("ext", None) => Ok(Arc::new(ext::open(image, options)?)),
        ("fat", None) => Ok(Arc::new(fat::open(image, options)?)),
        ("exfat", None) => Ok(Arc::new(exfat::open(image, options)?)),
        ("ntfs", None) => Ok(Arc::new(ntfs::open(image, options)?)),
        ("btrfs", None) => Ok(Arc::new(btrfs::Btrfs::open(image, options)?)),
        ("xfs", None) => Ok(Arc::new(xfs::Xfs::open(image, options)?)),
        (format, None) => Err(Error::unsupported(format!("{format}: no reader yet"))),
        (format, Some(reason)) => Err(Error::unsupported(format!("{format}: {reason}"))),
    }
}
