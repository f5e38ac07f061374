//! LZX with windows of 32 KiB, each compressed for itself, as the overlay filter of
//! Windows and its image files (WIM) have it: no header, the length of a block in one bit
//! or 16, and calls translated as in a file of 12,000,000 bytes.
//!
//! Source: Microsoft [MS-PATCH], section 2; for what WIM files have otherwise, the
//! documentation of the formats of wimlib.

use super::huffman::Decoder;
use super::lznt1::copy_within;
use crate::base::Fields;

const BLOCK_LEN_DEFAULT: usize = 32_768;
const LITERAL_COUNT: usize = 256;
/// For windows of 32 KiB.
const DISTANCE_SLOT_COUNT: usize = 30;
const MAIN_COUNT: usize = LITERAL_COUNT + 8 * DISTANCE_SLOT_COUNT;
const LENGTH_COUNT: usize = 249;
const PRE_COUNT: usize = 20;
const ALIGNED_COUNT: usize = 8;
const CODE_LEN_MAX: u32 = 16;
const MATCH_LEN_MIN: usize = 2;
/// Lengths from here on have a symbol of their own.
const LONG_LEN: usize = 7;

/// Calls are translated in a file of this length.
const FILE_LEN: i32 = 12_000_000;
const CALL: u8 = 0xE8;
/// No call that is translated begins in the last bytes.
const CALL_TAIL: usize = 10;

/// Units of 16 bits, the highest bit first.
struct Bits<'a> {
    source: &'a [u8],
    /// The next unit; may lie behind the end, where all are zeros.
    position: usize,
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    fn refill(&mut self) {
        while self.count <= 32 {
            let unit = self
                .source
                .get(self.position..)
                .and_then(<[u8]>::first_chunk);
            let unit = unit.copied().map_or(0, u16::from_le_bytes);
            self.position = self.position.saturating_add(2);
            let shift = 48_u32.saturating_sub(self.count);
            self.buffer |= u64::from(unit).wrapping_shl(shift);
            self.count = self.count.saturating_add(16);
        }
    }

    /// Returns up to 17 bits.
    fn take(&mut self, count: u32) -> usize {
        if count == 0 {
            return 0;
        }
        self.refill();
        let value = self.buffer.wrapping_shr(64_u32.saturating_sub(count));
        self.skip(count);
        usize::try_from(value).unwrap_or(0)
    }

    fn skip(&mut self, count: u32) {
        self.buffer = self.buffer.wrapping_shl(count);
        self.count = self.count.saturating_sub(count);
    }

    fn symbol(&mut self, decoder: &Decoder) -> Option<usize> {
        self.refill();
        let (symbol, len) = decoder.find(self.buffer)?;
        self.skip(len);
        Some(usize::from(symbol))
    }

    /// Goes to the next unit, from the end of one over a whole one, and returns where
    /// that is.
    fn align(&mut self) -> Option<usize> {
        self.refill();
        let left = match self.count % 16 {
            0 => self.count.saturating_sub(16),
            part => self.count.saturating_sub(part),
        };
        let bytes = usize::try_from(left / 8).ok()?;
        let position = self.position.checked_sub(bytes)?;
        (self.buffer, self.count) = (0, 0);
        Some(position)
    }
}

/// Lengths of the codes of the block before, which those of a block are told from.
struct CodeLens {
    main: [u8; MAIN_COUNT],
    length: [u8; LENGTH_COUNT],
}

/// The codes of a block.
struct Codes {
    main: Decoder,
    length: Decoder,
    /// Of the last three bits of distances, in some blocks.
    aligned: Option<Decoder>,
}

