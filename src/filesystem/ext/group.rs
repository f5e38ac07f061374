//! Group descriptors: where bitmaps and inode tables lie.
//!
//! Source: Linux documentation, filesystems/ext4 "Block Group Descriptors" and
//! "Meta Block Groups".

use super::checksum::{crc16, crc32c, crc32c_with_hole};
use super::superblock::{Superblock, feature};
use crate::base::Fields;
use crate::filesystem::{BlockReader, Error, Result, index_of};

const BLOCK_BITMAP_LO: usize = 0x00;
const INODE_BITMAP_LO: usize = 0x04;
const INODE_TABLE_LO: usize = 0x08;
const FREE_BLOCKS_COUNT_LO: usize = 0x0C;
const FREE_INODES_COUNT_LO: usize = 0x0E;
const FLAGS: usize = 0x12;
const BLOCK_BITMAP_CSUM_LO: usize = 0x18;
const CHECKSUM: usize = 0x1E;
const BLOCK_BITMAP_HI: usize = 0x20;
const INODE_BITMAP_HI: usize = 0x24;
const INODE_TABLE_HI: usize = 0x28;
const FREE_BLOCKS_COUNT_HI: usize = 0x2C;
const FREE_INODES_COUNT_HI: usize = 0x2E;
const BLOCK_BITMAP_CSUM_HI: usize = 0x38;
const WIDE_LEN: u16 = 64;
const FLAG_BLOCK_UNINIT: u16 = 2;

/// A block group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_clusters: u32,
    pub(super) free_inodes: u32,
    pub(super) block_bitmap_checksum: u32,
    pub(super) is_block_uninit: bool,
}

impl Group {
    /// Reads the descriptor of group `number`.
    pub(super) fn read(reader: &BlockReader, superblock: &Superblock, number: u32) -> Result<Self> {
        let per_block = superblock.descriptors_per_block();
        let (block_number, index) = (
            number.checked_div(per_block).unwrap_or(0),
            number.checked_rem(per_block).unwrap_or(0),
        );
        let block = place_of_block(superblock, block_number, per_block);
        let offset = superblock.offset_of(block);
        let bytes = reader.block(offset, superblock.block_size())?;
        let position = index_of(index).saturating_mul(usize::from(superblock.descriptor_len));
        let fields =
            Fields::new(&bytes, offset).part(position, superblock.descriptor_len.into())?;
        check_checksum(superblock, number, &fields)?;
        let group = Self::decode(superblock, &fields)?;
        group.validate(superblock, &fields)?;
        Ok(group)
    }

    fn decode(superblock: &Superblock, fields: &Fields<'_>) -> Result<Self> {
        let is_wide = superblock.descriptor_len >= WIDE_LEN;
        let wide = |low: usize, high: usize| -> Result<u64> {
            let high = if is_wide {
                u64::from(fields.le_u32(high)?) << 32
            } else {
                0
            };
            Ok(u64::from(fields.le_u32(low)?) | high)
        };
        let middle = |low: usize, high: usize| -> Result<u32> {
            let high = if is_wide {
                u32::from(fields.le_u16(high)?) << 16
            } else {
                0
            };
            Ok(u32::from(fields.le_u16(low)?) | high)
        };
        let has_flags = superblock.has(feature::GDT_CSUM | feature::METADATA_CSUM);
        Ok(Self {
            block_bitmap: wide(BLOCK_BITMAP_LO, BLOCK_BITMAP_HI)?,
            inode_bitmap: wide(INODE_BITMAP_LO, INODE_BITMAP_HI)?,
            inode_table: wide(INODE_TABLE_LO, INODE_TABLE_HI)?,
            free_clusters: middle(FREE_BLOCKS_COUNT_LO, FREE_BLOCKS_COUNT_HI)?,
            free_inodes: middle(FREE_INODES_COUNT_LO, FREE_INODES_COUNT_HI)?,
            block_bitmap_checksum: middle(BLOCK_BITMAP_CSUM_LO, BLOCK_BITMAP_CSUM_HI)?,
            is_block_uninit: has_flags && fields.le_u16(FLAGS)? & FLAG_BLOCK_UNINIT != 0,
        })
    }

    fn validate(&self, superblock: &Superblock, fields: &Fields<'_>) -> Result<()> {
        let table_blocks = inode_table_blocks(superblock);
        let places = [
            (self.block_bitmap, 1),
            (self.inode_bitmap, 1),
            (self.inode_table, table_blocks),
        ];
        for (block, count) in places {
            if !superblock.contains(block, count) {
                let expected = "blocks inside the file system";
                return Err(Error::corrupt(
                    "group descriptor",
                    fields.offset(),
                    expected,
                    block,
                ));
            }
        }
        Ok(())
    }
}

/// Returns the number of blocks of an inode table.
pub(super) fn inode_table_blocks(superblock: &Superblock) -> u64 {
    u64::from(superblock.inodes_per_group.get())
        .saturating_mul(superblock.inode_len.into())
        .div_ceil(u64::from(superblock.block_len.get()).max(1))
}

/// Returns where the descriptor block `number` lies.
fn place_of_block(superblock: &Superblock, number: u32, per_block: u32) -> u64 {
    // The superblock is in block 1 if blocks have 1 KiB, and in block 0 otherwise.
    let superblock_block = u64::from(superblock.block_len.get() == 1024);
    let number_wide = u64::from(number);
    if !superblock.has_incompat(feature::META_BG) || number < superblock.first_meta_bg {
        let start = match superblock.backup_group {
            0 => superblock_block,
            group => superblock.first_block_of(group),
        };
        return start.saturating_add(1).saturating_add(number_wide);
    }
    // The second group of each has the same, and so has the last.
    let is_backup = u32::from(superblock.backup_group != 0);
    let group = number.saturating_mul(per_block).saturating_add(is_backup);
    let is_shifted = superblock_block == 1 && number == 0 && superblock.first_data_block == 0;
    superblock
        .first_block_of(group)
        .saturating_add(superblock.has_superblock(group).into())
        .saturating_add(is_shifted.into())
}

fn check_checksum(superblock: &Superblock, number: u32, fields: &Fields<'_>) -> Result<()> {
    let stored = fields.le_u16(CHECKSUM)?;
    let bytes = fields.bytes();
    let computed = if superblock.has(feature::METADATA_CSUM) {
        let seed = crc32c(superblock.checksum_seed, &number.to_le_bytes());
        let [low, high, ..] = crc32c_with_hole(seed, bytes, CHECKSUM, 2).to_le_bytes();
        u16::from_le_bytes([low, high])
    } else if superblock.has(feature::GDT_CSUM) {
        let seed = crc16(crc16(!0, &superblock.uuid), &number.to_le_bytes());
        let before = crc16(seed, fields.slice(0, CHECKSUM)?);
        crc16(before, fields.rest(CHECKSUM.saturating_add(2)))
    } else {
        return Ok(());
    };
    if computed != stored {
        let place = fields.place(CHECKSUM);
        return Err(Error::corrupt(
            "group descriptor checksum",
            place,
            "that of its bytes",
            stored,
        ));
    }
    Ok(())
}
