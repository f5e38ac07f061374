//! The checks that blocks of version 5 carry about themselves: CRC32c, the UUID of the
//! file system, their own place and their owner. Version 4 has none of them.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result};

/// Bytes of a checksum.
const CRC_LEN: usize = 4;

/// Tells whether the little-endian CRC32c at `crc_position` fits `bytes`, the
/// checksum itself taken as zero.
pub(super) fn crc_is_right(bytes: &[u8], crc_position: usize) -> bool {
    let end = crc_position.saturating_add(CRC_LEN);
    let (Some(before), Some(stored), Some(after)) = (
        bytes.get(..crc_position),
        bytes.get(crc_position..end),
        bytes.get(end..),
    ) else {
        return false;
    };
    let crc = crc32c::crc32c(before);
    let crc = crc32c::crc32c_append(crc, &[0; CRC_LEN]);
    crc32c::crc32c_append(crc, after).to_le_bytes() == stored
}

/// Where a kind of block has its checks, relative to its beginning.
///
/// Source: XFS Algorithms & Data Structures, "Metadata Integrity", and the structures
/// `xfs_btree_block`, `xfs_da3_blkinfo`, `xfs_dir3_blk_hdr`, `xfs_dsymlink_hdr`,
/// `xfs_attr3_rmt_hdr`, `xfs_agf`, `xfs_agi` of `xfs_format.h` and `xfs_da_format.h`.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckLayout {
    /// Distinguishes the entries of the block cache.
    pub(super) cache_kind: u32,
    pub(super) crc: usize,
    pub(super) uuid: usize,
    /// Of the 512-byte block number of the block, where it is stored.
    pub(super) block_number: Option<usize>,
    /// Of the inode (or the allocation group) that owns the block.
    pub(super) owner: Option<OwnerField>,
}

/// Where the owner is stored, and how wide.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnerField {
    /// An inode number.
    Inode(usize),
    /// The number of an allocation group.
    Group(usize),
}

impl CheckLayout {
    /// Blocks of the tree of a file's extents.
    pub(super) const BMBT: Self = Self {
        cache_kind: 0x5801,
        crc: 64,
        uuid: 40,
        block_number: Some(24),
        owner: Some(OwnerField::Inode(56)),
    };
    /// Blocks of the trees of an allocation group.
    pub(super) const GROUP_TREE: Self = Self {
        cache_kind: 0x5802,
        crc: 52,
        uuid: 32,
        block_number: Some(16),
        owner: Some(OwnerField::Group(48)),
    };
    /// Leaves and nodes of directories and attributes (`xfs_da3_blkinfo`).
    pub(super) const DA: Self = Self {
        cache_kind: 0x5803,
        crc: 12,
        uuid: 32,
        block_number: Some(16),
        owner: Some(OwnerField::Inode(48)),
    };
    /// Data blocks of directories (`xfs_dir3_blk_hdr`).
    pub(super) const DIR_DATA: Self = Self {
        cache_kind: 0x5804,
        crc: 4,
        uuid: 24,
        block_number: Some(8),
        owner: Some(OwnerField::Inode(40)),
    };
    /// Remote values of attributes (`xfs_attr3_rmt_hdr`).
    pub(super) const REMOTE_VALUE: Self = Self {
        cache_kind: 0x5805,
        crc: 12,
        uuid: 16,
        block_number: Some(40),
        owner: Some(OwnerField::Inode(32)),
    };
    /// Remote targets of symlinks (`xfs_dsymlink_hdr`).
    pub(super) const SYMLINK: Self = Self {
        cache_kind: 0x5806,
        crc: 12,
        uuid: 16,
        block_number: Some(40),
        owner: Some(OwnerField::Inode(32)),
    };
    /// The header of free space of an allocation group.
    pub(super) const AGF: Self = Self {
        cache_kind: 0x5807,
        crc: 216,
        uuid: 64,
        block_number: None,
        owner: None,
    };
    /// The header of inodes of an allocation group.
    pub(super) const AGI: Self = Self {
        cache_kind: 0x5808,
        crc: 312,
        uuid: 296,
        block_number: None,
        owner: None,
    };

    /// Checks everything but the owner, which is not the same for all readers.
    ///
    /// # Errors
    ///
    /// Corrupt, naming the first check that failed.
    pub(super) fn check(&self, bytes: &[u8], offset: ByteOffset, uuid: &[u8; 16]) -> Result<()> {
        if crc_is_right(bytes, self.crc) {
            self.check_identity(bytes, offset, uuid)
        } else {
            let stored = Fields::new(bytes, offset).le_u32(self.crc)?;
            Err(Error::corrupt(
                "checksum",
                offset,
                "the CRC32c of the block",
                stored,
            ))
        }
    }

    /// Checks what a block that was replayed from the log has right too: the UUID and
    /// the place.
    ///
    /// # Errors
    ///
    /// Corrupt, naming the first check that failed.
    pub(super) fn check_identity(
        &self,
        bytes: &[u8],
        offset: ByteOffset,
        uuid: &[u8; 16],
    ) -> Result<()> {
        let fields = Fields::new(bytes, offset);
        if fields.array::<16>(self.uuid)? != *uuid {
            let found = fields.be_u64(self.uuid)?;
            let expected = "the UUID of the file system";
            return Err(Error::corrupt("block UUID", offset, expected, found));
        }
        if let Some(position) = self.block_number {
            let found = fields.be_u64(position)?;
            if found != offset >> 9 {
                let expected = "the place of the block";
                return Err(Error::corrupt("block number", offset, expected, found));
            }
        }
        Ok(())
    }

    /// Checks that the block belongs to `owner`.
    ///
    /// # Errors
    ///
    /// Corrupt if it belongs to somebody else.
    pub(super) fn check_owner(&self, bytes: &[u8], offset: ByteOffset, owner: u64) -> Result<()> {
        let fields = Fields::new(bytes, offset);
        let found = match self.owner {
            None => return Ok(()),
            Some(OwnerField::Inode(position)) => fields.be_u64(position)?,
            Some(OwnerField::Group(position)) => u64::from(fields.be_u32(position)?),
        };
        if found == owner {
            return Ok(());
        }
        let expected = "the inode or group that refers to it";
        Err(Error::corrupt("block owner", offset, expected, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Vec<u8> {
        let mut bytes = vec![7; 512];
        bytes[24..40].copy_from_slice(&[9; 16]);
        bytes[8..16].copy_from_slice(&(4096_u64 >> 9).to_be_bytes());
        bytes[40..48].copy_from_slice(&77_u64.to_be_bytes());
        bytes[4..8].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn every_check_of_a_block_is_made() {
        let layout = CheckLayout::DIR_DATA;
        let good = block();
        layout.check(&good, 4096, &[9; 16]).unwrap();
        layout.check_owner(&good, 4096, 77).unwrap();
        assert!(layout.check_owner(&good, 4096, 78).is_err());
        assert!(layout.check(&good, 4096, &[8; 16]).is_err());
        assert!(layout.check(&good, 8192, &[9; 16]).is_err());
        let mut flipped = good;
        flipped[511] ^= 1;
        assert!(layout.check(&flipped, 4096, &[9; 16]).is_err());
        assert!(layout.check_identity(&flipped, 4096, &[9; 16]).is_ok());
        assert!(!crc_is_right(&[1, 2, 3], 0));
    }
}
