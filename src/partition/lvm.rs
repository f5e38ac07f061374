//! LVM2: physical volumes of the image, and the linear and striped logical volumes
//! on them. Mirrors, RAID, thin and cached volumes are named and not read.
//!
//! Source: lvm2 `lib/format_text/layout.h` and `lib/label/label.h` (public layout of
//! label, PV header, metadata area), read as documentation.

use super::error::{Error, Result};
use super::lvm_text::{Budget, Metadata, Value};
use super::{Partition, PartitionType, Place, Segment, Stripe, Table, read};
use crate::base::{ByteLen, ByteOffset, Fields, ReadAt};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

const SECTOR_LEN: u64 = 512;
const LABEL_SECTORS: u64 = 4;
const LABEL_LEN: usize = 512;
const LABEL_MAGIC: [u8; 8] = *b"LABELONE";
const LABEL_CRC_OFFSET: usize = 16;
const LABEL_CONTENT_OFFSET: usize = 20;
const LABEL_TYPE_OFFSET: usize = 24;
const LABEL_TYPE: [u8; 8] = *b"LVM2 001";
const PV_UUID_LEN: usize = 32;
const PV_AREAS_OFFSET: usize = 40;
const AREA_LEN: usize = 16;

const MDA_HEADER_LEN: usize = 512;
const MDA_MAGIC: [u8; 16] = *b"\x20LVM2\x20x[5A%r0N*>";
const MDA_MAGIC_OFFSET: usize = 4;
const MDA_LOCATION_OFFSET: usize = 40;
const LOCATION_LEN: usize = 24;
const LOCATION_FLAG_IGNORED: u32 = 1;

/// What LVM starts its CRC-32 with; it does not invert.
const CRC_START: u32 = 0xF597_A6CF;

/// The longest metadata text: LVM itself warns far below.
const TEXT_LEN_MAX: u64 = 4 << 20;

/// What the metadata of all physical volumes of an image may take. Many partitions may
/// be the same volume, and each has a text of its own.
const METADATA_BYTES_MAX: usize = 64 << 20;

/// Metadata areas of one PV that are looked at; LVM makes at most two.
const AREA_COUNT_MAX: usize = 8;

/// Logical volumes, segments and stripes that are accepted.
const SEGMENT_COUNT_MAX: u64 = 1 << 16;

/// A physical volume of the image.
struct PhysicalVolume {
    uuid: String,
    image_offset: ByteOffset,
    len: ByteLen,
    /// Where its label and its metadata lie in the image.
    structures: Vec<Range<ByteOffset>>,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CRC_START);
    hasher.update(bytes);
    !hasher.finalize()
}

/// Looks for physical volumes in `areas` and adds their logical volumes to `table`.
pub(super) fn add_logical_volumes(
    image: &Arc<dyn ReadAt>,
    areas: &[(ByteOffset, ByteLen)],
    table: &mut Table,
) -> Result<()> {
    let mut volumes = BTreeMap::new();
    let mut budget = Budget::new(METADATA_BYTES_MAX);
    let mut groups: BTreeMap<String, (u64, String, Metadata)> = BTreeMap::new();
    for (image_offset, len) in areas {
        let Some(label) = find_label(image, *image_offset)? else {
            continue;
        };
        let found = match read_volume(image, *image_offset, *len, &label, &mut budget) {
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(error) => {
                table
                    .warnings
                    .push(format!("LVM physical volume at {image_offset:#x}: {error}"));
                continue;
            }
            Ok(found) => found,
        };
        let (volume, metadata) = found;
        table.labels.extend(volume.structures.iter().cloned());
        volumes.insert(volume.uuid.clone(), volume);
        let Some(metadata) = metadata else { continue };
        if let Some(group) = metadata.first_section() {
            let id = metadata
                .text(&format!("{group}/id"))
                .unwrap_or_default()
                .to_owned();
            let sequence = metadata.number(&format!("{group}/seqno")).unwrap_or(0);
            if groups
                .get(&id)
                .is_none_or(|(newest, ..)| *newest < sequence)
            {
                groups.insert(id, (sequence, group, metadata));
            }
        }
    }
    for (_, group, metadata) in groups.values() {
        add_group(group, metadata, &volumes, table);
    }
    Ok(())
}

