//! Inodes: everything that `stat` tells.
//!
//! Source: btrfs documentation, "On-disk format" (inode item).

use super::key::{Key, kind};
use super::volume::Volume;
use crate::base::Fields;
use crate::filesystem::{
    DeviceNumber, Error, FileTime, FileType, Metadata, NodeFlags, NodeId, Result,
};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

pub(super) const GENERATION: usize = 0;
pub(super) const SIZE: usize = 16;
pub(super) const NBYTES: usize = 24;
pub(super) const NLINK: usize = 40;
const UID: usize = 44;
const GID: usize = 48;
pub(super) const MODE: usize = 52;
const RDEV: usize = 56;
const FLAGS: usize = 64;
const ATIME: usize = 112;
const CTIME: usize = 124;
const MTIME: usize = 136;
const OTIME: usize = 148;

/// Bytes of an inode item.
pub(super) const INODE_ITEM_LEN: usize = 160;

const NANOSECONDS_MAX: u32 = 999_999_999;

/// The inode has no checksums of its data.
const FLAG_NODATASUM: u64 = 1;
const FLAG_IMMUTABLE: u64 = 1 << 6;
const FLAG_APPEND: u64 = 1 << 7;
const FLAG_COMPRESS: u64 = 1 << 11;
const FLAG_VERITY: u64 = 1 << 32;

/// Set in the subvolume of a directory that stands for a subvolume which is not
/// there: it has no inode of its own, the number is that of the directory it is in.
/// The tree numbers of the kernel stay far below.
const STUB: u64 = 1 << 63;

/// The mode of such a directory.
const STUB_PERMISSIONS: u16 = 0o755;

/// Inodes that are remembered: those that are asked for several times in a row, and the
/// directories that they are in.
const INODE_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Inodes that were read lately. Each request asks for one first, and a copy of a file is
/// several requests.
pub(super) type RecentInodes = Mutex<LruCache<NodeId, Inode>>;

/// Returns an empty list of recent inodes.
pub(super) fn no_inodes() -> RecentInodes {
    Mutex::new(LruCache::new(INODE_COUNT_MAX))
}

/// An inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    pub(super) metadata: Metadata,
    pub(super) has_checksums: bool,
}

/// Returns the empty directory that stands for a missing subvolume in `directory`.
pub(super) const fn stub_in(directory: NodeId) -> NodeId {
    NodeId {
        subvolume: directory.subvolume | STUB,
        inode: directory.inode,
    }
}

/// Returns the directory that the stub `node` is in, if it is a stub.
pub(super) const fn directory_of_stub(node: NodeId) -> Option<NodeId> {
    // Trees of the file system itself count from the highest number down.
    if node.subvolume & STUB == 0 || node.subvolume > super::key::object::LAST_FREE {
        return None;
    }
    Some(NodeId {
        subvolume: node.subvolume & !STUB,
        inode: node.inode,
    })
}

impl Volume {
    /// Reads the inode of `node`.
    ///
    /// # Errors
    ///
    /// NotFound if there is none.
    pub(super) fn inode(&self, node: NodeId) -> Result<Inode> {
        if let Some(directory) = directory_of_stub(node) {
            return self.stub(directory);
        }
        if let Some(inode) = self.inodes.lock().get(&node) {
            return Ok(*inode);
        }
        let key = Key::new(node.inode, kind::INODE_ITEM, 0);
        let found = self.subvolume_of(node)?.find(&key)?;
        let item = found.ok_or_else(|| Error::NotFound {
            what: format!("inode {}", node.inode).into(),
        })?;
        let inode = Inode::decode(&item.fields(), self.space.superblock.sector_len)?;
        self.inodes.lock().put(node, inode);
        Ok(inode)
    }

    fn stub(&self, directory: NodeId) -> Result<Inode> {
        let mut inode = self.inode(directory)?;
        if inode.metadata.file_type != FileType::Directory {
            return Err(Error::NotFound {
                what: "subvolume".into(),
            });
        }
        inode.metadata.permissions = STUB_PERMISSIONS;
        inode.metadata.size = 0;
        inode.metadata.block_count_512 = 0;
        inode.metadata.flags = NodeFlags::default();
        Ok(inode)
    }

    /// Reads the inode of `node`, which must be of type `expected`.
    ///
    /// # Errors
    ///
    /// WrongType if it is of another one.
    pub(super) fn inode_of_type(&self, node: NodeId, expected: FileType) -> Result<Inode> {
        let inode = self.inode(node)?;
        let actual = inode.metadata.file_type;
        match actual == expected {
            true => Ok(inode),
            false => Err(Error::WrongType { expected, actual }),
        }
    }
}

