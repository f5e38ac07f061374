//! Long names: up to 20 slots before the entry they belong to, last piece first, tied
//! to it by a checksum of its short name.
//!
//! A set that is broken in any way is as if it were not there, as Linux takes it.
//!
//! Source: Microsoft FAT specification 1.03, "Long File Name Implementation".

use super::short_name;
use crate::base::Fields;
use crate::filesystem::utf16;

const ORDINAL: usize = 0;
const CHECKSUM: usize = 13;
/// Where the pieces of a name lie in its slot, in units of 16 bits.
const PIECES: [(usize, usize); 3] = [(1, 5), (14, 6), (28, 2)];
const UNITS_PER_SLOT: usize = 13;
const SLOT_COUNT_MAX: u8 = 20;
/// Marks the first slot of a set, which has the last piece.
const LAST: u8 = 0x40;

/// A set of slots as it comes in.
#[derive(Default)]
pub(super) struct LongName {
    /// Pieces, the last one first; empty if there is no set.
    pieces: Vec<[u16; UNITS_PER_SLOT]>,
    /// Number of the next slot; 0 if the set is whole.
    expected: u8,
    checksum: u8,
    /// Number of the first slot of the set.
    first_index: u64,
}

impl LongName {
    /// Forgets the set.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }

    /// Takes the next slot.
    pub(super) fn push(&mut self, bytes: &[u8; 32], index: u64) {
        let ordinal = bytes.get(ORDINAL).copied().unwrap_or(0);
        let checksum = bytes.get(CHECKSUM).copied().unwrap_or(0);
        let number = ordinal & !LAST;
        if ordinal & LAST != 0 {
            self.clear();
            if number == 0 || number > SLOT_COUNT_MAX {
                return;
            }
            self.checksum = checksum;
            self.first_index = index;
        } else if self.pieces.is_empty() || number != self.expected || checksum != self.checksum {
            self.clear();
            return;
        }
        // A number of 0 is taken above only if there is a set, and it never expects 0.
        self.expected = number.saturating_sub(1);
        self.pieces.push(units_of(bytes));
    }

    /// Returns the name and the first slot of the set that ends before an entry with
    /// this short name.
    pub(super) fn take(&mut self, short: &[u8; short_name::LEN]) -> Option<(Vec<u8>, u64)> {
        let is_whole = !self.pieces.is_empty() && self.expected == 0;
        let belongs = is_whole && self.checksum == short_name::checksum(short);
        let units = self.pieces.iter().rev().flatten().copied();
        let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        self.clear();
        belongs.then(|| (utf16::to_bytes(&name), self.first_index))
    }
}

fn units_of(bytes: &[u8; 32]) -> [u16; UNITS_PER_SLOT] {
    let fields = Fields::new(bytes, 0);
    let mut units = [0; UNITS_PER_SLOT];
    let places = PIECES
        .iter()
        .flat_map(|(start, count)| (*start..).step_by(2).take(*count));
    for (unit, place) in units.iter_mut().zip(places) {
        *unit = fields.le_u16(place).unwrap_or(0);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &[u8; 11] = b"LONGNA~1TXT";

    fn slot(ordinal: u8, text: &str, checksum: u8) -> [u8; 32] {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        if units.len() < 13 {
            units.push(0);
        }
        units.resize(13, 0xFFFF);
        let mut bytes = [0; 32];
        bytes[0] = ordinal;
        bytes[11] = 0x0F;
        bytes[13] = checksum;
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        for (place, unit) in places.zip(units) {
            bytes[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }

    fn name(slots: &[[u8; 32]]) -> Option<(String, u64)> {
        let mut long = LongName::default();
        for (slot, index) in slots.iter().zip(5..) {
            long.push(slot, index);
        }
        let (name, first) = long.take(SHORT)?;
        Some((String::from_utf8(name).unwrap(), first))
    }

    #[test]
    fn pieces_are_put_together() {
        let sum = short_name::checksum(SHORT);
        let last = slot(0x42, "name.txt", sum);
        let first = slot(1, "A very long  ", sum);
        let whole = Some(("A very long  name.txt".to_owned(), 5));
        assert_eq!(name(&[last, first]), whole);
        // A set that is cut off by another counts for nothing.
        let other = [slot(0x43, "x", sum), last, first];
        assert_eq!(name(&other), Some(("A very long  name.txt".to_owned(), 6)));
    }

    #[test]
    fn broken_sets_are_no_name() {
        let sum = short_name::checksum(SHORT);
        let last = slot(0x42, "name.txt", sum);
        let first = slot(1, "A very long  ", sum);
        for broken in [
            &[][..],
            &[last],
            &[first],
            &[first, last],
            &[last, slot(1, "x", sum ^ 1)],
            &[last, slot(3, "x", sum)],
            &[last, first, first],
            &[slot(0x42, "x", sum ^ 1), slot(1, "x", sum ^ 1)],
            &[slot(0x40, "x", sum)],
            &[slot(0x40 + 21, "x", sum)],
        ] {
            assert_eq!(name(broken), None, "{broken:?}");
        }
    }
}