struct Label {
    sector: Vec<u8>,
    offset: ByteOffset,
    content: usize,
}

fn find_label(image: &Arc<dyn ReadAt>, area: ByteOffset) -> Result<Option<Label>> {
    for number in 0..LABEL_SECTORS {
        let offset = area.saturating_add(number.saturating_mul(SECTOR_LEN));
        let Some(sector) = read(image, offset, LABEL_LEN)? else {
            return Ok(None);
        };
        let fields = Fields::new(&sector, offset);
        if fields.array::<8>(0)? == LABEL_MAGIC
            && fields.array::<8>(LABEL_TYPE_OFFSET)? == LABEL_TYPE
            && fields.le_u32(LABEL_CRC_OFFSET)? == crc(fields.rest(LABEL_CONTENT_OFFSET))
        {
            let content = fields.le_u32(LABEL_CONTENT_OFFSET)?;
            let content = usize::try_from(content).unwrap_or(usize::MAX);
            return Ok(Some(Label {
                sector,
                offset,
                content,
            }));
        }
    }
    Ok(None)
}

/// Reads (offset, size) pairs up to the pair of zeros; returns where they end too.
fn read_areas(fields: &Fields<'_>, position: usize) -> Result<(Vec<(u64, u64)>, usize)> {
    let mut areas = vec![];
    let mut position = position;
    loop {
        let area = fields.part(position, AREA_LEN)?;
        let pair = (area.le_u64(0)?, area.le_u64(8)?);
        position = position.saturating_add(AREA_LEN);
        if pair.0 == 0 || areas.len() >= AREA_COUNT_MAX {
            return Ok((areas, position));
        }
        areas.push(pair);
    }
}

fn read_volume(
    image: &Arc<dyn ReadAt>,
    image_offset: ByteOffset,
    len: ByteLen,
    label: &Label,
    budget: &mut Budget,
) -> Result<(PhysicalVolume, Option<Metadata>)> {
    let fields = Fields::new(&label.sector, label.offset);
    let uuid = fields.slice(label.content, PV_UUID_LEN)?;
    let uuid = String::from_utf8_lossy(uuid).into_owned();
    let areas_position = label.content.saturating_add(PV_AREAS_OFFSET);
    let (_, metadata_position) = read_areas(&fields, areas_position)?;
    let (areas, _) = read_areas(&fields, metadata_position)?;
    let label_len = LABEL_SECTORS.saturating_mul(SECTOR_LEN);
    let own = std::iter::once((0, label_len)).chain(areas.iter().copied());
    let structures = own.map(|(start, len)| {
        let start = image_offset.saturating_add(start);
        start..start.saturating_add(len)
    });
    let structures = structures.collect();
    let mut metadata = None;
    let mut failure = None;
    for (offset, size) in areas {
        // The areas of a volume say the same.
        if metadata.is_some() {
            break;
        }
        match read_metadata(image, image_offset, len, (offset, size), budget) {
            Ok(found) => metadata = found,
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(error) => failure = Some(error),
        }
    }
    match (metadata, failure) {
        (None, Some(error)) => Err(error),
        (metadata, _) => Ok((
            PhysicalVolume {
                uuid,
                image_offset,
                len,
                structures,
            },
            metadata,
        )),
    }
}

