//! Directories as what FAT and exFAT have in common: slots of 32 bytes, one after the
//! other, in a fixed region or in clusters.

use super::clusters::{Allocation, Clusters, Walker};
use crate::base::{ByteLen, ByteOffset};
use crate::filesystem::{Error, Result, index_of};
use std::sync::Arc;

/// Bytes of a slot.
pub(in super::super) const SLOT_LEN: u64 = 32;

/// What is read of a directory at once; a cluster may have 32 MiB.
const WINDOW_LEN_MAX: u64 = 4096;

/// Where a directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// Nowhere: it is empty.
    Nothing,
    /// In a fixed region: the root of FAT12 and FAT16.
    Region { offset: ByteOffset, len: ByteLen },
    /// In clusters: as many as the chain has, up to a limit.
    Chain {
        allocation: Allocation,
        len_max: ByteLen,
    },
    /// In clusters, with a length of its own.
    Sized {
        allocation: Allocation,
        len: ByteLen,
    },
}

/// One slot.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Slot {
    pub(in super::super) bytes: [u8; 32],
    /// Its number in the directory.
    pub(in super::super) index: u64,
    /// Where it lies in the image.
    pub(in super::super) offset: ByteOffset,
}

/// The slots of a directory from one on.
#[derive(Clone)]
pub(in super::super) struct Slots<'a> {
    clusters: &'a Clusters,
    place: Place,
    walker: Option<Walker<'a>>,
    /// Place in the directory, and its end.
    position: u64,
    end: u64,
    /// What follows `position` in one piece.
    offset: ByteOffset,
    left: ByteLen,
    window: Option<(ByteOffset, Arc<[u8]>)>,
}

impl<'a> Slots<'a> {
    /// Looks at the slots of the directory at `place` from number `first` on.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the way there is damaged.
    pub(in super::super) fn new(clusters: &'a Clusters, place: Place, first: u64) -> Result<Self> {
        let position = first.saturating_mul(SLOT_LEN);
        let end = match place {
            Place::Nothing => 0,
            Place::Region { len, .. } | Place::Sized { len, .. } => len,
            Place::Chain { len_max, .. } => len_max,
        };
        let mut slots = Self {
            clusters,
            place,
            walker: None,
            position,
            end,
            offset: 0,
            left: 0,
            window: None,
        };
        if position >= end {
            return Ok(slots);
        }
        match place {
            Place::Nothing => {}
            Place::Region { offset, len } => {
                slots.offset = offset.saturating_add(position);
                slots.left = len.saturating_sub(position);
            }
            Place::Chain { allocation, .. } | Place::Sized { allocation, .. } => {
                let index = clusters.index_at(position);
                slots.walker = Some(clusters.walk(allocation, index)?);
                slots.take_cluster(position & clusters.cluster_len().wrapping_sub(1))?;
            }
        }
        Ok(slots)
    }

    /// Goes on with the next cluster, behind its first `inside` bytes; false at the end.
    fn take_cluster(&mut self, inside: u64) -> Result<bool> {
        let Some(walker) = &mut self.walker else {
            return Ok(false);
        };
        let Some(run) = walker.next_run(1)? else {
            return match self.place {
                Place::Sized { allocation, .. } => Err(self.clusters.too_short(allocation)),
                Place::Nothing | Place::Region { .. } | Place::Chain { .. } => Ok(false),
            };
        };
        let offset = self.clusters.offset_of(run.cluster);
        self.offset = offset.saturating_add(inside);
        self.left = self.clusters.cluster_len().saturating_sub(inside);
        Ok(true)
    }

    /// Returns the next slot, or `None` at the end.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the clusters of the directory are damaged, or more than it can
    /// have.
    pub(in super::super) fn next(&mut self) -> Result<Option<Slot>> {
        if self.position.saturating_add(SLOT_LEN) > self.end {
            return self.at_the_end();
        }
        if self.left < SLOT_LEN && !self.take_cluster(0)? {
            return Ok(None);
        }
        let offset = self.offset;
        let bytes = self.bytes_at(offset)?;
        let index = self.position / SLOT_LEN;
        self.position = self.position.saturating_add(SLOT_LEN);
        self.offset = offset.saturating_add(SLOT_LEN);
        self.left = self.left.saturating_sub(SLOT_LEN);
        Ok(Some(Slot {
            bytes,
            index,
            offset,
        }))
    }