/// Fills `target`, at most 32 KiB, from `source`; `None` if it is no such stream of that
/// length.
pub(super) fn decompress(source: &[u8], target: &mut [u8]) -> Option<()> {
    let mut bits = Bits {
        source,
        position: 0,
        buffer: 0,
        count: 0,
    };
    let mut lens = CodeLens {
        main: [0; MAIN_COUNT],
        length: [0; LENGTH_COUNT],
    };
    let mut recent = [1_usize; 3];
    let mut count: usize = 0;
    while count < target.len() {
        let kind = bits.take(3);
        let len = match bits.take(1) {
            1 => BLOCK_LEN_DEFAULT,
            _ => bits.take(16),
        };
        let end = count.checked_add(len)?;
        if len == 0 || end > target.len() {
            return None;
        }
        let block = target.get_mut(..end)?;
        match kind {
            1 | 2 => {
                let codes = read_codes(&mut bits, &mut lens, kind == 2)?;
                decode_block(&mut bits, &codes, &mut recent, block, count)?;
            }
            3 => read_plain_block(&mut bits, &mut recent, block.get_mut(count..)?)?,
            _ => return None,
        }
        count = end;
    }
    // Zeros behind the end were taken for content.
    let unread = usize::try_from(bits.count / 8).ok()?;
    if bits.position.saturating_sub(unread) > source.len().saturating_add(1) {
        return None;
    }
    translate_calls(target)
}

fn read_codes(bits: &mut Bits<'_>, lens: &mut CodeLens, is_aligned: bool) -> Option<Codes> {
    let aligned = match is_aligned {
        true => {
            let mut lens = [0; ALIGNED_COUNT];
            for len in &mut lens {
                *len = u8::try_from(bits.take(3)).ok()?;
            }
            Some(Decoder::new(&lens, CODE_LEN_MAX)?)
        }
        false => None,
    };
    let (literals, matches) = lens.main.split_at_mut(LITERAL_COUNT);
    read_lens(bits, literals)?;
    read_lens(bits, matches)?;
    read_lens(bits, &mut lens.length)?;
    Some(Codes {
        main: Decoder::new(&lens.main, CODE_LEN_MAX)?,
        length: Decoder::new(&lens.length, CODE_LEN_MAX)?,
        aligned,
    })
}

/// Reads lengths of codes, told as differences from those before.
fn read_lens(bits: &mut Bits<'_>, lens: &mut [u8]) -> Option<()> {
    let mut pre = [0; PRE_COUNT];
    for len in &mut pre {
        *len = u8::try_from(bits.take(4)).ok()?;
    }
    let decoder = Decoder::new(&pre, CODE_LEN_MAX)?;
    let mut index: usize = 0;
    while let Some(before) = lens.get(index).copied() {
        let symbol = bits.symbol(&decoder)?;
        let (run, len) = match symbol {
            17 => (bits.take(4).checked_add(4)?, 0),
            18 => (bits.take(5).checked_add(20)?, 0),
            19 => {
                let run = bits.take(1).checked_add(4)?;
                let symbol = bits.symbol(&decoder)?;
                (run, difference(before, symbol)?)
            }
            symbol => (1, difference(before, symbol)?),
        };
        let end = index.checked_add(run)?;
        lens.get_mut(index..end)?.fill(len);
        index = end;
    }
    Some(())
}

fn difference(before: u8, symbol: usize) -> Option<u8> {
    let symbol = u8::try_from(symbol).ok().filter(|symbol| *symbol <= 16)?;
    before
        .checked_add(17)?
        .checked_sub(symbol)
        .map(|len| len % 17)
}

/// Decodes from `count` on to the end of `target`.
fn decode_block(
    bits: &mut Bits<'_>,
    codes: &Codes,
    recent: &mut [usize; 3],
    target: &mut [u8],
    count: usize,
) -> Option<()> {
    let mut count = count;
    while count < target.len() {
        let symbol = bits.symbol(&codes.main)?;
        let Some(found) = symbol.checked_sub(LITERAL_COUNT) else {
            *target.get_mut(count)? = u8::try_from(symbol).ok()?;
            count = count.checked_add(1)?;
            continue;
        };
        let mut len = found % 8;
        if len == LONG_LEN {
            len = len.checked_add(bits.symbol(&codes.length)?)?;
        }
        let slot = found / 8;
        if slot < recent.len() {
            recent.swap(0, slot);
        } else {
            let distance = read_distance(bits, codes, slot)?;
            let [first, second, _] = *recent;
            *recent = [distance, first, second];
        }
        let [distance, ..] = *recent;
        count = copy_within(target, count, distance, len.checked_add(MATCH_LEN_MIN)?)?;
    }
    Some(())
}

