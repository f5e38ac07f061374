//! POSIX ACLs: XFS keeps them as attributes of its own form, the kernel shows them in
//! the form of `system.posix_acl_*`.

use crate::base::Fields;
use crate::filesystem::{Error, Result};

/// Names of the attributes (in the namespace of root) and what they are shown as.
pub(super) const ACL_NAMES: [(&[u8], &[u8]); 2] = [
    (b"SGI_ACL_FILE", b"system.posix_acl_access"),
    (b"SGI_ACL_DEFAULT", b"system.posix_acl_default"),
];

/// Bytes of an entry of `xfs_acl`: tag, id, permissions, padding.
const STORED_ENTRY_LEN: usize = 12;

/// Entries of the longest ACL that fits an attribute.
const ENTRY_COUNT_MAX: usize = 5461;

/// Version of the form that the kernel shows (`POSIX_ACL_XATTR_VERSION`).
const SHOWN_VERSION: u32 = 2;

/// The id of entries that name nobody.
const NO_ID: u32 = u32::MAX;

/// Tags of entries that name a user or a group.
const TAG_USER: u32 = 0x02;
const TAG_GROUP: u32 = 0x08;

/// Returns an ACL in the form that the kernel shows.
///
/// Source: `xfs_format.h` (`xfs_acl`), `linux/posix_acl_xattr.h`.
///
/// # Errors
///
/// Corrupt if it is none.
pub(super) fn shown(stored: &[u8]) -> Result<Vec<u8>> {
    let fields = Fields::new(stored, 0);
    let count = usize::try_from(fields.be_u32(0)?).unwrap_or(usize::MAX);
    if count > ENTRY_COUNT_MAX || count.saturating_mul(STORED_ENTRY_LEN) > fields.rest(4).len() {
        let expected = "entries that fit in";
        return Err(Error::corrupt("acl_cnt", 0, expected, fields.be_u32(0)?));
    }
    let mut shown = SHOWN_VERSION.to_le_bytes().to_vec();
    for index in 0..count {
        let position = index.saturating_mul(STORED_ENTRY_LEN).saturating_add(4);
        let entry = fields.part(position, STORED_ENTRY_LEN)?;
        let tag = entry.be_u32(0)?;
        let Ok(short_tag) = u16::try_from(tag) else {
            return Err(Error::corrupt("ae_tag", entry.offset(), "below 2^16", tag));
        };
        let id = match tag {
            TAG_USER | TAG_GROUP => entry.be_u32(4)?,
            _ => NO_ID,
        };
        shown.extend(short_tag.to_le_bytes());
        shown.extend(entry.be_u16(8)?.to_le_bytes());
        shown.extend(id.to_le_bytes());
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_is_shown_as_the_kernel_does() {
        let stored = [
            &[0, 0, 0, 2][..],
            &[0, 0, 0, 1, 0, 0, 0, 9, 0, 6, 0, 0],
            &[0, 0, 0, 2, 0, 0, 3, 232, 0, 4, 0, 0],
        ]
        .concat();
        let expected = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 232, 3, 0, 0],
        ]
        .concat();
        assert_eq!(shown(&stored).unwrap(), expected);
        assert!(shown(&stored[..27]).is_err());
        assert!(shown(&[]).is_err());
    }
}
