//! Which blocks of an image are free: those that a file system says it does not use, where
//! that can be relied on.
//!
//! Whoever throws a block away that was needed loses data for good, so that every doubt
//! keeps: of a volume, its own; of the whole image, if its tables contradict each other or
//! a machine sleeps in it. What is in no file system (gaps, tables, swap space, unknown
//! formats, the room behind the end of a file system) is never free.

use super::free_ranges::{Claim, FreeRanges, RANGE_COUNT_MAX, len_of, overlapping};
use super::volume::Volume;
use super::{Contents, Error, Result, VOLUME_COUNT_MAX};
use crate::base::{ByteOffset, ReadAt, round_up_to_block};
use crate::filesystem::ntfs::HIBERNATED;
use crate::filesystem::{self, Consistency, FileSystem};
use crate::partition::{Partition, PartitionType, Place, TableKind};
use serde::Serialize;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Columns of a striped volume that are followed: those that LVM makes.
const COLUMN_COUNT_MAX: usize = 128;

/// Pieces of all logical volumes that are looked at.
const PIECE_COUNT_MAX: usize = 1 << 16;

/// Types of partitions that are members of something, whatever they begin with: Linux RAID,
/// Windows dynamic disks and storage spaces.
const MEMBER_BYTES: [u8; 2] = [0x42, 0xFD];
const MEMBER_GUIDS: [&str; 3] = [
    "a19d880f-05fc-4d3b-a006-743f0f84911e",
    "af9b60a0-1431-4f62-bc68-3311714a69ad",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d",
];

/// What is free in one volume, or why all of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeSpace {
    /// Its folder in `partitions/`; empty for an image without partitions.
    pub name: String,
    /// What fills it (`ext4`, `swap`); empty if nothing is known of it.
    #[serde(rename = "type")]
    pub format: String,
    /// Bytes of whole blocks of the image that are free.
    pub free_len_bytes: u64,
    /// Why everything in it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// The free blocks of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Ranges of the image in bytes: whole blocks, in rising order, none touching another.
    pub ranges: Vec<Range<ByteOffset>>,
    /// What is said of each volume.
    pub volumes: Vec<VolumeSpace>,
}

/// Why a volume is kept.
enum Refusal {
    Io(io::Error),
    Kept(String),
}

type Checked<T> = std::result::Result<T, Refusal>;

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => Self::Io(error),
            Error::Unsupported { feature } => Self::Kept(feature.into_owned()),
            other => Self::Kept(other.to_string()),
        }
    }
}

fn kept<T>(reason: impl Into<String>) -> Checked<T> {
    Err(Refusal::Kept(reason.into()))
}

