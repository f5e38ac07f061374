//! An image in a regular file, whose holes are found and never read.

use super::sys::{self, Seek};
use super::{Error, ImageSource, Result, mounts};
use crate::base::{ByteLen, ByteOffset};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A regular file.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    opened: Stamp,
    warnings: Vec<String>,
    /// The file system has no SEEK_DATA: everything counts as data.
    holes_unknown: AtomicBool,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileSource {
    /// Takes an open file; `path` is for messages and for finding loop devices.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::Io {
            action: "looking at",
            path: path.to_owned(),
            source,
        })?;
        sys::advise_sequential(&file);
        Ok(Self {
            warnings: mounted_warning(&metadata),
            opened: Stamp::of(&metadata),
            file,
            path: path.to_owned(),
            holes_unknown: AtomicBool::new(false),
        })
    }
}

/// Warns when the file is behind a loop device that is mounted read-write.
fn mounted_warning(metadata: &Metadata) -> Vec<String> {
    let uses = mounts::uses_of_file(metadata.dev(), metadata.ino());
    uses.iter()
        .filter_map(mounts::Use::read_write_warning)
        .collect()
}

impl ImageSource for FileSource {
    fn len(&self) -> ByteLen {
        self.opened.len_bytes
    }

    fn next_data(&self, offset: ByteOffset) -> io::Result<Option<Range<ByteOffset>>> {
        let len = self.len();
        if offset >= len {
            return Ok(None);
        }
        if self.holes_unknown.load(Ordering::Relaxed) {
            return Ok(Some(offset..len));
        }
        let start = match sys::seek(&self.file, offset, Seek::Data) {
            Ok(Some(start)) if start < len => start,
            Ok(_) => return Ok(None),
            Err(error) if is_unsupported(&error) => {
                self.holes_unknown.store(true, Ordering::Relaxed);
                return Ok(Some(offset..len));
            }
            Err(error) => return Err(error),
        };
        let end = sys::seek(&self.file, start, Seek::Hole)?
            .unwrap_or(len)
            .min(len);
        // A writer that punches a hole between the two calls must not stall us.
        Ok(Some(start..end.max(start.saturating_add(1))))
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.file
            .read_exact_at(target, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => shrunk(&self.path),
                _ => error,
            })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        match self.file.metadata() {
            Ok(now) => {
                // One mounted meanwhile counts as well.
                for warning in mounted_warning(&now) {
                    if !warnings.contains(&warning) {
                        warnings.push(warning);
                    }
                }
                if Stamp::of(&now) != self.opened {
                    warnings.push("the source changed while it was read".to_owned());
                }
            }
            Err(error) => warnings.push(format!(
                "whether the source changed while it was read is unknown ({error})"
            )),
        }
        warnings
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}

/// Says that the source became shorter than it was when it was opened.
pub(super) fn shrunk(path: &Path) -> io::Error {
    let message = format!(
        "{} became shorter while it was read; try again when it is idle",
        path.display()
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn source(path: &Path) -> FileSource {
        FileSource::new(File::open(path).unwrap(), path).unwrap()
    }

    #[test]
    fn holes_are_found_and_data_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let file = File::create(&path).unwrap();
        file.set_len(16 << 20).unwrap();
        file.write_all_at(b"abc", 8 << 20).unwrap();
        let source = source(&path);
        let range = source.next_data(0).unwrap().unwrap();
        assert!(range.contains(&(8 << 20)), "{range:?}");
        assert!(
            range.end - range.start <= 1 << 20,
            "the holes are not data: {range:?}"
        );
        assert_eq!(source.next_data(range.end).unwrap(), None);
        assert_eq!(source.next_data(16 << 20).unwrap(), None);
        let mut three = [0; 3];
        source.read_exact_at(8 << 20, &mut three).unwrap();
        assert_eq!(&three, b"abc");
        assert!(source.warnings().is_empty());
    }

    #[test]
    fn a_change_is_warned_about_and_shrinking_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        File::create(&path).unwrap().write_all(&[1; 8192]).unwrap();
        let source = source(&path);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        assert_eq!(source.warnings(), ["the source changed while it was read"]);
        let mut block = [0; 4096];
        let error = source.read_exact_at(4096, &mut block).unwrap_err();
        assert!(error.to_string().contains("became shorter"), "{error}");
    }

    #[test]
    fn an_empty_file_has_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        File::create(&path).unwrap();
        assert_eq!(source(&path).next_data(0).unwrap(), None);
    }
}
