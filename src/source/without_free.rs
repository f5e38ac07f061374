//! A source some of whose ranges read as zeros, and are never read.

use super::ImageSource;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source without the ranges that are free in it.
pub struct WithoutFree {
    source: Arc<dyn ImageSource>,
    /// In rising order, without overlaps.
    free: Vec<Range<u64>>,
    discarded_len_bytes: AtomicU64,
}

impl WithoutFree {
    /// Takes a source and the ranges of it that are zeros from now on, in rising order and
    /// without overlaps.
    pub fn new(source: Arc<dyn ImageSource>, free: Vec<Range<u64>>) -> Self {
        Self {
            source,
            free,
            discarded_len_bytes: AtomicU64::new(0),
        }
    }

    /// Returns how many bytes that may hold data were passed over, by a walk with
    /// [`ImageSource::next_data`] from the first byte to the end.
    pub fn discarded_len_bytes(&self) -> u64 {
        self.discarded_len_bytes.load(Ordering::Relaxed)
    }

    /// Returns the free ranges that end behind `offset`.
    fn free_behind(&self, offset: u64) -> &[Range<u64>] {
        let first = self.free.partition_point(|range| range.end <= offset);
        self.free.get(first..).unwrap_or_default()
    }
}

impl ImageSource for WithoutFree {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let mut offset = offset;
        while let Some(data) = self.source.next_data(offset)? {
            let free = self.free_behind(data.start).first();
            match free {
                Some(free) if free.start <= data.start => {
                    let passed = free.end.min(data.end).saturating_sub(data.start);
                    self.discarded_len_bytes
                        .fetch_add(passed, Ordering::Relaxed);
                    offset = free.end.min(data.end);
                }
                Some(free) => return Ok(Some(data.start..data.end.min(free.start))),
                None => return Ok(Some(data)),
            }
        }
        Ok(None)
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(offset, target)?;
        let end = offset.saturating_add(count as u64);
        for free in self.free_behind(offset) {
            if free.start >= end {
                break;
            }
            let inside = |place: u64| place.saturating_sub(offset).min(count as u64) as usize;
            if let Some(bytes) = target.get_mut(inside(free.start)..inside(free.end)) {
                bytes.fill(0);
            }
        }
        Ok(count)
    }

    fn warnings(&self) -> Vec<String> {
        self.source.warnings()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]

    use super::*;

    /// Data in the given ranges: each byte is 1.
    struct Ones(u64, Vec<Range<u64>>);

    impl ImageSource for Ones {
        fn len(&self) -> u64 {
            self.0
        }

        fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
            let found = self.1.iter().find(|range| range.end > offset);
            Ok(found.map(|range| range.start.max(offset)..range.end))
        }

        fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
            let count = target.len().min((self.0 - offset) as usize);
            target[..count].fill(1);
            Ok(count)
        }

        fn warnings(&self) -> Vec<String> {
            vec!["odd".to_owned()]
        }
    }

    fn walk(data: &[Range<u64>], free: &[Range<u64>]) -> (Vec<Range<u64>>, u64) {
        let source = WithoutFree::new(Arc::new(Ones(100, data.to_vec())), free.to_vec());
        let mut found = vec![];
        let mut offset = 0;
        while let Some(range) = source.next_data(offset).unwrap() {
            offset = range.end;
            found.push(range);
        }
        (found, source.discarded_len_bytes())
    }

    #[test]
    fn free_ranges_are_no_data() {
        assert_eq!(walk(&[0..100], &[]), (vec![0..100], 0));
        assert_eq!(walk(&[0..100], &[0..100]), (vec![], 100));
        assert_eq!(walk(&[0..100], &[0..10, 90..100]), (vec![10..90], 20));
        assert_eq!(
            walk(&[10..20, 30..40], &[15..35]),
            (vec![10..15, 35..40], 10)
        );
        assert_eq!(
            walk(&[10..90], &[0..5, 20..30, 40..50]),
            (vec![10..20, 30..40, 50..90], 20)
        );
        assert_eq!(walk(&[0..10], &[50..60]), (vec![0..10], 0));
        assert_eq!(walk(&[], &[0..100]), (vec![], 0));
    }

    #[test]
    fn free_bytes_read_as_zeros() {
        let source = WithoutFree::new(Arc::new(Ones(100, vec![])), vec![4..6, 8..20, 90..100]);
        let mut bytes = [9; 10];
        assert_eq!(source.read_at(0, &mut bytes).unwrap(), 10);
        assert_eq!(bytes, [1, 1, 1, 1, 0, 0, 1, 1, 0, 0]);
        let mut bytes = [9; 4];
        assert_eq!(source.read_at(18, &mut bytes).unwrap(), 4);
        assert_eq!(bytes, [0, 0, 1, 1]);
        let mut bytes = [9; 30];
        assert_eq!(source.read_at(80, &mut bytes).unwrap(), 20);
        assert_eq!(bytes[9..13], [1, 0, 0, 0]);
        assert_eq!(bytes[20], 9);
        assert_eq!(
            (source.len(), source.warnings()),
            (100, vec!["odd".to_owned()])
        );
    }
}
