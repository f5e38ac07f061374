//! Inodes: everything that `stat` tells, and the place of the content.
//!
//! Source: Linux documentation, filesystems/ext4 "Index Nodes".

use super::checksum::{crc32c, crc32c_with_hole};
use super::superblock::{Superblock, feature};
use super::{Ext, time};
use crate::base::{ByteLen, ByteOffset, Fields};
use crate::filesystem::{DeviceNumber, Error, FileType, Metadata, NodeFlags, Result, index_of};
use std::sync::Arc;

const MODE: usize = 0x00;
const UID_LO: usize = 0x02;
const SIZE_LO: usize = 0x04;
const ATIME: usize = 0x08;
const CTIME: usize = 0x0C;
const MTIME: usize = 0x10;
const GID_LO: usize = 0x18;
const LINKS_COUNT: usize = 0x1A;
const BLOCKS_LO: usize = 0x1C;
const FLAGS: usize = 0x20;
const BLOCK: usize = 0x28;
const GENERATION: usize = 0x64;
const FILE_ACL_LO: usize = 0x68;
const SIZE_HIGH: usize = 0x6C;
const BLOCKS_HIGH: usize = 0x74;
const FILE_ACL_HIGH: usize = 0x76;
const UID_HIGH: usize = 0x78;
const GID_HIGH: usize = 0x7A;
const CHECKSUM_LO: usize = 0x7C;
const EXTRA_ISIZE: usize = 0x80;
const CHECKSUM_HI: usize = 0x82;
const CTIME_EXTRA: usize = 0x84;
const MTIME_EXTRA: usize = 0x88;
const ATIME_EXTRA: usize = 0x8C;
const CRTIME: usize = 0x90;
const CRTIME_EXTRA: usize = 0x94;

/// Length of the part that every inode has.
pub(super) const SHORT_LEN: usize = 128;
/// Length of the block map, extent root, inline data or fast symlink.
pub(super) const BLOCK_MAP_LEN: usize = 60;

/// Bits of the flags.
pub(super) mod flag {
    pub(crate) const COMPRESSED: u32 = 0x4;
    pub(crate) const IMMUTABLE: u32 = 0x10;
    pub(crate) const APPEND: u32 = 0x20;
    pub(crate) const ENCRYPT: u32 = 0x800;
    pub(crate) const HUGE_FILE: u32 = 0x4_0000;
    pub(crate) const EXTENTS: u32 = 0x8_0000;
    pub(crate) const VERITY: u32 = 0x10_0000;
    pub(crate) const EA_INODE: u32 = 0x20_0000;
    pub(crate) const INLINE_DATA: u32 = 0x1000_0000;
    pub(crate) const CASEFOLD: u32 = 0x4000_0000;
}

/// An inode in its block of the inode table.
pub(super) struct Inode {
    block: Arc<[u8]>,
    position: usize,
    len: usize,
    offset: ByteOffset,
    pub(super) number: u32,
    pub(super) file_type: FileType,
    pub(super) mode: u16,
    pub(super) size: ByteLen,
    pub(super) flags: u32,
    /// 128 and what is used of the part behind.
    pub(super) used_len: usize,
    /// What checksums of everything that belongs to this inode start with.
    pub(super) checksum_seed: u32,
}

impl Inode {
    /// Reads inode `number`.
    pub(super) fn read(ext: &Ext, number: u32) -> Result<Self> {
        let superblock = &ext.superblock;
        let index = number
            .checked_sub(1)
            .filter(|_| number <= superblock.inode_count);
        let Some(index) = index else {
            return Err(Error::NotFound {
                what: format!("inode {number}").into(),
            });
        };
        let group = ext.group(index / superblock.inodes_per_group)?;
        let index = u64::from(index % superblock.inodes_per_group);
        let table_position = index.saturating_mul(superblock.inode_len.into());
        let block_len = u64::from(superblock.block_len.get());
        let block_index = table_position.checked_div(block_len).unwrap_or(0);
        let block_offset = superblock.offset_of(group.inode_table.saturating_add(block_index));
        let block = ext.reader.block(block_offset, superblock.block_size())?;
        let position = index_of(table_position.checked_rem(block_len).unwrap_or(0));
        let len = usize::from(superblock.inode_len);
        let offset = block_offset.saturating_add(u64::try_from(position).unwrap_or(0));
        let fields = Fields::new(&block, block_offset).part(position, len)?;
        let mut inode = Self::decode(superblock, number, &fields)?;
        inode.offset = offset;
        inode.position = position;
        inode.len = len;
        inode.block = block.clone();
        Ok(inode)
    }