    fn at_the_end(&mut self) -> Result<Option<Slot>> {
        let Place::Chain {
            allocation,
            len_max,
        } = self.place
        else {
            return Ok(None);
        };
        let goes_on = self.left > 0 || self.walker.is_some() && self.take_cluster(0)?;
        if goes_on && self.position >= len_max {
            let expected = "no more entries than a directory can have";
            return Err(Error::corrupt(
                "directory length",
                allocation.place,
                expected,
                len_max,
            ));
        }
        Ok(None)
    }

    fn bytes_at(&mut self, offset: ByteOffset) -> Result<[u8; 32]> {
        if let Some((start, block)) = &self.window
            && let Some(bytes) = slot_in(block, *start, offset)
        {
            return Ok(bytes);
        }
        let (start, block) = match self.place {
            Place::Region {
                offset: region,
                len,
            } => window_in(self.clusters, region, len, offset)?,
            Place::Nothing | Place::Chain { .. } | Place::Sized { .. } => {
                window_of_cluster(self.clusters, offset)?
            }
        };
        let bytes = slot_in(&block, start, offset);
        self.window = Some((start, block));
        bytes.ok_or_else(|| Error::corrupt("directory slot", offset, "a slot", 0_u8))
    }
}

fn slot_in(block: &[u8], start: ByteOffset, offset: ByteOffset) -> Option<[u8; 32]> {
    let inside = index_of(offset.checked_sub(start)?);
    block.get(inside..)?.first_chunk().copied()
}

/// Returns the window of a region that holds `offset`, and where it begins.
fn window_in(
    clusters: &Clusters,
    region: ByteOffset,
    region_len: ByteLen,
    offset: ByteOffset,
) -> Result<(ByteOffset, Arc<[u8]>)> {
    let inside = offset.saturating_sub(region);
    let start = inside & !(WINDOW_LEN_MAX.wrapping_sub(1));
    let len = region_len.saturating_sub(start).min(WINDOW_LEN_MAX);
    let start = region.saturating_add(start);
    Ok((start, clusters.reader.block(start, index_of(len))?))
}

fn window_of_cluster(clusters: &Clusters, offset: ByteOffset) -> Result<(ByteOffset, Arc<[u8]>)> {
    let Some((_, start)) = clusters.cluster_at(offset) else {
        let expected = "a place in a cluster";
        return Err(Error::corrupt("directory slot", offset, expected, offset));
    };
    window_in(clusters, start, clusters.cluster_len(), offset)
}

/// Returns the slot at `offset` of the image, if `offset` is a place for one: in
/// `region` or in a cluster that is in use.
///
/// # Errors
///
/// Io; Corrupt if the table or the slot lies behind the image.
pub(in super::super) fn slot_at(
    clusters: &Clusters,
    region: Option<(ByteOffset, ByteLen)>,
    offset: ByteOffset,
) -> Result<Option<[u8; 32]>> {
    if let Some((start, len)) = region
        && let Some(inside) = offset.checked_sub(start)
        && inside < len
    {
        let (start, block) = window_in(clusters, start, len, offset)?;
        return Ok(slot_in(&block, start, offset));
    }
    if clusters.cluster_at(offset).is_none() {
        return Ok(None);
    }
    let (start, block) = window_of_cluster(clusters, offset)?;
    Ok(slot_in(&block, start, offset))
}

/// Returns how much of a directory there is: whole clusters, up to where it is damaged.
///
/// # Errors
///
/// Io.
pub(in super::super) fn len(clusters: &Clusters, place: Place) -> Result<ByteLen> {
    let (allocation, len_max) = match place {
        Place::Nothing => return Ok(0),
        Place::Region { len, .. } | Place::Sized { len, .. } => return Ok(len),
        Place::Chain {
            allocation,
            len_max,
        } => (allocation, len_max),
    };
    let mut len: u64 = 0;
    let mut walker = match clusters.walk(allocation, 0) {
        Ok(walker) => walker,
        Err(Error::Io(error)) => return Err(Error::Io(error)),
        Err(_) => return Ok(0),
    };
    while len < len_max {
        match walker.next_run(u32::MAX) {
            Ok(Some(run)) => len = len.saturating_add(clusters.bytes_of(run.count)),
            Ok(None) => break,
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(_) => break,
        }
    }
    Ok(len.min(len_max))
}

const _: () = assert!(WINDOW_LEN_MAX.is_multiple_of(SLOT_LEN));
