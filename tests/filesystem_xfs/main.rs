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
mod sets;
mod version4;

#[path = "../oracle/mod.rs"]
mod oracle;

use oracle::image::{ImageFile, TemporaryFiles};
use oracle::{nasty, support, walk};
use std::path::Path;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{BlockCache, OpenOptions, Result, xfs::Xfs};

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
