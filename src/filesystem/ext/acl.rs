//! POSIX access control lists: from the form on disk to the attribute that the kernel
//! shows (little-endian, version 2).
//!
//! Source: Linux `include/uapi/linux/posix_acl_xattr.h` for the attribute; the form
//! on disk has version 1 and no id where there is none to tell.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result};

const DISK_VERSION: u32 = 1;
const XATTR_VERSION: u32 = 2;
const UNDEFINED_ID: u32 = u32::MAX;
const TAG_USER: u16 = 0x02;
const TAG_GROUP: u16 = 0x08;

/// Returns the value of `system.posix_acl_*` for the value on disk.
pub(super) fn to_xattr(disk: &[u8], offset: ByteOffset) -> Result<Vec<u8>> {
    let fields = Fields::new(disk, offset);
    let version = fields.le_u32(0)?;
    if version != DISK_VERSION {
        return Err(Error::corrupt("ACL version", offset, "1", version));
    }
    let mut xattr = XATTR_VERSION.to_le_bytes().to_vec();
    let mut position: usize = 4;
    while position < disk.len() {
        let tag = fields.le_u16(position)?;
        xattr.extend(fields.array::<4>(position)?);
        position = position.saturating_add(4);
        let mut id = UNDEFINED_ID;
        if matches!(tag, TAG_USER | TAG_GROUP) {
            id = fields.le_u32(position)?;
            position = position.saturating_add(4);
        }
        xattr.extend(id.to_le_bytes());
    }
    Ok(xattr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_gain_the_ids_that_the_disk_leaves_out() {
        let disk = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0];
        let xattr = to_xattr(&disk, 0).unwrap();
        let undefined = [255; 4];
        let expected = [
            &[2, 0, 0, 0, 1, 0, 6, 0][..],
            &undefined,
            &[2, 0, 4, 0, 232, 3, 0, 0],
            &[4, 0, 4, 0],
            &undefined,
        ];
        assert_eq!(xattr, expected.concat());
        assert!(to_xattr(&disk[..14], 0).is_err());
        assert!(to_xattr(&[2, 0, 0, 0], 0).is_err());
    }
}