impl Contents {
    /// Returns the blocks that the file systems of the image do not use.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub fn free_space(&self) -> Result<FreeSpace> {
        let doubt = self.doubt()?;
        let overlaps = self.overlaps()?;
        let mut all = FreeRanges::new(RANGE_COUNT_MAX);
        let mut volumes = vec![];
        for (volume, overlaps) in self.volumes().iter().zip(overlaps) {
            let found = match &doubt {
                Some(doubt) => kept(doubt.as_str()),
                None if overlaps => kept("it overlaps with something else of the image"),
                None => free_in(volume),
            };
            let (ranges, kept) = match found {
                Ok(ranges) => (ranges, None),
                Err(Refusal::Kept(reason)) => (vec![], Some(reason)),
                Err(Refusal::Io(error)) => return Err(Error::Io(error)),
            };
            let lens = ranges.iter().map(len_of);
            volumes.push(VolumeSpace {
                name: volume.path_name().to_owned(),
                format: format_of(volume)?,
                free_len_bytes: lens.fold(0, u64::saturating_add),
                kept,
            });
            ranges.into_iter().for_each(|range| all.add(range));
        }
        Ok(FreeSpace {
            ranges: all.finish(),
            volumes,
        })
    }

    /// Returns why nothing at all of the image can be thrown away.
    fn doubt(&self) -> Result<Option<String>> {
        let table = self.table();
        if let Some(warning) = table.warnings.first() {
            return Ok(Some(format!(
                "the partition table is not in order: {warning}"
            )));
        }
        if table.partitions.len() > VOLUME_COUNT_MAX {
            return Ok(Some("the image has too many partitions".to_owned()));
        }
        let is_double = table.kind == TableKind::HybridGpt
            || table.kind == TableKind::Mbr && has_gpt_header(&self.image)?;
        if is_double {
            return Ok(Some("the image has two partition tables".to_owned()));
        }
        if self.has_partitions() {
            let mut formats = filesystem::probe_all(&self.image)?;
            formats.retain(|format| *format != "lvm" || table.kind != TableKind::None);
            if let Some(format) = formats.first() {
                return Ok(Some(format!("the whole image looks like {format} too")));
            }
        }
        for volume in self.volumes() {
            if let Some(doubt) = doubt_by(volume)? {
                return Ok(Some(doubt.to_owned()));
            }
        }
        Ok(None)
    }

    /// Tells of each volume whether something else claims a part of it.
    fn overlaps(&self) -> Result<Vec<bool>> {
        let table = self.table();
        let volumes = self.volumes();
        let mut outer: Vec<Claim> = tables(&table.structures);
        let mut inner: Vec<Claim> = tables(&table.structures);
        inner.extend(tables(&table.labels));
        for (index, volume) in volumes.iter().enumerate() {
            let claims = match volume.partition() {
                Some(partition) if is_logical(partition) => &mut inner,
                Some(_) | None => &mut outer,
            };
            let ranges = volume
                .partition()
                .map_or(vec![], |found| found.place.ranges());
            claims.extend(ranges.into_iter().map(|range| (range, Some(index))));
        }
        let is_too_much = inner.len() > PIECE_COUNT_MAX;
        let pieces = inner.clone();
        let mut overlaps = overlapping(outer, volumes.len());
        let hosts = self.hosts(&overlaps)?;
        let inside = overlapping(inner, volumes.len());
        for (overlaps, inside) in overlaps.iter_mut().zip(inside) {
            *overlaps |= inside;
        }
        for (piece, owner) in pieces {
            let is_hosted = !is_too_much && is_inside(&hosts, &piece);
            if let Some(overlaps) = owner.and_then(|owner| overlaps.get_mut(owner)) {
                *overlaps |= !is_hosted;
            }
        }
        Ok(overlaps)
    }

    /// Returns the physical volumes that nothing else claims a part of, in rising order.
    fn hosts(&self, overlaps: &[bool]) -> Result<Vec<Range<ByteOffset>>> {
        let mut hosts = vec![];
        let mut has_partitions = false;
        for (volume, overlaps) in self.volumes().iter().zip(overlaps) {
            let Some(Place::Range { image_offset, len }) =
                volume.partition().map(|partition| &partition.place)
            else {
                continue;
            };
            has_partitions = true;
            if !overlaps && filesystem::probe_all(&volume.bytes()?)? == ["lvm"] {
                hosts.push(*image_offset..image_offset.saturating_add(*len));
            }
        }
        if !has_partitions && filesystem::probe_all(&self.image)? == ["lvm"] {
            hosts.push(0..self.image.len());
        }
        hosts.sort_unstable_by_key(|range| range.start);
        Ok(hosts)
    }
}

fn tables(places: &[Range<ByteOffset>]) -> Vec<Claim> {
    // Copies of a header name each other, so that places come twice: they have no owner.
    places.iter().map(|place| (place.clone(), None)).collect()
}

fn is_logical(partition: &Partition) -> bool {
    partition.partition_type == PartitionType::LogicalVolume
}

/// Tells whether one of `hosts`, which rise and do not overlap, has all of `piece`.
fn is_inside(hosts: &[Range<ByteOffset>], piece: &Range<ByteOffset>) -> bool {
    let behind = hosts.partition_point(|host| host.start <= piece.start);
    let host = behind.checked_sub(1).and_then(|index| hosts.get(index));
    host.is_some_and(|host| piece.end <= host.end)
}

