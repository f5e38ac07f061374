//! A folder of the local file system.
//!
//! Whole objects appear by `linkat` from a nameless file (`O_TMPFILE`), so that a
//! process that dies leaves nothing behind and a name is given at most once. Where
//! the file system has no nameless files, a locked temporary name in `tmp/` takes
//! their place and is removed by the next one who opens the store.

use super::error::Context;
use super::{Backend, Error, Object, PendingObject, Put, Result, Space};
use crate::base::{PackId, begin_write_back};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of temporary names, where there are no nameless files.
pub const TEMPORARY_FOLDER: &str = "tmp";

/// Named immutable objects in a folder.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    root: PathBuf,
}

impl LocalBackend {
    /// Makes the folder (mode 0700) if it is not there, and opens it.
    pub fn create(root: &Path) -> Result<Self> {
        let name = root.display().to_string();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .context("creating the folder", &name)?;
        let metadata = fs::metadata(root).context("reading the attributes of", &name)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            // Others could read every file of every image.
            fs::set_permissions(root, fs::Permissions::from_mode(0o700))
                .context("restricting", &name)?;
        }
        Self::open(root)
    }

    /// Opens a folder that is there, and changes nothing in it: it may not be a store.
    pub fn open(root: &Path) -> Result<Self> {
        let name = root.display().to_string();
        let root = fs::canonicalize(root).context("opening the folder", &name)?;
        if !root.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory))
                .context("opening the folder", &name);
        }
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> PathBuf {
        debug_assert!(!name.split('/').any(|part| part.is_empty() || part == ".."));
        self.root.join(name)
    }

    /// Removes temporary names whose makers are gone. What fails is left for later. MUST
    /// be called for a store only: elsewhere `tmp/` is somebody else's.
    pub fn remove_stale_temporaries(&self) {
        let folder = self.root.join(TEMPORARY_FOLDER);
        let is_folder = fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir());
        let Ok(entries) = fs::read_dir(&folder) else {
            return;
        };
        for entry in entries.flatten() {
            if is_folder && is_temporary(&entry) && is_abandoned(&entry.path()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Opens a new file that has no name yet, or a temporary one.
    fn begin_file(&self) -> io::Result<(File, Option<PathBuf>)> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(&self.root, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Ok((File::from(file), None)),
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::NOENT,
            ) => self
                .begin_named_file()
                .map(|(file, path)| (file, Some(path))),
            Err(error) => Err(error.into()),
        }
    }

    fn begin_named_file(&self) -> io::Result<(File, PathBuf)> {
        let folder = self.root.join(TEMPORARY_FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let path = folder.join(PackId::random().to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok((file, path))
    }

    /// Gives a durable file its name if that is free, and makes the name durable.
    fn publish(&self, file: &File, temporary: Option<&Path>, name: &str) -> io::Result<Put> {
        let target = self.path(name);
        let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut linked = self.link(file, temporary, &target);
        if matches!(&linked, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            self.create_folder(folder)?;
            linked = self.link(file, temporary, &target);
        }
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Put::Exists),
            other => other?,
        }
        File::open(folder)?.sync_all()?;
        Ok(Put::Created)
    }

    fn link(&self, file: &File, temporary: Option<&Path>, target: &Path) -> io::Result<()> {
        match temporary {
            None => {
                let source = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, source, CWD, target, AtFlags::SYMLINK_FOLLOW)?;
            }
            Some(path) => rename_if_absent(path, target)?,
        }
        Ok(())
    }

    /// Makes `folder` and makes its name durable in every folder above it.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut above = folder.parent();
        while let Some(path) = above.filter(|path| path.starts_with(&self.root)) {
            File::open(path)?.sync_all()?;
            above = path.parent();
        }
        Ok(())
    }
}

