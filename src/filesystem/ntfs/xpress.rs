//! XPRESS with Huffman codes, as the overlay filter of Windows uses it.
//!
//! Source: Microsoft [MS-XCA], sections 2.1 and 2.2.

use super::huffman::Decoder;
use super::lznt1::copy_within;

/// Symbols: 256 bytes, and references by the logarithm of their distance and by length.
const SYMBOL_COUNT: usize = 512;
const CODE_LEN_MAX: u32 = 15;
const MATCH_LEN_MIN: usize = 3;
/// Lengths from here on have bytes of their own.
const LONG_LEN: usize = 15;

/// Units of 16 bits, the highest bit first, and bytes between them.
struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that were read, the next one highest.
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    /// Makes 16 bits ready; behind the end are zeros.
    fn refill(&mut self) {
        if self.count < 16 {
            let unit = match self.rest.split_first_chunk::<2>() {
                Some((unit, rest)) => {
                    self.rest = rest;
                    u16::from_le_bytes(*unit)
                }
                None => 0,
            };
            let shift = 48_u32.saturating_sub(self.count);
            self.buffer |= u64::from(unit).wrapping_shl(shift);
            self.count = self.count.saturating_add(16);
        }
    }

    fn take(&mut self, count: u32) -> u64 {
        if count == 0 {
            return 0;
        }
        let value = self.buffer.wrapping_shr(64_u32.saturating_sub(count));
        self.buffer = self.buffer.wrapping_shl(count);
        self.count = self.count.saturating_sub(count);
        value
    }

    fn byte(&mut self) -> Option<usize> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(usize::from(*byte))
    }
}

/// Fills `target` from `source`; `None` if it is no such stream of that length.
pub(super) fn decompress(source: &[u8], target: &mut [u8]) -> Option<()> {
    let (table, rest) = source.split_at_checked(SYMBOL_COUNT / 2)?;
    let lens: Vec<u8> = table
        .iter()
        .flat_map(|pair| [pair & 15, pair >> 4])
        .collect();
    let decoder = Decoder::new(&lens, CODE_LEN_MAX)?;
    let mut bits = Bits {
        rest,
        buffer: 0,
        count: 0,
    };
    let mut count: usize = 0;
    while count < target.len() {
        bits.refill();
        let (symbol, len) = decoder.find(bits.buffer)?;
        bits.take(len);
        if symbol < 256 {
            *target.get_mut(count)? = u8::try_from(symbol).ok()?;
            count = count.checked_add(1)?;
            continue;
        }
        bits.refill();
        let distance_bits = u32::from((symbol >> 4) & 15);
        let distance = 1_u64.checked_shl(distance_bits)? | bits.take(distance_bits);
        let mut len = usize::from(symbol & 15);
        if len == LONG_LEN {
            let more = bits.byte()?;
            len = match more {
                255 => bits.byte()? | bits.byte()?.checked_shl(8)?,
                more => LONG_LEN.checked_add(more)?,
            };
        }
        let len = len.checked_add(MATCH_LEN_MIN)?;
        count = copy_within(target, count, usize::try_from(distance).ok()?, len)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second example of [MS-XCA], section 3.2: "abc" a hundred times.
    #[test]
    fn the_example_of_the_specification_is_right() {
        let mut source = vec![0; 256];
        source[0x30] = 0x30;
        source[0x31] = 0x23;
        source[0x80] = 0x02;
        source[0x8F] = 0x20;
        source.extend([0xA8, 0xDC, 0, 0, 0xFF, 0x26, 0x01]);
        let mut target = vec![0; 300];
        assert_eq!(decompress(&source, &mut target), Some(()));
        assert_eq!(target, b"abc".repeat(100));
    }

    #[test]
    fn damaged_streams_are_none() {
        let mut target = vec![0; 100];
        assert_eq!(decompress(&[], &mut target), None);
        assert_eq!(decompress(&[0; 300], &mut target), None);
        assert_eq!(decompress(&[0x11; 300], &mut target), None);
    }
}
