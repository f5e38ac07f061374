//! Where an image is restored to: a sparse file that appears whole or not at all,
//! or a block device that nobody uses.

use super::block_device::device_len;
use super::{Error, RestoreTarget, Result, Use, mounts, sys};
use crate::base::{BLOCK_LEN_BYTES, ByteLen, ByteOffset, begin_write_back, is_aligned};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest piece that is zeroed by one BLKZEROOUT, so that a cancel is not ignored
/// for the minutes that a whole disk takes.
const ZERO_LEN_MAX: u64 = 256 << 20;

/// Bytes of a name of a file, on every file system of Linux.
const NAME_LEN_MAX: usize = 255;

/// Temporary names that are tried.
const TEMPORARY_COUNT_MAX: u32 = 1000;

/// Sectors are at most this long on every device the kernel supports.
const SECTOR_LEN_MAX: u64 = 4096;

/// A sparse file under a temporary name beside its own; dropped unfinished, it is
/// removed.
///
/// Whole blocks are written past the page cache where the file system can do that: an
/// image may be larger than the memory, its writer waits for the medium in any case, and
/// memory for the cache is not free: a machine that had to find it first restored at a
/// third of the speed.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    /// The same file with O_DIRECT.
    direct: Option<File>,
    /// The file system took O_DIRECT and refuses it now.
    direct_refused: AtomicBool,
    temporary_path: PathBuf,
    path: PathBuf,
    replace: bool,
    finished: AtomicBool,
}

