//! The superblock: geometry, features and checksum seed of an ext file system.
//!
//! Source: Linux documentation, filesystems/ext4 "Super Block".

use super::checksum::crc32c;
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{Error, Result};
use std::num::NonZeroU32;

/// Where the superblock lies in the file system.
pub(super) const SUPERBLOCK_OFFSET: ByteOffset = 1024;
/// Its length in bytes.
pub(super) const SUPERBLOCK_LEN: usize = 1024;

const INODES_COUNT: usize = 0x00;
const BLOCKS_COUNT_LO: usize = 0x04;
const R_BLOCKS_COUNT_LO: usize = 0x08;
const FIRST_DATA_BLOCK: usize = 0x14;
const LOG_BLOCK_SIZE: usize = 0x18;
const LOG_CLUSTER_SIZE: usize = 0x1C;
const BLOCKS_PER_GROUP: usize = 0x20;
const CLUSTERS_PER_GROUP: usize = 0x24;
const INODES_PER_GROUP: usize = 0x28;
const MAGIC: usize = 0x38;
const STATE: usize = 0x3A;
const REV_LEVEL: usize = 0x4C;
const INODE_SIZE: usize = 0x58;
const BLOCK_GROUP_NR: usize = 0x5A;
const FEATURE_COMPAT: usize = 0x5C;
const FEATURE_INCOMPAT: usize = 0x60;
const FEATURE_RO_COMPAT: usize = 0x64;
const UUID: usize = 0x68;
const VOLUME_NAME: usize = 0x78;
const RESERVED_GDT_BLOCKS: usize = 0xCE;
const JOURNAL_INUM: usize = 0xE0;
const DESC_SIZE: usize = 0xFE;
const FIRST_META_BG: usize = 0x104;
const BLOCKS_COUNT_HI: usize = 0x150;
const R_BLOCKS_COUNT_HI: usize = 0x154;
const CHECKSUM_TYPE: usize = 0x175;
const OVERHEAD_CLUSTERS: usize = 0x248;
const BACKUP_BGS: usize = 0x24C;
const CHECKSUM_SEED: usize = 0x270;
const CHECKSUM: usize = 0x3FC;

/// The magic number.
pub(super) const EXT_MAGIC: u16 = 0xEF53;
const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
const CHECKSUM_TYPE_CRC32C: u8 = 1;

/// Feature bits that change what is read.
pub(super) mod feature {
    /// Compatible.
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    /// Compatible.
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
    /// Incompatible.
    pub(crate) const FILETYPE: u32 = 0x2;
    /// Incompatible: the journal has to be replayed.
    pub(crate) const RECOVER: u32 = 0x4;
    /// Incompatible.
    pub(crate) const META_BG: u32 = 0x10;
    /// Incompatible.
    pub(crate) const EXTENTS: u32 = 0x40;
    /// Incompatible.
    pub(crate) const BIT64: u32 = 0x80;
    /// Incompatible.
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    /// Incompatible.
    pub(crate) const LARGEDIR: u32 = 0x4000;
    /// Incompatible: all that is read here.
    pub(crate) const INCOMPAT_KNOWN: u32 = 0x2
        | 0x4
        | 0x10
        | 0x40
        | 0x80
        | 0x100
        | 0x200
        | 0x400
        | 0x2000
        | 0x4000
        | 0x8000
        | 0x1_0000
        | 0x2_0000;
    /// Compatible: all whose blocks are known to be in the bitmaps.
    pub(crate) const COMPAT_KNOWN: u32 = 0x3F | 0x200 | 0x400 | 0x800 | 0x1000;
    /// Read-only compatible: the same.
    pub(crate) const RO_COMPAT_KNOWN: u32 =
        0x7F | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x1_0000;
    /// Read-only compatible.
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    /// Read-only compatible.
    pub(crate) const HUGE_FILE: u32 = 0x8;
    /// Read-only compatible.
    pub(crate) const GDT_CSUM: u32 = 0x10;
    /// Read-only compatible.
    pub(crate) const BIGALLOC: u32 = 0x200;
    /// Read-only compatible.
    pub(crate) const METADATA_CSUM: u32 = 0x400;
}

