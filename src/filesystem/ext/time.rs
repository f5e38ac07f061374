//! Times of inodes: 32 bits of seconds, and in large inodes 2 more and nanoseconds.
//!
//! Source: Linux documentation, filesystems/ext4 "Inode Timestamps".

use crate::filesystem::FileTime;

const EPOCH_BITS: u32 = 2;
const EPOCH_MASK: u32 = 3;
const NANOSECONDS_MAX: u32 = 999_999_999;

/// Returns the time in a field and its extra field, if there is one.
pub(super) fn decode(seconds: i32, extra: Option<u32>) -> FileTime {
    let extra = extra.unwrap_or(0);
    let epoch = i64::from(extra & EPOCH_MASK) << 32;
    FileTime {
        seconds: i64::from(seconds).saturating_add(epoch),
        nanoseconds: (extra >> EPOCH_BITS).min(NANOSECONDS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the documentation: the limits of each epoch.
    #[test]
    fn every_epoch_is_decoded() {
        for (seconds, extra, expected) in [
            (i32::MIN, 0, -0x8000_0000),
            (-1, 0, -1),
            (i32::MAX, 0, 0x7FFF_FFFF),
            (i32::MIN, 1, 0x8000_0000),
            (i32::MAX, 1, 0x1_7FFF_FFFF),
            (i32::MIN, 2, 0x1_8000_0000),
            (i32::MAX, 3, 0x3_7FFF_FFFF),
        ] {
            assert_eq!(decode(seconds, Some(extra)).seconds, expected);
        }
        assert_eq!(decode(5, Some(123_456_789 << 2)).nanoseconds, 123_456_789);
        assert_eq!(
            decode(5, None),
            FileTime {
                seconds: 5,
                nanoseconds: 0
            }
        );
    }
}
