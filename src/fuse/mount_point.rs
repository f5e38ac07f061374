//! Is this a good place for a mount, and how to get a mount away from it.

use crate::source::is_our_mount;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Kibibytes that the kernel reads ahead, where we may set it.
const READ_AHEAD_KIB: u32 = 4096;

/// Why a place is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A mount would hide the store, or show itself inside it.
    #[error("{mount_point} and the store {store} must not lie in each other")]
    InStore {
        /// The place.
        mount_point: PathBuf,
        /// The store's folder.
        store: PathBuf,
    },
    /// A store is mounted there.
    #[error("a tintype is mounted at {mount_point} already; `tintype umount` takes it away")]
    Mounted {
        /// The place.
        mount_point: PathBuf,
    },
    /// It is not a directory that can be used.
    #[error("{mount_point} is not a directory to mount on")]
    NotADirectory {
        /// The place.
        mount_point: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Takes a dead mount away and checks the place; returns its real path.
pub(super) fn prepare(mount_point: &Path, store: Option<&Path>) -> Result<PathBuf, Refusal> {
    if is_dead(mount_point) {
        log::warn!(
            "{}: removing the mount of a process that is gone",
            mount_point.display()
        );
        if let Err(error) = unmount_lazily(mount_point) {
            log::error!("{}: {error}", mount_point.display());
        }
    }
    let refuse = |source| Refusal::NotADirectory {
        mount_point: mount_point.to_path_buf(),
        source,
    };
    let real = fs::canonicalize(mount_point).map_err(refuse)?;
    if !fs::metadata(&real).map_err(refuse)?.is_dir() {
        return Err(refuse(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if is_our_mount(&table, &real) {
        return Err(Refusal::Mounted { mount_point: real });
    }
    if let Some(store) = store.and_then(|store| fs::canonicalize(store).ok())
        && (real.starts_with(&store) || store.starts_with(&real))
    {
        return Err(Refusal::InStore {
            mount_point: real,
            store,
        });
    }
    Ok(real)
}

/// Tells whether a mount is there whose process is gone.
fn is_dead(mount_point: &Path) -> bool {
    fs::metadata(mount_point).is_err_and(|error| {
        matches!(
            error.raw_os_error(),
            Some(libc::ENOTCONN | libc::ECONNABORTED)
        )
    })
}

/// Unmounts if nobody uses the mount.
pub(super) fn unmount(mount_point: &Path) -> io::Result<()> {
    take_away(mount_point, UnmountFlags::NOFOLLOW, "-u")
}

/// Takes the mount out of the tree; it ends when nobody uses it any more.
pub(super) fn unmount_lazily(mount_point: &Path) -> io::Result<()> {
    take_away(
        mount_point,
        UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        "-uz",
    )
}

fn take_away(mount_point: &Path, flags: UnmountFlags, option: &str) -> io::Result<()> {
    match rustix::mount::unmount(mount_point, flags) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Without root only the helper may.
    let done = Command::new("fusermount3")
        .arg(option)
        .arg("--")
        .arg(mount_point)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if done.success() {
        Ok(())
    } else {
        Err(Errno::BUSY.into())
    }
}

/// Lets the kernel read further ahead. Needs root; without it reading is slower.
pub(super) fn raise_read_ahead(mount_point: &Path) {
    let Ok(device) = fs::metadata(mount_point).map(|found| found.dev()) else {
        return;
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&path, READ_AHEAD_KIB.to_string()) {
        log::info!("reading is faster after: echo {READ_AHEAD_KIB} | sudo tee {path} ({error})");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_over_or_inside_its_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let inside = store.join("inside");
        let beside = folder.path().join("beside");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir(&beside).unwrap();
        for refused in [&inside, &store, &folder.path().to_path_buf()] {
            let answer = prepare(refused, Some(&store));
            assert!(
                matches!(answer, Err(Refusal::InStore { .. })),
                "{refused:?}"
            );
        }
        assert!(prepare(&beside, Some(&store)).is_ok());
        assert!(matches!(
            prepare(&folder.path().join("missing"), Some(&store)),
            Err(Refusal::NotADirectory { .. })
        ));
    }
}
