//! What the target is made with: directories and files relative to an open directory.
//! No call follows a symbolic link below the folder that the user named.

use super::error::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Temporary names that are tried: all are taken only if somebody takes them on purpose.
const TEMPORARY_TRIES: usize = 100;

/// How directories of the target are opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the directory `name`, which is made if it is not there; tells whether it was.
pub(super) fn make_folder(parent: impl AsFd, name: &[u8]) -> Result<(OwnedFd, bool)> {
    // Closed to all others until its own mode is set at the end.
    let is_new = match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(Error::target("making the directory")(error)),
    };
    match rustix::fs::openat(&parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok((folder, is_new)),
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::Exists {
            what: "something that is no directory",
        }),
        Err(error) => Err(Error::target("opening the directory")(error)),
    }
}

/// Opens the directory at `path` below `root`, one component after the other.
pub(super) fn open_below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    let action = "opening the directory again";
    let flags = FOLDER.union(OFlags::PATH);
    let mut folder =
        rustix::fs::openat(root, c".", flags, Mode::empty()).map_err(Error::target(action))?;
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        folder = rustix::fs::openat(&folder, name, flags, Mode::empty())
            .map_err(Error::target(action))?;
    }
    Ok(folder)
}

/// Cuts a path into directory and name.
pub(super) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(place) => (&path[..place], &path[place + 1..]),
        None => (&[], path),
    }
}

/// Makes a file, for its owner only, that was not there.
pub(super) fn make_file(folder: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(folder, name, flags, mode)?.into())
}

/// Removes the file `name` to make room for another.
pub(super) fn make_room(folder: impl AsFd, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Error::Exists {
            what: "a directory",
        }),
        Err(error) => Err(Error::target("removing what is there")(error)),
    }
}

/// Tells whether `name` is a directory.
pub(super) fn is_folder(folder: impl AsFd, name: &[u8]) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Which file something is, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns which file is open.
    pub(super) fn of(file: impl AsFd) -> Result<Self> {
        let stat = rustix::fs::fstat(file).map_err(Error::target("looking at the file"))?;
        Ok(Self::from_stat(&stat))
    }

    /// Returns which file has a name; none if nothing has it.
    pub(super) fn at(folder: impl AsFd, name: &[u8]) -> Option<Self> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self::from_stat(&stat))
    }

    fn from_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// Names for what is made beside the thing that it replaces.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    /// Of this copy: a process in a container may have the number of one that was killed
    /// and left its files.
    salt: u64,
    next: AtomicU64,
}

impl TemporaryNames {
    pub(super) fn new() -> Self {
        Self {
            salt: RandomState::new().hash_one(std::process::id()),
            next: AtomicU64::new(0),
        }
    }

    fn next(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!(".tintype-{:016x}-{number}.part", self.salt).into_bytes()
    }
}

/// Does `make` with `name`. If that is taken and `names` are given, does it with one of
/// those, which is returned: [`take_place`] replaces what is there when all is well.
pub(super) fn make_or_beside<T>(
    folder: impl AsFd,
    name: &[u8],
    names: Option<&TemporaryNames>,
    action: &'static str,
    make: impl Fn(&[u8]) -> Result<T, Errno>,
) -> Result<(T, Option<Vec<u8>>)> {
    match make(name) {
        Err(Errno::EXIST) => {}
        result => return Ok((result.map_err(Error::target(action))?, None)),
    }
    let what = match is_folder(&folder, name) {
        true => "a directory",
        false => "a file",
    };
    let Some(names) = names.filter(|_| what == "a file") else {
        return Err(Error::Exists { what });
    };
    for _ in 0..TEMPORARY_TRIES {
        let temporary = names.next();
        match make(&temporary) {
            Err(Errno::EXIST) => {}
            result => return Ok((result.map_err(Error::target(action))?, Some(temporary))),
        }
    }
    Err(Error::target(action)(Errno::EXIST))
}

/// Gives what has a temporary name its own, in place of what has that.
pub(super) fn take_place(folder: impl AsFd, temporary: &[u8], name: &[u8]) -> Result<()> {
    rustix::fs::renameat(&folder, temporary, &folder, name)
        .map_err(Error::target("replacing the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a killed copy, whose process had the same number, were in the way.
    #[test]
    fn a_temporary_name_that_is_taken_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let fd = File::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("name"), "old").unwrap();
        let names = TemporaryNames::new();
        let next = TemporaryNames {
            salt: names.salt,
            next: AtomicU64::new(0),
        };
        for _ in 0..2 {
            make_file(&fd, &next.next()).unwrap();
        }
        let make = |names| make_or_beside(&fd, b"name", names, "making", |n| make_file(&fd, n));
        let in_the_way = make(None);
        assert!(matches!(in_the_way, Err(Error::Exists { what: "a file" })));
        let (_, temporary) = make(Some(&names)).unwrap();
        assert_eq!(temporary, Some(next.next()));
        assert_ne!(TemporaryNames::new().salt, names.salt);
        take_place(&fd, &temporary.unwrap(), b"name").unwrap();
        assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), b"");
    }
}
