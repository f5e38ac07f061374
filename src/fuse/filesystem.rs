//! The requests of the kernel: convert, ask the tree, reply.

use crate::fuse::answer::{answer, answer_later, answer_when_ready};
use crate::fuse::convert::{attributes, timestamp};
use crate::fuse::preload::{Preloader, writes};
use crate::fuse::reply::{
    Found, reply_entry, reply_nothing, reply_sized, reply_space, reply_usage,
};
use crate::fuse::turns::Turns;
use crate::fuse::{changing, listing, reading};
use crate::tree::{Asked, AttributeChange, Caching, CopyRange, Creation, Error, Kind, Tree};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Requests that the kernel may have under way in the background (read-ahead).
const BACKGROUND_MAX: u16 = 64;

/// The adapter.
pub(super) struct Adapter {
    pub(super) tree: Arc<Tree>,
    pub(super) turns: Arc<Turns>,
    pub(super) preloader: Arc<Preloader>,
    /// For tests: RELEASE is handled this much later.
    pub(super) release_delay: Duration,
    /// The kernel must check permissions, access control lists included.
    pub(super) checks_permissions: bool,
}

const WANTED: [InitFlags; 10] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_BIG_WRITES,
    // A target never changes: it is part of the number, or the image's.
    InitFlags::FUSE_CACHE_SYMLINKS,
];

fn refused<T>(kind: Kind) -> crate::tree::Result<T> {
    Err(Error::from(kind))
}

