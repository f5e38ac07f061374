//! `partitions/<n>/disk.img`: the bytes of a partition or logical volume, with the
//! holes that the image has there. What is damaged in the image is damaged here, to the
//! byte.

use crate::base::{BLOCK_LEN_BYTES, ByteLen, ByteOffset, ReadAt, block_count_for, block_of};
use crate::contents::Volume;
use crate::image::Image;
use crate::partition::{Place, Segment, Stripe};
use crate::tree::{Kind, Result};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of an image whose extents are looked at together: what a leaf of a map covers.
const WINDOW_LEN: u64 = 4 << 20;

/// An open image of a partition.
pub(super) struct PartitionImage {
    image: Image,
    bytes: Arc<dyn ReadAt>,
    segments: Arc<[Segment]>,
}

/// One column of a segment: a range of the image that is spread over the volume.
struct Column<'a> {
    segment: &'a Segment,
    count: u64,
    index: u64,
    image_offset: ByteOffset,
    len: ByteLen,
}

impl<'a> Column<'a> {
    fn of(segment: &'a Segment) -> impl Iterator<Item = Self> {
        let count = segment.stripes.len() as u64;
        (0..count)
            .zip(&segment.stripes)
            .map(move |(index, stripe)| {
                let step = segment.stripe_len.get();
                let len = if count == 1 {
                    segment.len
                } else {
                    // Whole stripes are dealt out in turn, and the last one may be cut.
                    let (whole, cut) = (segment.len / step, segment.len % step);
                    let own = whole / count + u64::from(index < whole % count);
                    own * step + if index == whole % count { cut } else { 0 }
                };
                Self {
                    segment,
                    count,
                    index,
                    image_offset: stripe.image_offset,
                    len,
                }
            })
    }

    /// Returns the first place of the column that lies at or behind `offset` of its
    /// segment.
    fn first_at(&self, offset: u64) -> u64 {
        if self.count == 1 {
            return offset;
        }
        let step = self.segment.stripe_len.get();
        let (number, inside) = (offset / step, offset % step);
        let (row, at) = (number / self.count, number % self.count);
        match self.index.cmp(&at) {
            std::cmp::Ordering::Equal => row * step + inside,
            std::cmp::Ordering::Greater => row * step,
            std::cmp::Ordering::Less => (row + 1) * step,
        }
    }

    /// Returns where a place of the column lies in its segment.
    fn to_segment(&self, place: u64) -> u64 {
        if self.count == 1 {
            return place;
        }
        let step = self.segment.stripe_len.get();
        (place / step * self.count + self.index) * step + place % step
    }

    /// Returns the first byte of the volume at or behind `offset` of it that lies in
    /// this column and is data (or in a hole).
    fn next(&self, image: &Image, offset: u64, hole: bool) -> Result<Option<u64>> {
        let start = self.segment.volume_offset;
        let place = self.first_at(offset.saturating_sub(start));
        if place >= self.len {
            return Ok(None);
        }
        let from = self.image_offset + place;
        let found = if hole {
            Some(image.next_hole(from)?)
        } else {
            image.next_data(from)?
        };
        Ok(found
            .map(|found| found - self.image_offset)
            .filter(|place| *place < self.len)
            .map(|place| start + self.to_segment(place)))
    }
}

