//! POSIX ACLs: from the bytes of `system.posix_acl_access` to the text that `getfacl`
//! and tar archives have, owners as numbers.
//!
//! Source: acl(5), and linux/posix_acl_xattr.h for the bytes.

use std::fmt::Write as _;

const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_LEN: usize = 8;

/// Whom an entry of an ACL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclTag {
    /// The owner.
    Owner,
    /// The user with this number.
    User(u32),
    /// The group of the file.
    OwningGroup,
    /// The group with this number.
    Group(u32),
    /// What all but owner and others have at most.
    Mask,
    /// Everybody else.
    Other,
}

/// One entry of an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Whom it is about.
    pub tag: AclTag,
    /// Read 4, write 2, execute 1.
    pub permissions: u16,
}

/// Takes an ACL apart; `None` if the bytes are none.
pub fn parse_acl(bytes: &[u8]) -> Option<Vec<AclEntry>> {
    let entries = bytes.strip_prefix(&VERSION)?;
    if !entries.len().is_multiple_of(ENTRY_LEN) {
        return None;
    }
    let parse = |entry: &[u8]| {
        let [tag, tag_high, permissions, permissions_high, id @ ..] = entry else {
            return None;
        };
        let id = u32::from_le_bytes(id.try_into().ok()?);
        let tag = match u16::from_le_bytes([*tag, *tag_high]) {
            1 => AclTag::Owner,
            2 => AclTag::User(id),
            4 => AclTag::OwningGroup,
            8 => AclTag::Group(id),
            16 => AclTag::Mask,
            32 => AclTag::Other,
            _ => return None,
        };
        let permissions = u16::from_le_bytes([*permissions, *permissions_high]);
        Some(AclEntry { tag, permissions })
    };
    entries.chunks_exact(ENTRY_LEN).map(parse).collect()
}

/// Returns the entries as text with commas between them.
pub fn acl_text(entries: &[AclEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        if !text.is_empty() {
            text.push(',');
        }
        let permissions = |bit: u16, letter: char| {
            if entry.permissions & bit == 0 {
                '-'
            } else {
                letter
            }
        };
        // Writing to a string cannot fail.
        let _ok = match entry.tag {
            AclTag::Owner => write!(text, "user::"),
            AclTag::User(id) => write!(text, "user:{id}:"),
            AclTag::OwningGroup => write!(text, "group::"),
            AclTag::Group(id) => write!(text, "group:{id}:"),
            AclTag::Mask => write!(text, "mask::"),
            AclTag::Other => write!(text, "other::"),
        };
        text.extend([
            permissions(4, 'r'),
            permissions(2, 'w'),
            permissions(1, 'x'),
        ]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_reads_as_getfacl_prints_it() {
        let mut bytes = VERSION.to_vec();
        for (tag, permissions, id) in [
            (1_u16, 6_u16, u32::MAX),
            (2, 5, 70_000),
            (4, 4, u32::MAX),
            (8, 1, 12),
            (16, 7, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        assert_eq!(
            acl_text(&parse_acl(&bytes).unwrap()),
            "user::rw-,user:70000:r-x,group::r--,group:12:--x,mask::rwx,other::---"
        );
        assert_eq!(parse_acl(&bytes[..9]), None);
        assert_eq!(parse_acl(&[3, 0, 0, 0]), None);
        bytes[4] = 3;
        assert_eq!(parse_acl(&bytes), None);
    }
}