impl Inode {
    pub(super) fn decode(fields: &Fields<'_>, sector_len: u32) -> Result<Self> {
        let fields = &fields.part(0, INODE_ITEM_LEN)?;
        let mode = fields.le_u32(MODE)?;
        let file_type = u16::try_from(mode & 0xFFFF)
            .ok()
            .and_then(FileType::from_mode);
        let Some(file_type) = file_type else {
            let expected = "one of an existing file";
            return Err(Error::corrupt(
                "inode mode",
                fields.place(MODE),
                expected,
                mode,
            ));
        };
        let size = fields.le_u64(SIZE)?;
        if size >> 63 != 0 {
            return Err(Error::corrupt(
                "inode size",
                fields.place(SIZE),
                "below 2^63",
                size,
            ));
        }
        let flags = fields.le_u64(FLAGS)?;
        let has = |flag: u64| flags & flag != 0;
        let device = fields.le_u64(RDEV)?;
        let is_device = matches!(file_type, FileType::BlockDevice | FileType::CharacterDevice);
        let unit = u64::from(sector_len);
        let allocated = fields
            .le_u64(NBYTES)?
            .div_ceil(unit.max(1))
            .saturating_mul(unit);
        Ok(Self {
            has_checksums: !has(FLAG_NODATASUM),
            metadata: Metadata {
                file_type,
                permissions: u16::try_from(mode & 0xFFF).unwrap_or(0),
                user: fields.le_u32(UID)?,
                group: fields.le_u32(GID)?,
                link_count: fields.le_u32(NLINK)?,
                size,
                block_count_512: allocated / 512,
                preferred_io_len: sector_len,
                accessed: time(fields, ATIME)?,
                modified: time(fields, MTIME)?,
                changed: time(fields, CTIME)?,
                created: Some(time(fields, OTIME)?),
                device: is_device.then(|| device_number(device)),
                generation: fields.le_u64(GENERATION)?,
                flags: NodeFlags {
                    has_verity: has(FLAG_VERITY),
                    is_compressed: has(FLAG_COMPRESS),
                    is_immutable: has(FLAG_IMMUTABLE),
                    is_append_only: has(FLAG_APPEND),
                    ..NodeFlags::default()
                },
            },
        })
    }
}

fn time(fields: &Fields<'_>, position: usize) -> Result<FileTime> {
    let seconds = fields.le_u64(position)?;
    let nanoseconds = fields.le_u32(position.saturating_add(8))?;
    Ok(FileTime {
        seconds: i64::from_le_bytes(seconds.to_le_bytes()),
        nanoseconds: nanoseconds.min(NANOSECONDS_MAX),
    })
}

/// Numbers are kept as the kernel has them in memory: 12 and 20 bits.
fn device_number(stored: u64) -> DeviceNumber {
    let part = |bits: u64| u32::try_from(bits).unwrap_or(0);
    DeviceNumber {
        major: part(stored >> 20 & 0xFFF),
        minor: part(stored & 0xF_FFFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_what_its_item_says() {
        let mut bytes = vec![0; INODE_ITEM_LEN];
        bytes[MODE..MODE + 2].copy_from_slice(&0x61A4_u16.to_le_bytes());
        bytes[NBYTES..NBYTES + 2].copy_from_slice(&4097_u16.to_le_bytes());
        bytes[RDEV..RDEV + 4].copy_from_slice(&((259 << 20) | 300_u32).to_le_bytes());
        bytes[MTIME..MTIME + 8].copy_from_slice(&(-5_i64).to_le_bytes());
        bytes[FLAGS] = 0x41;
        let inode = Inode::decode(&Fields::new(&bytes, 0), 4096).unwrap();
        assert_eq!(
            inode.metadata.device,
            Some(DeviceNumber {
                major: 259,
                minor: 300
            })
        );
        assert_eq!(inode.metadata.block_count_512, 16);
        assert_eq!(inode.metadata.modified.seconds, -5);
        assert!(inode.metadata.flags.is_immutable && !inode.has_checksums);
        bytes[SIZE + 7] = 0x80;
        assert!(Inode::decode(&Fields::new(&bytes, 0), 4096).is_err());
        assert!(Inode::decode(&Fields::new(&[0; INODE_ITEM_LEN], 0), 4096).is_err());
        assert!(Inode::decode(&Fields::new(&bytes[..150], 0), 4096).is_err());
    }

    #[test]
    fn a_stub_leads_to_its_directory() {
        let directory = NodeId {
            subvolume: 300,
            inode: 257,
        };
        assert_eq!(directory_of_stub(stub_in(directory)), Some(directory));
        assert_eq!(directory_of_stub(directory), None);
        let forged = NodeId {
            subvolume: u64::MAX,
            inode: 1,
        };
        assert_eq!(directory_of_stub(forged), None);
    }
}
