//! What a file system tells about itself and about its nodes, in one form for all
//! formats.

use super::name::Name;
use crate::base::{ByteLen, ByteOffset};

/// A node (file, directory, ...) of one opened file system.
///
/// Ordinary file systems have one tree and `subvolume` 0; in btrfs it is the tree
/// id. Equal ids are the same file (hard links share one). A forged id is never
/// more than an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The tree that the inode belongs to; 0 where there is only one.
    pub subvolume: u64,
    /// The file system's own number of the inode.
    pub inode: u64,
}

impl NodeId {
    /// Returns the node `inode` of a file system with one tree.
    pub const fn new(inode: u64) -> Self {
        Self {
            subvolume: 0,
            inode,
        }
    }
}

/// The type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device of characters.
    CharacterDevice,
    /// A device of blocks.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileType {
    /// Returns what people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        }
    }

    /// Returns the type in the upper four bits of a Unix mode.
    pub const fn from_mode(mode: u16) -> Option<Self> {
        match mode & 0xF000 {
            0x1000 => Some(Self::Fifo),
            0x2000 => Some(Self::CharacterDevice),
            0x4000 => Some(Self::Directory),
            0x6000 => Some(Self::BlockDevice),
            0x8000 => Some(Self::Regular),
            0xA000 => Some(Self::Symlink),
            0xC000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// Returns the upper four bits of a Unix mode.
    pub const fn to_mode(self) -> u16 {
        match self {
            Self::Fifo => 0x1000,
            Self::CharacterDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xA000,
            Self::Socket => 0xC000,
        }
    }
}

/// A point in time as file systems have it: wider than 64 bits of nanoseconds
/// (ext4 reaches 2446, XFS 2486, NTFS 60056).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Seconds since 1970-01-01T00:00:00Z, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which device of it.
    pub minor: u32,
}

/// Properties of a node that a reader may want to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NodeFlags {
    /// The content is encrypted; `read_at` is unsupported.
    pub is_encrypted: bool,
    /// The content is protected by fs-verity (which is not checked here).
    pub has_verity: bool,
    /// A directory where names that differ in case only are the same.
    pub is_casefold: bool,
    /// The content is compressed.
    pub is_compressed: bool,
    /// Nobody may change the node (`chattr +i`).
    pub is_immutable: bool,
    /// The node may only grow (`chattr +a`).
    pub is_append_only: bool,
}

/// Everything that `stat` tells about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub file_type: FileType,
    /// The lower 12 bits of the mode.
    pub permissions: u16,
    /// The owner.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// The number of hard links, as the image has it (0 is an orphan).
    pub link_count: u32,
    /// Length of the content (of the target for a symlink) in bytes.
    pub size: ByteLen,
    /// Allocated space as `stat` tells it, in units of 512 bytes.
    pub block_count_512: u64,
    /// The block length for `stat`.
    pub preferred_io_len: u32,
    /// Last read.
    pub accessed: FileTime,
    /// Last change of the content.
    pub modified: FileTime,
    /// Last change of the node.
    pub changed: FileTime,
    /// When the node was made, where the format knows it.
    pub created: Option<FileTime>,
    /// The device, for device nodes.
    pub device: Option<DeviceNumber>,
    /// Distinguishes users of the same inode number one after the other.
    pub generation: u64,
    /// Further properties.
    pub flags: NodeFlags,
}

/// A place in a directory, opaque except for [`DirCursor::START`]; below 2^62. It
/// stays good for as long as the file system is open, and at every later opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirCursor(pub u64);

impl DirCursor {
    /// The place before the first entry.
    pub const START: Self = Self(0);
}

/// One entry of a directory; never `.` or `..`.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: Name<'a>,
    /// The node it names.
    pub node: NodeId,
    /// The type of the node, if the directory tells it.
    pub file_type: Option<FileType>,
    /// The place behind this entry, to go on from; never equal to an earlier one.
    pub next: DirCursor,
}

/// Where a run of a file's content lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentPlace {
    /// In the file system's range of the image, as it is, from this byte on.
    Image {
        /// First byte, relative to the file system.
        offset: ByteOffset,
    },
    /// Anywhere else (inline, compressed, in the journal): only `read_at` shows it.
    Encoded,
}

/// A run of a file's content that is allocated and written. What lies between two
/// of them is a hole: zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileExtent {
    /// First byte in the file.
    pub offset: ByteOffset,
    /// Length in bytes, at least one; may reach beyond the end of the file.
    pub len: ByteLen,
    /// Where it lies.
    pub place: ExtentPlace,
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SpaceUsage {
    /// The unit of the next three in bytes.
    pub fs_block_len: u32,
    /// All blocks.
    pub block_count: u64,
    /// Free blocks.
    pub free_block_count: u64,
    /// Free blocks that ordinary users may take.
    pub available_block_count: u64,
    /// All nodes that can exist.
    pub node_count: u64,
    /// Nodes that can still be made.
    pub free_node_count: u64,
    /// The longest name in bytes.
    pub name_len_max: u32,
}

/// Whether the file system was left in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It was unmounted.
    Clean,
    /// It was not; its log was replayed in memory, so what is shown is what a
    /// mount would show.
    Replayed,
    /// It was not, and what is shown is the state on disk, perhaps inconsistent.
    Dirty {
        /// Why the log was not replayed.
        reason: &'static str,
    },
}

/// What an opened file system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `ext4`, `xfs` and so on.
    pub format: &'static str,
    /// The label, without padding; often empty.
    pub label: Vec<u8>,
    /// The UUID in the form that `/etc/fstab` has, if the format has one.
    pub uuid: Option<String>,
    /// The unit of allocation in bytes.
    pub fs_block_len: u32,
    /// Length of the file system in bytes, by its own account.
    pub len: ByteLen,
    /// Features that are on, by the names that its tools print.
    pub features: Vec<String>,
    /// Whether it was left in order.
    pub consistency: Consistency,
    /// Things that a person should know (the file system is longer than the image ...).
    pub warnings: Vec<String>,
}

/// Which tree of a file system is its root.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RootSelector {
    /// What a mount without options shows.
    #[default]
    Default,
    /// The tree above all subvolumes.
    TopLevel,
    /// The subvolume with this id.
    Id(u64),
    /// The subvolume at this path from the top level.
    Path(Vec<u8>),
}
