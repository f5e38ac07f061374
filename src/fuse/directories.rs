//! Listing directories, with and without attributes.

use crate::fuse::convert::{attributes, file_type};
use crate::fuse::filesystem::Adapter;
use fuser::{FileHandle, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// `.` and `..` come first in a directory.
const DOTS: u64 = 2;

impl Adapter {
    pub(super) fn read_directory(
        &self,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let work = || {
            let open = self.tree.opened(fh.0)?;
            if offset == 0 {
                open.rewind(self.tree.list(inode.0)?);
            }
            open.listing()
        };
        let listing = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(listing)) => listing,
            Ok(Err(error)) => return reply.error(crate::fuse::errno::errno(&error)),
            Err(_) => return reply.error(fuser::Errno::EIO),
        };
        for (place, name) in [(0, "."), (1, "..")] {
            if offset <= place && reply.add(inode, place + 1, FileType::Directory, name) {
                return reply.ok();
            }
        }
        let start = offset.saturating_sub(DOTS);
        let first = usize::try_from(start).unwrap_or(usize::MAX);
        for (place, entry) in (start + DOTS + 1..).zip(listing.entries(first)) {
            let name = OsStr::from_bytes(&entry.name);
            if reply.add(INodeNo(entry.inode), place, file_type(entry.kind), name) {
                break;
            }
        }
        reply.ok();
    }

    pub(super) fn read_directory_plus(
        &self,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let work = || {
            let open = self.tree.opened(fh.0)?;
            if offset == 0 {
                open.rewind(self.tree.list(inode.0)?);
            }
            Ok((open.listing()?, self.tree.attributes(inode.0)?.0))
        };
        let (listing, own) = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return reply.error(crate::fuse::errno::errno(&error)),
            Err(_) => return reply.error(fuser::Errno::EIO),
        };
        for (place, name) in [(0, "."), (1, "..")] {
            // The kernel counts no look-up for these two.
            let own = attributes(&own);
            if offset <= place
                && reply.add(inode, place + 1, name, &Duration::ZERO, &own, Generation(0))
            {
                return reply.ok();
            }
        }
        let start = offset.saturating_sub(DOTS);
        let first = usize::try_from(start).unwrap_or(usize::MAX);
        for (place, listed) in (start + DOTS + 1..).zip(listing.entries(first)) {
            // It may be gone since the directory was opened.
            let Ok(entry) = self.tree.look_up_listed(&listed) else {
                continue;
            };
            let lifetime = entry.name_lifetime.min(entry.attributes_lifetime);
            let name = OsStr::from_bytes(&listed.name);
            let found = attributes(&entry.attributes);
            if reply.add(found.ino, place, name, &lifetime, &found, Generation(0)) {
                self.tree.forget(found.ino.0, 1);
                break;
            }
        }
        reply.ok();
    }
}
