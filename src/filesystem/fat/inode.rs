//! Nodes. FAT has no inodes: a node is the slot of its entry in a directory, and its
//! number is where that lies in the image, in units of 32 bytes.

use super::Fat;
use super::clusters::Allocation;
use super::numbers::Numbers;
use super::short_name;
use super::slots::{self, Place, SLOT_LEN, Slots};
use super::superblock::Root;
use super::table::{Width, Window};
use super::time;
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{Error, FileTime, FileType, Metadata, NodeFlags, NodeId, Result};

/// The root has no entry. Slot 1 lies in the boot sector, where there never is one.
pub(super) const ROOT_INODE: u64 = 1;

/// The most slots of a directory.
pub(super) const DIRECTORY_LEN_MAX: ByteLen = 65_536 * SLOT_LEN;

/// Where the fields of an entry are.
///
/// Source: Microsoft FAT specification 1.03, "FAT Directory Structure".
mod field {
    pub(super) const ATTRIBUTES: usize = 11;
    pub(super) const CASE: usize = 12;
    pub(super) const CREATED_HUNDREDTHS: usize = 13;
    pub(super) const CREATED_TIME: usize = 14;
    pub(super) const CREATED_DATE: usize = 16;
    pub(super) const ACCESSED_DATE: usize = 18;
    pub(super) const FIRST_HIGH: usize = 20;
    pub(super) const MODIFIED_TIME: usize = 22;
    pub(super) const MODIFIED_DATE: usize = 24;
    pub(super) const FIRST_LOW: usize = 26;
    pub(super) const SIZE: usize = 28;
}

const READ_ONLY: u8 = 0x01;
const VOLUME_ID: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Read-only, hidden, system and volume id together: a piece of a long name.
const LONG_NAME: u8 = 0x0F;

pub(super) const DELETED: u8 = 0xE5;
const DOT: &[u8; short_name::LEN] = b".          ";
const DOT_DOT: &[u8; short_name::LEN] = b"..         ";

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Nothing, and nothing behind it.
    End,
    Deleted,
    LongName,
    VolumeLabel,
    /// The directory itself or its parent.
    Dots,
    Entry,
}

/// Tells what a slot holds.
pub(super) fn kind_of(bytes: &[u8; 32]) -> SlotKind {
    let attributes = bytes.get(field::ATTRIBUTES).copied().unwrap_or(0);
    match bytes.first() {
        Some(0) | None => SlotKind::End,
        Some(&DELETED) => SlotKind::Deleted,
        Some(_) if attributes == LONG_NAME => SlotKind::LongName,
        Some(_) if attributes & VOLUME_ID != 0 => SlotKind::VolumeLabel,
        Some(_) if bytes.starts_with(DOT) || bytes.starts_with(DOT_DOT) => SlotKind::Dots,
        Some(_) => SlotKind::Entry,
    }
}

/// An entry of a directory, or the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) inode: u64,
    pub(super) file_type: FileType,
    is_read_only: bool,
    pub(super) first: u32,
    /// Length of a file; 0 for directories.
    pub(super) size: ByteLen,
    modified: FileTime,
    accessed: FileTime,
    created: Option<FileTime>,
}

impl Node {
    const fn root() -> Self {
        const NEVER: FileTime = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        Self {
            inode: ROOT_INODE,
            file_type: FileType::Directory,
            is_read_only: false,
            first: 0,
            size: 0,
            modified: NEVER,
            accessed: NEVER,
            created: None,
        }
    }

    fn parse(fields: &Fields<'_>, inode: u64, width: Width) -> Result<Self> {
        let attributes = fields.u8(field::ATTRIBUTES)?;
        let is_directory = attributes & DIRECTORY != 0;
        let high = match width {
            Width::Bits32 => fields.le_u16(field::FIRST_HIGH)?,
            Width::Bits12 | Width::Bits16 | Width::ExFat => 0,
        };
        let time = |date, time, hundredths| -> Result<FileTime> {
            Ok(time::decode(fields.le_u16(date)?, time, hundredths))
        };
        Ok(Self {
            inode,
            file_type: match is_directory {
                true => FileType::Directory,
                false => FileType::Regular,
            },
            is_read_only: attributes & READ_ONLY != 0,
            first: u32::from(high) << 16 | u32::from(fields.le_u16(field::FIRST_LOW)?),
            size: match is_directory {
                true => 0,
                false => fields.le_u32(field::SIZE)?.into(),
            },
            modified: time(
                field::MODIFIED_DATE,
                fields.le_u16(field::MODIFIED_TIME)?,
                0,
            )?,
            accessed: time(field::ACCESSED_DATE, 0, 0)?,
            created: Some(time(
                field::CREATED_DATE,
                fields.le_u16(field::CREATED_TIME)?,
                fields.u8(field::CREATED_HUNDREDTHS)?,
            )?),
        })
    }
}

/// Returns name and case bits of the entry in a slot.
pub(super) fn short_name_of(bytes: &[u8; 32]) -> ([u8; short_name::LEN], u8) {
    let name = bytes.first_chunk().copied().unwrap_or_default();
    (name, bytes.get(field::CASE).copied().unwrap_or(0))
}

/// Returns the number of the node whose entry lies at `offset`.
pub(super) const fn inode_at(offset: ByteOffset) -> u64 {
    offset / SLOT_LEN
}

/// Tells the type of the entry in a slot.
pub(super) fn type_of(bytes: &[u8; 32]) -> FileType {
    match bytes.get(field::ATTRIBUTES) {
        Some(attributes) if attributes & DIRECTORY != 0 => FileType::Directory,
        _ => FileType::Regular,
    }
}

