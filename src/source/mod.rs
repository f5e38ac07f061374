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
mod sys;
mod target;

pub use block_device::BlockDeviceSource;
pub use error::{Error, Result};
pub use file::FileSource;
pub use mounts::Use;
pub use target::{BlockDeviceTarget, FileTarget};

use crate::base::{ByteLen, ByteOffset};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// An image outside the store, readable at any offset by several threads.
pub trait ImageSource: Send + Sync {
    /// Returns the length in bytes as it was when the source was opened.
    fn len(&self) -> ByteLen;

    /// Tells whether there is not a single byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the first range at or after `offset` that may hold data, within
    /// [`ImageSource::len`]; `None` if only a hole follows. What lies between
    /// `offset` and the range reads as zeros and need not be read. The range may be
    /// cut anywhere, never empty; ask again at its end.
    fn next_data(&self, offset: ByteOffset) -> io::Result<Option<Range<ByteOffset>>>;

    /// Fills `target` from `offset`; never short.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof`, with a message that says so, if the source has shrunk.
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()>;

    /// Returns reasons to doubt what was read, one sentence each without a full
    /// stop. Call it after the last read: it compares with the state at opening.
    fn warnings(&self) -> Vec<String>;
}

/// A place that an image is restored to. Called by several threads, in any order,
/// for ranges that do not overlap and together cover the whole image.
pub trait RestoreTarget: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: ByteOffset, bytes: &[u8]) -> io::Result<()>;

    /// Makes `range` read as zeros, in the cheapest way that is certain.
    fn zero(&self, range: Range<ByteOffset>) -> io::Result<()>;

    /// Makes everything durable and puts it in its place. Called once, last; a
    /// target that is dropped without it leaves no new file behind.
    fn finish(&self) -> io::Result<()>;
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
/// is a file already and `replace` is not set.
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
            Ok(Box::new(FileTarget::create(path, len, replace)?))
        }
        Err(source) => Err(Error::Io {
            action: "looking at",
            path: path.to_owned(),
            source,
        }),
    }
}