const COMPAT_NAMES: [(u32, &str); 11] = [
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x200, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
    (0x40, "lazy_bg"),
];
const INCOMPAT_NAMES: [(u32, &str); 16] = [
    (0x1, "compression"),
    (0x2, "filetype"),
    (0x4, "needs_recovery"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x40, "extent"),
    (0x80, "64bit"),
    (0x100, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const RO_COMPAT_NAMES: [(u32, &str); 16] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x4, "btree_dir"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x400, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// The superblock, validated.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) inode_count: u32,
    pub(super) block_count: u64,
    pub(super) reserved_block_count: u64,
    pub(super) first_data_block: u32,
    pub(super) block_len: NonZeroU32,
    pub(super) cluster_blocks: NonZeroU32,
    pub(super) blocks_per_group: NonZeroU32,
    pub(super) clusters_per_group: u32,
    pub(super) inodes_per_group: NonZeroU32,
    pub(super) inode_len: u16,
    pub(super) descriptor_len: u16,
    pub(super) first_meta_bg: u32,
    pub(super) reserved_gdt_blocks: u16,
    pub(super) backup_groups: [u32; 2],
    pub(super) journal_inode: u32,
    pub(super) overhead_clusters: u32,
    pub(super) is_clean: bool,
    /// The kernel has seen errors, and no check was run since.
    pub(super) has_errors: bool,
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: Vec<u8>,
    pub(super) checksum_seed: u32,
    /// The group that this one lies in; 0 is not a backup.
    pub(super) backup_group: u32,
}

fn non_zero(value: u32, field: &'static str) -> Result<NonZeroU32> {
    NonZeroU32::new(value).ok_or_else(|| Error::corrupt(field, SUPERBLOCK_OFFSET, "above 0", value))
}

impl Superblock {
    /// Reads the superblock in `bytes`, which lie at `offset`.
    ///
    /// # Errors
    ///
    /// Unsupported for features that change the layout in an unknown way; Corrupt if
    /// the numbers contradict each other or the checksum is wrong.
    pub(super) fn decode(bytes: &[u8], offset: ByteOffset) -> Result<Self> {
        let fields = Fields::new(bytes, offset);
        let magic = fields.le_u16(MAGIC)?;
        if magic != EXT_MAGIC {
            return Err(Error::corrupt(
                "magic",
                fields.place(MAGIC),
                "0xef53",
                magic,
            ));
        }
        let incompat = fields.le_u32(FEATURE_INCOMPAT)?;
        if let Some(unknown) = unknown_features(incompat & !feature::INCOMPAT_KNOWN) {
            return Err(Error::unsupported(unknown));
        }
        let ro_compat = fields.le_u32(FEATURE_RO_COMPAT)?;
        if ro_compat & feature::METADATA_CSUM != 0 {
            check_checksum(&fields)?;
        }
        let superblock = Self::decode_fields(&fields, incompat, ro_compat)?;
        superblock.validate()?;
        Ok(superblock)
    }

    fn decode_fields(fields: &Fields<'_>, incompat: u32, ro_compat: u32) -> Result<Self> {
        let high = |position: usize| -> Result<u64> {
            if incompat & feature::BIT64 == 0 {
                return Ok(0);
            }
            Ok(u64::from(fields.le_u32(position)?) << 32)
        };
        let is_old = fields.le_u32(REV_LEVEL)? == 0;
        let block_len = shifted(1024, fields.le_u32(LOG_BLOCK_SIZE)?, 16, "block size")?;
        let cluster_len = if ro_compat & feature::BIGALLOC == 0 {
            block_len
        } else {
            shifted(1024, fields.le_u32(LOG_CLUSTER_SIZE)?, 30, "cluster size")?
        };
        let label: [u8; 16] = fields.array(VOLUME_NAME)?;
        let uuid: [u8; 16] = fields.array(UUID)?;
        let checksum_seed = if incompat & feature::CSUM_SEED == 0 {
            crc32c(!0, &uuid)
        } else {
            fields.le_u32(CHECKSUM_SEED)?
        };
        Ok(Self {
            inode_count: fields.le_u32(INODES_COUNT)?,
            block_count: u64::from(fields.le_u32(BLOCKS_COUNT_LO)?) | high(BLOCKS_COUNT_HI)?,
            reserved_block_count: u64::from(fields.le_u32(R_BLOCKS_COUNT_LO)?)
                | high(R_BLOCKS_COUNT_HI)?,
            first_data_block: fields.le_u32(FIRST_DATA_BLOCK)?,
            block_len,
            cluster_blocks: non_zero(cluster_len.get() / block_len, "cluster size")?,
            blocks_per_group: non_zero(fields.le_u32(BLOCKS_PER_GROUP)?, "blocks per group")?,
            clusters_per_group: fields.le_u32(CLUSTERS_PER_GROUP)?,
            inodes_per_group: non_zero(fields.le_u32(INODES_PER_GROUP)?, "inodes per group")?,
            inode_len: if is_old {
                128
            } else {
                fields.le_u16(INODE_SIZE)?
            },
            descriptor_len: match incompat & feature::BIT64 {
                0 => 32,
                _ => fields.le_u16(DESC_SIZE)?,
            },
            first_meta_bg: fields.le_u32(FIRST_META_BG)?,
            reserved_gdt_blocks: fields.le_u16(RESERVED_GDT_BLOCKS)?,
            backup_groups: [
                fields.le_u32(BACKUP_BGS)?,
                fields.le_u32(BACKUP_BGS.wrapping_add(4))?,
            ],
            journal_inode: fields.le_u32(JOURNAL_INUM)?,
            overhead_clusters: fields.le_u32(OVERHEAD_CLUSTERS)?,
            is_clean: fields.le_u16(STATE)? & STATE_CLEAN != 0,
            has_errors: fields.le_u16(STATE)? & STATE_ERRORS != 0,
            compat: fields.le_u32(FEATURE_COMPAT)?,
            incompat,
            ro_compat,
            uuid,
            label: label
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec(),
            checksum_seed,
            backup_group: match is_old {
                true => 0,
                false => fields.le_u16(BLOCK_GROUP_NR)?.into(),
            },
        })
    }

    fn validate(&self) -> Result<()> {
        let block_len = self.block_len.get();
        let bits = block_len.saturating_mul(8);
        let bad = |field, expected, actual: u64| {
            Err(Error::corrupt(field, SUPERBLOCK_OFFSET, expected, actual))
        };
        if !self.inode_len.is_power_of_two()
            || self.inode_len < 128
            || u32::from(self.inode_len) > block_len
        {
            return bad(
                "inode size",
                "a power of 2 of 128 to a block",
                self.inode_len.into(),
            );
        }
        if !self.descriptor_len.is_power_of_two() || !(32..=1024).contains(&self.descriptor_len) {
            return bad(
                "descriptor size",
                "a power of 2 of 32..1024",
                self.descriptor_len.into(),
            );
        }
        if self.inodes_per_group.get() > bits {
            return bad(
                "inodes per group",
                "a bitmap of one block",
                self.inodes_per_group.get().into(),
            );
        }
        let clusters = self.blocks_per_group.get() / self.cluster_blocks;
        if clusters > bits || clusters == 0 {
            return bad(
                "blocks per group",
                "a bitmap of one block",
                self.blocks_per_group.get().into(),
            );
        }
        if self.has(feature::BIGALLOC) && clusters != self.clusters_per_group {
            return bad(
                "clusters per group",
                "those of its blocks",
                self.clusters_per_group.into(),
            );
        }
        if self.block_count <= u64::from(self.first_data_block) || self.block_count >> 48 != 0 {
            return bad(
                "block count",
                "above the first data block, below 2^48",
                self.block_count,
            );
        }
        let room = u64::from(self.group_count()).saturating_mul(self.inodes_per_group.get().into());
        if u64::from(self.inode_count) > room || self.group_count() == u32::MAX {
            return bad(
                "inode count",
                "at most those of all groups",
                self.inode_count.into(),
            );
        }
        Ok(())
    }

    /// Tells whether a read-only compatible feature is on.
    pub(super) const fn has(&self, ro_compat: u32) -> bool {
        self.ro_compat & ro_compat != 0
    }

    /// Tells whether an incompatible feature is on.
    pub(super) const fn has_incompat(&self, incompat: u32) -> bool {
        self.incompat & incompat != 0
    }

    /// Returns the number of group descriptors in a block.
    pub(super) fn descriptors_per_block(&self) -> u32 {
        self.block_len
            .get()
            .checked_div(self.descriptor_len.into())
            .unwrap_or(1)
    }

    /// Returns the number of block groups.
    pub(super) fn group_count(&self) -> u32 {
        let blocks = self
            .block_count
            .saturating_sub(self.first_data_block.into());
        let per_group = u64::from(self.blocks_per_group.get());
        u32::try_from(blocks.div_ceil(per_group.max(1))).unwrap_or(u32::MAX)
    }

    /// Returns the first block of a group.
    pub(super) fn first_block_of(&self, group: u32) -> u64 {
        u64::from(group)
            .saturating_mul(self.blocks_per_group.get().into())
            .saturating_add(self.first_data_block.into())
    }

    /// Returns the byte where block `block` begins.
    pub(super) fn offset_of(&self, block: u64) -> ByteOffset {
        block.saturating_mul(self.block_len.get().into())
    }

    /// Returns the length of a block as an index.
    pub(super) fn block_size(&self) -> usize {
        crate::filesystem::index_of(self.block_len.get())
    }

    /// Returns the length of the file system in bytes.
    pub(super) fn len(&self) -> ByteLen {
        self.offset_of(self.block_count)
    }

    /// Tells whether `count` blocks from `block` on are inside, behind the boot block.
    pub(super) fn contains(&self, block: u64, count: u64) -> bool {
        block > u64::from(self.first_data_block)
            && block
                .checked_add(count)
                .is_some_and(|end| end <= self.block_count)
    }

    /// Returns `ext2`, `ext3` or `ext4`, as `blkid` tells them apart.
    pub(super) const fn format(&self) -> &'static str {
        const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x8 | 0x10;
        const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
        if self.incompat & !EXT3_INCOMPAT != 0 || self.ro_compat & !EXT3_RO_COMPAT != 0 {
            "ext4"
        } else if self.compat & feature::HAS_JOURNAL != 0 {
            "ext3"
        } else {
            "ext2"
        }
    }

    /// Returns the names of the features that are on.
    pub(super) fn feature_names(&self) -> Vec<String> {
        let named = |bits: u32, names: &[(u32, &str)]| -> Vec<String> {
            let on = names.iter().filter(|(bit, _)| bits & bit != 0);
            on.map(|(_, name)| (*name).to_owned()).collect()
        };
        let mut all = named(self.compat, &COMPAT_NAMES);
        all.extend(named(self.incompat, &INCOMPAT_NAMES));
        all.extend(named(self.ro_compat, &RO_COMPAT_NAMES));
        all
    }
}

