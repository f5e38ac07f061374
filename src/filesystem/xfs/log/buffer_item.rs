//! Items that say which parts of which block changed, and those that make new inodes.

use super::super::inode::field as inode_field;
use super::super::volume::to_usize;
use super::is_at_least;
use super::replay::{FLAG_CANCEL, FLAG_INODE_BUFFER, Replay, buffer_key};
use super::transaction::Item;
use crate::base::{ByteOffset, Fields, ReadAt};
use crate::filesystem::{Error, Result, len_of};

/// Bytes that one bit of the map of a buffer item stands for (`XFS_BLF_CHUNK`).
const CHUNK_LEN: u64 = 128;

/// Words of the longest map: 64 KiB in chunks, and one.
const MAP_WORDS_MAX: u32 = 17;

/// Buffers of dquots.
const FLAGS_DQUOT: u16 = 0x1C;

/// Where blocks of version 5 have their sequence number and UUID, by magic number.
///
/// Source: `xfs_format.h`, `xfs_da_format.h`, `xfs_log_recover.c` (which of them the
/// kernel trusts).
const LONG_MAGICS: [(u32, usize, usize); 19] = [
    (0x4142_5442, 24, 32),
    (0x4142_5443, 24, 32),
    (0x4142_3342, 24, 32),
    (0x4142_3343, 24, 32),
    (0x4941_4254, 24, 32),
    (0x4941_4233, 24, 32),
    (0x4649_4254, 24, 32),
    (0x4649_4233, 24, 32),
    (0x524D_4233, 24, 32),
    (0x5233_4643, 24, 32),
    (0x424D_4150, 32, 40),
    (0x424D_4133, 32, 40),
    (0x5841_4746, 208, 64),
    (0x5841_464C, 24, 8),
    (0x5841_4749, 320, 296),
    (0x5853_4C4D, 48, 16),
    (0x5844_4233, 16, 24),
    (0x5844_4433, 16, 24),
    (0x5844_4633, 16, 24),
];

/// The superblock, whose UUID depends on its features.
const SUPERBLOCK_MAGIC: u32 = super::super::superblock::MAGIC;
const SUPERBLOCK_LSN: usize = 240;

/// The same for leaves and nodes, whose magic number is the 9th and 10th byte.
const SHORT_MAGICS: [u16; 4] = [0x3DF1, 0x3DFF, 0x3EBE, 0x3BEE];
const SHORT_LSN: usize = 24;
const SHORT_UUID: usize = 32;

