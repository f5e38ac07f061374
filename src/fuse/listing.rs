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

/// A reply that takes entries until it is full. What was added sets `has_any` at once:
/// the reply has to go out then, whatever follows.
trait Fill {
    /// Adds what is the directory itself (or the one above); true if there was no room.
    fn add_own(&mut self, own: &Attributes, place: u64, name: &str) -> bool;
    /// Adds an entry of a directory outside of images; true if there was no room.
    fn add_listed(&mut self, tree: &Tree, entry: &DirEntry, place: u64, has_any: &mut bool)
    -> bool;
    /// Adds the entries of a directory inside an image.
    fn add_inside(
        &mut self,
        tree: &Tree,
        folder: &Folder,
        place: u64,
        has_any: &mut bool,
    ) -> Result<()>;
    fn finish(self);
    fn refuse(self, errno: Errno);
}

impl Fill for ReplyDirectory {
    fn add_own(&mut self, own: &Attributes, place: u64, name: &str) -> bool {
        self.add(INodeNo(own.inode), place, FileType::Directory, name)
    }

    fn add_listed(
        &mut self,
        _tree: &Tree,
        entry: &DirEntry,
        place: u64,
        has_any: &mut bool,
    ) -> bool {
        let name = OsStr::from_bytes(&entry.name);
        let is_full = self.add(INodeNo(entry.inode), place, file_type(entry.kind), name);
        *has_any |= !is_full;
        is_full
    }

    fn add_inside(
        &mut self,
        tree: &Tree,
        folder: &Folder,
        place: u64,
        has_any: &mut bool,
    ) -> Result<()> {
        folder.read(tree, place, &mut |entry| {
            let name = OsStr::from_bytes(entry.name);
            let next = entry.next.saturating_add(DOTS);
            if self.add(INodeNo(entry.inode), next, file_type(entry.kind), name) {
                return ControlFlow::Break(());
            }
            *has_any = true;
            ControlFlow::Continue(())
        })
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

    fn add_listed(
        &mut self,
        tree: &Tree,
        listed: &DirEntry,
        place: u64,
        has_any: &mut bool,
    ) -> bool {
        // It may be gone since the directory was opened.
        let Ok(entry) = tree.look_up_listed(listed) else {
            return false;
        };
        let is_full = add_entry(self, &listed.name, place, &entry);
        if is_full {
            tree.forget(entry.attributes.inode, 1);
        }
        *has_any |= !is_full;
        is_full
    }

    fn add_inside(
        &mut self,
        tree: &Tree,
        folder: &Folder,
        place: u64,
        has_any: &mut bool,
    ) -> Result<()> {
        folder.read_with_attributes(tree, place, &mut |name, next, entry| {
            if add_entry(self, name, next.saturating_add(DOTS), entry) {
                return ControlFlow::Break(());
            }
            *has_any = true;
            ControlFlow::Continue(())
        })
    }

    fn finish(self) {
        self.ok();
    }

    fn refuse(self, errno: Errno) {
        self.error(errno);
    }
}

/// Adds an entry that was looked up: true if there was no room.
fn add_entry(reply: &mut ReplyDirectoryPlus, name: &[u8], place: u64, entry: &Entry) -> bool {
    let lifetime = entry.name_lifetime.min(entry.attributes_lifetime);
    let name = OsStr::from_bytes(name);
    let found = attributes(&entry.attributes);
    reply.add(found.ino, place, name, &lifetime, &found, Generation(0))
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
    let mut has_any = false;
    let filled = catch_unwind(AssertUnwindSafe(|| {
        fill(tree, inode.0, fh.0, offset, &mut reply, &mut has_any)
    }));
    let failed = match filled {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            log::debug!("listing {inode}: {error}");
            Some(errno(&error))
        }
        Err(_) => {
            log::error!("a request ended in a fault of the program (see above)");
            Some(Errno::EIO)
        }
    };
    match failed {
        // What was read before the fault goes out first: its look-ups are counted, and only
        // what the kernel has got will it forget. The next request gets the error.
        Some(errno) if !has_any => reply.refuse(errno),
        Some(_) | None => reply.finish(),
    }
}

fn fill(
    tree: &Tree,
    inode: u64,
    handle: u64,
    offset: u64,
    reply: &mut impl Fill,
    has_any: &mut bool,
) -> Result<()> {
    let open = tree.opened(handle)?;
    let mut own = Attributes::directory();
    own.inode = inode;
    for (place, name) in [(0, "."), (1, "..")] {
        if offset <= place && reply.add_own(&own, place + 1, name) {
            return Ok(());
        }
    }
    let start = offset.saturating_sub(DOTS);
    if let Some(folder) = open.as_folder() {
        return reply.add_inside(tree, folder, start, has_any);
    }
    let listing = listing(tree, &open, inode, offset)?;
    let first = usize::try_from(start).unwrap_or(usize::MAX);
    for (place, entry) in (start + DOTS + 1..).zip(listing.entries(first)) {
        if reply.add_listed(tree, &entry, place, has_any) {
            break;
        }
    }
    Ok(())
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
