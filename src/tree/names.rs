//! Names in `create/`: which resource and label they mean, and which of them are
//! only on their way to their final name.

use crate::base::decode_path_name;
use crate::base::limits::PATH_NAME_LEN_MAX;
use crate::tree::{Kind, Result};

/// Ends of names that programs give to files they are still writing.
const HELD_SUFFIXES: [&[u8]; 4] = [b".part", b".partial", b".filepart", b".tmp"];

/// What a name in `create/` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Display name of the resource.
    pub(super) resource: String,
    /// Display name of the snapshot, if it gets one.
    pub(super) label: Option<String>,
}

/// Tells whether a file of this name stays a draft until it is renamed.
pub(super) fn is_held(name: &[u8]) -> bool {
    name.starts_with(b".") || HELD_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Reads `NAME` or `NAME@LABEL`.
///
/// # Errors
///
/// `Invalid` if there is no name of a resource, `NameTooLong`.
pub(super) fn parse(name: &[u8]) -> Result<Target> {
    if name.len() > PATH_NAME_LEN_MAX {
        return Err(Kind::NameTooLong.into());
    }
    let (resource, label) = match name.iter().position(|byte| *byte == b'@') {
        Some(at) => {
            let (resource, label) = name.split_at(at);
            (resource, label.get(1..).unwrap_or_default())
        }
        None => (name, &[][..]),
    };
    if resource.is_empty() || resource == b"." || resource == b".." {
        return Err(Kind::Invalid.into());
    }
    Ok(Target {
        resource: decode_path_name(resource),
        label: (!label.is_empty()).then(|| decode_path_name(label)),
    })
}

/// Returns the name as text that can be kept in a record: bytes that are not UTF-8
/// are percent-encoded.
pub(super) fn to_text(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_their_way_are_held() {
        for name in [
            ".a.FgruIU",
            "x.part",
            "x.partial",
            "x.filepart",
            "x.tmp",
            ".hidden",
        ] {
            assert!(is_held(name.as_bytes()), "{name}");
        }
        for name in ["a", "disk.img", "party", "tmp", "x.part2"] {
            assert!(!is_held(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        assert_eq!(to_text(b"web"), "web");
        assert_eq!(to_text(b"w\xffb"), "w%FFb");
    }

    #[test]
    fn a_name_needs_a_resource() {
        for name in [&b"@label"[..], b"", b"."] {
            assert_eq!(parse(name).unwrap_err().kind(), Kind::Invalid);
        }
        assert_eq!(parse(&[b'a'; 256]).unwrap_err().kind(), Kind::NameTooLong);
    }
}
