//! Does the image look complete? A copy that was cut short is told by a partition
//! table or a file system that says that the disk is larger. It is a doubt for people
//! to see, never a reason to refuse.
//!
//! Sources: UEFI 2.10 section 5.3 (GPT), Linux Documentation/filesystems/ext4/super.rst,
//! xfsprogs "XFS Algorithms & Data Structures" (superblock).

use crate::base::{ByteLen, ReadAt, format_byte_len};
use std::io;

const SECTOR: u64 = 512;
const MBR_SIGNATURE_OFFSET: usize = 510;
const MBR_TABLE_OFFSET: usize = 446;
const MBR_ENTRY_LEN: usize = 16;
const MBR_TYPE_PROTECTIVE: u8 = 0xee;
const GPT_MAGIC: &[u8] = b"EFI PART";
const GPT_BACKUP_LBA_OFFSET: usize = 32;
const EXT_SUPERBLOCK_OFFSET: u64 = 1024;
const EXT_MAGIC_OFFSET: usize = 0x38;
const EXT_MAGIC: u16 = 0xef53;
const EXT_FEATURE_INCOMPAT_OFFSET: usize = 0x60;
const EXT_INCOMPAT_64BIT: u32 = 0x80;
const XFS_MAGIC: &[u8] = b"XFSB";

/// What a short look at an image found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// There is a partition table: the disk of a machine.
    pub has_partitions: bool,
    /// Reasons to doubt that the image is complete.
    pub warnings: Vec<String>,
}

/// Looks at the first blocks of an image. What cannot be read is not there.
pub fn look(image: &dyn ReadAt) -> Look {
    let mut look = Look::default();
    if let Some((scheme, end)) = partition_end(image) {
        look.has_partitions = true;
        warn_if_larger(&mut look, image.len(), scheme, end);
    } else if let Some((name, len)) = file_system_len(image) {
        warn_if_larger(&mut look, image.len(), name, len);
    }
    look
}

/// Looks at the first bytes of an image of `len` bytes.
pub fn look_at_head(head: &[u8], len: ByteLen) -> Look {
    look(&Head { bytes: head, len })
}

/// The beginning of an image; the rest cannot be read.
struct Head<'a> {
    bytes: &'a [u8],
    len: ByteLen,
}

impl ReadAt for Head<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self
            .bytes
            .get(start..)
            .and_then(|rest| rest.get(..target.len()));
        let found = found.ok_or(io::ErrorKind::UnexpectedEof)?;
        target.copy_from_slice(found);
        Ok(())
    }
}

fn warn_if_larger(look: &mut Look, image_len: ByteLen, who: &str, claimed: ByteLen) {
    if claimed > image_len {
        look.warnings.push(format!(
            "suspect: the {who} says that the disk has at least {}, the image has {}; \
             it may have been cut short",
            format_byte_len(claimed),
            format_byte_len(image_len)
        ));
    }
}

/// Returns where the last partition or the backup of the table ends.
fn partition_end(image: &dyn ReadAt) -> Option<(&'static str, u64)> {
    let mbr: [u8; 512] = read(image, 0)?;
    if mbr.get(MBR_SIGNATURE_OFFSET..)? != [0x55, 0xaa] {
        return None;
    }
    let entries: Vec<&[u8]> = mbr
        .get(MBR_TABLE_OFFSET..MBR_SIGNATURE_OFFSET)?
        .chunks_exact(MBR_ENTRY_LEN)
        .collect();
    if entries
        .iter()
        .any(|entry| entry.get(4) == Some(&MBR_TYPE_PROTECTIVE))
    {
        for sector_len in [SECTOR, 4096] {
            let Some(header) = read::<512>(image, sector_len) else {
                continue;
            };
            if header.starts_with(GPT_MAGIC) {
                let end = u64_at(&header, GPT_BACKUP_LBA_OFFSET)?.checked_add(1)?;
                return Some(("partition table (GPT)", end.checked_mul(sector_len)?));
            }
        }
    }
    // A boot sector of a file system has the signature too, but no sane table.
    let is_sane = |entry: &&[u8]| {
        let is_used = entry.get(4).is_some_and(|kind| *kind != 0);
        let is_status = entry.first().is_some_and(|status| status & 0x7f == 0);
        let has_sectors = u32_at(entry, 12).is_some_and(|count| count > 0);
        let has_start = u32_at(entry, 8).is_some_and(|start| start > 0);
        is_used && is_status && has_sectors && has_start
    };
    let is_empty = |entry: &&[u8]| entry.iter().all(|byte| *byte == 0);
    if !entries
        .iter()
        .all(|entry| is_empty(entry) || is_sane(entry))
    {
        return None;
    }
    let ends = entries
        .iter()
        .filter(|entry| is_sane(entry))
        .filter_map(|entry| {
            let end = u64::from(u32_at(entry, 8)?) + u64::from(u32_at(entry, 12)?);
            end.checked_mul(SECTOR)
        });
    ends.max().map(|end| ("partition table (MBR)", end))
}

