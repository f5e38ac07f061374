//! Update sequences: the last two bytes of each 512 of a structure are a number that is
//! the same in all of them, and what they were is kept in an array. A structure that was
//! half written has different numbers.
//!
//! Source: Linux-NTFS project, NTFS documentation, "Fixup".

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of};

/// What an update sequence guards with one number, whatever the length of a sector.
const STRIDE: usize = 512;

const ARRAY_OFFSET: usize = 4;
const ARRAY_COUNT: usize = 6;

/// Checks the magic number and the sequence of a structure that was read at `offset`, and
/// puts back what the numbers stand in place of.
///
/// # Errors
///
/// Corrupt if it has another magic number, or was half written.
pub(super) fn apply(bytes: &mut [u8], magic: &'static [u8; 4], offset: ByteOffset) -> Result<()> {
    let fields = Fields::new(bytes, offset);
    if fields.slice(0, 4)? != magic {
        let expected = match magic {
            b"FILE" => "FILE",
            b"INDX" => "INDX",
            _ => "RSTR",
        };
        let found = fields.be_u32(0)?;
        return Err(Error::corrupt("magic number", offset, expected, found));
    }
    let start = usize::from(fields.le_u16(ARRAY_OFFSET)?);
    let count = fields.le_u16(ARRAY_COUNT)?;
    let stride_count = bytes.len() / STRIDE;
    if usize::from(count) != stride_count.saturating_add(1) || !start.is_multiple_of(2) {
        let expected = "one for each 512 bytes";
        return Err(Error::corrupt(
            "update sequence",
            fields.place(ARRAY_COUNT),
            expected,
            count,
        ));
    }
    let array = fields.slice(start, usize::from(count).saturating_mul(2))?;
    let (number, kept) = array.split_at_checked(2).unwrap_or_default();
    let (number, kept) = (number.to_vec(), kept.to_vec());
    for (index, (stride, old)) in bytes
        .chunks_exact_mut(STRIDE)
        .zip(kept.chunks_exact(2))
        .enumerate()
    {
        let Some(last) = stride.last_chunk_mut::<2>() else {
            break;
        };
        if last.as_slice() != number {
            let place = index.saturating_add(1).saturating_mul(STRIDE);
            let place = offset.saturating_add(u64::try_from(place).unwrap_or(0));
            let found = u16::from_le_bytes(*last);
            let expected = "the number of the update sequence";
            return Err(Error::corrupt(
                "end of 512 bytes",
                place.saturating_sub(2),
                expected,
                found,
            ));
        }
        last.copy_from_slice(old);
    }
    Ok(())
}

/// Tells whether all bytes are the filling of a log that was emptied.
pub(super) fn is_empty_log(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0xFF)
}

/// Returns the length that a structure may have: whole strides, at most `max`.
pub(super) fn checked_len(len: u64, max: usize, place: ByteOffset) -> Result<usize> {
    let is_right = len.is_power_of_two() && len >= 512 && index_of(len) <= max;
    match is_right {
        true => Ok(index_of(len)),
        false => Err(Error::corrupt(
            "length of a structure",
            place,
            "a power of two from 512 bytes to 64 KiB",
            len,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure() -> Vec<u8> {
        let mut bytes = vec![7; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4..6].copy_from_slice(&48_u16.to_le_bytes());
        bytes[6..8].copy_from_slice(&3_u16.to_le_bytes());
        bytes[48..54].copy_from_slice(&[5, 0, 1, 2, 3, 4]);
        bytes[510..512].copy_from_slice(&[5, 0]);
        bytes[1022..].copy_from_slice(&[5, 0]);
        bytes
    }

    #[test]
    fn the_ends_are_put_back() {
        let mut bytes = structure();
        apply(&mut bytes, b"FILE", 0).unwrap();
        assert_eq!(
            (&bytes[510..512], &bytes[1022..]),
            (&[1, 2][..], &[3, 4][..])
        );
    }

    #[test]
    fn half_written_structures_are_refused() {
        for (position, value) in [(0, 0), (6, 2), (4, 49), (5, 4), (511, 9), (1022, 6)] {
            let mut bytes = structure();
            bytes[position] = value;
            assert!(apply(&mut bytes, b"FILE", 0).is_err(), "{position}");
        }
        assert!(apply(&mut structure(), b"INDX", 0).is_err());
        assert!(apply(&mut [], b"FILE", 0).is_err());
    }

    #[test]
    fn lengths_are_powers_of_two() {
        assert_eq!(checked_len(4096, 65_536, 0).unwrap(), 4096);
        for len in [0, 256, 513, 1 << 17, u64::MAX] {
            assert!(checked_len(len, 65_536, 0).is_err());
        }
        assert!(is_empty_log(&[0xFF; 9]) && !is_empty_log(&[]) && !is_empty_log(&[0xFF, 0]));
    }
}
