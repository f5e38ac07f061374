//! A regular file or a block device as the source of an image.

use super::ImageSource;
use rustix::fs::SeekFrom;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A file that is read as an image. Holes are found by asking, never by reading.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
    before: Metadata,
    warnings: Vec<String>,
}

impl FileSource {
    /// Opens a file or block device. `warnings` are reasons to doubt it from the start.
    pub fn open(path: &Path, warnings: Vec<String>) -> io::Result<Self> {
        let file = File::open(path)?;
        let before = file.metadata()?;
        // The end of a block device is found by seeking; its metadata says 0.
        let len = rustix::fs::seek(&file, SeekFrom::End(0))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential)?;
        Ok(Self {
            file,
            len,
            before,
            warnings,
        })
    }
}

impl ImageSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= self.len {
            return Ok(None);
        }
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // The file system or device knows no holes.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                return Ok(Some(offset..self.len));
            }
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok(Some(start..end.min(self.len)).filter(|range| !range.is_empty()))
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        let changed = match self.file.metadata() {
            Ok(after) => {
                let stamp = |m: &Metadata| {
                    (
                        m.size(),
                        m.mtime(),
                        m.mtime_nsec(),
                        m.ctime(),
                        m.ctime_nsec(),
                    )
                };
                self.before.is_file() && stamp(&self.before) != stamp(&after)
            }
            Err(_) => true,
        };
        if changed {
            warnings.push("the source changed while it was read".to_owned());
        }
        warnings
    }
}
