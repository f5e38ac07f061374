//! Nodes. exFAT has no inodes: a node is the first entry of its set, and its number is
//! where that lies in the image, in units of 32 bytes.

use super::ExFat;
use super::entry_set::{EntrySet, Read, kind, type_of};
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::fat::clusters::Allocation;
use crate::filesystem::fat::file::Content;
use crate::filesystem::fat::numbers::Numbers;
use crate::filesystem::fat::slots::{self, Place, SLOT_LEN, Slots};
use crate::filesystem::fat::time;
use crate::filesystem::{Error, FileTime, FileType, Metadata, NodeFlags, NodeId, Result};

/// The root has no entry. Slot 1 lies in the boot region, where there never is one.
pub(super) const ROOT_INODE: u64 = 1;

/// Set in a number if its entries go on in another cluster, and those of its directory
/// follow each other without a chain. Places of slots are below 2^59.
const CONTIGUOUS: u64 = 1 << 60;

/// The longest directory.
///
/// Source: exFAT file system specification, section 7.4.
pub(super) const DIRECTORY_LEN_MAX: ByteLen = 256 << 20;

/// The longest set of entries: 256 of 32 bytes.
const SET_LEN_MAX: ByteLen = 256 * SLOT_LEN;

/// Where the fields of the first entry and of the stream are.
///
/// Source: exFAT file system specification, sections 7.4 and 7.6.
mod field {
    pub(super) const ATTRIBUTES: usize = 4;
    pub(super) const CREATED: usize = 8;
    pub(super) const MODIFIED: usize = 12;
    pub(super) const ACCESSED: usize = 16;
    pub(super) const CREATED_HUNDREDTHS: usize = 20;
    pub(super) const MODIFIED_HUNDREDTHS: usize = 21;
    pub(super) const CREATED_ZONE: usize = 22;
    pub(super) const MODIFIED_ZONE: usize = 23;
    pub(super) const ACCESSED_ZONE: usize = 24;
    pub(super) const STREAM_FLAGS: usize = 1;
    pub(super) const VALID_LEN: usize = 8;
    pub(super) const FIRST_CLUSTER: usize = 20;
    pub(super) const LEN: usize = 24;
}

const READ_ONLY: u16 = 0x01;
const DIRECTORY: u16 = 0x10;
/// The clusters follow each other, and the table says nothing about them.
const NO_FAT_CHAIN: u8 = 0x02;
const ZONE_IS_VALID: u8 = 0x80;

/// An entry of a directory, or the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) inode: u64,
    pub(super) file_type: FileType,
    is_read_only: bool,
    pub(super) allocation: Allocation,
    size: ByteLen,
    valid_len: ByteLen,
    modified: FileTime,
    accessed: FileTime,
    created: Option<FileTime>,
}

/// Tells the type of the node of a set.
pub(super) fn file_type_of(set: &EntrySet) -> FileType {
    let attributes = Fields::new(&set.file, 0).le_u16(field::ATTRIBUTES);
    match attributes.is_ok_and(|attributes| attributes & DIRECTORY != 0) {
        true => FileType::Directory,
        false => FileType::Regular,
    }
}

/// Returns a time and what its zone makes of it: quarters of an hour, 7 bits with sign.
/// Without a zone it is local time, taken as UTC.
fn time_of(fields: &Fields<'_>, place: usize, hundredths: u8, zone: usize) -> Result<FileTime> {
    let stored = fields.le_u32(place)?;
    let [a, b, c, d] = stored.to_le_bytes();
    let (clock, date) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let mut found = time::decode_calendar(date, clock, hundredths);
    let zone = fields.u8(zone)?;
    if zone & ZONE_IS_VALID != 0 {
        // The sign is the bit below.
        let quarters = i64::from((zone << 1).cast_signed() / 2);
        found.seconds = found.seconds.saturating_sub(quarters.saturating_mul(900));
    }
    Ok(found)
}

impl ExFat {
    /// Returns the number of the node of a set in a directory.
    pub(super) fn number_of(&self, set: &EntrySet, is_contiguous: bool) -> u64 {
        let number = set.offset / SLOT_LEN;
        let cluster = |offset| self.clusters.cluster_at(offset).map(|(number, _)| number);
        let is_cut = cluster(set.offset) != cluster(set.last_offset);
        match is_cut && is_contiguous {
            true => number | CONTIGUOUS,
            false => number,
        }
    }

