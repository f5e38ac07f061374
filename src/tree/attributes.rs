//! What `stat` shows of a node.

use crate::base::Timestamp;
use std::time::Duration;

/// What kind of directory entry a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
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
    pub accessed_at: Timestamp,
    /// Last change of the content.
    pub modified_at: Timestamp,
    /// Last change of the attributes.
    pub changed_at: Timestamp,
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
