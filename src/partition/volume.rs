//! A logical volume: segments of an image, each in one or several stripes.

use super::error::{Error, Result};
use crate::base::{ByteLen, ByteOffset, ReadAt};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// One column of a striped segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Where its bytes begin in the image.
    pub image_offset: ByteOffset,
}

/// A run of a volume that lies in `stripes` in turn, `stripe_len` bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte in the volume.
    pub volume_offset: ByteOffset,
    /// Length in bytes.
    pub len: ByteLen,
    /// Bytes before the next column; of no meaning with one.
    pub stripe_len: NonZeroU64,
    /// The columns, at least one.
    pub stripes: Vec<Stripe>,
}

impl Segment {
    /// Returns where the byte at `offset` of the segment lies in the image, and how
    /// many bytes follow it there.
    fn locate(&self, offset: u64) -> Option<(ByteOffset, ByteLen)> {
        let left = self.len.checked_sub(offset).filter(|left| *left > 0)?;
        if let [stripe] = self.stripes.as_slice() {
            return Some((stripe.image_offset.checked_add(offset)?, left));
        }
        let column_count = NonZeroU64::new(u64::try_from(self.stripes.len()).ok()?)?;
        let (number, inside) = (offset / self.stripe_len, offset % self.stripe_len);
        let column = usize::try_from(number % column_count).ok()?;
        let stripe = self.stripes.get(column)?;
        let row = (number / column_count).checked_mul(self.stripe_len.get())?;
        let place = stripe.image_offset.checked_add(row)?.checked_add(inside)?;
        Some((place, left.min(self.stripe_len.get().checked_sub(inside)?)))
    }
}

impl Segment {
    /// Returns the ranges of the image that its columns take.
    pub(super) fn ranges(&self) -> Vec<Range<ByteOffset>> {
        let mut ranges = vec![];
        self.map(&(0..self.len), &mut |range| ranges.push(range));
        ranges
    }

    /// Gives the range of each column that has bytes of `range`, which is relative to
    /// the segment: rows lie one after the other in a column.
    fn map(&self, range: &Range<u64>, visit: &mut dyn FnMut(Range<ByteOffset>)) {
        let stripe_len = self.stripe_len.get();
        let count = u64::try_from(self.stripes.len()).unwrap_or(u64::MAX);
        for (column, stripe) in (0_u64..).zip(&self.stripes) {
            let before = |offset: u64| match NonZeroU64::new(count.saturating_mul(stripe_len)) {
                Some(row_len) if count > 1 => {
                    let inside = offset % row_len;
                    let own = inside.saturating_sub(column.saturating_mul(stripe_len));
                    (offset / row_len)
                        .saturating_mul(stripe_len)
                        .saturating_add(own.min(stripe_len))
                }
                _ => offset,
            };
            let place = |offset: u64| stripe.image_offset.saturating_add(before(offset));
            let found = place(range.start)..place(range.end);
            if !found.is_empty() {
                visit(found);
            }
        }
    }
}

/// Gives the ranges of the image that `range` of a volume takes to `visit`.
pub(super) fn map(
    segments: &[Segment],
    range: &Range<ByteOffset>,
    visit: &mut dyn FnMut(Range<ByteOffset>),
) {
    let first = segments.partition_point(|segment| {
        segment.volume_offset.saturating_add(segment.len) <= range.start
    });
    for segment in segments.iter().skip(first) {
        let inside = |offset: u64| {
            offset
                .saturating_sub(segment.volume_offset)
                .min(segment.len)
        };
        let wanted = inside(range.start)..inside(range.end);
        if segment.volume_offset >= range.end {
            return;
        }
        segment.map(&wanted, visit);
    }
}

/// The bytes of a logical volume.
pub struct MappedVolume {
    image: Arc<dyn ReadAt>,
    segments: Arc<[Segment]>,
    len: ByteLen,
}

impl MappedVolume {
    /// Returns the volume that `segments` of `image` make up.
    ///
    /// # Errors
    ///
    /// Corrupt if they leave a gap.
    pub fn new(image: Arc<dyn ReadAt>, segments: Arc<[Segment]>) -> Result<Self> {
        let mut len: ByteLen = 0;
        for segment in segments.iter() {
            if segment.volume_offset != len || segment.stripes.is_empty() {
                return Err(Error::corrupt(
                    "segment",
                    "no gap before it",
                    segment.volume_offset,
                ));
            }
            len = len
                .checked_add(segment.len)
                .ok_or_else(|| Error::corrupt("segment length", "below 2^64", segment.len))?;
        }
        Ok(Self {
            image,
            segments,
            len,
        })
    }

    fn segment_of(&self, offset: ByteOffset) -> Option<&Segment> {
        let behind = self
            .segments
            .partition_point(|segment| segment.volume_offset <= offset);
        self.segments.get(behind.checked_sub(1)?)
    }

    fn locate(&self, offset: ByteOffset) -> Option<(ByteOffset, ByteLen)> {
        let segment = self.segment_of(offset)?;
        segment.locate(offset.checked_sub(segment.volume_offset)?)
    }
}

impl ReadAt for MappedVolume {
    fn len(&self) -> ByteLen {
        self.len
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut rest = target;
        while !rest.is_empty() {
            let (place, run) = self.locate(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = usize::try_from(run).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            self.image.read_exact_at(place, now)?;
            let step = u64::try_from(count).unwrap_or(u64::MAX);
            offset = offset
                .checked_add(step)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte of a range lies where reading finds it.
    #[test]
    fn a_mapped_range_is_that_of_its_bytes() {
        let stripe = |image_offset| Stripe { image_offset };
        let segment = |volume_offset, len, stripe_len, stripes: &[u64]| Segment {
            volume_offset,
            len,
            stripe_len: NonZeroU64::new(stripe_len).unwrap(),
            stripes: stripes.iter().copied().map(stripe).collect(),
        };
        let segments: Arc<[Segment]> = [
            segment(0, 40, 1, &[1000]),
            segment(40, 48, 8, &[2000, 100, 3000]),
            segment(88, 20, 4, &[500, 400]),
        ]
        .into();
        let volume = MappedVolume::new(Arc::new(vec![0; 4000]), Arc::clone(&segments)).unwrap();
        for start in 0..108 {
            for end in start..120 {
                let mut expected: Vec<u64> = (start..end.min(108))
                    .map(|offset| volume.locate(offset).unwrap().0)
                    .collect();
                let mut found = vec![];
                map(&segments, &(start..end), &mut |range| found.extend(range));
                expected.sort_unstable();
                found.sort_unstable();
                assert_eq!(found, expected, "{start}..{end}");
            }
        }
    }
}