    fn root_node(&self) -> Node {
        const NEVER: FileTime = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        Node {
            inode: ROOT_INODE,
            file_type: FileType::Directory,
            is_read_only: false,
            allocation: Allocation {
                first: self.superblock.root_cluster,
                contiguous: None,
                place: 0,
            },
            size: 0,
            valid_len: 0,
            modified: NEVER,
            accessed: NEVER,
            created: None,
        }
    }

    /// Returns a node by its number.
    ///
    /// # Errors
    ///
    /// NotFound if there is no entry; Corrupt if it is damaged; Io.
    pub(super) fn node(&self, node: NodeId) -> Result<Node> {
        let missing = || Error::NotFound {
            what: "entry of a directory".into(),
        };
        if node.subvolume != 0 {
            return Err(missing());
        }
        if node.inode == ROOT_INODE {
            return Ok(self.root_node());
        }
        let offset = (node.inode & !CONTIGUOUS).checked_mul(SLOT_LEN);
        let offset = offset.ok_or_else(missing)?;
        let set = self.set_at(offset, node.inode & CONTIGUOUS != 0)?;
        let set = set.ok_or_else(missing)?;
        set.check()?;
        self.parse(&set, node.inode)
    }

    /// Reads the set that begins at `offset` of the image.
    fn set_at(&self, offset: ByteOffset, is_contiguous: bool) -> Result<Option<EntrySet>> {
        let Some((cluster, start)) = self.clusters.cluster_at(offset) else {
            return Ok(None);
        };
        let cluster_len = self.clusters.cluster_len();
        let len_max = cluster_len.saturating_add(SET_LEN_MAX.max(cluster_len));
        let count = u32::try_from(self.clusters.count_for(len_max)).unwrap_or(2);
        let allocation = Allocation {
            first: cluster,
            contiguous: is_contiguous.then_some(count),
            place: offset,
        };
        let place = Place::Chain {
            allocation,
            len_max,
        };
        let first = offset.saturating_sub(start) / SLOT_LEN;
        let mut slots = Slots::new(&self.clusters, place, first)?;
        match slots.next()? {
            Some(slot) if type_of(&slot) == kind::FILE => {
                match EntrySet::read(&mut slots, &slot)? {
                    Read::Whole(set) => Ok(Some(*set)),
                    Read::Broken(error, _) => Err(error),
                }
            }
            _ => Ok(None),
        }
    }

    fn parse(&self, set: &EntrySet, inode: u64) -> Result<Node> {
        let file = Fields::new(&set.file, set.offset);
        let stream = Fields::new(&set.stream, set.offset.saturating_add(SLOT_LEN));
        let attributes = file.le_u16(field::ATTRIBUTES)?;
        let size = stream.le_u64(field::LEN)?;
        let valid_len = stream.le_u64(field::VALID_LEN)?;
        if size > i64::MAX.unsigned_abs() {
            let place = stream.place(field::LEN);
            return Err(Error::corrupt("DataLength", place, "below 2^63", size));
        }
        if valid_len > size {
            let place = stream.place(field::VALID_LEN);
            let expected = "at most DataLength";
            return Err(Error::corrupt(
                "ValidDataLength",
                place,
                expected,
                valid_len,
            ));
        }
        let count = u32::try_from(self.clusters.count_for(size)).unwrap_or(u32::MAX);
        let is_contiguous = stream.u8(field::STREAM_FLAGS)? & NO_FAT_CHAIN != 0;
        let created = time_of(
            &file,
            field::CREATED,
            file.u8(field::CREATED_HUNDREDTHS)?,
            field::CREATED_ZONE,
        )?;
        Ok(Node {
            inode,
            file_type: file_type_of(set),
            is_read_only: attributes & READ_ONLY != 0,
            allocation: Allocation {
                first: stream.le_u32(field::FIRST_CLUSTER)?,
                contiguous: is_contiguous.then_some(count),
                place: stream.place(field::FIRST_CLUSTER),
            },
            size,
            valid_len,
            modified: time_of(
                &file,
                field::MODIFIED,
                file.u8(field::MODIFIED_HUNDREDTHS)?,
                field::MODIFIED_ZONE,
            )?,
            accessed: time_of(&file, field::ACCESSED, 0, field::ACCESSED_ZONE)?,
            created: Some(created),
        })
    }

