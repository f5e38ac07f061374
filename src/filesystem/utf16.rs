//! Names in UTF-16, as FAT, exFAT and NTFS have them, as bytes and back.
//!
//! A surrogate without its other half is no character, but Windows takes it in a name.
//! It becomes the three bytes that UTF-8 would have for it (WTF-8), so that every name
//! has bytes of its own and can be looked up by them.

/// Returns the bytes of a name.
pub(super) fn to_bytes(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(units.len());
    let mut buffer = [0; 4];
    for character in char::decode_utf16(units.iter().copied()) {
        match character {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes()),
            Err(error) => bytes.extend_from_slice(&surrogate_bytes(error.unpaired_surrogate())),
        }
    }
    bytes
}

fn surrogate_bytes(unit: u16) -> [u8; 3] {
    let [high, low] = unit.to_be_bytes();
    [
        0xE0 | high >> 4,
        0x80 | (high & 0x0F) << 2 | low >> 6,
        0x80 | low & 0x3F,
    ]
}

/// Returns the units of a name, or `None` if no name has these bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(text) => {
                units.extend(text.encode_utf16());
                return Some(units);
            }
            Err(error) => error,
        };
        let (good, bad) = rest.split_at_checked(error.valid_up_to())?;
        units.extend(std::str::from_utf8(good).ok()?.encode_utf16());
        let (surrogate, behind) = bad.split_first_chunk::<3>()?;
        units.push(surrogate_of(*surrogate)?);
        rest = behind;
    }
}

fn surrogate_of(bytes: [u8; 3]) -> Option<u16> {
    match bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF] => {
            let high = 0xD0 | (second & 0x3F) >> 2;
            let low = second << 6 | third & 0x3F;
            Some(u16::from_be_bytes([high, low]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_bytes_of_its_own() {
        for unit in 1..=u16::MAX {
            let bytes = to_bytes(&[unit]);
            assert_eq!(from_bytes(&bytes), Some(vec![unit]), "{unit:#x}");
        }
        let mixed = [0x41, 0xD83D, 0xDE00, 0xD800, 0x42, 0xDC00, 0xD800];
        assert_eq!(from_bytes(&to_bytes(&mixed)).unwrap(), mixed);
        assert_eq!(to_bytes(&[0xD83D, 0xDE00]), "\u{1F600}".as_bytes());
        assert_eq!(to_bytes(&[0xD800]), b"\xED\xA0\x80");
    }

    #[test]
    fn other_bytes_are_no_name() {
        for bad in [
            &b"\xFF"[..],
            b"a\xC0\x80",
            b"\xED\xA0",
            b"\xED\xA0\xC0",
            b"\xF8",
        ] {
            assert_eq!(from_bytes(bad), None, "{}", bad.escape_ascii());
        }
    }
}