impl PartitionImage {
    /// Returns the bytes of a volume of an image.
    ///
    /// # Errors
    ///
    /// Unsupported if they cannot be read.
    pub(super) fn new(image: &Image, volume: &Volume) -> Result<Self> {
        let bytes = volume.bytes()?;
        let segments = match volume.partition().map(|partition| &partition.place) {
            Some(Place::Mapped(segments)) => Arc::clone(segments),
            Some(Place::Range { image_offset, len }) => one(*image_offset, *len),
            Some(Place::Unreadable(_)) | None => one(0, bytes.len()),
        };
        Ok(Self {
            image: image.clone(),
            bytes,
            segments,
        })
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> ByteLen {
        self.bytes.len()
    }

    /// Fills the start of `target`; shorter only at the end.
    pub(super) fn read(&self, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let target = self.clip(offset, target);
        self.read_whole(offset, target)?;
        Ok(target.len())
    }

    /// The same, but up to the damage if there is some: an error only at it.
    ///
    /// Looks for it by halves: a partition may begin anywhere in a block of the image, and
    /// stripes may lie anywhere, so that there is no other way to tell where it is in here.
    /// What is known to be damaged costs nothing, and what is not is in the cache.
    pub(super) fn read_up_to_damage(&self, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let target = self.clip(offset, target);
        let damage = match self.read_whole(offset, target) {
            Ok(()) => return Ok(target.len()),
            Err(error) if error.kind() == Kind::Damaged => error,
            Err(error) => return Err(error),
        };
        // The first `whole` bytes can be read, and the first `broken` cannot.
        let (mut whole, mut broken) = (0, target.len());
        while broken - whole > 1 {
            let middle = whole + (broken - whole) / 2;
            let place = offset.saturating_add(whole as u64);
            match self.read_whole(place, target.get_mut(whole..middle).unwrap_or_default()) {
                Ok(()) => whole = middle,
                Err(error) if error.kind() == Kind::Damaged => broken = middle,
                Err(error) => return Err(error),
            }
        }
        if whole == 0 { Err(damage) } else { Ok(whole) }
    }

    /// Returns what of `target` lies inside.
    fn clip<'a>(&self, offset: ByteOffset, target: &'a mut [u8]) -> &'a mut [u8] {
        let left = self.len().saturating_sub(offset);
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(target.len());
        target.get_mut(..count).unwrap_or_default()
    }

    fn read_whole(&self, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let read = self.bytes.read_exact_at(offset, target);
        Ok(read.map_err(crate::filesystem::Error::Io)?)
    }

    /// Returns the first byte at or after `offset` that is data (or in a hole); for a
    /// hole the length if there is none.
    pub(super) fn seek(&self, offset: ByteOffset, hole: bool) -> Result<Option<ByteOffset>> {
        if offset >= self.len() {
            return Ok(None);
        }
        let behind = self
            .segments
            .partition_point(|segment| segment.volume_offset <= offset);
        for segment in self.segments.iter().skip(behind.saturating_sub(1)) {
            let mut first: Option<u64> = None;
            for column in Column::of(segment) {
                let found = column.next(&self.image, offset, hole)?;
                first = first.into_iter().chain(found).min();
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(hole.then(|| self.len()))
    }

    /// Returns the bytes that are not in holes. Walks through the map: time in
    /// proportion to the data.
    pub(super) fn allocated(&self) -> Result<u64> {
        let mut sum = 0;
        for column in self.segments.iter().flat_map(Column::of) {
            let end = column.image_offset.saturating_add(column.len);
            sum += allocated_in(&self.image, column.image_offset..end)?;
        }
        Ok(sum)
    }
}

/// Returns a range of an image as a volume of one piece.
fn one(image_offset: ByteOffset, len: ByteLen) -> Arc<[Segment]> {
    let segment = Segment {
        volume_offset: 0,
        len,
        stripe_len: NonZeroU64::MAX,
        stripes: vec![Stripe { image_offset }],
    };
    Arc::new([segment])
}

fn allocated_in(image: &Image, range: Range<u64>) -> Result<u64> {
    let mut sum = 0;
    let mut offset = range.start;
    while let Some(data) = image.next_data(offset)?.filter(|data| *data < range.end) {
        let end = (data / WINDOW_LEN + 1) * WINDOW_LEN;
        let end = end.min(range.end);
        for extent in image.extents(block_of(data)..block_count_for(end))? {
            let start = (extent.image_block * BLOCK_LEN_BYTES).max(data);
            let stop = (extent.end() * BLOCK_LEN_BYTES).min(end);
            sum += stop.saturating_sub(start);
        }
        offset = end;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(len: u64, step: u64, count: u64) -> Segment {
        Segment {
            volume_offset: 0,
            len,
            stripe_len: NonZeroU64::new(step).unwrap(),
            stripes: (0..count)
                .map(|index| Stripe {
                    image_offset: index * 1_000_000,
                })
                .collect(),
        }
    }

    #[test]
    fn columns_and_the_segment_they_make_up_agree_at_every_byte() {
        for (len, step, count) in [(100, 8, 3), (96, 8, 4), (7, 8, 2), (64, 8, 1), (17, 4, 2)] {
            let segment = segment(len, step, count);
            let mut owners = vec![0; usize::try_from(len).unwrap()];
            for column in Column::of(&segment) {
                for place in 0..column.len {
                    let offset = column.to_segment(place);
                    assert_eq!(column.first_at(offset), place, "{len} {step} {count}");
                    owners[usize::try_from(offset).unwrap()] += 1;
                }
                // From anywhere, the first place behind is the nearest one.
                for offset in 0..len {
                    let found = column.first_at(offset);
                    let nearest = (0..column.len).find(|place| column.to_segment(*place) >= offset);
                    assert_eq!(nearest.unwrap_or(column.len), found.min(column.len));
                }
            }
            assert!(owners.iter().all(|count| *count == 1), "{owners:?}");
        }
    }
}