impl Adapter {
    fn refuse_entry(&self, parent: INodeNo, reply: ReplyEntry) {
        answer(reply, || Err(self.tree.refuse(parent.0)), reply_entry);
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for flag in WANTED {
            // One at a time: with an unknown one among them none would be added.
            if config.add_capabilities(flag).is_err() {
                log::debug!("the kernel does not offer {flag:?}");
            }
        }
        if self.checks_permissions && config.add_capabilities(InitFlags::FUSE_POSIX_ACL).is_err() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "this kernel does not check access control lists on FUSE mounts, so other \
                 users cannot be let in safely; mount without --allow-other",
            ));
        }
        if let Err(nearest) = config.set_max_background(BACKGROUND_MAX) {
            log::debug!("{nearest} requests in the background at most");
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turns.take();
        let own_name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| match tree.look_up(parent.0, &own_name) {
            Err(error) if error.kind() == Kind::NotFound => {
                // Zero is an error that may not be remembered.
                match tree.absence_lifetime(parent.0) {
                    Duration::ZERO => Err(error),
                    lifetime => Ok(Found::Nothing(lifetime)),
                }
            }
            found => Ok(Found::Entry(found?)),
        };
        let place = (parent.0, Asked::Name(name.as_bytes()));
        answer_when_ready(&self.tree, place, reply, work, |reply, found| match found {
            Found::Entry(entry) => reply_entry(reply, entry),
            Found::Nothing(lifetime) => reply_nothing(reply, lifetime),
        });
    }

    fn forget(&self, _req: &Request, inode: INodeNo, count: u64) {
        self.tree.forget(inode.0, count);
    }

    fn getattr(&self, _req: &Request, inode: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.turns.take();
        let work = move |tree: &Arc<Tree>| tree.attributes(inode.0);
        let accept = |reply: ReplyAttr, (found, lifetime)| {
            reply.attr(&lifetime, &attributes(&found));
        };
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn setattr(
        &self,
        _req: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = AttributeChange {
            mode,
            uid,
            gid,
            accessed_at: atime.map(timestamp),
            modified_at: mtime.map(timestamp),
        };
        changing::set_attributes(&self.tree, inode, size, change, reply);
    }

    fn readlink(&self, _req: &Request, inode: INodeNo, reply: ReplyData) {
        let _turn = self.turns.take();
        let work = move |tree: &Arc<Tree>| tree.read_link(inode.0);
        let accept = |reply: ReplyData, target: Vec<u8>| reply.data(&target);
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return self.refuse_entry(parent, reply);
        }
        let by = Creation {
            mode,
            uid: req.uid(),
            gid: req.gid(),
        };
        let name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| {
            let (entry, handle) = tree.create(parent.0, &name, by)?;
            tree.close(handle);
            Ok(entry)
        };
        answer_later(&self.tree, reply, work, reply_entry);
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.refuse_entry(parent, reply);
    }

    fn symlink(
        &self,
        _req: &Request,
        parent: INodeNo,
        _link_name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        self.refuse_entry(parent, reply);
    }

    fn link(
        &self,
        _req: &Request,
        _inode: INodeNo,
        parent: INodeNo,
        _name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.refuse_entry(parent, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| tree.unlink(parent.0, &name);
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        answer(
            reply,
            || Err::<(), _>(self.tree.refuse(parent.0)),
            |reply, ()| reply.ok(),
        );
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.as_bytes().to_vec(), new_name.as_bytes().to_vec());
        let work = move |tree: &Arc<Tree>| {
            if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                return refused(Kind::Invalid);
            }
            let keeps_target = flags.contains(RenameFlags::RENAME_NOREPLACE);
            tree.rename((parent.0, &name), (new_parent.0, &new_name), keeps_target)
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn open(&self, _req: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        let preloader = Arc::clone(&self.preloader);
        let work = move |tree: &Arc<Tree>| preloader.open(tree, inode, flags);
        let accept = |reply: ReplyOpen, (handle, caching)| {
            let flags = match caching {
                // Closing what cannot be written to is nobody's business.
                Caching::Keep => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
                Caching::None => FopenFlags::FOPEN_DIRECT_IO,
            };
            reply.opened(FileHandle(handle), flags);
        };
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let by = Creation {
            mode,
            uid: req.uid(),
            gid: req.gid(),
        };
        let name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| tree.create(parent.0, &name, by);
        answer_later(&self.tree, reply, work, |reply, (entry, handle)| {
            reply.created(
                &Duration::ZERO,
                &attributes(&entry.attributes),
                Generation(0),
                FileHandle(handle),
                FopenFlags::FOPEN_DIRECT_IO,
            );
        });
    }

    fn read(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let turn = self.turns.take();
        let range = reading::ReadRange::new(offset, size, flags, lock_owner);
        reading::read(&self.tree, &turn, fh, range, reply);
    }

    fn write(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _turn = self.turns.take();
        changing::write(&self.tree, inode, offset, data, reply);
    }

    fn flush(
        &self,
        req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let pid = req.pid();
        let is_writer = self
            .tree
            .opened(fh.0)
            .is_ok_and(|open| open.as_draft().is_some_and(|(_, is_writer)| is_writer));
        if !is_writer {
            return reply.ok();
        }
        let work = move |tree: &Arc<Tree>| {
            let open = tree.opened(fh.0)?;
            match open.as_draft() {
                Some((draft, true)) => draft.flush(crate::tree::is_killed(pid)),
                _ => Ok(()),
            }
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn release(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        if !writes(flags) {
            self.tree.close(fh.0);
            return reply.ok();
        }
        let delay = self.release_delay;
        let work = move |tree: &Arc<Tree>| {
            std::thread::sleep(delay);
            tree.close(fh.0);
            Ok(())
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn fsync(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let work = move |tree: &Arc<Tree>| match tree.opened(fh.0)?.as_draft() {
            Some((draft, _)) => draft.sync(),
            None => Ok(()),
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn opendir(&self, _req: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        let work = move |tree: &Arc<Tree>| tree.open_directory(inode.0);
        let accept = |reply: ReplyOpen, (handle, caching)| {
            let flags = match caching {
                Caching::Keep => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
                Caching::None => FopenFlags::empty(),
            };
            reply.opened(FileHandle(handle), flags);
        };
        answer_when_ready(&self.tree, (inode.0, Asked::Entries), reply, work, accept);
    }

    fn readdir(
        &self,
        _req: &Request,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let _turn = self.turns.take();
        listing::list(&self.tree, inode, fh, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.turns.take();
        listing::list_with_attributes(&self.tree, inode, fh, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        self.tree.close(fh.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _inode: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Names of drafts are made durable with their content.
        reply.ok();
    }

    fn statfs(&self, _req: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turns.take();
        let work = move |tree: &Arc<Tree>| Ok((tree.space_inside(inode.0)?, tree.space()?));
        let accept = |reply: ReplyStatfs, (inside, (available, total))| match inside {
            Some(usage) => reply_usage(reply, &usage),
            None => reply_space(reply, available, total),
        };
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn setxattr(
        &self,
        _req: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
        let work = move |tree: &Arc<Tree>| tree.set_xattr(inode.0, &name, Some(&value));
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    fn getxattr(&self, _req: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.take();
        let name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| tree.xattr(inode.0, &name);
        let accept = move |reply: ReplyXattr, value: Vec<u8>| reply_sized(reply, size, &value);
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn listxattr(&self, req: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.take();
        let is_root = req.uid() == 0;
        let work = move |tree: &Arc<Tree>| {
            let mut names = vec![];
            for name in tree.xattr_names(inode.0)? {
                // As other file systems do: others could not read them anyway.
                if is_root || !name.starts_with(b"trusted.") {
                    names.extend(name);
                    names.push(0);
                }
            }
            Ok(names)
        };
        let accept = move |reply: ReplyXattr, names: Vec<u8>| reply_sized(reply, size, &names);
        answer_when_ready(&self.tree, (inode.0, Asked::Node), reply, work, accept);
    }

    fn removexattr(&self, _req: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let work = || self.tree.set_xattr(inode.0, name.as_bytes(), None);
        answer(reply, work, |reply, ()| reply.ok());
    }

    fn access(
        &self,
        _req: &Request,
        _inode: INodeNo,
        _mask: fuser::AccessFlags,
        reply: ReplyEmpty,
    ) {
        // The kernel decides, from now on without asking.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        changing::allocate(
            &self.tree,
            inode,
            offset..offset.saturating_add(length),
            mode,
            reply,
        );
    }

    fn lseek(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let _turn = self.turns.take();
        let work = || {
            let offset = u64::try_from(offset).map_err(|_| Kind::NoSuchPlace)?;
            let place = match whence {
                libc::SEEK_DATA => self.tree.seek(fh.0, offset, false)?,
                libc::SEEK_HOLE => self.tree.seek(fh.0, offset, true)?,
                _ => return refused(Kind::Invalid),
            };
            i64::try_from(place).map_err(|_| Kind::TooLarge.into())
        };
        answer(reply, work, |reply, place| reply.offset(place));
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _inode_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _inode_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let range = CopyRange {
            source: fh_in.0,
            source_offset: offset_in,
            target: fh_out.0,
            target_offset: offset_out,
            len,
        };
        let work = move |tree: &Arc<Tree>| tree.copy(range);
        answer_later(&self.tree, reply, work, |reply, copied| {
            reply.written(u32::try_from(copied).unwrap_or(u32::MAX));
        });
    }

    fn ioctl(
        &self,
        _req: &Request,
        _inode: INodeNo,
        _fh: FileHandle,
        _flags: fuser::IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: fuser::ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }
}
