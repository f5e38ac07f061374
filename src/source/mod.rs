//! Where an image comes from and where one is restored to: files, block devices
//! and streams of this machine. Knows bytes and holes, and nothing of the store.
//!
//! A source is read at any offset and by several threads, and tells afterwards
//! what makes its content doubtful. A stream has no offsets: it is a plain
//! `std::io::Read` and needs nothing from here.

mod block_device;
mod error;
mod file;
mod mounts;
mod reader;
mod sys;
mod target;
mod without_free;

pub use block_device::BlockDeviceSource;
pub use error::{Error, Result};
pub use file::FileSource;
pub use mounts::{MountLine, Use, is_our_mount, mount_lines};
pub use reader::SourceReader;
pub use target::{BlockDeviceTarget, FileTarget};
pub use without_free::WithoutFree;

use crate::base::ByteLen;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// An image that can be read at any place, from many threads.
pub trait ImageSource: Send + Sync {
    /// Returns the length in bytes, as it was when the source was opened.
    fn len(&self) -> u64;

    /// Tells whether there is not a single byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the first range from `offset` on that may hold anything but zeros; what
    /// lies before it is never read. `None` if there is none.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Fills `target` from `offset` as far as the source reaches, and returns how far.
    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize>;

    /// Returns reasons to doubt what was read, asked after reading: the source changed
    /// meanwhile, or is in use.
    fn warnings(&self) -> Vec<String>;
}

/// Where an image is brought back to. Called by several threads in any order, for
/// ranges that do not overlap and together cover the image. A target that is dropped
/// unfinished leaves no new file behind.
pub trait RestoreTarget: Send + Sync {
    /// Writes bytes that are not all zero.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Hears that a range will be written whole, in pieces and from several threads. A
    /// hint: what fails here shows when it is written.
    fn reserve(&self, _range: Range<u64>) {}

    /// Makes a range zero. A fresh sparse file has nothing to do here.
    fn zero(&self, range: Range<u64>) -> io::Result<()>;

    /// Sets the length where that means something, and makes everything durable.
    fn sync(&self, len: u64) -> io::Result<()>;

    /// Gives what is durable the name that was asked for.
    fn publish(&self) -> io::Result<()> {
        Ok(())
    }

    /// Tells whether what was there before is lost from the first write on.
    fn is_in_place(&self) -> bool {
        false
    }
}

/// Opens the file or block device at `path` for reading.
///
/// # Errors
///
/// If it cannot be opened, or is neither a regular file nor a block device.
pub fn open(path: &Path) -> Result<Arc<dyn ImageSource>> {
    let context = |source| Error::Io {
        action: "opening",
        path: path.to_owned(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(context)?.file_type();
    // A FIFO would block the open, a directory would fail only at the first read.
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::NotAnImage {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(context)?;
    if kind.is_block_device() {
        Ok(Arc::new(BlockDeviceSource::new(file, path)?))
    } else {
        Ok(Arc::new(FileSource::new(file, path)?))
    }
}

/// Opens the place that an image of `len` bytes is restored to: an existing block
/// device, or a file that is made under a temporary name beside `path`.
///
/// # Errors
///
/// [`Error::InUse`] and [`Error::TooSmall`] for a device; [`Error::Exists`] if there
/// is a file already and `replace` is not set; [`Error::DanglingLink`].
pub fn open_target(path: &Path, len: ByteLen, replace: bool) -> Result<Box<dyn RestoreTarget>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_block_device() => {
            Ok(Box::new(BlockDeviceTarget::open(path, len)?))
        }
        Ok(metadata) if metadata.is_file() && replace => {
            Ok(Box::new(FileTarget::create(path, len, replace)?))
        }
        Ok(metadata) if metadata.is_file() => Err(Error::Exists {
            path: path.to_owned(),
        }),
        Ok(_) => Err(Error::NotAnImage {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link counts as absent until the very end, where it is in the way.
            if let Ok(target) = std::fs::read_link(path) {
                let path = path.to_owned();
                return Err(Error::DanglingLink { path, target });
            }
            Ok(Box::new(FileTarget::create(path, len, replace)?))
        }
        Err(source) => Err(Error::Io {
            action: "looking at",
            path: path.to_owned(),
            source,
        }),
    }
}
