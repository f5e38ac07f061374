//! The XFS reader against the kernel's own mount, on every set of features that
//! `mkfs.xfs` makes, dirty and damaged.
#![allow(
    unsafe_code,
    missing_docs,
    reason = "attributes, devices and statfs of the oracle need system calls"
)]

mod dirty;
mod features;
mod hostile;
mod nasty;
mod support;
mod version4;
mod walk;

use std::path::Path;
use std::sync::Arc;
use tintype::base::{ByteLen, ByteOffset, ReadAt};
use tintype::filesystem::{BlockCache, OpenOptions, Result, Spill, SpillFile, xfs::Xfs};

/// A file as an image.
pub struct ImageFile {
    file: std::fs::File,
    len: ByteLen,
}

impl ImageFile {
    pub fn open(path: &Path) -> Self {
        let file = std::fs::File::open(path).expect("an image");
        let len = file.metadata().expect("a length").len();
        Self { file, len }
    }
}

impl ReadAt for ImageFile {
    fn len(&self) -> ByteLen {
        self.len
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, target, offset)
    }
}

/// Temporary files for large replays.
struct TemporaryFiles;

struct TemporaryFile(std::fs::File);

impl Spill for TemporaryFiles {
    fn create(&self) -> std::io::Result<Box<dyn SpillFile>> {
        Ok(Box::new(TemporaryFile(tempfile::tempfile()?)))
    }
}

impl SpillFile for TemporaryFile {
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, target, offset)
    }

    fn write_all_at(&self, offset: ByteOffset, source: &[u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, source, offset)
    }
}

/// Opens an image with a small cache.
pub fn open(image: Arc<dyn ReadAt>) -> Result<Xfs> {
    let mut options = OpenOptions::new(BlockCache::new(8 << 20));
    options.spill = Arc::new(TemporaryFiles);
    Xfs::open(image, &options)
}

/// Opens the image in a file.
pub fn open_file(path: &Path) -> Result<Xfs> {
    open(Arc::new(ImageFile::open(path)))
}
