//! The superblock: the geometry of the file system and its features, validated before
//! anything is computed from it.

use super::checksum::crc_is_right;
use super::feature::Features;
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{Error, Result};
use std::ops::RangeInclusive;

/// `XFSB`.
pub(super) const MAGIC: u32 = 0x5846_5342;

/// Bytes that every superblock has at least.
pub(super) const LEN_MIN: usize = 512;

/// Where the fields of `xfs_dsb` are.
///
/// Source: XFS Algorithms & Data Structures, "Superblocks"; `xfs_format.h`.
mod field {
    pub(super) const BLOCK_SIZE: usize = 4;
    pub(super) const DATA_BLOCKS: usize = 8;
    pub(super) const UUID: usize = 32;
    pub(super) const LOG_START: usize = 48;
    pub(super) const ROOT_INODE: usize = 56;
    pub(super) const AG_BLOCKS: usize = 84;
    pub(super) const AG_COUNT: usize = 88;
    pub(super) const LOG_BLOCKS: usize = 96;
    pub(super) const VERSION: usize = 100;
    pub(super) const SECTOR_SIZE: usize = 102;
    pub(super) const INODE_SIZE: usize = 104;
    pub(super) const INODES_PER_BLOCK: usize = 106;
    pub(super) const NAME: usize = 108;
    pub(super) const NAME_LEN: usize = 12;
    pub(super) const BLOCK_LOG: usize = 120;
    pub(super) const SECTOR_LOG: usize = 121;
    pub(super) const INODE_LOG: usize = 122;
    pub(super) const INODES_PER_BLOCK_LOG: usize = 123;
    pub(super) const AG_BLOCK_LOG: usize = 124;
    pub(super) const IN_PROGRESS: usize = 126;
    pub(super) const INODE_PERCENT: usize = 127;
    pub(super) const INODE_COUNT: usize = 128;
    pub(super) const FREE_INODES: usize = 136;
    pub(super) const FREE_BLOCKS: usize = 144;
    pub(super) const INODE_ALIGNMENT: usize = 180;
    pub(super) const DIR_BLOCK_LOG: usize = 192;
    pub(super) const FEATURES2: usize = 200;
    pub(super) const FEATURES_COMPAT: usize = 208;
    pub(super) const FEATURES_RO_COMPAT: usize = 212;
    pub(super) const FEATURES_INCOMPAT: usize = 216;
    pub(super) const FEATURES_LOG_INCOMPAT: usize = 220;
    pub(super) const CRC: usize = 224;
    pub(super) const META_UUID: usize = 248;
}

/// The geometry of a file system. All derived numbers are consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) features: Features,
    /// 9 to 16.
    pub(super) block_log: u32,
    /// 9 to 15.
    pub(super) sector_log: u32,
    /// 8 to 11.
    pub(super) inode_log: u32,
    /// 9 to 16.
    pub(super) dir_block_log: u32,
    /// Bits of a block number inside an allocation group.
    pub(super) ag_block_log: u32,
    pub(super) data_blocks: u64,
    pub(super) ag_blocks: u32,
    pub(super) ag_count: u32,
    pub(super) root_inode: u64,
    /// First block of the log; 0 if it is on another device.
    pub(super) log_start: u64,
    pub(super) log_blocks: u32,
    pub(super) inode_alignment: u32,
    pub(super) label: Vec<u8>,
    pub(super) uuid: [u8; 16],
    /// What blocks of metadata carry; differs after `xfs_admin -U`.
    pub(super) meta_uuid: [u8; 16],
    /// How much of the space inodes may take, in percent; 0 without a limit.
    pub(super) inode_percent: u8,
    pub(super) inode_count: u64,
    pub(super) free_inode_count: u64,
    pub(super) free_block_count: u64,
}