fn shifted(base: u32, shift: u32, shift_max: u32, field: &'static str) -> Result<NonZeroU32> {
    let value = if shift > shift_max {
        0
    } else {
        base.checked_shl(shift).unwrap_or(0)
    };
    // Blocks reach 64 KiB; a cluster reaches as far as the bits do.
    if shift_max == 16 && value > 65_536 {
        return Err(Error::corrupt(
            field,
            SUPERBLOCK_OFFSET,
            "at most 64 KiB",
            value,
        ));
    }
    non_zero(value, field)
}

fn unknown_features(bits: u32) -> Option<String> {
    if bits == 0 {
        return None;
    }
    let names: Vec<&str> = INCOMPAT_NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    Some(
        format!("ext incompatible features {bits:#x} {}", names.join(" "))
            .trim_end()
            .to_owned(),
    )
}

fn check_checksum(fields: &Fields<'_>) -> Result<()> {
    let kind = fields.u8(CHECKSUM_TYPE)?;
    if kind != CHECKSUM_TYPE_CRC32C {
        return Err(Error::unsupported(format!("ext checksum type {kind}")));
    }
    let stored = fields.le_u32(CHECKSUM)?;
    if crc32c(!0, fields.slice(0, CHECKSUM)?) != stored {
        return Err(Error::corrupt(
            "superblock checksum",
            fields.place(CHECKSUM),
            "that of its bytes",
            stored,
        ));
    }
    Ok(())
}
