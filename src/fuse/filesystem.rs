//! The requests of the kernel: convert, ask the tree, reply.

use crate::fuse::answer::{answer, answer_after_publications, answer_later};
use crate::fuse::convert::{attributes, timestamp};
use crate::tree::{AttributeChange, Caching, CopyRange, Creation, Entry, Error, Kind, Tree};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Requests that the kernel may have under way in the background (read-ahead).
const BACKGROUND_MAX: u16 = 64;
/// Bytes that one read may ask for.
const READ_LEN_MAX: usize = 16 << 20;

/// The adapter.
pub(super) struct Adapter {
    pub(super) tree: Arc<Tree>,
    /// For tests: RELEASE is handled this much later.
    pub(super) release_delay: Duration,
}

const WANTED: [InitFlags; 9] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_BIG_WRITES,
];

fn reply_entry(reply: ReplyEntry, entry: Entry) {
    reply.entry_with_ttls(
        &entry.attributes_lifetime,
        &entry.name_lifetime,
        &attributes(&entry.attributes),
        Generation(0),
    );
}

pub(super) fn refused<T>(kind: Kind) -> crate::tree::Result<T> {
    Err(Error::from(kind))
}

fn writes(flags: OpenFlags) -> bool {
    flags.acc_mode() != OpenAccMode::O_RDONLY
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
        if let Err(nearest) = config.set_max_background(BACKGROUND_MAX) {
            log::debug!("{nearest} requests in the background at most");
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        let work = move |tree: &Arc<Tree>| tree.look_up(parent.0, &name);
        answer_after_publications(&self.tree, parent.0, reply, work, reply_entry);
    }

    fn forget(&self, _req: &Request, inode: INodeNo, count: u64) {
        self.tree.forget(inode.0, count);
    }

    fn getattr(&self, _req: &Request, inode: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let work = move |tree: &Arc<Tree>| tree.attributes(inode.0);
        answer_after_publications(
            &self.tree,
            inode.0,
            reply,
            work,
            |reply, (found, lifetime)| {
                reply.attr(&lifetime, &attributes(&found));
            },
        );
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
        self.change_draft(inode, size, change, reply);
    }

    fn readlink(&self, _req: &Request, inode: INodeNo, reply: ReplyData) {
        let work = move |tree: &Arc<Tree>| tree.read_link(inode.0);
        answer_after_publications(&self.tree, inode.0, reply, work, |reply, target| {
            reply.data(&target);
        });
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
        let old = (parent.0, name.as_bytes().to_vec());
        let new = (new_parent.0, new_name.as_bytes().to_vec());
        self.rename_draft(old, new, flags, reply);
    }

    fn open(&self, _req: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let is_direct = flags.0 & libc::O_DIRECT != 0;
        let work = || self.tree.open_file(inode.0, writes(flags), is_direct);
        answer(reply, work, |reply, (handle, caching)| {
            let flags = match caching {
                Caching::Keep => FopenFlags::FOPEN_KEEP_CACHE,
                Caching::None => FopenFlags::FOPEN_DIRECT_IO,
            };
            reply.opened(FileHandle(handle), flags);
        });
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
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let work = || {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0).min(READ_LEN_MAX)];
            let count = self.tree.read(fh.0, offset, &mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        answer(reply, work, |reply, bytes| reply.data(&bytes));
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
        self.write_draft(inode, offset, data, reply);
    }

    fn flush(
        &self,
        req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.flush_draft(req.pid(), fh, reply);
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
        self.release_handle(fh, writes(flags), reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.sync_draft(fh, reply);
    }

    fn opendir(&self, _req: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let work = move |tree: &Arc<Tree>| tree.open_directory(inode.0);
        answer_after_publications(&self.tree, inode.0, reply, work, |reply, handle| {
            reply.opened(FileHandle(handle), FopenFlags::empty());
        });
    }

    fn readdir(
        &self,
        _req: &Request,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.read_directory(inode, fh, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        inode: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.read_directory_plus(inode, fh, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _inode: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        answer(reply, || Ok(self.tree.close(fh.0)), |reply, ()| reply.ok());
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

    fn statfs(&self, _req: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        self.show_space(reply);
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
        self.read_xattr(inode, name.as_bytes(), size, reply);
    }

    fn listxattr(&self, _req: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        self.list_xattrs(inode, size, reply);
    }

    fn removexattr(&self, _req: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let work = || self.tree.set_xattr(inode.0, name.as_bytes(), None);
        answer(reply, work, |reply, ()| reply.ok());
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
        self.allocate(inode, offset, length, mode, reply);
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
        self.seek_place(fh, offset, whence, reply);
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