fn read_metadata(
    image: &Arc<dyn ReadAt>,
    volume: ByteOffset,
    volume_len: ByteLen,
    (area, size): (u64, u64),
    budget: &mut Budget,
) -> Result<Option<Metadata>> {
    let beyond = || Error::corrupt("LVM metadata area", "a place inside the volume", area);
    if area.checked_add(size).is_none_or(|end| end > volume_len) {
        return Err(beyond());
    }
    let start = volume.checked_add(area).ok_or_else(beyond)?;
    let header = read(image, start, MDA_HEADER_LEN)?.ok_or_else(beyond)?;
    let fields = Fields::new(&header, start);
    if fields.array::<16>(MDA_MAGIC_OFFSET)? != MDA_MAGIC {
        return Err(Error::corrupt("LVM metadata area", "its magic", area));
    }
    if fields.le_u32(0)? != crc(fields.rest(MDA_MAGIC_OFFSET)) {
        return Err(Error::corrupt(
            "LVM metadata area",
            "the checksum in it",
            area,
        ));
    }
    let location = fields.part(MDA_LOCATION_OFFSET, LOCATION_LEN)?;
    let (offset, len) = (location.le_u64(0)?, location.le_u64(8)?);
    if offset == 0 || location.le_u32(20)? & LOCATION_FLAG_IGNORED != 0 {
        return Ok(None);
    }
    let header_len = u64::try_from(MDA_HEADER_LEN).unwrap_or(512);
    if len > TEXT_LEN_MAX || offset < header_len || offset >= size || len > size {
        return Err(Error::corrupt(
            "LVM metadata text",
            "a place inside its area",
            offset,
        ));
    }
    // The area is a ring behind its header.
    let before_end = len.min(size.saturating_sub(offset));
    let wrapped = len.saturating_sub(before_end);
    let first = usize::try_from(before_end).unwrap_or(usize::MAX);
    let second = usize::try_from(wrapped).unwrap_or(usize::MAX);
    let mut text = read(image, start.saturating_add(offset), first)?.ok_or_else(beyond)?;
    let ring = start.saturating_add(header_len);
    text.extend(read(image, ring, second)?.ok_or_else(beyond)?);
    if crc(&text) != location.le_u32(16)? {
        return Err(Error::corrupt(
            "LVM metadata text",
            "the checksum of its location",
            offset,
        ));
    }
    let text = String::from_utf8_lossy(&text);
    Metadata::parse(text.trim_end_matches('\0'), budget).map(Some)
}

fn add_group(
    group: &str,
    metadata: &Metadata,
    volumes: &BTreeMap<String, PhysicalVolume>,
    table: &mut Table,
) {
    let indexes = table.partitions.iter().map(|partition| partition.index);
    let mut last = indexes.max().unwrap_or(0);
    let path = format!("{group}/logical_volumes");
    let is_shared = !is_plain(&path, metadata);
    for name in metadata.children(&path) {
        let section = format!("{path}/{name}");
        if !is_visible(&section, metadata) {
            continue;
        }
        let place = match map(group, &section, metadata, volumes) {
            Ok(segments) => Place::Mapped(segments.into()),
            Err(error) => Place::Unreadable(error.to_string()),
        };
        last = last.saturating_add(1);
        table.partitions.push(Partition {
            index: last,
            label: format!("{group}/{name}"),
            partition_type: PartitionType::LogicalVolume,
            uuid: metadata.text(&format!("{section}/id")).map(str::to_owned),
            place,
            is_shared,
        });
    }
}

fn is_visible(section: &str, metadata: &Metadata) -> bool {
    let status = metadata.get(&format!("{section}/status"));
    let flags = status.map_or(&[][..], Value::list);
    flags.iter().any(|flag| flag.text() == Some("VISIBLE"))
}

/// Tells whether all volumes of a group are visible, and linear or striped: then none
/// reads the bytes of another, as a snapshot reads those of its origin.
fn is_plain(path: &str, metadata: &Metadata) -> bool {
    metadata.children(path).iter().all(|name| {
        let section = format!("{path}/{name}");
        let mut segments = metadata.children(&section).into_iter();
        let are_plain = segments.all(|segment| {
            let kind = metadata.text(&format!("{section}/{segment}/type"));
            matches!(kind, Some("striped" | "linear"))
        });
        are_plain && is_visible(&section, metadata)
    })
}

