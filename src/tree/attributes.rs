//! What `stat` shows of a node.

use crate::base::Timestamp;
use crate::filesystem::{DeviceNumber, FileTime, FileType};
use std::time::Duration;

/// Bytes that programs should read at a time from what is ours.
pub(super) const PREFERRED_IO_LEN: u32 = 1 << 20;

/// What kind of directory entry a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device of characters inside an image.
    CharacterDevice,
    /// A device of blocks inside an image.
    BlockDevice,
    /// A named pipe inside an image.
    Fifo,
    /// A socket inside an image.
    Socket,
}

impl From<FileType> for FileKind {
    fn from(from: FileType) -> Self {
        match from {
            FileType::Regular => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
        }
    }
}

/// Returns a point in time of ours in the wider form that file systems need.
pub(super) fn file_time(from: Timestamp) -> FileTime {
    const SECOND: i64 = 1_000_000_000;
    FileTime {
        seconds: from.nanoseconds().div_euclid(SECOND),
        // Never negative and below a second.
        nanoseconds: from.nanoseconds().rem_euclid(SECOND) as u32,
    }
}

/// Attributes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the node, unique in the mount and the same at every mount.
    pub inode: u64,
    /// What it is.
    pub kind: FileKind,
    /// Permissions, 12 bits.
    pub mode: u16,
    /// Number of names.
    pub link_count: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub len_bytes: u64,
    /// Bytes that are not holes.
    pub allocated_len_bytes: u64,
    /// Last access.
    pub accessed_at: FileTime,
    /// Last change of the content.
    pub modified_at: FileTime,
    /// Last change of the attributes.
    pub changed_at: FileTime,
    /// The device, for device nodes.
    pub device: Option<DeviceNumber>,
    /// Bytes that programs should read at a time.
    pub preferred_io_len: u32,
}

impl Attributes {
    /// Returns what a listing says of the directory itself: it is one.
    pub fn directory() -> Self {
        Self::unknown(FileKind::Directory)
    }

    /// Returns what goes with the number 0, which is no node.
    pub fn nothing() -> Self {
        Self::unknown(FileKind::File)
    }

    /// Returns what is shown of a node until somebody asks for it by name.
    pub(super) fn unknown(kind: FileKind) -> Self {
        let time = FileTime::default();
        Self {
            inode: 0,
            kind,
            mode: 0,
            link_count: 1,
            uid: 0,
            gid: 0,
            len_bytes: 0,
            allocated_len_bytes: 0,
            accessed_at: time,
            modified_at: time,
            changed_at: time,
            device: None,
            preferred_io_len: PREFERRED_IO_LEN,
        }
    }
}

/// A node as a look-up shows it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its attributes.
    pub attributes: Attributes,
    /// How long the name may be remembered.
    pub name_lifetime: Duration,
    /// How long the attributes may be remembered.
    pub attributes_lifetime: Duration,
}

/// What a request wants to change.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttributeChange {
    /// New permissions.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of last access.
    pub accessed_at: Option<Timestamp>,
    /// New time of last change.
    pub modified_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for (nanoseconds, expected) in [
            (-1, (-1, 999_999_999)),
            (-1_000_000_000, (-1, 0)),
            (1_500_000_000, (1, 500_000_000)),
        ] {
            let found = file_time(Timestamp::from_nanoseconds(nanoseconds));
            assert_eq!((found.seconds, found.nanoseconds), expected);
        }
    }
}
