//! Partition tables and logical volumes: which ranges of an image are disks of their
//! own. Sees one [`ReadAt`] and nothing else, trusts no byte of it, and looks at no
//! file system. A damaged table is told in [`Table::warnings`] and yields what can
//! still be read; only a medium that fails is an error.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod error;
mod gpt;
mod lvm;
mod lvm_text;
mod mbr;
#[cfg(test)]
mod tests;
mod volume;
mod window;

pub use error::{Error, Result};
pub use volume::{MappedVolume, Segment, Stripe};
pub use window::Window;

use crate::base::{ByteLen, ByteOffset, ReadAt};
use std::ops::Range;
use std::sync::Arc;

/// What kind of table an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// No table: a bare file system, or nothing.
    None,
    /// A GUID partition table.
    Gpt,
    /// A GUID partition table with an MBR that names some of its partitions again.
    HybridGpt,
    /// A master boot record.
    Mbr,
}

/// The type that the table gives to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionType {
    /// A type GUID of a GPT, in lower-case text form.
    Guid(String),
    /// A type byte of an MBR.
    MbrByte(u8),
    /// A logical volume.
    LogicalVolume,
}

/// Where the bytes of a partition lie.
#[derive(Clone, Debug)]
pub enum Place {
    /// One range of the image.
    Range {
        /// First byte in the image.
        image_offset: ByteOffset,
        /// Length in bytes, all inside the image.
        len: ByteLen,
    },
    /// Pieces of the image.
    Mapped(Arc<[Segment]>),
    /// It is there and cannot be read, and why.
    Unreadable(String),
}

/// A partition or logical volume.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its number as Linux counts (`sda5`); logical volumes follow the partitions.
    pub index: u32,
    /// Its name in the table (`vg/lv` for a logical volume); empty if it has none.
    pub label: String,
    /// Its type.
    pub partition_type: PartitionType,
    /// What `/etc/fstab` calls PARTUUID; the LV's own UUID for a logical volume.
    pub uuid: Option<String>,
    /// Where it lies.
    pub place: Place,
    /// Whether something else may read its bytes too, in a way that is not read here: a
    /// logical volume beside snapshots, thin, mirrored or hidden ones.
    pub is_shared: bool,
}

/// What was found in an image.
#[derive(Clone, Debug)]
pub struct Table {
    /// The kind of table.
    pub kind: TableKind,
    /// The unit that the table counts in, in bytes.
    pub sector_len: u32,
    /// The disk's own UUID or signature.
    pub disk_uuid: Option<String>,
    /// Partitions in the order of their numbers, then logical volumes.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table, in sentences.
    pub warnings: Vec<String>,
    /// Where the tables themselves lie in the image, in no order.
    pub structures: Vec<Range<ByteOffset>>,
    /// Where labels and metadata of physical volumes lie in the image, in no order.
    pub labels: Vec<Range<ByteOffset>>,
}

impl Place {
    /// Returns the ranges of the image that it takes, in no order; a range may be longer
    /// than what is used of it.
    pub fn ranges(&self) -> Vec<Range<ByteOffset>> {
        match self {
            Self::Range { image_offset, len } => {
                let range = *image_offset..image_offset.saturating_add(*len);
                std::iter::once(range).collect()
            }
            Self::Mapped(segments) => segments.iter().flat_map(Segment::ranges).collect(),
            Self::Unreadable(_) => vec![],
        }
    }

    /// Gives the ranges of the image that `range` of the partition takes to `visit`, in no
    /// order. Bytes behind its end have none.
    pub fn map(&self, range: &Range<ByteOffset>, visit: &mut dyn FnMut(Range<ByteOffset>)) {
        match self {
            Self::Range { image_offset, len } => {
                let place = |offset: ByteOffset| image_offset.saturating_add(offset.min(*len));
                visit(place(range.start)..place(range.end));
            }
            Self::Mapped(segments) => volume::map(segments, range, visit),
            Self::Unreadable(_) => {}
        }
    }
}

impl Partition {
    /// Returns the bytes of this partition of `image`.
    ///
    /// # Errors
    ///
    /// Unsupported if it cannot be read, and why.
    pub fn open(&self, image: &Arc<dyn ReadAt>) -> Result<Arc<dyn ReadAt>> {
        match &self.place {
            Place::Range { image_offset, len } => Ok(Arc::new(Window::new(
                Arc::clone(image),
                *image_offset,
                *len,
            )?)),
            Place::Mapped(segments) => Ok(Arc::new(MappedVolume::new(
                Arc::clone(image),
                Arc::clone(segments),
            )?)),
            Place::Unreadable(reason) => Err(Error::Unsupported {
                feature: reason.clone(),
            }),
        }
    }
}

/// Finds the partitions and logical volumes of `image`.
///
/// # Errors
///
/// Only if reading the image fails.
pub fn scan(image: &Arc<dyn ReadAt>) -> Result<Table> {
    let mut table = scan_table(image)?;
    let mut areas: Vec<(ByteOffset, ByteLen)> = table
        .partitions
        .iter()
        .filter_map(|partition| match partition.place {
            Place::Range { image_offset, len } => Some((image_offset, len)),
            _ => None,
        })
        .collect();
    if areas.is_empty() {
        areas.push((0, image.len()));
    }
    lvm::add_logical_volumes(image, &areas, &mut table)?;
    Ok(table)
}

fn scan_table(image: &Arc<dyn ReadAt>) -> Result<Table> {
    let mut table = Table {
        kind: TableKind::None,
        sector_len: 512,
        disk_uuid: None,
        partitions: vec![],
        warnings: vec![],
        structures: vec![],
        labels: vec![],
    };
    let boot = mbr::BootSector::read(image)?;
    // As the kernel does: an MBR without a protective entry is believed before a GPT,
    // which is then a leftover.
    let is_protective = boot.as_ref().is_none_or(mbr::BootSector::is_protective);
    if is_protective && gpt::read_into(image, &mut table)? {
        if boot.is_some_and(|boot| boot.has_ordinary_entry()) {
            table.kind = TableKind::HybridGpt;
        }
        return Ok(table);
    }
    if let Some(boot) = boot {
        mbr::read_into(image, &boot, &mut table)?;
    }
    Ok(table)
}

/// Returns the place of `count` sectors from `first` on, cut at the end of the image.
fn place_of(first: u64, count: u64, sector_len: u32, image: ByteLen) -> Option<(Place, bool)> {
    let image_offset = first.checked_mul(u64::from(sector_len))?;
    let len = count.checked_mul(u64::from(sector_len))?;
    let available = image.saturating_sub(image_offset);
    let is_cut = len > available;
    let place = if available == 0 {
        Place::Unreadable("it lies behind the end of the image".to_owned())
    } else {
        Place::Range {
            image_offset,
            len: len.min(available),
        }
    };
    Some((place, is_cut))
}

/// Fills a buffer of `len` bytes from `offset`, or `None` if it lies beyond the image.
fn read(image: &Arc<dyn ReadAt>, offset: ByteOffset, len: usize) -> Result<Option<Vec<u8>>> {
    let end = u64::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len));
    if end.is_none_or(|end| end > image.len()) {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    image.read_exact_at(offset, &mut bytes).map_err(Error::Io)?;
    Ok(Some(bytes))
}