/// Tells whether there is the mark of a GPT behind an MBR that does not speak of one.
fn has_gpt_header(image: &Arc<dyn ReadAt>) -> Result<bool> {
    for offset in [512, 4096] {
        if has_mark(image, offset, b"EFI PART")? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_mark(bytes: &Arc<dyn ReadAt>, offset: ByteOffset, mark: &[u8; 8]) -> Result<bool> {
    if offset.checked_add(8).is_none_or(|end| end > bytes.len()) {
        return Ok(false);
    }
    let mut found = [0; 8];
    bytes.read_exact_at(offset, &mut found).map_err(Error::Io)?;
    Ok(found == *mark)
}

/// Returns why what is in `volume` speaks against throwing away anything anywhere.
fn doubt_by(volume: &Volume) -> Result<Option<&'static str>> {
    let bytes = match volume.bytes() {
        Ok(bytes) => bytes,
        Err(Error::Io(error)) => return Err(Error::Io(error)),
        Err(_) => return Ok(None),
    };
    if filesystem::is_suspended(&bytes)? {
        return Ok(Some("the machine is hibernated"));
    }
    if has_mark(&bytes, 0, b"verity\0\0")? {
        return Ok(Some("a volume has hashes of another (dm-verity)"));
    }
    match volume.file_system() {
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(None),
        Ok(file_system) => match file_system.summary().consistency {
            Consistency::Dirty { reason } if reason == HIBERNATED => {
                Ok(Some("Windows is hibernated"))
            }
            _ => Ok(None),
        },
    }
}

fn format_of(volume: &Volume) -> Result<String> {
    if let Some(file_system) = volume.opened() {
        return Ok(file_system.summary().format.to_owned());
    }
    match volume.recognized() {
        Ok(found) => Ok(found.map_or(String::new(), |found| found.format.to_owned())),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(String::new()),
    }
}

/// Returns what is free in a volume that nothing else claims.
fn free_in(volume: &Volume) -> Checked<Vec<Range<ByteOffset>>> {
    if let Some(partition) = volume.partition() {
        check_partition(partition)?;
    }
    let bytes = volume.bytes()?;
    let Some(found) = filesystem::probe(&bytes)? else {
        return kept("no file system that is known here");
    };
    if let Some(reason) = found.unreadable {
        return kept(reason);
    }
    let formats = filesystem::probe_all(&bytes)?;
    match formats.as_slice() {
        [only] if *only == found.format => {}
        [] => return kept("only a copy of its superblock is left"),
        several => return kept(format!("it looks like {} at once", several.join(" and "))),
    }
    let file_system = volume.file_system()?;
    check_file_system(&*file_system, &bytes)?;
    collect(&*file_system, volume, bytes.len())
}

fn check_partition(partition: &Partition) -> Checked<()> {
    if partition.is_shared {
        return kept("its volume group has snapshots, or thin, mirrored or hidden volumes");
    }
    let is_member = match &partition.partition_type {
        PartitionType::Guid(guid) => MEMBER_GUIDS.contains(&guid.as_str()),
        PartitionType::MbrByte(byte) => MEMBER_BYTES.contains(byte),
        PartitionType::LogicalVolume => false,
    };
    if is_member {
        return kept("by its type it is part of a volume that Tintype does not assemble");
    }
    if let Place::Mapped(segments) = &partition.place
        && segments
            .iter()
            .any(|segment| segment.stripes.len() > COLUMN_COUNT_MAX)
    {
        return kept("it has more than 128 stripes");
    }
    Ok(())
}

fn check_file_system(file_system: &dyn FileSystem, bytes: &Arc<dyn ReadAt>) -> Checked<()> {
    let summary = file_system.summary();
    match summary.consistency {
        Consistency::Clean => {}
        // The image is stored as it is: whoever replays the log will need what is free
        // only behind it, and what the log is written over.
        Consistency::Replayed => return kept("it was not unmounted, and its log is not empty"),
        Consistency::Dirty { reason } => return kept(reason),
    }
    if let Some(warning) = summary.warnings.first() {
        return kept(warning.as_str());
    }
    // Hashes lie behind the file system: they are those of its free blocks, too.
    if has_mark(bytes, round_up_to_block(summary.len), b"verity\0\0")? {
        return kept("hashes of it lie behind it (dm-verity)");
    }
    Ok(())
}

/// Returns what lies between the used ranges, up to the end of the file system.
fn collect(
    file_system: &dyn FileSystem,
    volume: &Volume,
    volume_len: u64,
) -> Checked<Vec<Range<ByteOffset>>> {
    let end = file_system.summary().len.min(volume_len);
    let mut free = FreeRanges::new(RANGE_COUNT_MAX);
    let mut add = |range: Range<ByteOffset>| match volume.partition() {
        _ if range.is_empty() => {}
        Some(partition) => partition.place.map(&range, &mut |piece| free.add(piece)),
        None => free.add(range),
    };
    let (mut used_end, mut is_rising) = (0, true);
    // Never ended early: what is wrong farther on may speak against all of it.
    file_system.allocated_ranges(&mut |used| {
        is_rising &= used.start >= used_end;
        add(used_end..used.start.min(end));
        used_end = used_end.max(used.end);
        ControlFlow::Continue(())
    })?;
    if !is_rising {
        return kept("its used ranges are in no order");
    }
    add(used_end..end);
    Ok(free.finish())
}
