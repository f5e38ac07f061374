//! Canonical Huffman codes: shorter codes first, equally long ones in the order of their
//! symbols, the highest bit of a code first.
//!
//! Source: Microsoft [MS-XCA], section 2.2.4; [MS-PATCH], section 2.4.

/// One more than the bits of the longest codes.
const LEN_MAX: usize = 17;

/// Symbols of codes of up to 16 bits.
pub(super) struct Decoder {
    /// For each length from 1: the first code that is longer, as the highest bits of 64.
    ends: Vec<u64>,
    /// For each length from 1: what is added to a code to find its symbol.
    places: Vec<(u64, usize)>,
    symbols: Vec<u16>,
    /// There is no code.
    is_empty: bool,
}

impl Decoder {
    /// Makes the codes for symbols that have codes of these lengths, 0 for none. `None` if
    /// there are too many or too few.
    pub(super) fn new(lens: &[u8], len_max: u32) -> Option<Self> {
        let mut counts = [0_usize; LEN_MAX];
        for len in lens.iter().filter(|len| **len > 0) {
            let count = counts.get_mut(usize::from(*len));
            let count = count.filter(|_| u32::from(*len) <= len_max)?;
            *count = count.checked_add(1)?;
        }
        let (mut ends, mut places) = (vec![], vec![]);
        let (mut code, mut place) = (0_u64, 0_usize);
        let mut next = [0_usize; LEN_MAX];
        for len in 1..=len_max {
            let index = usize::try_from(len).ok()?;
            code = code.checked_shl(1)?;
            places.push((code, place));
            *next.get_mut(index)? = place;
            let count = *counts.get(index)?;
            place = place.checked_add(count)?;
            code = code.checked_add(u64::try_from(count).ok()?)?;
            if code > 1_u64.checked_shl(len)? {
                return None;
            }
            ends.push(code);
        }
        let mut symbols = vec![0; place];
        for (symbol, len) in (0_u16..).zip(lens).filter(|(_, len)| **len > 0) {
            let place = next.get_mut(usize::from(*len))?;
            *symbols.get_mut(*place)? = symbol;
            *place = place.checked_add(1)?;
        }
        let is_empty = symbols.is_empty();
        let is_complete = code == 1_u64.checked_shl(len_max)?;
        (is_complete || is_empty).then_some(Self {
            ends,
            places,
            symbols,
            is_empty,
        })
    }

    /// Returns the symbol whose code `bits` begins with, from its highest bit on, and the
    /// length of that.
    pub(super) fn find(&self, bits: u64) -> Option<(u16, u32)> {
        if self.is_empty {
            return None;
        }
        let ends = (1_u32..).zip(&self.ends).zip(&self.places);
        for ((len, end), (first, place)) in ends {
            let code = bits.checked_shr(64_u32.checked_sub(len)?)?;
            if code < *end {
                let index = usize::try_from(code.checked_sub(*first)?).ok()?;
                let symbol = self.symbols.get(place.checked_add(index)?)?;
                return Some((*symbol, len));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order() {
        let decoder = Decoder::new(&[2, 0, 1, 3, 3], 15).unwrap();
        for (bits, expected) in [
            (0b0, (2, 1)),
            (0b10, (0, 2)),
            (0b110, (3, 3)),
            (0b111, (4, 3)),
        ] {
            let (_, len) = expected;
            assert_eq!(decoder.find(bits << (64 - len)), Some(expected));
        }
    }

    #[test]
    fn too_many_and_too_few_codes_are_none() {
        assert!(Decoder::new(&[1, 1, 1], 15).is_none());
        assert!(Decoder::new(&[1, 2], 15).is_none());
        assert!(Decoder::new(&[1, 1, 16], 15).is_none());
        assert_eq!(Decoder::new(&[0, 0], 15).unwrap().find(0), None);
    }
}