    fn decode(superblock: &Superblock, number: u32, fields: &Fields<'_>) -> Result<Self> {
        let used_len = used_len(superblock, fields)?;
        let seed = crc32c(superblock.checksum_seed, &number.to_le_bytes());
        let checksum_seed = crc32c(seed, fields.slice(GENERATION, 4)?);
        if superblock.has(feature::METADATA_CSUM) {
            check_checksum(fields, checksum_seed, used_len)?;
        }
        let mode = fields.le_u16(MODE)?;
        let Some(file_type) = FileType::from_mode(mode) else {
            let place = fields.place(MODE);
            return Err(Error::corrupt(
                "inode mode",
                place,
                "one of an existing file",
                mode,
            ));
        };
        let mut size = u64::from(fields.le_u32(SIZE_LO)?);
        if file_type == FileType::Regular || superblock.has_incompat(feature::LARGEDIR) {
            size |= u64::from(fields.le_u32(SIZE_HIGH)?) << 32;
        }
        if size >> 63 != 0 {
            return Err(Error::corrupt(
                "inode size",
                fields.place(SIZE_HIGH),
                "below 2^63",
                size,
            ));
        }
        Ok(Self {
            block: Arc::new([]),
            position: 0,
            len: 0,
            offset: fields.offset(),
            number,
            file_type,
            mode,
            size,
            flags: fields.le_u32(FLAGS)?,
            used_len,
            checksum_seed,
        })
    }

