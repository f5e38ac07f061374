//! Short names: eight and three bytes of a code page, and two bits that say which part
//! is shown in lower case.
//!
//! Source: Microsoft FAT specification 1.03, "FAT Directory Structure"; the two bits are
//! Windows NT's own.

use super::code_page::CodePage;
use crate::filesystem::utf16;

const BASE_LEN: usize = 8;
/// Length of a short name in a directory.
pub(super) const LEN: usize = 11;
/// Stands for 0xE5 in front, which would mark a free entry.
const KANJI_ESCAPE: u8 = 0x05;

const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// Returns the name as Windows NT and Linux show it; empty if there is none.
pub(super) fn decode(raw: &[u8; LEN], case_bits: u8, page: CodePage) -> Vec<u8> {
    let raw = unescape(raw);
    let (base, extension) = raw.split_at_checked(BASE_LEN).unwrap_or((&raw, &[]));
    let mut units = Vec::with_capacity(LEN.saturating_add(1));
    push(&mut units, base, case_bits & LOWER_BASE != 0, page);
    let dot = units.len();
    units.push(u16::from(b'.'));
    push(
        &mut units,
        extension,
        case_bits & LOWER_EXTENSION != 0,
        page,
    );
    if units.len() == dot.saturating_add(1) {
        units.truncate(dot);
    }
    utf16::to_bytes(&units)
}

/// Appends a part without the spaces at its end.
fn push(units: &mut Vec<u16>, part: &[u8], is_lower: bool, page: CodePage) {
    let end = part.iter().position(|byte| *byte == 0);
    let part = part.get(..end.unwrap_or(part.len())).unwrap_or(part);
    let len = part.iter().rposition(|byte| *byte != b' ');
    let used = len.map_or(0, |last| last.saturating_add(1));
    units.extend(part.iter().take(used).map(|byte| match is_lower {
        true => page.lower_unit(*byte),
        false => page.unit(*byte),
    }));
}

fn unescape(raw: &[u8; LEN]) -> [u8; LEN] {
    let mut name = *raw;
    if let [first @ KANJI_ESCAPE, ..] = &mut name {
        *first = 0xE5;
    }
    name
}

/// Returns a volume label: the same bytes without a dot.
pub(super) fn decode_label(raw: &[u8; LEN], page: CodePage) -> Vec<u8> {
    let mut units = Vec::with_capacity(LEN);
    push(&mut units, &unescape(raw), false, page);
    utf16::to_bytes(&units)
}

/// Returns the checksum that ties a long name to its short one.
pub(super) fn checksum(raw: &[u8; LEN]) -> u8 {
    raw.iter()
        .fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(raw: &[u8; LEN], bits: u8) -> String {
        String::from_utf8(decode(raw, bits, CodePage::default())).unwrap()
    }

    #[test]
    fn the_dot_and_the_spaces_are_not_stored() {
        for (raw, expected) in [
            (b"README  TXT", "README.TXT"),
            (b"README     ", "README"),
            (b"A B     C D", "A B.C D"),
            (b"        TXT", ".TXT"),
            (b"           ", ""),
            (b"\x05BC        ", "\u{3C3}BC"),
            (b"\x80\x81      \x82  ", "\u{C7}\u{FC}.\u{E9}"),
            (b"AB\0D    T\0T", "AB.T"),
        ] {
            assert_eq!(name(raw, 0), expected);
        }
    }

    #[test]
    fn the_case_bits_are_those_of_windows_nt() {
        assert_eq!(name(b"README  TXT", 0x08), "readme.TXT");
        assert_eq!(name(b"README  TXT", 0x10), "README.txt");
        assert_eq!(name(b"\x80EADME  TXT", 0x18), "\u{E7}eadme.txt");
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // Rotate right, add.
        let mut sum: u32 = 0;
        for byte in b"THEQUI~1FOX" {
            sum = ((((sum & 1) << 7) | (sum >> 1)) + u32::from(*byte)) & 0xFF;
        }
        assert_eq!(u32::from(checksum(b"THEQUI~1FOX")), sum);
    }

    #[test]
    fn labels_have_no_dot() {
        let label = decode_label(b"MY VOLUME  ", CodePage::default());
        assert_eq!(label, b"MY VOLUME");
    }
}