impl Superblock {
    /// Reads the length of a sector, which is the length of the superblock, from its
    /// first bytes.
    ///
    /// # Errors
    ///
    /// Unsupported if this is no XFS; Corrupt if the length cannot be.
    pub(super) fn sector_len(bytes: &[u8]) -> Result<usize> {
        let fields = Fields::new(bytes, 0);
        if fields.be_u32(0)? != MAGIC {
            return Err(Error::unsupported("not an XFS file system"));
        }
        let len = fields.be_u16(field::SECTOR_SIZE)?;
        if !len.is_power_of_two() || !(512..=32_768).contains(&len) {
            let place = fields.place(field::SECTOR_SIZE);
            let expected = "a power of two from 512 to 32768";
            return Err(Error::corrupt("sb_sectsize", place, expected, len));
        }
        Ok(usize::from(len))
    }

    /// Reads the superblock in the whole first sector. Without `is_checked` the
    /// checksum is not looked at (after a replay it is stale).
    ///
    /// # Errors
    ///
    /// Unsupported if a feature is not known; Corrupt if it contradicts itself.
    pub(super) fn parse(bytes: &[u8], is_checked: bool) -> Result<Self> {
        let fields = Fields::new(bytes, 0);
        if bytes.len() != Self::sector_len(bytes)? {
            return Err(Error::unsupported("a superblock of another length"));
        }
        let features = Features::new(
            fields.be_u16(field::VERSION)?,
            fields.be_u32(field::FEATURES2)?,
            [
                fields.be_u32(field::FEATURES_COMPAT)?,
                fields.be_u32(field::FEATURES_RO_COMPAT)?,
                fields.be_u32(field::FEATURES_INCOMPAT)?,
                fields.be_u32(field::FEATURES_LOG_INCOMPAT)?,
            ],
        )?;
        if is_checked && features.is_v5() && !crc_is_right(bytes, field::CRC) {
            let found = fields.le_u32(field::CRC)?;
            let expected = "the CRC32c of the superblock";
            return Err(Error::corrupt("sb_crc", 224, expected, found));
        }
        if fields.u8(field::IN_PROGRESS)? != 0 {
            return Err(Error::unsupported("a file system that mkfs did not finish"));
        }
        let superblock = Self::read(&fields, features)?;
        superblock.validate(&fields)?;
        Ok(superblock)
    }

    fn read(fields: &Fields<'_>, features: Features) -> Result<Self> {
        let block_log = u32::from(fields.u8(field::BLOCK_LOG)?);
        let dir_log = u32::from(fields.u8(field::DIR_BLOCK_LOG)?);
        let uuid = fields.array(field::UUID)?;
        let meta_uuid = match features.has_meta_uuid() {
            true => fields.array(field::META_UUID)?,
            false => uuid,
        };
        let label = fields.slice(field::NAME, field::NAME_LEN)?;
        let label_len = label.iter().position(|byte| *byte == 0);
        Ok(Self {
            features,
            block_log,
            sector_log: u32::from(fields.u8(field::SECTOR_LOG)?),
            inode_log: u32::from(fields.u8(field::INODE_LOG)?),
            dir_block_log: block_log.saturating_add(dir_log),
            ag_block_log: u32::from(fields.u8(field::AG_BLOCK_LOG)?),
            data_blocks: fields.be_u64(field::DATA_BLOCKS)?,
            ag_blocks: fields.be_u32(field::AG_BLOCKS)?,
            ag_count: fields.be_u32(field::AG_COUNT)?,
            root_inode: fields.be_u64(field::ROOT_INODE)?,
            log_start: fields.be_u64(field::LOG_START)?,
            log_blocks: fields.be_u32(field::LOG_BLOCKS)?,
            inode_alignment: fields.be_u32(field::INODE_ALIGNMENT)?,
            label: label
                .get(..label_len.unwrap_or(label.len()))
                .unwrap_or(label)
                .to_vec(),
            uuid,
            meta_uuid,
            inode_percent: fields.u8(field::INODE_PERCENT)?,
            inode_count: fields.be_u64(field::INODE_COUNT)?,
            free_inode_count: fields.be_u64(field::FREE_INODES)?,
            free_block_count: fields.be_u64(field::FREE_BLOCKS)?,
        })
    }

    /// Checks all numbers that others are computed from.
    fn validate(&self, fields: &Fields<'_>) -> Result<()> {
        // The lengths first: the other checks compute with them.
        report(fields, &self.length_checks())?;
        report(fields, &self.size_checks(fields)?)?;
        report(fields, &self.group_checks())
    }

