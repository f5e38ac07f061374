//! Times of NTFS: tenths of microseconds since 1601.
//!
//! Source: Microsoft, `FILETIME`.

use crate::filesystem::FileTime;

const TICKS_OF_SECOND: i64 = 10_000_000;

/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;

/// Returns the time that is stored as `ticks`.
pub(super) fn decode(ticks: u64) -> FileTime {
    let ticks = ticks.cast_signed();
    let fraction = ticks.rem_euclid(TICKS_OF_SECOND);
    FileTime {
        seconds: ticks.div_euclid(TICKS_OF_SECOND).saturating_sub(EPOCH),
        nanoseconds: u32::try_from(fraction.saturating_mul(100)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1601() {
        let at = |ticks| {
            let time = decode(ticks);
            (time.seconds, time.nanoseconds)
        };
        assert_eq!(at(0), (-EPOCH, 0));
        assert_eq!(at(116_444_736_000_000_000), (0, 0));
        assert_eq!(at(116_444_736_000_000_001), (0, 100));
        assert_eq!(at(116_444_735_999_999_999), (-1, 999_999_900));
        assert_eq!(at(u64::MAX), (-EPOCH - 1, 999_999_900));
        assert_eq!(at(i64::MAX as u64).0, 910_692_730_085);
    }
}
