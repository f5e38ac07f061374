//! The spool of a draft, `drafts/<id>.spool`: a sparse file as long as the image that
//! holds what was written and is not in chunks yet. It is locked by the mount that
//! works on the draft, so that no other mount shows or touches it.

use crate::base::{BLOCK_LEN_BYTES, block_count_for};
use crate::tree::block_set::BlockSet;
use crate::tree::error::Context;
use crate::tree::record::{DraftId, spool_path};
use crate::tree::{Error, Kind, Result, sys};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const WRITING: &str = "writing to the spool of a draft";
const READING: &str = "reading the spool of a draft";

/// An open and locked spool.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
}

impl Spool {
    /// Makes an empty spool. It gets its name after it is locked, so that a mount
    /// that starts now does not take it for one that is left over.
    pub(super) fn create(folder: &Path, id: &DraftId) -> Result<Self> {
        let temporary = folder.join(format!("{id}.spool.new"));
        let made = (|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            if !sys::try_lock(&file)? {
                return Err(io::Error::other("another process locked it"));
            }
            fs::rename(&temporary, spool_path(folder, id))?;
            Ok(file)
        })();
        Ok(Self {
            file: made.context("making the spool of a draft")?,
        })
    }

    /// Takes over the spool of a draft that no living mount works on.
    ///
    /// # Errors
    ///
    /// `Busy` if a mount works on it, `NotFound` if it is gone.
    pub(super) fn adopt(folder: &Path, id: &DraftId) -> Result<Self> {
        let path = spool_path(folder, id);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Kind::NotFound.into());
            }
            Err(source) => {
                return Err(Error::File {
                    action: READING,
                    source,
                });
            }
        };
        if !sys::try_lock(&file).context(READING)? {
            return Err(Kind::Busy.into());
        }
        // Whoever had the lock before may have removed or replaced the file.
        let own = file.metadata().context(READING)?;
        match fs::metadata(&path) {
            Ok(found) if found.ino() == own.ino() && found.dev() == own.dev() => Ok(Self { file }),
            _ => Err(Kind::NotFound.into()),
        }
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().context(READING)?.len())
    }

    /// Writes all of `data`.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file.write_all_at(data, offset).context(WRITING)
    }

    /// Fills `target`; what lies beyond the end is zero.
    pub(super) fn read(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => {
                    rest.fill(0);
                    return Ok(());
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the file this long.
    pub(super) fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).context(WRITING)
    }

    /// Frees the space of whole blocks.
    pub(super) fn punch(&self, blocks: std::ops::Range<u64>) -> Result<()> {
        let offset = blocks.start * BLOCK_LEN_BYTES;
        sys::punch_hole(&self.file, offset, blocks.end * BLOCK_LEN_BYTES - offset).context(WRITING)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().context(WRITING)
    }

    /// Returns the blocks that the file holds: after a crash, those that were not in
    /// chunks yet.
    pub(super) fn held_blocks(&self) -> Result<BlockSet> {
        let mut blocks = BlockSet::default();
        let mut offset = 0;
        while let Some(start) = sys::seek(&self.file, offset, false).context(READING)? {
            let Some(end) = sys::seek(&self.file, start, true).context(READING)? else {
                break;
            };
            blocks.insert(start / BLOCK_LEN_BYTES..block_count_for(end));
            offset = end;
        }
        Ok(blocks)
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is what is meant"
)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let id = DraftId::random();
        assert_eq!(
            Spool::adopt(folder.path(), &id).unwrap_err().kind(),
            Kind::NotFound
        );
        let spool = Spool::create(folder.path(), &id).unwrap();
        assert_eq!(
            Spool::adopt(folder.path(), &id).unwrap_err().kind(),
            Kind::Busy
        );
        drop(spool);
        assert!(Spool::adopt(folder.path(), &id).is_ok());
    }

    #[test]
    fn holes_and_the_end_read_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), &DraftId::random()).unwrap();
        spool.write(8192, &[1; 5000]).unwrap();
        let mut target = [9; 4];
        spool.read(13_190, &mut target).unwrap();
        assert_eq!(target, [1, 1, 0, 0]);
        let held = spool.held_blocks().unwrap();
        assert_eq!(held.runs(0..100), [2..4]);
        spool.punch(2..3).unwrap();
        assert_eq!(spool.held_blocks().unwrap().runs(0..100), [3..4]);
        assert_eq!(spool.len().unwrap(), 13_192);
    }
}