impl FileTarget {
    /// Makes the temporary file `<path>.<process>.part`, or one of a like name if that is
    /// taken or too long, readable by its owner only, with a length of `len` and nothing
    /// but a hole.
    pub fn create(path: &Path, len: ByteLen, replace: bool) -> Result<Self> {
        let (file, temporary_path) = create_temporary(path)?;
        let context = |source| Error::Io {
            action: "creating",
            path: temporary_path.clone(),
            source,
        };
        let direct = File::options()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&temporary_path);
        let target = Self {
            file,
            direct: direct.ok(),
            direct_refused: AtomicBool::new(false),
            temporary_path: temporary_path.clone(),
            path: path.to_owned(),
            replace,
            finished: AtomicBool::new(false),
        };
        target.file.set_len(len).map_err(context)?;
        Ok(target)
    }

    /// Writes past the page cache; false if that cannot be done.
    fn write_directly(&self, offset: ByteOffset, bytes: &[u8]) -> io::Result<bool> {
        let Some(direct) = &self.direct else {
            return Ok(false);
        };
        let suits = is_aligned(bytes) && offset.is_multiple_of(BLOCK_LEN_BYTES);
        if !suits || self.direct_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match direct.write_all_at(bytes, offset) {
            Ok(()) => Ok(true),
            // Written again through the page cache, whole.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.direct_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Makes a new file beside `path`. A killed process may have had the same number, and have
/// left its file: that one is not touched.
fn create_temporary(path: &Path) -> Result<(File, PathBuf)> {
    let process = std::process::id();
    let mut suffix = format!(".{process}.part");
    let mut tries = 1..TEMPORARY_COUNT_MAX;
    loop {
        let temporary_path = temporary_path(path, &suffix);
        let opened = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary_path);
        match (opened, tries.next()) {
            (Ok(file), _) => return Ok((file, temporary_path)),
            (Err(error), Some(number)) if error.kind() == io::ErrorKind::AlreadyExists => {
                suffix = format!(".{process}-{number}.part");
            }
            (Err(source), _) => {
                return Err(Error::Io {
                    action: "creating",
                    path: temporary_path,
                    source,
                });
            }
        }
    }
}

/// Returns the path with `suffix`, and with so much less of its name that it is not too
/// long.
fn temporary_path(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let mut len = name.len().min(NAME_LEN_MAX.saturating_sub(suffix.len()));
    // Some file systems refuse half a character.
    while name.get(len).is_some_and(|byte| byte & 0xC0 == 0x80) && len > 0 {
        len -= 1;
    }
    let name = name.get(..len).unwrap_or_default();
    let name = [name, suffix.as_bytes()].concat();
    path.with_file_name(OsStr::from_bytes(&name))
}

impl RestoreTarget for FileTarget {
    fn write_at(&self, offset: ByteOffset, bytes: &[u8]) -> io::Result<()> {
        if self.write_directly(offset, bytes)? {
            return Ok(());
        }
        self.file.write_all_at(bytes, offset)?;
        // The medium is to write while the next parts are decompressed; otherwise the
        // fsync at the end would wait for everything.
        begin_write_back(
            &self.file,
            offset..offset.saturating_add(bytes.len() as u64),
        );
        Ok(())
    }

    fn reserve(&self, range: Range<ByteOffset>) {
        if self.direct.is_none() {
            return;
        }
        let len = range.end.saturating_sub(range.start);
        // Direct writes into holes wait for each other, those into reserved space do not.
        let reserved = rustix::fs::fallocate(
            &self.file,
            rustix::fs::FallocateFlags::KEEP_SIZE,
            range.start,
            len,
        );
        if let Err(error) = reserved {
            log::debug!("no space is reserved at {}: {error}", range.start);
        }
    }

    fn zero(&self, _range: Range<ByteOffset>) -> io::Result<()> {
        // The file is new: what was not written is a hole.
        Ok(())
    }

    fn sync(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_all()
    }

    fn publish(&self) -> io::Result<()> {
        if self.replace {
            std::fs::rename(&self.temporary_path, &self.path)?;
        } else {
            // A link fails where a rename would silently replace.
            match std::fs::hard_link(&self.temporary_path, &self.path) {
                Ok(()) => std::fs::remove_file(&self.temporary_path)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // FAT and some network file systems have no links.
                Err(_) if !self.path.exists() => {
                    std::fs::rename(&self.temporary_path, &self.path)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.finished.store(true, Ordering::Relaxed);
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for FileTarget {
    fn drop(&mut self) {
        if !self.finished.load(Ordering::Relaxed) {
            // Nothing better can be done where even this fails.
            drop(std::fs::remove_file(&self.temporary_path));
        }
    }
}

/// A block device held exclusively.
#[derive(Debug)]
pub struct BlockDeviceTarget {
    file: File,
}

impl BlockDeviceTarget {
    /// Opens the device for an image of `image_len_bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if it or a part of it is mounted, swap, or held by the kernel
    /// (LVM, RAID, encryption); [`Error::TooSmall`].
    pub fn open(path: &Path, image_len_bytes: ByteLen) -> Result<Self> {
        let context = |source| Error::Io {
            action: "opening",
            path: path.to_owned(),
            source,
        };
        let in_use = |reason| Error::InUse {
            path: path.to_owned(),
            reason,
        };
        let device = std::fs::metadata(path).map_err(context)?.rdev();
        match mounts::uses_of_device(device).first() {
            Some(Use::Mounted { mount_point, .. }) => {
                let reason = format!("mounted at {mount_point}; unmount it first");
                return Err(in_use(reason));
            }
            Some(Use::Swap) => return Err(in_use("used as swap; swapoff it first".to_owned())),
            None => {}
        }
        let opened = File::options()
            .write(true)
            .custom_flags(libc::O_EXCL)
            .open(path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let reason = "held by the kernel (a mount elsewhere, LVM, RAID or encryption); \
                              release it first";
                return Err(in_use(reason.to_owned()));
            }
            other => other.map_err(context)?,
        };
        let device_len_bytes = device_len(&file).map_err(context)?;
        if device_len_bytes < image_len_bytes {
            return Err(Error::TooSmall {
                path: path.to_owned(),
                device_len_bytes,
                image_len_bytes,
            });
        }
        Ok(Self { file })
    }

    /// Zeros a piece: by the device where it lies on sectors, by writing elsewhere.
    fn zero_piece(&self, piece: &Range<ByteOffset>) -> io::Result<()> {
        let aligned =
            piece.start.is_multiple_of(SECTOR_LEN_MAX) && piece.end.is_multiple_of(SECTOR_LEN_MAX);
        if aligned && sys::block_device_zero(&self.file, piece).is_ok() {
            return Ok(());
        }
        let zeros = [0; 64 << 10];
        let mut offset = piece.start;
        while offset < piece.end {
            let step = (piece.end - offset).min(zeros.len() as u64);
            let part = zeros.get(..step as usize).unwrap_or_default();
            self.file.write_all_at(part, offset)?;
            offset += step;
        }
        Ok(())
    }
}

impl RestoreTarget for BlockDeviceTarget {
    fn write_at(&self, offset: ByteOffset, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn zero(&self, range: Range<ByteOffset>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(ZERO_LEN_MAX));
            self.zero_piece(&(start..end))?;
            start = end;
        }
        Ok(())
    }

    fn sync(&self, _len: u64) -> io::Result<()> {
        self.file.sync_all()
    }

    fn is_in_place(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.img");
        let target = FileTarget::create(&path, 64 << 20, false).unwrap();
        assert!(!path.exists());
        target.zero(0..1 << 20).unwrap();
        target.write_at(1 << 20, &[7; 4096]).unwrap();
        target.sync(64 << 20).unwrap();
        target.publish().unwrap();
        drop(target);
        assert_eq!(names(folder.path()), ["out.img"]);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        assert!(
            metadata.blocks() * 512 < 1 << 20,
            "{} blocks",
            metadata.blocks()
        );
    }

    /// A process that was killed had the same number and left its file.
    #[test]
    fn a_temporary_name_that_is_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.img");
        let part = folder
            .path()
            .join(format!("out.img.{}.part", std::process::id()));
        std::fs::write(&part, "left").unwrap();
        let target = FileTarget::create(&path, 8192, false).unwrap();
        target.sync(8192).unwrap();
        target.publish().unwrap();
        assert_eq!(std::fs::read(&part).unwrap(), b"left");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8192);
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_name_may_be_as_long_as_names_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "n".repeat(NAME_LEN_MAX),
            format!("x{}", "\u{20ac}".repeat(84)),
        ] {
            let path = folder.path().join(&name);
            let target = FileTarget::create(&path, 8192, false).unwrap();
            let temporary = target.temporary_path.file_name().unwrap();
            assert!(temporary.len() <= NAME_LEN_MAX && temporary.to_str().is_some());
            target.sync(8192).unwrap();
            target.publish().unwrap();
            assert!(path.is_file());
        }
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn blocks_in_any_memory_and_an_odd_end_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.img");
        let len = 5 * BLOCK_LEN_BYTES + 100;
        let target = FileTarget::create(&path, len, false).unwrap();
        let mut buffer = crate::base::AlignedBuffer::default();
        let bytes = buffer.first(3 * 4096 + 1);
        for (number, byte) in bytes.iter_mut().enumerate() {
            *byte = (number % 251) as u8;
        }
        let (direct, crooked, end) = (&bytes[..8192], &bytes[1..4097], &bytes[..100]);
        target.reserve(4096..3 * 4096);
        target.write_at(4096, direct).unwrap();
        target.write_at(3 * 4096, crooked).unwrap();
        target.write_at(5 * 4096, end).unwrap();
        target.sync(len).unwrap();
        target.publish().unwrap();
        let mut expected = vec![0; len as usize];
        expected[4096..3 * 4096].copy_from_slice(direct);
        expected[3 * 4096..4 * 4096].copy_from_slice(crooked);
        expected[5 * 4096..].copy_from_slice(end);
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.img");
        drop(FileTarget::create(&path, 4096, false).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_file_made_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.img");
        let target = FileTarget::create(&path, 4096, false).unwrap();
        std::fs::write(&path, b"precious").unwrap();
        assert_eq!(
            target.publish().unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        drop(target);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(names(folder.path()), ["out.img"]);
        assert!(super::super::open_target(&path, 1, false).is_err());
    }
}
