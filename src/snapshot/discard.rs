//! The free blocks of a source, found before it is read and found again after.

use crate::base::ReadAt;
use crate::contents::{Contents, FreeSpace};
use crate::filesystem::{self, OpenOptions};
use crate::source::{ImageSource, SourceReader, WithoutFree};
use crate::store::{Error, Result};
use std::io;
use std::sync::Arc;

/// A source whose free blocks are not to be stored.
pub struct Discard {
    source: Arc<dyn ImageSource>,
    rest: Arc<WithoutFree>,
    free: FreeSpace,
    options: OpenOptions,
}

impl Discard {
    /// Looks for the free blocks of `source`.
    ///
    /// # Errors
    ///
    /// Source if reading fails, or if there are reasons to doubt what is read: a source in
    /// use is no base for throwing anything away.
    pub fn find(source: &Arc<dyn ImageSource>, options: OpenOptions) -> Result<Self> {
        check_quiet(&**source)?;
        let free = look(source, &options)?;
        let rest = WithoutFree::new(Arc::clone(source), free.ranges.clone());
        Ok(Self {
            source: Arc::clone(source),
            rest: Arc::new(rest),
            free,
            options,
        })
    }

    /// Returns what is free, and why the rest is kept.
    pub fn free_space(&self) -> &FreeSpace {
        &self.free
    }

    /// Returns the source without its free blocks.
    pub(super) fn rest(&self) -> Arc<dyn ImageSource> {
        Arc::<WithoutFree>::clone(&self.rest)
    }

    /// Returns the bytes that were not read, once all of the rest was.
    pub(super) fn discarded_len_bytes(&self) -> u64 {
        self.rest.discarded_len_bytes()
    }

    /// Fails unless all that was free before is free still. A file that was written while
    /// the source was read may lie in blocks that were passed over.
    pub(super) fn confirm(&self) -> Result<()> {
        check_quiet(&*self.source)?;
        if look(&self.source, &self.options)? == self.free {
            return Ok(());
        }
        Err(refused("its file systems changed while it was read"))
    }
}

fn look(source: &Arc<dyn ImageSource>, options: &OpenOptions) -> Result<FreeSpace> {
    let reader: Arc<dyn ReadAt> = Arc::new(SourceReader::new(Arc::clone(source)));
    let found = Contents::open(reader, options).and_then(|contents| contents.free_space());
    found.map_err(|error| match error {
        filesystem::Error::Io(error) => Error::Source(error),
        other => Error::Source(io::Error::other(other)),
    })
}

fn check_quiet(source: &dyn ImageSource) -> Result<()> {
    match source.warnings().first() {
        None => Ok(()),
        Some(warning) => Err(refused(warning)),
    }
}

fn refused(why: &str) -> Error {
    let message = format!("free blocks can only be left out of what nobody writes: {why}");
    Error::Source(io::Error::new(io::ErrorKind::ResourceBusy, message))
}
