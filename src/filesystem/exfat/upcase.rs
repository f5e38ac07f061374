//! The up-case table: which units of UTF-16 a name may have in place of another.
//!
//! Source: exFAT file system specification, section 7.2. NTFS has the same table, with
//! nothing left out.

use std::sync::OnceLock;

/// Units that a table has at most.
const UNIT_COUNT: usize = 1 << 16;

/// The longest table in bytes: nothing is left out.
pub(super) const LEN_MAX: u64 = 1 << 17;

/// In front of the number of units that map to themselves.
const RUN: u16 = 0xFFFF;

/// A table of all units.
pub(in super::super) struct Upcase(Vec<u16>);

impl Upcase {
    /// Returns the table that is stored as `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut table = identity();
        let mut index: usize = 0;
        let mut is_run = false;
        for pair in bytes.chunks_exact(2) {
            let unit = pair.first_chunk().copied().map_or(0, u16::from_le_bytes);
            if is_run {
                index = index.saturating_add(unit.into());
                is_run = false;
            } else if unit == RUN && index != usize::from(RUN) {
                is_run = true;
            } else {
                if let Some(place) = table.get_mut(index) {
                    *place = unit;
                }
                index = index.saturating_add(1);
            }
        }
        Self(table)
    }

    /// Returns a table for volumes without one: upper case as Unicode has it, where it
    /// is one unit.
    pub(in super::super) fn of_unicode() -> Self {
        static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
        Self(TABLE.get_or_init(unicode).clone())
    }

    /// Returns the table of NTFS: a unit for each, none left out. What is behind the last
    /// one stays as it is.
    pub(in super::super) fn of_units(bytes: &[u8]) -> Self {
        let mut table = identity();
        for (place, pair) in table.iter_mut().zip(bytes.chunks_exact(2)) {
            *place = pair.first_chunk().copied().map_or(0, u16::from_le_bytes);
        }
        Self(table)
    }

    /// Returns the order of two names whose case does not count.
    pub(in super::super) fn compare(
        &self,
        one: impl Iterator<Item = u16>,
        other: impl Iterator<Item = u16>,
    ) -> std::cmp::Ordering {
        one.map(|unit| self.upper(unit))
            .cmp(other.map(|unit| self.upper(unit)))
    }

    fn upper(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Returns a name as it is compared.
    pub(in super::super) fn fold(&self, units: &[u16]) -> Vec<u16> {
        units.iter().map(|unit| self.upper(*unit)).collect()
    }
}

fn unicode() -> Vec<u16> {
    let mut table = identity();
    for (unit, place) in (0..=u16::MAX).zip(&mut table) {
        let mut upper = char::from_u32(u32::from(unit))
            .into_iter()
            .flat_map(char::to_uppercase);
        if let (Some(first), None) = (upper.next(), upper.next()) {
            *place = u16::try_from(u32::from(first)).unwrap_or(unit);
        }
    }
    table
}

fn identity() -> Vec<u16> {
    let table: Vec<u16> = (0..=u16::MAX).collect();
    debug_assert_eq!(table.len(), UNIT_COUNT);
    table
}

/// Returns the checksum of a stored table.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| {
        sum.rotate_right(1).wrapping_add(u32::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn runs_of_units_that_stay_are_left_out() {
        let table = Upcase::parse(&bytes(&[RUN, 0x61, 0x41, 0x42, RUN, 5, 0x100]));
        let folded = table.fold(&[0x60, 0x61, 0x62, 0x63, 0x67, 0x68, 0x69]);
        assert_eq!(folded, [0x60, 0x41, 0x42, 0x63, 0x67, 0x100, 0x69]);
    }

    #[test]
    fn a_table_never_grows() {
        let table = Upcase::parse(&bytes(&[RUN, 0xFFFE, 1, 2, 3, RUN, RUN, 9]));
        assert_eq!(table.0.len(), UNIT_COUNT);
        assert_eq!(table.fold(&[0xFFFE, 0xFFFF]), [1, 2]);
        assert_eq!(Upcase::parse(&[1]).fold(&[1, 2]), [1, 2]);
    }

    #[test]
    fn the_table_of_unicode_folds_letters() {
        let table = Upcase::of_unicode();
        assert_eq!(
            table.fold(&[0x61, 0xE4, 0xDF, 0x3C9]),
            [0x41, 0xC4, 0xDF, 0x3A9]
        );
    }
}
