//! Between the types of the tree and those of the protocol.

use crate::base::Timestamp;
use crate::tree::{Attributes, FileKind};
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

/// Bytes in a block of `st_blocks`.
const STAT_BLOCK: u64 = 512;
/// Bytes that programs should read at a time.
const PREFERRED_LEN: u32 = 1 << 20;

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
    }
}

pub(super) fn attributes(from: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(from.inode),
        size: from.len_bytes,
        blocks: from.allocated_len_bytes.div_ceil(STAT_BLOCK),
        atime: from.accessed_at.to_system_time(),
        mtime: from.modified_at.to_system_time(),
        ctime: from.changed_at.to_system_time(),
        crtime: from.changed_at.to_system_time(),
        kind: file_type(from.kind),
        perm: from.mode,
        nlink: from.link_count,
        uid: from.uid,
        gid: from.gid,
        rdev: 0,
        blksize: PREFERRED_LEN,
        flags: 0,
    }
}

pub(super) fn timestamp(from: TimeOrNow) -> Timestamp {
    match from {
        TimeOrNow::SpecificTime(time) => Timestamp::from_system_time(time),
        TimeOrNow::Now => Timestamp::now(),
    }
}
