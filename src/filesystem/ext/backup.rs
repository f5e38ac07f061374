//! Backups of the superblock, for a file system whose first one was overwritten.
//!
//! Source: Linux documentation, filesystems/ext4 "Super Block" and "Layout": groups 1 and
//! the powers of 3, 5 and 7 begin with one, and with the descriptors of all groups behind
//! it. Nobody writes them but mkfs, resize2fs and e2fsck.

use super::superblock::{SUPERBLOCK_LEN, Superblock, feature};
use crate::base::{ByteOffset, ReadAt};
use crate::filesystem::Result;

/// Groups that are looked into.
const GROUPS: [u32; 5] = [1, 3, 5, 7, 9];

/// The least length of a block, and the logarithms of what it is multiplied by.
const BLOCK_LEN_MIN: u64 = 1024;
const BLOCK_LOGS: std::ops::RangeInclusive<u32> = 0..=6;

/// Returns the first backup that is whole, where file systems have them whose groups are
/// as large as mkfs makes them.
///
/// # Errors
///
/// Only if reading fails.
pub(super) fn find(image: &dyn ReadAt) -> Result<Option<Superblock>> {
    for log in BLOCK_LOGS {
        for group in GROUPS {
            let block_len = BLOCK_LEN_MIN.wrapping_shl(log);
            let offset = place_of(block_len, group.into());
            if let Some(found) = read(image, offset)?
                && found.backup_group == group
                && u64::from(found.block_len.get()) == block_len
                && found.offset_of(found.first_block_of(group)) == offset
                && found.has_superblock(group)
            {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Returns where the group begins: one bitmap of one block tells of it.
const fn place_of(block_len: u64, group: u64) -> ByteOffset {
    let blocks = block_len.saturating_mul(8).saturating_mul(group);
    // The boot block is one of its own where blocks have 1 KiB.
    let first = if block_len == BLOCK_LEN_MIN { 1 } else { 0 };
    blocks.saturating_add(first).saturating_mul(block_len)
}

fn read(image: &dyn ReadAt, offset: ByteOffset) -> Result<Option<Superblock>> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    let len = crate::filesystem::len_of(&bytes);
    if offset.saturating_add(len) > image.len() {
        return Ok(None);
    }
    image.read_exact_at(offset, &mut bytes)?;
    Ok(Superblock::decode(&bytes, offset).ok())
}

impl Superblock {
    /// Tells whether a group begins with a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.compat & feature::SPARSE_SUPER2 != 0 {
            return self.backup_groups.contains(&group);
        }
        if group == 1 || !self.has(feature::SPARSE_SUPER) {
            return true;
        }
        [3, 5, 7].into_iter().any(|base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_begin_where_mke2fs_puts_them() {
        // The numbers that `mke2fs -n` prints, in blocks.
        assert_eq!(place_of(1024, 1), 8193 * 1024);
        assert_eq!(place_of(2048, 1), 16_384 * 2048);
        assert_eq!(place_of(4096, 1), 32_768 * 4096);
        assert_eq!(place_of(4096, 3), 98_304 * 4096);
    }
}
