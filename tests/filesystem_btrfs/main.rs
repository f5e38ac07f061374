//! The btrfs reader against the kernel's own mount, on every set of features that
//! `mkfs.btrfs` makes, dirty and damaged.
#![allow(
    unsafe_code,
    missing_docs,
    reason = "attributes, devices and ioctls of the oracle need system calls"
)]

mod content;
mod copies;
mod devices;
mod dirty;
mod encoded;
mod features;
mod hostile;
mod log;
mod log_cases;
mod sets;
mod subvolumes;

#[path = "../oracle/mod.rs"]
mod oracle;

use oracle::image::ImageFile;
use oracle::support::{run, shell};
use oracle::{support, walk};
use std::path::Path;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{BlockCache, OpenOptions, Result, btrfs::Btrfs};

/// Opens an image with a small cache.
pub fn open(image: Arc<dyn ReadAt>) -> Result<Btrfs> {
    Btrfs::open(image, &OpenOptions::new(BlockCache::new(8 << 20)))
}

/// Opens the image in a file.
pub fn open_file(path: &Path) -> Result<Btrfs> {
    open(Arc::new(ImageFile::open(path)))
}

/// Makes an empty file system in a new file.
pub fn make(path: &Path, len: &str, options: &str) {
    shell(&format!(
        "truncate -s {len} '{0}'; mkfs.btrfs -q -f {options} '{0}'",
        path.display()
    ));
}

/// Mounts an image. The kernel remembers devices, and takes a copy for the original.
pub fn mount(image: &Path, point: &Path, options: &str) -> std::result::Result<(), String> {
    run(
        "btrfs",
        &["device".as_ref(), "scan".as_ref(), "--forget".as_ref()],
    )?;
    support::mount(image, point, options)
}

/// Compares with the kernel what a mount with `options` shows; returns the entries.
pub fn compare_with_kernel(what: &str, image: &Path, point: &Path, options: &str) -> usize {
    mount(image, point, options).expect("mounted");
    let mut kernel = walk::kernel_tree(point);
    support::umount(point);
    let fs = open_file(image).expect("opened");
    let mut ours = walk::our_tree(&fs).expect("read");
    forget_stubs(&mut kernel, &mut ours);
    walk::compare(what, &kernel, &ours);
    kernel.len()
}

/// A directory that stands for a subvolume which is not there has no inode: the kernel
/// shows number 2 and the time of its look-up, Tintype what its directory has.
pub fn forget_stubs(kernel: &mut walk::Tree, ours: &mut walk::Tree) {
    let stubs: Vec<Vec<u8>> = kernel
        .iter()
        .filter(|(_, text)| text.lines().any(|line| line == "ino=2"))
        .map(|(path, _)| path.clone())
        .collect();
    let is_kept = |line: &&str| {
        let is_time = ["atime=", "mtime=", "ctime="]
            .iter()
            .any(|name| line.starts_with(name));
        !is_time && !line.starts_with("ino=")
    };
    for path in stubs {
        for tree in [&mut *kernel, &mut *ours] {
            if let Some(text) = tree.get_mut(&path) {
                *text = text.lines().filter(is_kept).collect::<Vec<_>>().join("\n");
            }
        }
    }
}
