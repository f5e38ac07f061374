//! `tintype umount`.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::source::is_our_mount;
use clap::Args;
use rustix::mount::UnmountFlags;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Take a mount away.
///
/// Waits for nothing: if files on it are open, it fails, unless --lazy is given. Drafts
/// that are not published stay in the store (`tintype drafts`).
#[derive(Debug, Args)]
pub struct UmountArguments {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    mount_point: PathBuf,
    /// Detach it now, and let it end when the last file on it is closed
    #[arg(long, short)]
    lazy: bool,
}

/// Takes a mount away.
pub fn run(arguments: &UmountArguments, context: &Context) -> Result<()> {
    let path = absolute(&arguments.mount_point)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(Error::io("reading /proc/self/mountinfo"))?;
    if !is_our_mount(&table, &path) {
        return Err(Error::NotFound(format!(
            "no tintype is mounted at {}",
            path.display()
        )));
    }
    if context.settings.is_root {
        unmount_as_root(&path, arguments.lazy)?;
    } else {
        unmount_as_user(&path, arguments.lazy)?;
    }
    let text = path.display().to_string();
    let value = serde_json::json!({ "mount_point": text });
    context.output.result(&value, |target| {
        writeln!(target, "unmounted {}", printable(&text))
    })
}

/// Returns the path as the kernel lists it. The mount itself is not looked at: a dead
/// one would answer with an error, or not at all.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io("finding the current directory"))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path);
    };
    let parent = parent
        .canonicalize()
        .map_err(Error::io(format!("looking at {}", parent.display())))?;
    Ok(parent.join(name))
}

fn busy(path: &Path) -> Error {
    Error::Refused(format!(
        "{} is in use; close what is open on it (`fuser -m` shows it), or detach it with --lazy",
        path.display()
    ))
}

fn unmount_as_root(path: &Path, lazy: bool) -> Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazy {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::BUSY) => Err(busy(path)),
        Err(error) => Err(Error::io(format!("unmounting {}", path.display()))(
            error.into(),
        )),
    }
}

/// A user may not unmount, but the helper of FUSE may do it for him.
fn unmount_as_user(path: &Path, lazy: bool) -> Result<()> {
    for helper in ["fusermount3", "fusermount"] {
        let mut command = Command::new(helper);
        command.arg("-u");
        if lazy {
            command.arg("-z");
        }
        let answer = match command.arg("--").arg(path).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io(format!("running {helper}")))?,
        };
        if answer.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        if message.to_lowercase().contains("busy") {
            return Err(busy(path));
        }
        return Err(Error::io(format!("unmounting {}", path.display()))(
            io::Error::other(message),
        ));
    }
    let message = "fusermount3 is not installed; install the package fuse3, or unmount as root";
    Err(Error::Refused(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_mounts_are_taken_away() {
        let table = "\
50 20 0:45 / /mnt/a\\040b rw - fuse.tintype /store rw
51 20 0:46 / /mnt/c rw - fuse.tintype /store rw
52 51 0:47 / /mnt/c rw - tmpfs tmpfs rw
53 20 0:48 / /mnt/d rw - fuse tintype rw
54 20 0:49 / /mnt/e rw - fuse other rw
";
        assert!(is_our_mount(table, Path::new("/mnt/a b")));
        assert!(!is_our_mount(table, Path::new("/mnt/c")));
        assert!(is_our_mount(table, Path::new("/mnt/d")));
        assert!(!is_our_mount(table, Path::new("/mnt/e")));
        assert!(!is_our_mount(table, Path::new("/mnt")));
    }
}
