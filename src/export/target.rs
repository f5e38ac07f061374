//! What the target is made with: directories and files relative to an open directory.
//! No call follows a symbolic link below the folder that the user named.

use super::error::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

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

/// Does `make`, and if the name is taken and may be replaced, again without it.
pub(super) fn make_or_replace<T>(
    folder: impl AsFd,
    name: &[u8],
    replaces: bool,
    action: &'static str,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T> {
    match make() {
        Err(Errno::EXIST) if replaces => {
            make_room(&folder, name)?;
            make().map_err(Error::target(action))
        }
        Err(Errno::EXIST) => Err(Error::Exists {
            what: if is_folder(&folder, name) {
                "a directory"
            } else {
                "a file"
            },
        }),
        result => result.map_err(Error::target(action)),
    }
}