/// Tells whether a folder has only such files as a process that died leaves in `tmp/`.
///
/// # Errors
///
/// If it cannot be listed.
pub fn holds_only_temporaries(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !is_temporary(&entry?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Tells whether it is a regular file with a name as [`LocalBackend`] gives it.
fn is_temporary(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let id = name.to_str().and_then(|name| name.parse::<PackId>().ok());
    // Parsing takes capital digits, too.
    id.is_some_and(|id| name == *id.to_string())
        && entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Tells whether nobody holds the lock of a temporary file. Another kind of file may have
/// come in its place meanwhile: it is neither followed nor waited for.
fn is_abandoned(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else {
        return false;
    };
    file.metadata().is_ok_and(|metadata| metadata.is_file())
        && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system cannot do it: a hard link refuses a taken name, too.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

impl Backend for LocalBackend {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        if self.exists(name)? {
            return Ok(Put::Exists);
        }
        let (file, temporary) = self.begin_file().context("creating", name)?;
        let guard = RemoveOnDrop(temporary);
        file.write_all_at(bytes, 0).context("writing", name)?;
        file.sync_all().context("syncing", name)?;
        self.publish(&file, guard.0.as_deref(), name)
            .context("publishing", name)
    }

    fn begin(&self) -> Result<Arc<dyn PendingObject>> {
        let (file, temporary) = self.begin_file().context("creating", "a new object")?;
        Ok(Arc::new(LocalPending {
            backend: self.clone(),
            file,
            temporary: RemoveOnDrop(temporary),
            tail: Mutex::default(),
        }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Object>> {
        let file = File::open(self.path(name)).context("opening", name)?;
        let len = file
            .metadata()
            .context("reading the attributes of", name)?
            .len();
        Ok(Arc::new(LocalObject {
            name: name.to_owned(),
            file,
            len,
        }))
    }

    fn read(&self, name: &str, len_max: u64) -> Result<Vec<u8>> {
        let object = self.open(name)?;
        let len = usize::try_from(object.len())
            .ok()
            .filter(|_| object.len() <= len_max);
        let len = len
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "larger than any valid one"))
            .context("reading", name)?;
        let mut bytes = vec![0; len];
        object.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.path(name).try_exists().context("looking for", name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.context("listing", folder)?,
        };
        let mut names = vec![];
        for entry in entries {
            if let Ok(name) = entry.context("listing", folder)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.context("deleting", name),
        }
    }

    fn space(&self) -> Result<Space> {
        let space = rustix::fs::statvfs(&self.root)
            .map_err(io::Error::from)
            .context("reading the free space of", "the store")?;
        Ok(Space {
            available_len_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            total_len_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }

    fn local_path(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// Removes a temporary name; a name that was renamed away is gone already.
#[derive(Debug)]
struct RemoveOnDrop(Option<PathBuf>);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

#[derive(Debug)]
struct LocalObject {
    name: String,
    file: File,
    len: u64,
}

impl Object for LocalObject {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(target, offset)
            .context("reading", &self.name)
    }
}

#[derive(Debug)]
struct LocalPending {
    backend: LocalBackend,
    file: File,
    temporary: RemoveOnDrop,
    tail: Mutex<Tail>,
}

/// What was appended and is not in the file yet.
#[derive(Debug, Default)]
struct Tail {
    /// Where it begins.
    offset: u64,
    bytes: Vec<u8>,
}

/// Bytes that are written at a time: a frame of 20 KiB for itself costs twice as much,
/// because the kernel takes its last page in hand again for the next one.
const WRITE_LEN: usize = 512 << 10;

/// Bytes after which the kernel is asked to begin writing to the medium, so that the
/// fsync at the end finds little left to do.
const WRITE_BEHIND_LEN: u64 = 8 << 20;

impl LocalPending {
    /// Writes the tail to the file; it stays as it was if that fails.
    fn write_tail(&self, tail: &mut Tail) -> Result<()> {
        self.file
            .write_all_at(&tail.bytes, tail.offset)
            .context("writing", "a new object")?;
        let start = tail.offset;
        tail.offset = start.saturating_add(tail.bytes.len() as u64);
        tail.bytes.clear();
        if tail.offset / WRITE_BEHIND_LEN != start / WRITE_BEHIND_LEN {
            begin_write_back(&self.file, start - start % WRITE_BEHIND_LEN..tail.offset);
        }
        Ok(())
    }
}

impl PendingObject for LocalPending {
    fn append(&self, bytes: &[u8]) -> Result<u64> {
        let mut tail = self.tail.lock();
        let offset = tail.offset.saturating_add(tail.bytes.len() as u64);
        tail.bytes.extend_from_slice(bytes);
        if tail.bytes.len() >= WRITE_LEN {
            self.write_tail(&mut tail)?;
        }
        Ok(offset)
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(target.len() as u64);
        let mut tail = self.tail.lock();
        if end > tail.offset && !tail.bytes.is_empty() {
            self.write_tail(&mut tail)?;
        }
        drop(tail);
        self.file
            .read_exact_at(target, offset)
            .context("reading", "a new object")
    }

    fn commit(&self, name: &str) -> Result<Put> {
        self.write_tail(&mut self.tail.lock())?;
        self.file.sync_all().context("syncing", name)?;
        let temporary = self.temporary.0.as_deref();
        self.backend
            .publish(&self.file, temporary, name)
            .context("publishing", name)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error.source.kind();
        match error.source.raw_os_error() {
            Some(errno) => Self::from_raw_os_error(errno),
            None => Self::new(kind, error),
        }
    }
}