    fn length_checks(&self) -> [Check; 5] {
        let check = |name, position, value: u32, range: RangeInclusive<u32>| Check {
            name,
            position,
            is_right: range.contains(&value),
            found: u64::from(value),
        };
        let inode_log_max = self.block_log.min(11);
        let dir_logs = self.block_log..=16;
        [
            check("sb_blocklog", field::BLOCK_LOG, self.block_log, 9..=16),
            check("sb_sectlog", field::SECTOR_LOG, self.sector_log, 9..=15),
            check(
                "sb_inodelog",
                field::INODE_LOG,
                self.inode_log,
                8..=inode_log_max,
            ),
            check(
                "sb_dirblklog",
                field::DIR_BLOCK_LOG,
                self.dir_block_log,
                dir_logs,
            ),
            check(
                "sb_agblklog",
                field::AG_BLOCK_LOG,
                self.ag_block_log,
                1..=31,
            ),
        ]
    }

    /// Sizes are stored beside their logarithms.
    fn size_checks(&self, fields: &Fields<'_>) -> Result<[Check; 5]> {
        let check = |name, position, found: u64, log: u32| Check {
            name,
            position,
            is_right: Some(found) == 1_u64.checked_shl(log),
            found,
        };
        let block = u64::from(fields.be_u32(field::BLOCK_SIZE)?);
        let sector = u64::from(fields.be_u16(field::SECTOR_SIZE)?);
        let inode = u64::from(fields.be_u16(field::INODE_SIZE)?);
        let per_block = u64::from(fields.be_u16(field::INODES_PER_BLOCK)?);
        let per_block_log = u32::from(fields.u8(field::INODES_PER_BLOCK_LOG)?);
        Ok([
            check("sb_blocksize", field::BLOCK_SIZE, block, self.block_log),
            check("sb_sectsize", field::SECTOR_SIZE, sector, self.sector_log),
            check("sb_inodesize", field::INODE_SIZE, inode, self.inode_log),
            check(
                "sb_inopblock",
                field::INODES_PER_BLOCK,
                per_block,
                per_block_log,
            ),
            Check {
                name: "sb_inopblog",
                position: field::INODES_PER_BLOCK_LOG,
                is_right: per_block_log == self.inodes_per_block_log(),
                found: u64::from(per_block_log),
            },
        ])
    }

    fn group_checks(&self) -> [Check; 3] {
        let blocks = u64::from(self.ag_blocks);
        let count = u64::from(self.ag_count);
        let power = |log: u32| 1_u64.checked_shl(log).unwrap_or(0);
        let all = blocks.saturating_mul(count);
        let without_last = blocks.saturating_mul(count.saturating_sub(1));
        [
            Check {
                name: "sb_agblocks",
                position: field::AG_BLOCKS,
                is_right: blocks >= 64
                    && blocks <= power(self.ag_block_log)
                    && blocks > power(self.ag_block_log.saturating_sub(1)),
                found: blocks,
            },
            Check {
                name: "sb_dblocks",
                position: field::DATA_BLOCKS,
                is_right: count > 0
                    && self.data_blocks <= all
                    && self.data_blocks > without_last
                    && self.data_blocks <= u64::MAX >> 17,
                found: self.data_blocks,
            },
            Check {
                name: "sb_rootino",
                position: field::ROOT_INODE,
                is_right: self.inode_offset(self.root_inode).is_ok(),
                found: self.root_inode,
            },
        ]
    }

    /// Returns the length of a block in bytes.
    pub(super) fn block_len(&self) -> ByteLen {
        1_u64.checked_shl(self.block_log).unwrap_or(0)
    }

    /// Returns the length of an inode in bytes.
    pub(super) fn inode_len(&self) -> usize {
        1_usize.checked_shl(self.inode_log).unwrap_or(0)
    }

    /// Returns the length of a sector in bytes.
    pub(super) fn sector_bytes(&self) -> usize {
        1_usize.checked_shl(self.sector_log).unwrap_or(0)
    }

