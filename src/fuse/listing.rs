//! Listings of directories, with attributes or without.

use crate::fuse::convert::{attributes, file_type};
use crate::fuse::errno::errno;
use crate::tree::{Attributes, DirEntry, Entry, Folder, Listing, Open, Result, Tree};
use fuser::{Errno, FileHandle, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// `.` and `..` come first in a directory.
const DOTS: u64 = 2;

/// A reply that takes entries until it is full.
trait Fill {
    /// Adds what is the directory itself (or the one above); true if there was no room.
    fn add_own(&mut self, own: &Attributes, place: u64, name: &str) -> bool;
    /// Adds an entry of a directory outside of images.
    fn add_listed(&mut self, tree: &Tree, entry: &DirEntry, place: u64) -> bool;
    /// Adds the entries of a directory inside an image.
    fn add_inside(&mut self, tree: &Tree, folder: &Folder, place: u64) -> (bool, Result<()>);
    fn finish(self);
    fn refuse(self, errno: Errno);
}

impl Fill for ReplyDirectory {
    fn add_own(&mut self, own: &Attributes, place: u64, name: &str) -> bool {
        self.add(INodeNo(own.inode), place, FileType::Directory, name)
    }

    fn add_listed(&mut self, _tree: &Tree, entry: &DirEntry, place: u64) -> bool {
        let name = OsStr::from_bytes(&entry.name);
        self.add(INodeNo(entry.inode), place, file_type(entry.kind), name)
    }

    fn add_inside(&mut self, tree: &Tree, folder: &Folder, place: u64) -> (bool, Result<()>) {
        let mut has_any = false;
        let read = folder.read(tree, place, &mut |entry| {
            let name = OsStr::from_bytes(entry.name);
            let next = entry.next.saturating_add(DOTS);
            if self.add(INodeNo(entry.inode), next, file_type(entry.kind), name) {
                return ControlFlow::Break(());
            }
            has_any = true;
            ControlFlow::Continue(())
        });
        (has_any, read)
    }

    fn finish(self) {
        self.ok();
    }

    fn refuse(self, errno: Errno) {
        self.error(errno);
    }
}

impl Fill for ReplyDirectoryPlus {
    fn add_own(&mut self, own: &Attributes, place: u64, name: &str) -> bool {
        // The kernel counts no look-up for these.
        let own = attributes(own);
        let lifetime = Duration::ZERO;
        self.add(own.ino, place, name, &lifetime, &own, Generation(0))
    }

    fn add_listed(&mut self, tree: &Tree, listed: &DirEntry, place: u64) -> bool {
        match tree.look_up_listed(listed) {
            Ok(entry) => add_entry(self, tree, &listed.name, place, &entry),
            // It may be gone since the directory was opened.
            Err(_) => false,
        }
    }

    fn add_inside(&mut self, tree: &Tree, folder: &Folder, place: u64) -> (bool, Result<()>) {
        let mut has_any = false;
        let read = folder.read_with_attributes(tree, place, &mut |name, next, entry| {
            if add_entry(self, tree, name, next.saturating_add(DOTS), entry) {
                return ControlFlow::Break(());
            }
            has_any = true;
            ControlFlow::Continue(())
        });
        (has_any, read)
    }

    fn finish(self) {
        self.ok();
    }

    fn refuse(self, errno: Errno) {
        self.error(errno);
    }
}

/// Adds an entry that was looked up, or takes the look-up back: true if there was no
/// room.
fn add_entry(
    reply: &mut ReplyDirectoryPlus,
    tree: &Tree,
    name: &[u8],
    place: u64,
    entry: &Entry,
) -> bool {
    let lifetime = entry.name_lifetime.min(entry.attributes_lifetime);
    let name = OsStr::from_bytes(name);
    let found = attributes(&entry.attributes);
    let is_full = reply.add(found.ino, place, name, &lifetime, &found, Generation(0));
    if is_full {
        tree.forget(found.ino.0, 1);
    }
    is_full
}

/// Answers READDIR.
pub(super) fn list(
    tree: &Arc<Tree>,
    inode: INodeNo,
    fh: FileHandle,
    offset: u64,
    reply: ReplyDirectory,
) {
    answer(tree, inode, fh, offset, reply);
}

/// Answers READDIRPLUS.
pub(super) fn list_with_attributes(
    tree: &Arc<Tree>,
    inode: INodeNo,
    fh: FileHandle,
    offset: u64,
    reply: ReplyDirectoryPlus,
) {
    answer(tree, inode, fh, offset, reply);
}

fn answer(tree: &Tree, inode: INodeNo, fh: FileHandle, offset: u64, mut reply: impl Fill) {
    let filled = catch_unwind(AssertUnwindSafe(|| {
        fill(tree, inode.0, fh.0, offset, &mut reply)
    }));
    match filled {
        Ok(Ok(())) => reply.finish(),
        Ok(Err(error)) => reply.refuse(errno(&error)),
        Err(_) => {
            log::error!("a request ended in a fault of the program (see above)");
            reply.refuse(Errno::EIO);
        }
    }
}

fn fill(tree: &Tree, inode: u64, handle: u64, offset: u64, reply: &mut impl Fill) -> Result<()> {
    let open = tree.opened(handle)?;
    let mut own = Attributes::directory();
    own.inode = inode;
    for (place, name) in [(0, "."), (1, "..")] {
        if offset <= place && reply.add_own(&own, place + 1, name) {
            return Ok(());
        }
    }
    let start = offset.saturating_sub(DOTS);
    match open.as_folder() {
        Some(folder) => match reply.add_inside(tree, folder, start) {
            // What was read before the damage goes out first; the next request begins
            // at the damage and gets the error.
            (true, _) => Ok(()),
            (false, read) => read.map_err(|error| {
                log::debug!("listing {inode}: {error}");
                error
            }),
        },
        None => fill_listed(tree, &listing(tree, &open, inode, offset)?, start, reply),
    }
}

/// Returns what a directory outside of images shows; read from the beginning, as it is
/// now.
fn listing(tree: &Tree, open: &Open, inode: u64, offset: u64) -> Result<Listing> {
    let listing = open.listing()?;
    if offset > 0 || listing.is_fixed() {
        return Ok(listing);
    }
    open.rewind(tree.list(inode)?);
    open.listing()
}

fn fill_listed(tree: &Tree, listing: &Listing, start: u64, reply: &mut impl Fill) -> Result<()> {
    let first = usize::try_from(start).unwrap_or(usize::MAX);
    for (place, entry) in (start + DOTS + 1..).zip(listing.entries(first)) {
        if reply.add_listed(tree, &entry, place) {
            break;
        }
    }
    Ok(())
}
