//! Display names as names in the mounted tree (DESIGN section 1, "Names").

use super::limits::PATH_NAME_LEN_MAX;

/// Names that mean something else in a folder of snapshots.
const RESERVED: [&str; 1] = ["latest"];

/// Digits of the hash at the end of a name that was too long.
const HASH_DIGITS: usize = 16;

/// Returns the path name of a display name: `/`, `@`, `:`, `%`, control characters and
/// a leading dot are percent-encoded, and so is the first letter of a reserved name.
/// What would be longer than 255 bytes is cut and ends in `~` and a hash.
pub fn encode_path_name(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (place, character) in name.char_indices() {
        let is_plain = !matches!(character, '/' | '@' | ':' | '%')
            && !character.is_control()
            && !(place == 0 && (character == '.' || RESERVED.contains(&name)));
        if is_plain {
            encoded.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if encoded.len() <= PATH_NAME_LEN_MAX {
        return encoded;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let kept = cut(&encoded, PATH_NAME_LEN_MAX - HASH_DIGITS - 1);
    format!("{kept}~{}", &hash[..HASH_DIGITS])
}

/// Returns a path name with `~number` behind it, at most 255 bytes long.
pub fn numbered_path_name(path_name: &str, number: u64) -> String {
    let suffix = format!("~{number}");
    format!(
        "{}{suffix}",
        cut(path_name, PATH_NAME_LEN_MAX - suffix.len())
    )
}

/// Returns at most `len_max` bytes of `text`, no character and no escape cut in two.
fn cut(text: &str, len_max: usize) -> &str {
    let mut end = len_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = &text[..end];
    match head.rfind('%') {
        Some(escape) if escape + 3 > head.len() && end < text.len() => &head[..escape],
        _ => head,
    }
}

/// Returns the display name of a path name. Escapes that are none stay as they are, and
/// bytes that are no UTF-8 appear as escapes.
pub fn decode_path_name(path_name: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(path_name.len());
    let mut rest = path_name;
    while let Some((first, behind)) = rest.split_first() {
        match escape(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    let mut name = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        name.push_str(part.valid());
        part.invalid()
            .iter()
            .for_each(|byte| name.push_str(&format!("%{byte:02X}")));
    }
    name
}

/// Returns the byte that an escape at the start of `text` stands for.
fn escape(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_specification_lists_them() {
        for (name, path_name) in [
            ("web", "web"),
            ("a/b", "a%2Fb"),
            ("a@b:c", "a%40b%3Ac"),
            (".hidden", "%2Ehidden"),
            ("..", "%2E."),
            ("latest", "%6Catest"),
            ("later", "later"),
            ("50%", "50%25"),
            ("tab\there", "tab%09here"),
            ("\u{e4}\u{85}", "\u{e4}%C2%85"),
        ] {
            assert_eq!(encode_path_name(name), path_name);
            assert_eq!(decode_path_name(path_name.as_bytes()), name);
        }
        assert_eq!(decode_path_name(b"a\xff%zz%4"), "a%FF%zz%4");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "x/".repeat(200);
        let longer = format!("{long}y");
        let (one, other) = (encode_path_name(&long), encode_path_name(&longer));
        assert!(one.len() <= 255 && other.len() <= 255);
        assert_ne!(one, other);
        assert!(numbered_path_name(&one, 12).ends_with("~12"));
        assert!(numbered_path_name(&one, 12).len() <= 255);
        let umlauts = "\u{e4}".repeat(200);
        assert!(encode_path_name(&umlauts).len() <= 255);
    }
}