fn map(
    group: &str,
    section: &str,
    metadata: &Metadata,
    volumes: &BTreeMap<String, PhysicalVolume>,
) -> Result<Vec<Segment>> {
    let get = |path: String| {
        metadata
            .number(&path)
            .ok_or_else(|| Error::corrupt("LVM metadata", "a number", 0_u32))
    };
    let extent_sectors = get(format!("{group}/extent_size"))?;
    let extent_len = extent_sectors
        .checked_mul(SECTOR_LEN)
        .filter(|len| *len > 0)
        .ok_or_else(|| Error::corrupt("LVM extent size", "above 0", extent_sectors))?;
    let count = get(format!("{section}/segment_count"))?;
    if count > SEGMENT_COUNT_MAX {
        return Err(Error::corrupt("LVM segment count", "at most 65,536", count));
    }
    let mut segments = vec![];
    for number in 1..=count {
        let path = format!("{section}/segment{number}");
        let kind = metadata.text(&format!("{path}/type")).unwrap_or_default();
        if kind != "striped" && kind != "linear" {
            let feature = format!("LVM segment type {kind:?}");
            return Err(Error::Unsupported { feature });
        }
        let too_long = || Error::corrupt("LVM segment", "a length below 2^64", number);
        let start = get(format!("{path}/start_extent"))?;
        let extents = get(format!("{path}/extent_count"))?;
        let stripe_sectors = metadata
            .number(&format!("{path}/stripe_size"))
            .unwrap_or(128);
        let stripe_len = stripe_sectors
            .checked_mul(SECTOR_LEN)
            .and_then(NonZeroU64::new);
        let stripes = metadata
            .get(&format!("{path}/stripes"))
            .map_or(&[][..], Value::list);
        let column_count = u64::try_from(stripes.len() / 2).unwrap_or(0);
        let column_extents = extents.checked_div(column_count).ok_or_else(too_long)?;
        let column_len = column_extents
            .checked_mul(extent_len)
            .ok_or_else(too_long)?;
        let places = stripes
            .chunks_exact(2)
            .map(|pair| stripe(group, pair, extent_len, column_len, metadata, volumes))
            .collect::<Result<Vec<_>>>()?;
        segments.push(Segment {
            volume_offset: start.checked_mul(extent_len).ok_or_else(too_long)?,
            len: extents.checked_mul(extent_len).ok_or_else(too_long)?,
            stripe_len: stripe_len.ok_or_else(too_long)?,
            stripes: places,
        });
    }
    segments.sort_by_key(|segment| segment.volume_offset);
    Ok(segments)
}

fn stripe(
    group: &str,
    pair: &[Value],
    extent_len: u64,
    column_len: u64,
    metadata: &Metadata,
    volumes: &BTreeMap<String, PhysicalVolume>,
) -> Result<Stripe> {
    let bad = || Error::corrupt("LVM stripe", "a volume and an extent of it", 0_u32);
    let (Some(name), Some(extent)) = (
        pair.first().and_then(Value::text),
        pair.get(1).and_then(Value::number),
    ) else {
        return Err(bad());
    };
    let section = format!("{group}/physical_volumes/{name}");
    let uuid = metadata
        .text(&format!("{section}/id"))
        .ok_or_else(bad)?
        .replace('-', "");
    let start = metadata
        .number(&format!("{section}/pe_start"))
        .ok_or_else(bad)?;
    let Some(volume) = volumes.get(&uuid) else {
        let feature = format!("LVM physical volume {name} is not in this image");
        return Err(Error::Unsupported { feature });
    };
    let offset = extent
        .checked_mul(extent_len)
        .and_then(|offset| offset.checked_add(start.checked_mul(SECTOR_LEN)?))
        .ok_or_else(bad)?;
    if offset
        .checked_add(column_len)
        .is_none_or(|end| end > volume.len)
    {
        return Err(Error::corrupt(
            "LVM stripe",
            "a place inside the volume",
            offset,
        ));
    }
    let image_offset = volume.image_offset.checked_add(offset).ok_or_else(bad)?;
    Ok(Stripe { image_offset })
}
