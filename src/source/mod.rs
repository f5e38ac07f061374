//! Where an image comes from and where one goes to: files, block devices, streams.

mod file;

pub use file::FileSource;

use std::io;
use std::ops::Range;

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

/// Where an image is brought back to.
pub trait RestoreTarget: Send + Sync {
    /// Writes bytes that are not all zero.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes a range zero. A fresh sparse file has nothing to do here.
    fn zero(&self, range: Range<u64>) -> io::Result<()>;

    /// Sets the length where that means something, and makes everything durable.
    fn finish(&self, len: u64) -> io::Result<()>;
}
