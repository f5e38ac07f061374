//! Requests that only look: space, extended attributes, holes.

use crate::fuse::answer::answer;
use crate::fuse::filesystem::{Adapter, refused};
use crate::tree::Kind;
use fuser::{FileHandle, INodeNo, ReplyLseek, ReplyStatfs, ReplyXattr};

const STATFS_BLOCK: u32 = 4096;
const NAME_LEN_MAX: u32 = 255;

impl Adapter {
    pub(super) fn show_space(&self, reply: ReplyStatfs) {
        answer(
            reply,
            || self.tree.space(),
            |reply, (available, total)| {
                let block = u64::from(STATFS_BLOCK);
                let (free, all) = (available / block, total / block);
                reply.statfs(
                    all,
                    free,
                    free,
                    0,
                    0,
                    STATFS_BLOCK,
                    NAME_LEN_MAX,
                    STATFS_BLOCK,
                );
            },
        );
    }

    pub(super) fn read_xattr(&self, inode: INodeNo, name: &[u8], size: u32, reply: ReplyXattr) {
        let work = || self.tree.xattr(inode.0, name);
        answer(reply, work, |reply, value| reply_sized(reply, size, &value));
    }

    pub(super) fn list_xattrs(&self, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let work = || {
            let mut names = vec![];
            for (name, _) in self.tree.xattrs(inode.0)? {
                names.extend(name);
                names.push(0);
            }
            Ok(names)
        };
        answer(reply, work, |reply, names| reply_sized(reply, size, &names));
    }

    pub(super) fn seek_place(&self, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
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
}

fn reply_sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    if size == 0 {
        reply.size(len);
    } else if len > size {
        reply.error(fuser::Errno::ERANGE);
    } else {
        reply.data(value);
    }
}