    /// Returns the bytes of the inode.
    pub(super) fn fields(&self) -> Result<Fields<'_>> {
        let base = self
            .offset
            .saturating_sub(u64::try_from(self.position).unwrap_or(0));
        Ok(Fields::new(&self.block, base).part(self.position, self.len)?)
    }

    /// Returns the 60 bytes of the block map.
    pub(super) fn block_map(&self) -> Result<Fields<'_>> {
        Ok(self.fields()?.part(BLOCK, BLOCK_MAP_LEN)?)
    }

    /// Tells whether a flag is set.
    pub(super) const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns the block of the extended attributes; 0 if there is none.
    pub(super) fn xattr_block(&self, superblock: &Superblock) -> Result<u64> {
        let fields = self.fields()?;
        let high = if superblock.has_incompat(feature::BIT64) {
            u64::from(fields.le_u16(FILE_ACL_HIGH)?) << 32
        } else {
            0
        };
        Ok(u64::from(fields.le_u32(FILE_ACL_LO)?) | high)
    }

    /// Returns the seconds of the access time field: in an `ea_inode` a checksum.
    pub(super) fn access_seconds(&self) -> Result<u32> {
        Ok(self.fields()?.le_u32(ATIME)?)
    }

    /// Returns what `stat` shows of the allocated space, in units of 512 bytes: content
    /// inside the inode counts in files, or they would look like holes to copies.
    ///
    /// Source: `ext4_file_getattr`.
    fn shown_block_count_512(&self, superblock: &Superblock) -> Result<u64> {
        let count = self.block_count_512(superblock)?;
        let is_inline = self.file_type == FileType::Regular && self.has(flag::INLINE_DATA);
        let inside = if is_inline {
            self.size.div_ceil(512)
        } else {
            0
        };
        Ok(count.saturating_add(inside))
    }

    /// Returns the allocated space in units of 512 bytes.
    pub(super) fn block_count_512(&self, superblock: &Superblock) -> Result<u64> {
        let fields = self.fields()?;
        let low = u64::from(fields.le_u32(BLOCKS_LO)?);
        if !superblock.has(feature::HUGE_FILE) {
            return Ok(low);
        }
        let count = low | u64::from(fields.le_u16(BLOCKS_HIGH)?) << 32;
        let unit = if self.has(flag::HUGE_FILE) {
            superblock.block_len.get() / 512
        } else {
            1
        };
        Ok(count.saturating_mul(unit.into()))
    }

    /// Returns what `stat` tells.
    pub(super) fn metadata(&self, superblock: &Superblock) -> Result<Metadata> {
        let fields = self.fields()?;
        let extra = |position: usize| -> Option<u32> {
            let end = position.checked_add(4)?;
            if end > self.used_len {
                None
            } else {
                fields.le_u32(position).ok()
            }
        };
        let time = |position: usize, extra_position: usize| -> Result<_> {
            Ok(time::decode(
                fields.le_i32(position)?,
                extra(extra_position),
            ))
        };
        let created = match extra(CRTIME) {
            Some(_) => Some(time(CRTIME, CRTIME_EXTRA)?),
            None => None,
        };
        let wide = |low: usize, high: usize| -> Result<u32> {
            Ok(u32::from(fields.le_u16(low)?) | u32::from(fields.le_u16(high)?) << 16)
        };
        Ok(Metadata {
            file_type: self.file_type,
            permissions: self.mode & 0o7777,
            user: wide(UID_LO, UID_HIGH)?,
            group: wide(GID_LO, GID_HIGH)?,
            link_count: fields.le_u16(LINKS_COUNT)?.into(),
            size: self.size,
            block_count_512: self.shown_block_count_512(superblock)?,
            preferred_io_len: superblock.block_len.get(),
            accessed: time(ATIME, ATIME_EXTRA)?,
            modified: time(MTIME, MTIME_EXTRA)?,
            changed: time(CTIME, CTIME_EXTRA)?,
            created,
            device: self.device()?,
            generation: fields.le_u32(GENERATION)?.into(),
            flags: NodeFlags {
                is_encrypted: self.has(flag::ENCRYPT),
                has_verity: self.has(flag::VERITY),
                is_casefold: self.has(flag::CASEFOLD),
                is_compressed: self.has(flag::COMPRESSED),
                is_immutable: self.has(flag::IMMUTABLE),
                is_append_only: self.has(flag::APPEND),
            },
        })
    }

    fn device(&self) -> Result<Option<DeviceNumber>> {
        if !matches!(
            self.file_type,
            FileType::BlockDevice | FileType::CharacterDevice
        ) {
            return Ok(None);
        }
        let map = self.block_map()?;
        let (old, new) = (map.le_u32(0)?, map.le_u32(4)?);
        // 8 bits each in the first word, or 12 and 20 bits in the second.
        Ok(Some(if old != 0 {
            DeviceNumber {
                major: (old >> 8) & 0xFF,
                minor: old & 0xFF,
            }
        } else {
            DeviceNumber {
                major: (new & 0xF_FF00) >> 8,
                minor: (new & 0xFF) | ((new >> 12) & 0xF_FF00),
            }
        }))
    }
}

fn used_len(superblock: &Superblock, fields: &Fields<'_>) -> Result<usize> {
    if usize::from(superblock.inode_len) <= SHORT_LEN {
        return Ok(SHORT_LEN);
    }
    let extra = fields.le_u16(EXTRA_ISIZE)?;
    let used = SHORT_LEN.saturating_add(extra.into());
    if used > superblock.inode_len.into() || extra % 4 != 0 {
        let place = fields.place(EXTRA_ISIZE);
        return Err(Error::corrupt(
            "extra inode size",
            place,
            "a part of the inode",
            extra,
        ));
    }
    Ok(used)
}

fn check_checksum(fields: &Fields<'_>, seed: u32, used_len: usize) -> Result<()> {
    let has_high = used_len >= CHECKSUM_HI.saturating_add(2);
    let bytes = fields.bytes();
    let low = crc32c_with_hole(seed, fields.slice(0, SHORT_LEN)?, CHECKSUM_LO, 2);
    let behind = bytes.get(SHORT_LEN..).unwrap_or_default();
    let mut computed = if has_high {
        crc32c_with_hole(low, behind, CHECKSUM_HI.saturating_sub(SHORT_LEN), 2)
    } else {
        crc32c(low, behind)
    };
    let mut stored = u32::from(fields.le_u16(CHECKSUM_LO)?);
    if has_high {
        stored |= u32::from(fields.le_u16(CHECKSUM_HI)?) << 16;
    } else {
        computed &= 0xFFFF;
    }
    if computed != stored {
        let place = fields.place(CHECKSUM_LO);
        return Err(Error::corrupt(
            "inode checksum",
            place,
            "that of its bytes",
            stored,
        ));
    }
    Ok(())
}