/// Returns the length of a file system that begins where the image begins.
fn file_system_len(image: &dyn ReadAt) -> Option<(&'static str, ByteLen)> {
    if let Some(superblock) = read::<0x160>(image, EXT_SUPERBLOCK_OFFSET)
        && u16_at(&superblock, EXT_MAGIC_OFFSET) == Some(EXT_MAGIC)
    {
        let low = u32_at(&superblock, 0x4)?;
        let is_64 = u32_at(&superblock, EXT_FEATURE_INCOMPAT_OFFSET)? & EXT_INCOMPAT_64BIT != 0;
        let high = if is_64 {
            u32_at(&superblock, 0x150)?
        } else {
            0
        };
        let count = (u64::from(high) << 32) | u64::from(low);
        let shift = u32_at(&superblock, 0x18)?;
        let fs_block_len = 1024_u64.checked_shl(shift).filter(|_| shift <= 6)?;
        return Some(("ext file system", count.checked_mul(fs_block_len)?));
    }
    let superblock: [u8; 512] = read(image, 0)?;
    if superblock.starts_with(XFS_MAGIC) {
        let fs_block_len = u64::from(u32::from_be_bytes(*superblock.get(4..)?.first_chunk()?));
        let count = u64::from_be_bytes(*superblock.get(8..)?.first_chunk()?);
        return Some(("XFS file system", count.checked_mul(fs_block_len)?));
    }
    None
}

fn read<const LEN: usize>(image: &dyn ReadAt, offset: u64) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    image.read_exact_at(offset, &mut bytes).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr(kind: u8, start: u32, count: u32, len: usize) -> Vec<u8> {
        let mut image = vec![0; len];
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        image[446 + 4] = kind;
        image[446 + 8..446 + 12].copy_from_slice(&start.to_le_bytes());
        image[446 + 12..446 + 16].copy_from_slice(&count.to_le_bytes());
        image
    }

    fn gpt(sectors: u64, len: usize) -> Vec<u8> {
        let mut image = mbr(MBR_TYPE_PROTECTIVE, 1, u32::MAX, len);
        image[512..520].copy_from_slice(GPT_MAGIC);
        image[544..552].copy_from_slice(&(sectors - 1).to_le_bytes());
        image
    }

    fn ext(count: u32, len: usize) -> Vec<u8> {
        let mut image = vec![0; len];
        image[1024 + 0x38..1024 + 0x3a].copy_from_slice(&EXT_MAGIC.to_le_bytes());
        image[1024 + 4..1024 + 8].copy_from_slice(&count.to_le_bytes());
        image
    }

    fn xfs(count: u64, len: usize) -> Vec<u8> {
        let mut image = vec![0; len];
        image[..4].copy_from_slice(XFS_MAGIC);
        image[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        image[8..16].copy_from_slice(&count.to_be_bytes());
        image
    }

    #[test]
    fn an_image_that_is_cut_short_is_suspect() {
        let cases = [
            ("nothing", vec![], false, 0),
            ("zeros", vec![0; 8192], false, 0),
            ("gpt, whole", gpt(16, 8192), true, 0),
            ("gpt, cut", gpt(17, 8192), true, 1),
            ("gpt, absurd", gpt(u64::MAX, 8192), false, 0),
            ("mbr, whole", mbr(0x83, 1, 15, 8192), true, 0),
            ("mbr, cut", mbr(0x83, 1, 16, 8192), true, 1),
            ("mbr, no size", mbr(0x83, 1, 0, 8192), false, 0),
            ("ext, whole", ext(8, 8192), false, 0),
            ("ext, cut", ext(9, 8192), false, 1),
            ("xfs, whole", xfs(2, 8192), false, 0),
            ("xfs, cut", xfs(3, 8192), false, 1),
            ("xfs, absurd", xfs(u64::MAX, 8192), false, 0),
        ];
        for (name, image, has_partitions, warning_count) in cases {
            let look = look(&image);
            assert_eq!(look.has_partitions, has_partitions, "{name}");
            assert_eq!(look.warnings.len(), warning_count, "{name}: {look:?}");
        }
    }
}