    /// Returns a node if it is of that type.
    ///
    /// # Errors
    ///
    /// As [`ExFat::node`]; WrongType.
    pub(super) fn node_of_type(&self, node: NodeId, expected: FileType) -> Result<Node> {
        let found = self.node(node)?;
        if found.file_type == expected {
            return Ok(found);
        }
        let actual = found.file_type;
        Err(Error::WrongType { expected, actual })
    }

    /// Returns the content of a regular file.
    pub(super) const fn content(node: &Node) -> Content {
        Content {
            allocation: node.allocation,
            size: node.size,
            written: node.valid_len,
        }
    }

    /// Returns where a directory lies.
    ///
    /// # Errors
    ///
    /// Corrupt if it is longer than one can be.
    pub(super) fn place(directory: &Node) -> Result<Place> {
        let allocation = directory.allocation;
        if directory.inode == ROOT_INODE {
            return Ok(Place::Chain {
                allocation,
                len_max: DIRECTORY_LEN_MAX,
            });
        }
        if directory.size == 0 {
            return Ok(Place::Nothing);
        }
        let len = directory.size;
        if len > DIRECTORY_LEN_MAX {
            let place = allocation.place;
            return Err(Error::corrupt(
                "directory length",
                place,
                "at most 256 MiB",
                len,
            ));
        }
        Ok(Place::Sized { allocation, len })
    }

    /// Returns the length of a directory and its links. That takes reading all of it, so
    /// it is remembered.
    fn directory_numbers(&self, directory: &Node) -> Result<Numbers> {
        let Ok(place) = Self::place(directory) else {
            return Ok(Numbers {
                len: directory.size,
                link_count: self.link_count(directory)?,
            });
        };
        self.numbers.of(place, || {
            Ok(Numbers {
                len: slots::len(&self.clusters, place)?,
                link_count: self.link_count(directory)?,
            })
        })
    }

    /// Returns everything that `stat` tells, as a mount would.
    pub(super) fn metadata(&self, node: &Node) -> Result<Metadata> {
        let cluster_len = self.clusters.cluster_len();
        let is_directory = node.file_type == FileType::Directory;
        let Numbers {
            len: size,
            link_count,
        } = match is_directory {
            true => self.directory_numbers(node)?,
            false => Numbers {
                len: node.size,
                link_count: 1,
            },
        };
        let mut permissions = self.substitutes.permissions(node.file_type);
        if node.is_read_only && !is_directory {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_quarters_of_an_hour_with_a_sign() {
        let mut bytes = [0; 32];
        // 2024-02-29 12:00:00.
        bytes[8..12].copy_from_slice(&0x585D_6000_u32.to_le_bytes());
        for (zone, expected) in [
            (0x00, 0),
            (0x84, -3600),
            (0x7F, 0),
            (0xFF, 900),
            (0xC0, 16 * 3600),
            (0xBF, -(15 * 3600 + 2700)),
        ] {
            bytes[22] = zone;
            let fields = Fields::new(&bytes, 0);
            let found = time_of(&fields, 8, 150, 22).unwrap();
            assert_eq!(found.seconds, 1_709_208_000 + 1 + expected, "{zone:#x}");
            assert_eq!(found.nanoseconds, 500_000_000);
        }
    }

    /// From `mktime64` of Linux: what is too much goes on in the next month or year, and
    /// zeros are what comes before the first.
    #[test]
    fn dates_that_are_none_are_taken_as_linux_takes_them() {
        for (date, expected) in [
            // No date at all is 30 November 1979.
            (0, 312_768_000),
            // 1 and 31 in month 0 of 1980, days 0 and 31 of February, 1 in month 13.
            (1, 312_854_400),
            (31, 315_446_400),
            (2 << 5, 318_124_800),
            (2 << 5 | 31, 320_803_200),
            (13 << 5 | 1, 347_155_200),
            // The last day that there is.
            (127 << 9 | 12 << 5 | 31, 4_354_732_800),
        ] {
            let mut bytes = [0; 32];
            bytes[8..12].copy_from_slice(&(u32::from(date as u16) << 16).to_le_bytes());
            let found = time_of(&Fields::new(&bytes, 0), 8, 0, 22).unwrap();
            assert_eq!(found.seconds, expected, "{date:#x}");
        }
    }
}