    /// Returns the length of a block of a directory in bytes.
    pub(super) fn dir_block_len(&self) -> ByteLen {
        1_u64.checked_shl(self.dir_block_log).unwrap_or(0)
    }

    /// Returns the length of the data section in bytes.
    pub(super) fn len(&self) -> ByteLen {
        // `validate` keeps this far below 2^64.
        self.data_blocks
            .checked_shl(self.block_log)
            .unwrap_or(u64::MAX)
    }

    pub(super) const fn inodes_per_block_log(&self) -> u32 {
        self.block_log.saturating_sub(self.inode_log)
    }

    /// Returns the number of blocks of an allocation group; the last one is shorter.
    pub(super) fn group_block_count(&self, group: u32) -> u64 {
        let start = u64::from(group).saturating_mul(u64::from(self.ag_blocks));
        u64::from(self.ag_blocks).min(self.data_blocks.saturating_sub(start))
    }

    /// Returns where `block` of `group` lies.
    ///
    /// # Errors
    ///
    /// Corrupt if there is no such block.
    pub(super) fn group_block_offset(&self, group: u32, block: u64) -> Result<ByteOffset> {
        if group >= self.ag_count || block >= self.group_block_count(group) {
            let expected = "a block of an allocation group";
            return Err(Error::corrupt("block number", 0, expected, block));
        }
        let first = u64::from(group).saturating_mul(u64::from(self.ag_blocks));
        let offset = first.saturating_add(block).checked_shl(self.block_log);
        Ok(offset.unwrap_or(u64::MAX))
    }

    /// Returns where the block with this number of the whole file system lies.
    ///
    /// # Errors
    ///
    /// Corrupt if there is no such block.
    pub(super) fn block_offset(&self, fs_block: u64) -> Result<ByteOffset> {
        let (group, block) = self.split(fs_block);
        let group = u32::try_from(group).unwrap_or(u32::MAX);
        self.group_block_offset(group, block)
    }

    /// Tells whether `count` blocks from `fs_block` on exist and lie in one group.
    pub(super) fn has_blocks(&self, fs_block: u64, count: u64) -> bool {
        let (group, block) = self.split(fs_block);
        u32::try_from(group).is_ok_and(|group| {
            group < self.ag_count
                && block
                    .checked_add(count)
                    .is_some_and(|end| end <= self.group_block_count(group))
        })
    }

    fn split(&self, fs_block: u64) -> (u64, u64) {
        let group = fs_block.checked_shr(self.ag_block_log).unwrap_or(u64::MAX);
        let mask = low_bits(self.ag_block_log);
        (group, fs_block & mask)
    }

    /// Returns where an inode lies.
    ///
    /// # Errors
    ///
    /// NotFound if no inode can have this number.
    pub(super) fn inode_offset(&self, inode: u64) -> Result<ByteOffset> {
        let bits = self.inodes_per_block_log();
        let fs_block = inode.checked_shr(bits).unwrap_or(u64::MAX);
        let index = inode & low_bits(bits);
        let block_offset = self.block_offset(fs_block).map_err(|_| Error::NotFound {
            what: "inode".into(),
        })?;
        let inside = index.checked_shl(self.inode_log).unwrap_or(0);
        Ok(block_offset.saturating_add(inside))
    }

    /// Returns where the header sector number `index` of a group lies.
    pub(super) fn header_offset(&self, group: u32, index: u64) -> Result<ByteOffset> {
        let inside = index.checked_shl(self.sector_log).unwrap_or(0);
        Ok(self.group_block_offset(group, 0)?.saturating_add(inside))
    }
}

/// A number of the superblock and whether it can be.
struct Check {
    name: &'static str,
    position: usize,
    is_right: bool,
    found: u64,
}

fn report(fields: &Fields<'_>, checks: &[Check]) -> Result<()> {
    match checks.iter().find(|check| !check.is_right) {
        None => Ok(()),
        Some(check) => {
            let place = fields.place(check.position);
            let expected = "a number that fits the others";
            Err(Error::corrupt(check.name, place, expected, check.found))
        }
    }
}

/// Returns a number whose lowest `count` bits are set.
pub(super) fn low_bits(count: u32) -> u64 {
    1_u64
        .checked_shl(count)
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}
