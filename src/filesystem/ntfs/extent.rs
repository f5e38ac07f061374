//! Run lists (mapping pairs): which clusters of an attribute lie where.
//!
//! Source: Linux-NTFS project, NTFS documentation, "Data Runs".

use crate::base::ByteOffset;
use crate::filesystem::{Error, Result};

/// A run of clusters of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First cluster in the attribute (VCN).
    pub(super) first: u64,
    /// Number of clusters, at least one.
    pub(super) count: u64,
    /// First cluster in the volume (LCN); `None` for a hole.
    pub(super) cluster: Option<u64>,
}

impl Run {
    /// Returns the cluster of the attribute behind it.
    pub(super) const fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// Clusters of an attribute at most: what 63 bits of bytes hold.
const CLUSTER_END_MAX: u64 = 1 << 54;

/// Decodes a list that begins with the cluster `first` of the attribute and was read at
/// `offset`; `cluster_count` are those of the volume.
///
/// # Errors
///
/// Corrupt if it is none, or names clusters that the volume has not.
pub(super) fn decode(
    list: &[u8],
    first: u64,
    cluster_count: u64,
    offset: ByteOffset,
) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = vec![];
    let (mut rest, mut next, mut place) = (list, first, 0_i64);
    let bad = |expected, found: u64| Error::corrupt("run list", offset, expected, found);
    while let Some((header, behind)) = rest.split_first() {
        if *header == 0 {
            break;
        }
        let (len_len, place_len) = (usize::from(header & 0x0F), usize::from(header >> 4));
        let (Some((len, behind)), true) = (
            behind.split_at_checked(len_len),
            len_len <= 8 && place_len <= 8,
        ) else {
            return Err(bad("numbers of up to 8 bytes", (*header).into()));
        };
        let Some((delta, behind)) = behind.split_at_checked(place_len) else {
            return Err(bad("numbers of up to 8 bytes", (*header).into()));
        };
        let count = u64::try_from(signed(len)).unwrap_or(0);
        let end = next
            .checked_add(count)
            .filter(|end| *end <= CLUSTER_END_MAX);
        let (Some(end), true) = (end, count > 0) else {
            return Err(bad("a length", count));
        };
        let cluster =
            match place_len {
                0 => None,
                _ => {
                    place = place.wrapping_add(signed(delta));
                    let cluster = u64::try_from(place).ok();
                    let is_inside = |cluster: &u64| {
                        cluster
                            .checked_add(count)
                            .is_some_and(|end| end <= cluster_count)
                    };
                    let inside = cluster.filter(is_inside);
                    Some(inside.ok_or_else(|| {
                        bad("clusters of the volume", cluster.unwrap_or(u64::MAX))
                    })?)
                }
            };
        push(
            &mut runs,
            Run {
                first: next,
                count,
                cluster,
            },
        );
        (rest, next) = (behind, end);
    }
    Ok(runs)
}

/// Adds a run, or makes the last one longer.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut() {
        let goes_on = match (last.cluster, run.cluster) {
            (Some(before), Some(now)) => before.saturating_add(last.count) == now,
            (None, None) => true,
            _ => false,
        };
        if goes_on {
            last.count = last.count.saturating_add(run.count);
            return;
        }
    }
    runs.push(run);
}

/// Returns the number in up to 8 bytes, the last of which has the sign; 0 for none.
fn signed(bytes: &[u8]) -> i64 {
    let fill = match bytes.last() {
        Some(0x80..=0xFF) => 0xFF,
        _ => 0,
    };
    let mut wide = [fill; 8];
    for (target, byte) in wide.iter_mut().zip(bytes) {
        *target = *byte;
    }
    i64::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_from_the_one_before() {
        let list = [
            0x11, 3, 100, 0x01, 5, 0x11, 2, 0xFE, 0x11, 2, 2, 0x21, 1, 0xE8, 3, 0,
        ];
        let found = decode(&list, 7, 2000, 0).unwrap();
        let run = |first, count, cluster| Run {
            first,
            count,
            cluster,
        };
        let expected = [
            run(7, 3, Some(100)),
            run(10, 5, None),
            run(15, 4, Some(98)),
            run(19, 1, Some(1100)),
        ];
        assert_eq!(found, expected);
        assert_eq!(decode(&[], 0, 10, 0).unwrap(), []);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [
            &[0x11, 0, 5][..],
            &[0x11, 0xFF, 5],
            &[0x11, 5],
            &[0x19, 1, 1],
            &[0x91, 1, 1],
            &[0x10, 5],
            &[0x11, 11, 90],
            &[0x11, 1, 0xFF],
            &[0x08, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0x18, 0, 0, 0, 0, 0, 0, 0, 0x7F, 1],
        ] {
            assert!(decode(bad, 0, 100, 0).is_err(), "{bad:?}");
        }
    }
}
