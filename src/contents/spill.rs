//! Temporary files for replays that change more than memory should hold.

use crate::base::ByteOffset;
use crate::filesystem::{Spill, SpillFile};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Makes temporary files without a name in a folder.
#[derive(Clone, Debug)]
pub struct FolderSpill {
    folder: PathBuf,
}

impl FolderSpill {
    /// Returns what makes temporary files in `folder`, which should be on a disk.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }
}

struct Unnamed(File);

impl Spill for FolderSpill {
    fn create(&self) -> io::Result<Box<dyn SpillFile>> {
        Ok(Box::new(Unnamed(tempfile::tempfile_in(&self.folder)?)))
    }
}

impl SpillFile for Unnamed {
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(target, offset)
    }

    fn write_all_at(&self, offset: ByteOffset, source: &[u8]) -> io::Result<()> {
        self.0.write_all_at(source, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = FolderSpill::new(folder.path()).create().unwrap();
        file.write_all_at(4096, b"replayed").unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(4096, &mut bytes).unwrap();
        assert_eq!(&bytes, b"replayed");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