fn read_distance(bits: &mut Bits<'_>, codes: &Codes, slot: usize) -> Option<usize> {
    let extra = u32::try_from((slot / 2).saturating_sub(1)).ok()?;
    // 2 or 3, and so many bits behind them.
    let base = match slot {
        3 => 3,
        slot => (2 | slot & 1).checked_shl(extra)?,
    };
    let low = match &codes.aligned {
        Some(aligned) if extra >= 3 => {
            let high = bits.take(extra.saturating_sub(3)).checked_shl(3)?;
            high | bits.symbol(aligned)?
        }
        _ => bits.take(extra),
    };
    base.checked_add(low)?.checked_sub(2)
}

/// Reads a block as it is, with the distances that are recent behind it.
fn read_plain_block(bits: &mut Bits<'_>, recent: &mut [usize; 3], target: &mut [u8]) -> Option<()> {
    let start = bits.align()?;
    let fields = Fields::new(bits.source, 0);
    for (index, distance) in recent.iter_mut().enumerate() {
        let position = start.checked_add(index.checked_mul(4)?)?;
        *distance = usize::try_from(fields.le_u32(position).ok()?).ok()?;
    }
    let content = start.checked_add(12)?;
    target.copy_from_slice(fields.slice(content, target.len()).ok()?);
    let end = content.checked_add(target.len())?;
    bits.position = end.checked_add(target.len() % 2)?;
    Some(())
}

/// Makes the targets of calls relative again.
fn translate_calls(target: &mut [u8]) -> Option<()> {
    let end = target.len().saturating_sub(CALL_TAIL);
    let mut position: usize = 0;
    while position < end {
        if target.get(position) != Some(&CALL) {
            position = position.checked_add(1)?;
            continue;
        }
        let place = i32::try_from(position).ok()?;
        let start = position.checked_add(1)?;
        let bytes = target.get_mut(start..)?.first_chunk_mut::<4>()?;
        let absolute = i32::from_le_bytes(*bytes);
        let relative = match absolute {
            0.. if absolute < FILE_LEN => absolute.checked_sub(place)?,
            0.. => absolute,
            _ if absolute >= place.checked_neg()? => absolute.checked_add(FILE_LEN)?,
            _ => absolute,
        };
        *bytes = relative.to_le_bytes();
        position = start.checked_add(4)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_relative_again() {
        let mut bytes = vec![0; 40];
        bytes[5] = CALL;
        bytes[6..10].copy_from_slice(&1000_i32.to_le_bytes());
        bytes[12] = CALL;
        bytes[13..17].copy_from_slice(&(-3_i32).to_le_bytes());
        bytes[30] = CALL;
        translate_calls(&mut bytes).unwrap();
        assert_eq!(bytes[6..10], 995_i32.to_le_bytes());
        assert_eq!(bytes[13..17], (FILE_LEN - 3).to_le_bytes());
        assert_eq!(bytes[31..], [0; 9]);
    }

    #[test]
    fn blocks_as_they_are_are_read() {
        // Three bits of type 3, a length of 5, padding.
        let header = 3_u32 << 29 | 5 << 12;
        let [a, b, c, d] = header.to_be_bytes();
        let mut source = vec![b, a, d, c];
        for distance in [1_u32, 2, 3] {
            source.extend(distance.to_le_bytes());
        }
        source.extend(b"plain\0");
        let mut target = vec![0; 5];
        assert_eq!(decompress(&source, &mut target), Some(()));
        assert_eq!(target, b"plain");
        assert_eq!(decompress(&source[..19], &mut target), None);
        assert_eq!(decompress(&source, &mut [0; 6]), None);
    }

    #[test]
    fn damaged_streams_are_none() {
        let mut target = vec![0; 32_768];
        for bad in [&[][..], &[0; 100], &[0xFF; 100], &[0x20; 50], &[0x55; 500]] {
            assert_eq!(decompress(bad, &mut target), None);
        }
    }
}
