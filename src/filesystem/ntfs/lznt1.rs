//! LZNT1: chunks of 4 KiB of content, each with a header of two bytes, as they are or as
//! literals and references into the chunk.
//!
//! Source: Microsoft [MS-XCA], section 2.5.

/// Bytes of content of a chunk; only the last one may have fewer.
const CHUNK_LEN: usize = 4096;

const HEADER_LEN: usize = 2;
const LEN_MASK: u16 = 0x0FFF;
const SIGNATURE_MASK: u16 = 0x7000;
const SIGNATURE: u16 = 0x3000;
const IS_COMPRESSED: u16 = 0x8000;

/// Shortest length of a reference.
const MATCH_LEN_MIN: usize = 3;

/// Decompresses `source` into `target`; behind the end of the stream are zeros. `None`
/// if it is no such stream.
pub(super) fn decompress(source: &[u8], target: &mut [u8]) -> Option<()> {
    let mut rest = source;
    let mut is_last = false;
    for piece in target.chunks_mut(CHUNK_LEN) {
        let header = match rest.split_first_chunk::<HEADER_LEN>() {
            Some((header, behind)) if !is_last => {
                rest = behind;
                u16::from_le_bytes(*header)
            }
            // Behind a short chunk only the end may come.
            Some((header, _)) if u16::from_le_bytes(*header) != 0 => return None,
            _ => 0,
        };
        if header == 0 {
            (is_last, rest) = (true, &[]);
            piece.fill(0);
            continue;
        }
        if header & SIGNATURE_MASK != SIGNATURE {
            return None;
        }
        let len = usize::from(header & LEN_MASK).saturating_add(1);
        let (chunk, behind) = rest.split_at_checked(len)?;
        rest = behind;
        if header & IS_COMPRESSED == 0 {
            // Chunks as they are have all of their content.
            if chunk.len() != CHUNK_LEN {
                return None;
            }
            piece.copy_from_slice(chunk.get(..piece.len())?);
            continue;
        }
        let count = decompress_chunk(chunk, piece)?;
        let zeros = piece.get_mut(count..)?;
        is_last = !zeros.is_empty();
        zeros.fill(0);
    }
    Some(())
}

/// Decompresses one chunk; returns how much came out.
fn decompress_chunk(chunk: &[u8], target: &mut [u8]) -> Option<usize> {
    let mut rest = chunk.iter();
    let mut count: usize = 0;
    while let Some(flags) = rest.next() {
        for bit in 0..8_u32 {
            if flags.checked_shr(bit)? & 1 == 0 {
                let Some(byte) = rest.next() else {
                    return Some(count);
                };
                *target.get_mut(count)? = *byte;
                count = count.checked_add(1)?;
                continue;
            }
            let Some(low) = rest.next() else {
                return Some(count);
            };
            let token = u16::from_le_bytes([*low, *rest.next()?]);
            count = copy(target, count, token)?;
        }
    }
    Some(count)
}

/// Copies what a reference names; the further into the chunk, the more of its bits are
/// distance.
fn copy(target: &mut [u8], count: usize, token: u16) -> Option<usize> {
    let last = count.checked_sub(1)?;
    let distance_bits = usize::BITS.saturating_sub(last.leading_zeros()).max(4);
    let len_bits = 16_u32.checked_sub(distance_bits)?;
    let distance = usize::from(token.checked_shr(len_bits)?).checked_add(1)?;
    let len_mask = 1_u16.checked_shl(len_bits)?.wrapping_sub(1);
    let len = usize::from(token & len_mask).checked_add(MATCH_LEN_MIN)?;
    copy_within(target, count, distance, len)
}

/// Copies `len` bytes from `distance` before `count`, one after the other: they may
/// overlap. Returns the place behind them; `None` if they reach out of `target`.
pub(super) fn copy_within(
    target: &mut [u8],
    count: usize,
    distance: usize,
    len: usize,
) -> Option<usize> {
    let start = count.checked_sub(distance)?;
    let end = count.checked_add(len)?;
    if end > target.len() || distance == 0 {
        return None;
    }
    if distance >= len {
        target.copy_within(start..start.checked_add(len)?, count);
        return Some(end);
    }
    for (from, to) in (start..).zip(count..end) {
        let byte = *target.get(from)?;
        *target.get_mut(to)? = byte;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of [MS-XCA], section 3.3.
    #[test]
    fn the_example_of_the_specification_is_right() {
        let source = [
            0x38, 0xB0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xA2,
            0x47, 0x01, 0xA0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xC0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xB4, 0x02, 0x4A, 0x44, 0xEF, 0x03, 0x58,
            0x02, 0x8C, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xBE, 0x00, 0x9E, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let expected = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E \
            E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let mut target = vec![1; 4096];
        decompress(&source, &mut target).unwrap();
        assert_eq!(&target[..expected.len()], expected);
        assert!(target[expected.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn chunks_as_they_are_are_copied() {
        let mut source = vec![0xFF, 0x3F];
        source.extend([7; 4096]);
        source.extend([0, 0]);
        let mut target = vec![1; 8192];
        decompress(&source, &mut target).unwrap();
        assert_eq!((target[4095], target[4096], target[8191]), (7, 0, 0));
    }

    #[test]
    fn damaged_streams_are_none() {
        let mut long = vec![0; 8192];
        for bad in [
            // Another signature, too short, a reference before the first byte, half of one.
            &[0x03, 0x90, 0, 1, 2, 3][..],
            &[0x03, 0xB0, 0, 1],
            &[0x02, 0xB0, 1, 0, 0],
            &[0x02, 0xB0, 2, 7, 0],
            // A chunk as it is that is short; content behind a short chunk.
            &[0x01, 0x30, 1, 2],
            &[0x01, 0xB0, 0, 7, 0x01, 0xB0, 0, 7],
            // A distance beyond the beginning.
            &[0x03, 0xB0, 2, 7, 0, 0x20],
        ] {
            assert_eq!(decompress(bad, &mut long), None, "{bad:?}");
        }
        assert_eq!(decompress(&[], &mut long), Some(()));
    }
}
