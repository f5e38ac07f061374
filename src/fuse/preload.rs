//! Giving the kernel the content of a small file when it is opened, before OPEN is
//! answered. Whoever opens a file reads it next: that READ need not be sent then, nor the
//! GETATTR after it, since a READ makes the kernel forget the time of access.
//!
//! What would go wrong: storing pages waits for those that somebody reads at that moment,
//! and that READ may wait for the thread that stores. Therefore only the first OPEN since
//! the kernel holds a node stores anything, and no other OPEN of the node is answered
//! before that has ended: nobody has an open file to read through.
//!
//! Source: `fuse_notify_store` in `fs/fuse/dev.c` of Linux.

use crate::fuse::reading;
use crate::tree::{Caching, Result, Tree};
use fuser::{INodeNo, Notifier, OpenAccMode, OpenFlags};
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::sync::OnceLock;

/// Bytes of a file that is small: what `cp` asks for at a time.
const SMALL_LEN_MAX: usize = 128 << 10;

/// The first version of Linux that is sure to clear what is behind the end of a stored
/// file in its last page (CVE-2024-44947); before, it showed whatever was in memory.
const KERNEL_MIN: (u32, u32) = (6, 11);

/// Stores small files in the kernel.
#[derive(Debug, Default)]
pub(super) struct Preloader {
    notifier: OnceLock<Notifier>,
    /// Nodes that are being stored.
    under_way: Mutex<HashSet<u64>>,
    ended: Condvar,
}

impl Preloader {
    /// Begins, if this kernel is fit for it.
    pub(super) fn begin(&self, notifier: Notifier) {
        let release = rustix::system::uname();
        if version(&release.release().to_string_lossy()).is_some_and(|own| own >= KERNEL_MIN) {
            // Set once: there is one session for each adapter.
            drop(self.notifier.set(notifier));
        }
    }

    /// Opens a file, and stores its content if it is small and nobody can be reading it.
    /// What fails of that is left to READ.
    pub(super) fn open(
        &self,
        tree: &Tree,
        inode: INodeNo,
        flags: OpenFlags,
    ) -> Result<(u64, Caching)> {
        let (handle, caching) = tree.open_file(inode.0, writes(flags))?;
        if caching == Caching::Keep
            && let Some(notifier) = self.notifier.get()
            && let Some(_guard) = self.enter(tree, inode.0)
            // A direct reader wants no pages, but may map the file: it counts as the first.
            && flags.0 & libc::O_DIRECT == 0
        {
            load(tree, notifier, inode, handle);
        }
        Ok((handle, caching))
    }

    /// Returns a guard for the first opening of a node; waits for it otherwise.
    fn enter(&self, tree: &Tree, inode: u64) -> Option<UnderWay<'_>> {
        let mut under_way = self.under_way.lock();
        while under_way.contains(&inode) {
            self.ended.wait(&mut under_way);
        }
        if !tree.mark_opened(inode) {
            return None;
        }
        under_way.insert(inode);
        Some(UnderWay {
            loader: self,
            inode,
        })
    }
}

/// Tells whether a file is opened for writing.
pub(super) fn writes(flags: OpenFlags) -> bool {
    flags.acc_mode() != OpenAccMode::O_RDONLY
}

fn load(tree: &Tree, notifier: &Notifier, inode: INodeNo, handle: u64) {
    reading::with_buffer(SMALL_LEN_MAX, |buffer| {
        if let Some(len) = tree.read_whole(handle, buffer)
            && let Err(error) = notifier.store(inode, 0, buffer.get(..len).unwrap_or_default())
        {
            log::debug!("storing {inode} in the kernel: {error}");
        }
    });
}

/// A node is being stored, until this is dropped.
struct UnderWay<'a> {
    loader: &'a Preloader,
    inode: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.loader.under_way.lock().remove(&self.inode);
        self.loader.ended.notify_all();
    }
}

/// Returns the first two numbers of a release of Linux.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_linux_are_understood() {
        assert_eq!(version("6.18.44-cloud"), Some((6, 18)));
        assert_eq!(version("6.1.0-25-amd64"), Some((6, 1)));
        assert_eq!(version("7.0"), Some((7, 0)));
        assert_eq!(version("nonsense"), None);
        assert_eq!(version(""), None);
    }
}