impl Fat {
    /// Returns a node by its number.
    ///
    /// # Errors
    ///
    /// NotFound if there is no entry; Io.
    pub(super) fn node(&self, node: NodeId) -> Result<Node> {
        let missing = || Error::NotFound {
            what: "entry of a directory".into(),
        };
        if node.subvolume != 0 {
            return Err(missing());
        }
        if node.inode == ROOT_INODE {
            return Ok(Node::root());
        }
        let offset = node.inode.checked_mul(SLOT_LEN).ok_or_else(missing)?;
        if let Some((cluster, _)) = self.clusters.cluster_at(offset) {
            let table = &self.clusters.table;
            // Nothing lies in a free cluster, whatever its bytes.
            if table.value(&self.clusters.reader, &mut Window::default(), cluster)? == 0 {
                return Err(missing());
            }
        }
        let region = match self.superblock.root {
            Root::Region { offset, len } => Some((offset, len)),
            Root::Cluster(_) => None,
        };
        let found = slots::slot_at(&self.clusters, region, offset)?;
        let bytes = found.filter(|bytes| kind_of(bytes) == SlotKind::Entry);
        let bytes = bytes.ok_or_else(missing)?;
        Node::parse(
            &Fields::new(&bytes, offset),
            node.inode,
            self.superblock.width,
        )
    }

    /// Returns a node if it is of that type.
    ///
    /// # Errors
    ///
    /// As [`Fat::node`]; WrongType.
    pub(super) fn node_of_type(&self, node: NodeId, expected: FileType) -> Result<Node> {
        let found = self.node(node)?;
        if found.file_type == expected {
            return Ok(found);
        }
        let actual = found.file_type;
        Err(Error::WrongType { expected, actual })
    }

    /// Returns the clusters of a node that has some.
    pub(super) fn allocation(&self, node: &Node) -> Allocation {
        Allocation {
            first: node.first,
            contiguous: None,
            place: node.inode.saturating_mul(SLOT_LEN),
        }
    }

    /// Returns where a directory lies.
    pub(super) fn place(&self, directory: &Node) -> Place {
        let mut allocation = self.allocation(directory);
        match self.superblock.root {
            Root::Region { offset, len } if directory.inode == ROOT_INODE => {
                return Place::Region { offset, len };
            }
            Root::Cluster(first) if directory.inode == ROOT_INODE => {
                allocation.first = first;
                allocation.place = 0;
            }
            Root::Region { .. } | Root::Cluster(_) => {}
        }
        if allocation.first == 0 {
            return Place::Nothing;
        }
        Place::Chain {
            allocation,
            len_max: DIRECTORY_LEN_MAX,
        }
    }

    /// Returns everything that `stat` tells, as a mount would.
    pub(super) fn metadata(&self, node: &Node) -> Result<Metadata> {
        let cluster_len = self.clusters.cluster_len();
        let Numbers {
            len: size,
            link_count,
        } = match node.file_type {
            FileType::Directory => self.directory_numbers(node)?,
            _ => Numbers {
                len: node.size,
                link_count: 1,
            },
        };
        let mut permissions = self.substitutes.permissions(node.file_type);
        if node.is_read_only && node.file_type != FileType::Directory {
            permissions &= !0o222;
        }
        Ok(Metadata {
            file_type: node.file_type,
            permissions,
            user: self.substitutes.user,
            group: self.substitutes.group,
            link_count,
            size,
            block_count_512: self
                .clusters
                .count_for(size)
                .saturating_mul(cluster_len / 512),
            preferred_io_len: u32::try_from(cluster_len).unwrap_or(4096),
            accessed: node.accessed,
            modified: node.modified,
            changed: node.modified,
            created: node.created,
            device: None,
            generation: 0,
            flags: NodeFlags::default(),
        })
    }

    /// Returns the length of a directory and the links that Linux counts: two, and one
    /// of each directory in it. What is damaged counts for nothing. That takes reading all
    /// of it, so it is remembered.
    fn directory_numbers(&self, directory: &Node) -> Result<Numbers> {
        let place = self.place(directory);
        self.numbers.of(place, || self.count_directory(place))
    }

    fn count_directory(&self, place: Place) -> Result<Numbers> {
        let len = slots::len(&self.clusters, place)?;
        let mut link_count: u32 = 2;
        let counted = Slots::new(&self.clusters, place, 0).and_then(|mut slots| {
            while let Some(slot) = slots.next()? {
                match kind_of(&slot.bytes) {
                    SlotKind::End => break,
                    SlotKind::Entry if type_of(&slot.bytes) == FileType::Directory => {
                        link_count = link_count.saturating_add(1);
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        match counted {
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Ok(()) | Err(_) => Ok(Numbers { len, link_count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_told_apart() {
        let slot = |name: &[u8; 11], attributes| {
            let mut bytes = [0_u8; 32];
            bytes[..11].copy_from_slice(name);
            bytes[11] = attributes;
            kind_of(&bytes)
        };
        let name = b"NAME    TXT";
        for (name, attributes, expected) in [
            (name, 0x00, SlotKind::Entry),
            (name, 0x3F, SlotKind::VolumeLabel),
            (name, 0x0F, SlotKind::LongName),
            (name, 0x08, SlotKind::VolumeLabel),
            (name, 0x16, SlotKind::Entry),
            (b"\xE5AME    TXT", 0x20, SlotKind::Deleted),
            (b"\x00AME    TXT", 0x20, SlotKind::End),
            (b".          ", 0x10, SlotKind::Dots),
            (b"..         ", 0x10, SlotKind::Dots),
        ] {
            assert_eq!(slot(name, attributes), expected);
        }
    }
}
