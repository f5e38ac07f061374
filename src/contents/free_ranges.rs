//! Ranges of an image that are free, cut to whole blocks and bounded in number, and which
//! of several ranges overlap.

use crate::base::{BLOCK_LEN_BYTES, ByteOffset, block_of, round_up_to_block};
use std::ops::Range;

/// Ranges that are remembered, in all and of each volume: 16 MiB. Of more, the smallest are
/// kept as data.
pub(super) const RANGE_COUNT_MAX: usize = 1 << 20;

/// Free ranges in the making.
#[derive(Debug)]
pub(super) struct FreeRanges {
    ranges: Vec<Range<ByteOffset>>,
    pending: Range<ByteOffset>,
    count_max: usize,
}

impl FreeRanges {
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            ranges: vec![],
            pending: 0..0,
            count_max: count_max.max(2),
        }
    }

    /// Adds a range that overlaps with none before.
    pub(super) fn add(&mut self, range: Range<ByteOffset>) {
        if range.start == self.pending.end && !range.is_empty() {
            self.pending.end = range.end;
            return;
        }
        self.flush();
        self.pending = range;
    }

    fn flush(&mut self) {
        let start = round_up_to_block(self.pending.start);
        let end = block_of(self.pending.end).saturating_mul(BLOCK_LEN_BYTES);
        self.pending = 0..0;
        if start >= end {
            return;
        }
        self.ranges.push(start..end);
        if self.ranges.len() > self.count_max {
            drop_smallest(&mut self.ranges, self.count_max / 2);
        }
    }

    /// Returns whole blocks, in rising order and joined.
    pub(super) fn finish(mut self) -> Vec<Range<ByteOffset>> {
        self.flush();
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, last| {
            let is_joined = next.start <= last.end;
            if is_joined {
                last.end = last.end.max(next.end);
            }
            is_joined
        });
        self.ranges
    }
}

/// Leaves at most `count` of the ranges: the longest, and of equal ones the first.
fn drop_smallest(ranges: &mut Vec<Range<ByteOffset>>, count: usize) {
    let mut lens: Vec<u64> = ranges.iter().map(len_of).collect();
    let place = lens.len().saturating_sub(count);
    if place >= lens.len() {
        ranges.clear();
        return;
    }
    let (_, limit, longer) = lens.select_nth_unstable(place);
    let limit = *limit;
    let longer_count = longer.iter().filter(|len| **len > limit).count();
    let mut equal_left = count.saturating_sub(longer_count);
    ranges.retain(|range| {
        let len = len_of(range);
        if len == limit && equal_left > 0 {
            equal_left = equal_left.saturating_sub(1);
            return true;
        }
        len > limit
    });
}

/// Returns the length of a range in bytes.
pub(super) fn len_of(range: &Range<ByteOffset>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// A range of the image and whose it is; `None` for a table.
pub(super) type Claim = (Range<ByteOffset>, Option<usize>);

/// Tells of each of `count` owners whether a range of its overlaps with any other range,
/// its own included.
pub(super) fn overlapping(mut claims: Vec<Claim>, count: usize) -> Vec<bool> {
    let mut marked = vec![false; count];
    let mut mark = |owner: Option<usize>| {
        if let Some(marked) = owner.and_then(|owner| marked.get_mut(owner)) {
            *marked = true;
        }
    };
    claims.retain(|(range, _)| !range.is_empty());
    claims.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    // The claim that reaches farthest: who overlaps with an earlier one overlaps with it.
    let mut farthest: Option<Claim> = None;
    for claim in claims {
        if let Some((range, owner)) = &farthest
            && claim.0.start < range.end
        {
            mark(*owner);
            mark(claim.1);
        }
        if farthest
            .as_ref()
            .is_none_or(|(range, _)| range.end < claim.0.end)
        {
            farthest = Some(claim);
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]

    use super::*;

    fn collected(count_max: usize, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut free = FreeRanges::new(count_max);
        for range in ranges {
            free.add(range.clone());
        }
        free.finish()
    }

    #[test]
    fn only_whole_blocks_are_free() {
        assert_eq!(collected(9, &[1..4096, 5000..8191, 9000..9001]), []);
        assert_eq!(
            collected(9, &[0..4096, 4097..12_288]),
            [0..4096, 8192..12_288]
        );
        // Ranges that go on make one block, whatever their own borders.
        assert_eq!(collected(9, &[8192..9000, 9000..12_288]), [8192..12_288]);
        assert_eq!(
            collected(9, &[8192..12_288, 0..4096, 4096..8192]),
            [0..12_288]
        );
        assert_eq!(collected(9, &[]), []);
        assert_eq!(collected(9, &[5..5, 8192..8192]), []);
    }

    #[test]
    fn of_too_many_the_longest_are_left() {
        let block = 4096;
        let ranges: Vec<_> = (0..100_u64)
            .map(|number| {
                let start = number * 100 * block;
                start..start + (number % 10 + 1) * block
            })
            .collect();
        let found = collected(20, &ranges);
        assert!(found.len() <= 20 && found.len() >= 10, "{}", found.len());
        let longest = found.iter().filter(|range| len_of(range) == 10 * block);
        assert_eq!(longest.count(), 10);
        for range in &found {
            assert!(ranges.contains(range));
        }
        let equal: Vec<_> = (0..50_u64).map(|n| n * 8192..n * 8192 + 4096).collect();
        let found = collected(10, &equal);
        assert!(found.len() <= 10 && found.len() >= 5, "{}", found.len());
    }

    #[test]
    fn whoever_overlaps_is_found() {
        let owners = |claims: &[(Range<u64>, Option<usize>)]| overlapping(claims.to_vec(), 4);
        let no = [false; 4];
        assert_eq!(owners(&[(0..10, Some(0)), (10..20, Some(1))]), no);
        assert_eq!(
            owners(&[(0..10, None), (5..20, Some(1))]),
            [false, true, false, false]
        );
        // Both inside the first, and not in each other.
        let inside = [(0..100, Some(0)), (10..20, Some(1)), (50..60, Some(2))];
        assert_eq!(owners(&inside), [true, true, true, false]);
        let chain = [(0..50, Some(0)), (40..60, Some(1)), (60..70, Some(2))];
        assert_eq!(owners(&chain), [true, true, false, false]);
        // Two pieces of one volume in the same place.
        assert_eq!(
            owners(&[(0..10, Some(3)), (0..10, Some(3))]),
            [false, false, false, true]
        );
        assert_eq!(owners(&[(5..5, Some(0)), (0..10, Some(1))]), no);
    }

    /// Against comparing each with each.
    #[test]
    fn whoever_overlaps_is_found_in_all_small_cases() {
        let mut seed = 7_u64;
        let mut next = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % end
        };
        for _ in 0..2000 {
            let claims: Vec<Claim> = (0..6)
                .map(|owner| {
                    let start = next(30);
                    (start..start + next(8), Some(owner))
                })
                .collect();
            let expected: Vec<bool> = (0..6)
                .map(|one| {
                    claims.iter().enumerate().any(|(other, (range, _))| {
                        let own = &claims[one].0;
                        other != one
                            && !range.is_empty()
                            && !own.is_empty()
                            && own.start < range.end
                            && range.start < own.end
                    })
                })
                .collect();
            assert_eq!(overlapping(claims.clone(), 6), expected, "{claims:?}");
        }
    }
}
