//! An image in a regular file, whose holes are found and never read.

use super::{Error, ImageSource, Result, mounts};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A regular file.
#[derive(Debug)]
pub struct FileSource {
    file: File,
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
        advise_sequential(&file);
        Ok(Self {
            warnings: mounted_warning(&metadata),
            opened: Stamp::of(&metadata),
            file,
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
    fn len(&self) -> u64 {
        self.opened.len_bytes
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len();
        if offset >= len {
            return Ok(None);
        }
        if self.holes_unknown.load(Ordering::Relaxed) {
            return Ok(Some(offset..len));
        }
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) if start < len => start,
            Ok(_) | Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.holes_unknown.store(true, Ordering::Relaxed);
                return Ok(Some(offset..len));
            }
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(len),
            Err(Errno::NXIO) => len,
            Err(error) => return Err(error.into()),
        };
        // A writer that punches a hole between the two calls must not stall us.
        Ok(Some(start..end.max(start.saturating_add(1))))
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        read_fully(&self.file, offset, target)
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

/// Fills `target` as far as the file reaches.
pub(super) fn read_fully(file: &File, offset: u64, target: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Tells the kernel that the file will be read from front to back; a hint, so that
/// its failure means nothing.
pub(super) fn advise_sequential(file: &File) {
    let _hint = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
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
        assert_eq!(source.read_at(8 << 20, &mut three).unwrap(), 3);
        assert_eq!(&three, b"abc");
        assert!(source.warnings().is_empty());
    }

    #[test]
    fn a_change_is_warned_about() {
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
        let mut blocks = [9; 8192];
        assert_eq!(source.read_at(0, &mut blocks).unwrap(), 4096);
    }

    #[test]
    fn an_empty_file_has_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        File::create(&path).unwrap();
        assert_eq!(source(&path).next_data(0).unwrap(), None);
    }
}