impl Replay<'_> {
    /// Replays a buffer item.
    pub(super) fn buffer(&mut self, item: &Item, lsn: u64) -> Result<()> {
        let format = item.format();
        let flags = format.le_u16(4)?;
        let (block, len) = buffer_key(item)?;
        if flags & FLAG_CANCEL != 0 {
            self.pass_cancelled(block, len);
            return Ok(());
        }
        // Of buffers of inodes only the lists of deleted files are replayed.
        let is_invisible = flags & (FLAG_INODE_BUFFER | FLAGS_DQUOT) != 0;
        if is_invisible || self.is_cancelled(block, len) {
            return Ok(());
        }
        let start = block.saturating_mul(512);
        if self.is_newer(start, block, len, lsn)? {
            return Ok(());
        }
        self.replayed.insert(block);
        self.put_regions(item, start, u64::from(len).saturating_mul(512))
    }

    /// Copies the regions to where the set bits of the map are.
    fn put_regions(&mut self, item: &Item, start: ByteOffset, len: u64) -> Result<()> {
        let format = item.format();
        let words = format.le_u32(16)?;
        if words > MAP_WORDS_MAX {
            return Err(Error::corrupt("blf_map_size", start, "at most 17", words));
        }
        let bit_count = u64::from(words).saturating_mul(32);
        let is_set = |bit: u64| -> Result<bool> {
            let word = format.le_u32(to_usize(bit / 32).saturating_mul(4).saturating_add(20))?;
            let shift = u32::try_from(bit % 32).unwrap_or(0);
            Ok(word.checked_shr(shift).unwrap_or(0) & 1 != 0)
        };
        let mut regions = item.regions.iter().skip(1);
        let mut bit = 0;
        while bit < bit_count {
            if !is_set(bit)? {
                bit = u64::saturating_add(bit, 1);
                continue;
            }
            let mut end = bit;
            while end < bit_count && is_set(end)? {
                end = u64::saturating_add(end, 1);
            }
            // A run that crosses a page of the kernel's memory is logged in two regions.
            let run_len = end.saturating_sub(bit).saturating_mul(CHUNK_LEN);
            let Some(region) = regions.next().filter(|region| len_of(region) >= CHUNK_LEN) else {
                let expected = "a region for each run";
                return Err(Error::corrupt("blf_data_map", start, expected, bit));
            };
            let whole_chunks = len_of(region) & !CHUNK_LEN.wrapping_sub(1);
            let region_len = run_len.min(whole_chunks);
            let inside = bit.saturating_mul(CHUNK_LEN);
            if inside.saturating_add(region_len) > len {
                return Err(Error::corrupt(
                    "blf_data_map",
                    start,
                    "inside the buffer",
                    bit,
                ));
            }
            let bytes = region.get(..to_usize(region_len)).unwrap_or_default();
            self.put(start.saturating_add(inside), bytes)?;
            bit = bit.saturating_add(region_len / CHUNK_LEN);
        }
        Ok(())
    }

    /// Changes the image; a place beyond it is damage, not a fault of the medium.
    pub(super) fn put(&mut self, offset: ByteOffset, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(len_of(bytes));
        if end > self.overlay.len() || end > self.superblock.len() {
            let expected = "a place inside the file system";
            return Err(Error::corrupt("logged block", offset, expected, end));
        }
        self.overlay.write_at(offset, bytes).map_err(Error::Io)
    }

    /// Reads the image as it is by now.
    pub(super) fn get(&self, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(len_of(target));
        if end > self.overlay.len() {
            let expected = "a place inside the image";
            return Err(Error::corrupt("logged block", offset, expected, end));
        }
        self.overlay
            .read_exact_at(offset, target)
            .map_err(Error::Io)
    }

    /// Tells whether what is on disk is as new as this transaction. Version 4 cannot
    /// tell; there everything is replayed.
    fn is_newer(&self, start: ByteOffset, block: u64, len: u32, lsn: u64) -> Result<bool> {
        if !self.superblock.features.is_v5() || self.replayed.contains(&block) || len == 0 {
            return Ok(false);
        }
        let mut first = [0; 512];
        self.get(start, &mut first)?;
        let stored = self.stored_lsn(&Fields::new(&first, start))?;
        Ok(stored
            .is_some_and(|stored| stored != 0 && stored != u64::MAX && is_at_least(stored, lsn)))
    }

    fn stored_lsn(&self, fields: &Fields<'_>) -> Result<Option<u64>> {
        let magic = fields.be_u32(0)?;
        let mut known = LONG_MAGICS
            .iter()
            .find(|(known, _, _)| *known == magic)
            .map(|(_, lsn, uuid)| (*lsn, *uuid));
        if magic == SUPERBLOCK_MAGIC {
            let uuid = if self.superblock.features.has_meta_uuid() {
                248
            } else {
                32
            };
            known = Some((SUPERBLOCK_LSN, uuid));
        }
        if known.is_none() && SHORT_MAGICS.contains(&fields.be_u16(8)?) {
            known = Some((SHORT_LSN, SHORT_UUID));
        }
        let Some((lsn, uuid)) = known else {
            return Ok(None);
        };
        // A left-over of an older file system has no say.
        let is_ours = fields.array::<16>(uuid)? == self.superblock.meta_uuid;
        Ok(is_ours.then_some(fields.be_u64(lsn)?))
    }

    /// Makes the inodes that an item promises: free ones, with their numbers.
    pub(super) fn create_inodes(&mut self, item: &Item) -> Result<()> {
        let format = item.format();
        let group = format.be_u32(4)?;
        let first_block = u64::from(format.be_u32(8)?);
        let count = u64::from(format.be_u32(12)?);
        let inode_len = u64::from(format.be_u32(16)?);
        let block_count = u64::from(format.be_u32(20)?);
        let generation = format.be_u32(24)?;
        let superblock = self.superblock;
        let expected_len = block_count.saturating_mul(superblock.block_len());
        let start = superblock.group_block_offset(group, first_block)?;
        let is_right = to_usize(inode_len) == superblock.inode_len()
            && count.saturating_mul(inode_len) == expected_len
            && count <= 64
            && first_block.saturating_add(block_count) <= superblock.group_block_count(group);
        if !is_right {
            let expected = "at most 64 inodes in whole blocks";
            return Err(Error::corrupt("icl_count", start, expected, count));
        }
        if self.has_cancelled_cluster(start, expected_len) {
            return Ok(());
        }
        let group_bits = u64::from(group)
            .checked_shl(superblock.ag_block_log)
            .unwrap_or(0);
        let first = (group_bits | first_block)
            .checked_shl(superblock.inodes_per_block_log())
            .unwrap_or(0);
        for index in 0..count {
            let inode = new_inode(superblock, first.saturating_add(index), generation);
            self.put(
                start.saturating_add(index.saturating_mul(inode_len)),
                &inode,
            )?;
        }
        Ok(())
    }

    /// Tells whether the new inodes are freed later in the log.
    fn has_cancelled_cluster(&self, start: ByteOffset, len: u64) -> bool {
        let cluster = cluster_len(self.superblock);
        let sectors = u32::try_from(cluster >> 9).unwrap_or(u32::MAX);
        let mut offset = 0;
        while offset < len {
            if self.is_cancelled(start.saturating_add(offset) >> 9, sectors) {
                return true;
            }
            offset = offset.saturating_add(cluster);
        }
        false
    }
}

/// Returns how many bytes of inodes the kernel reads and frees at once.
fn cluster_len(superblock: &super::super::superblock::Superblock) -> u64 {
    // 8 KiB for inodes of 256 bytes, and as many inodes for larger ones, if they are
    // aligned so.
    let scaled = 8192_u64.saturating_mul(len_ratio(superblock));
    let alignment = u64::from(superblock.inode_alignment).saturating_mul(superblock.block_len());
    let raw = if alignment >= scaled { scaled } else { 8192 };
    raw.max(superblock.block_len())
}

fn len_ratio(superblock: &super::super::superblock::Superblock) -> u64 {
    match superblock.features.is_v5() {
        true => u64::try_from(superblock.inode_len() / 256).unwrap_or(1),
        false => 1,
    }
}

/// Returns a free inode of version 3.
fn new_inode(
    superblock: &super::super::superblock::Superblock,
    number: u64,
    generation: u32,
) -> Vec<u8> {
    let mut inode = vec![0; superblock.inode_len()];
    let mut set = |position: usize, bytes: &[u8]| {
        let end = position.saturating_add(bytes.len());
        if let Some(target) = inode.get_mut(position..end) {
            target.copy_from_slice(bytes);
        }
    };
    set(0, b"IN");
    set(inode_field::VERSION, &[3]);
    set(inode_field::GENERATION, &generation.to_be_bytes());
    // The end of the list of deleted files.
    set(96, &u32::MAX.to_be_bytes());
    set(inode_field::INODE, &number.to_be_bytes());
    set(inode_field::UUID, &superblock.meta_uuid);
    inode
}
