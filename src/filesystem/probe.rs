//! Recognition by magic: what fills an image, and why it cannot be browsed.
//!
//! Source: the public documentation of each format; `file` and `blkid` know the same
//! numbers. A magic is a hint: the reader decides. FAT has none; it is known by a boot
//! sector whose numbers can be.

use super::error::{Error, Result};
use super::{ext, fat, ntfs};
use crate::base::{ByteOffset, ReadAt};
use std::sync::Arc;

/// What was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The format: `ext`, `xfs`, `luks` and so on.
    pub format: &'static str,
    /// Why it cannot be browsed; `None` if there is a reader.
    pub unreadable: Option<&'static str>,
}

struct Magic {
    format: &'static str,
    unreadable: Option<&'static str>,
    offset: ByteOffset,
    bytes: &'static [u8],
}

const NO_READER: Option<&str> = Some("Tintype has no reader for it");
const ENCRYPTED: Option<&str> = Some("it is encrypted, and Tintype has no key");
const MEMBER: Option<&str> = Some("it is part of a volume that Tintype does not assemble");

const HASHES: Option<&str> = Some("it holds the hashes of another volume");

const fn magic(
    format: &'static str,
    unreadable: Option<&'static str>,
    offset: ByteOffset,
    bytes: &'static [u8],
) -> Magic {
    Magic {
        format,
        unreadable,
        offset,
        bytes,
    }
}

/// Containers first: what they hold may begin with a magic of its own.
const MAGICS: [Magic; 41] = [
    magic("luks", ENCRYPTED, 0, b"LUKS\xBA\xBE"),
    magic("luks", ENCRYPTED, 0x4000, b"SKUL\xBA\xBE"),
    magic("bitlocker", ENCRYPTED, 3, b"-FVE-FS-"),
    magic("mdraid", MEMBER, 0, &[0xFC, 0x4E, 0x2B, 0xA9]),
    magic("mdraid", MEMBER, 4096, &[0xFC, 0x4E, 0x2B, 0xA9]),
    magic("lvm", MEMBER, 0, b"LABELONE"),
    magic("lvm", MEMBER, 512, b"LABELONE"),
    magic("lvm", MEMBER, 1024, b"LABELONE"),
    magic("lvm", MEMBER, 1536, b"LABELONE"),
    // Superblocks of the data and metadata devices of thin pools lie behind a checksum.
    magic("lvm-thin", MEMBER, 32, &27_022_010_u64.to_le_bytes()),
    magic("vdo", MEMBER, 0, b"dmvdo001"),
    magic("bcache", MEMBER, 4096 + 24, &BCACHE),
    magic("bcachefs", NO_READER, 4096 + 24, &BCACHEFS),
    magic("verity", HASHES, 0, b"verity\0\0"),
    magic("drbd", MEMBER, 0, b"\x83\x74\x02\x6b"),
    magic("xfs", None, 0, b"XFSB"),
    magic("ext", None, 1080, &[0x53, 0xEF]),
    magic("btrfs", None, 0x1_0040, b"_BHRfS_M"),
    magic("ntfs", None, 3, b"NTFS    "),
    magic("refs", NO_READER, 3, b"ReFS\0\0\0\0"),
    magic("exfat", None, 3, b"EXFAT   "),
    magic("f2fs", NO_READER, 1024, &[0x10, 0x20, 0xF5, 0xF2]),
    magic("nilfs2", NO_READER, 1030, &[0x34, 0x34]),
    magic("reiserfs", NO_READER, 0x1_0034, b"ReIsErFs"),
    magic("reiserfs", NO_READER, 0x1_0034, b"ReIsEr2Fs"),
    magic("reiserfs", NO_READER, 0x1_0034, b"ReIsEr3Fs"),
    magic("reiser4", NO_READER, 0x1_0000, b"ReIsEr4"),
    magic("jfs", NO_READER, 0x8000, b"JFS1"),
    magic("hfsplus", NO_READER, 1024, b"H+\0\x04"),
    magic("hfsplus", NO_READER, 1024, b"HX\0\x05"),
    magic("hfs", NO_READER, 1024, b"BD\xD2"),
    magic("apfs", NO_READER, 32, b"NXSB"),
    magic("squashfs", NO_READER, 0, b"hsqs"),
    magic("erofs", NO_READER, 1024, &[0xE2, 0xE1, 0xF5, 0xE0]),
    magic("cramfs", NO_READER, 0, &[0x45, 0x3D, 0xCD, 0x28]),
    magic("minix", NO_READER, 1040, &[0x7F, 0x13]),
    magic("udf", NO_READER, 0x8801, b"NSR"),
    magic("udf", NO_READER, 0x9001, b"NSR"),
    magic("iso9660", NO_READER, 0x8001, b"CD001"),
    magic("udf", NO_READER, 0x8001, b"BEA01"),
    magic("vmfs", NO_READER, 0x10_0000, &[0x0D, 0xD0, 0x01, 0xC0]),
];

const FAT: Recognized = Recognized {
    format: "fat",
    unreadable: None,
};

const BCACHE: [u8; 16] = [
    0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81,
];
const BCACHEFS: [u8; 16] = [
    0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF,
];

/// The magic in the first copy of the superblock of btrfs.
const BTRFS_COPY: (ByteOffset, &[u8]) = (0x400_0040, b"_BHRfS_M");

/// Other byte orders and places of the UFS magic.
const UFS: [(ByteOffset, [u8; 4]); 4] = [
    (8192 + 1372, 0x0001_1954_u32.to_le_bytes()),
    (8192 + 1372, 0x0001_1954_u32.to_be_bytes()),
    (65_536 + 1372, 0x1954_0119_u32.to_le_bytes()),
    (65_536 + 1372, 0x1954_0119_u32.to_be_bytes()),
];

/// A ZFS label has an array of uberblocks from 128 KiB on.
const ZFS_FIRST: ByteOffset = 128 << 10;
const ZFS_STEP: usize = 1024;
const ZFS_COUNT: u64 = 128;
const ZFS_MAGIC: u64 = 0x00BA_B10C;

const SWAP_PAGE_LENS: [u64; 5] = [4096, 8192, 16_384, 32_768, 65_536];
const SWAP_MAGICS: [&[u8]; 4] = [b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND", b"S2SUSPEND"];
/// What the kernel and those before it write in the place of the magic of swap space.
const SUSPEND_MAGICS: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];

/// Recognises what fills `image`.
///
/// # Errors
///
/// Only if reading fails.
pub fn probe(image: &Arc<dyn ReadAt>) -> Result<Option<Recognized>> {
    for magic in &MAGICS {
        if has(image, magic.offset, magic.bytes)? {
            let Magic {
                format, unreadable, ..
            } = *magic;
            let found = Recognized { format, unreadable };
            return Ok(Some(newer_in_front(image, format)?.unwrap_or(found)));
        }
    }
    // Below the magic numbers: others keep an old boot sector in front of theirs.
    let fat = fat::recognize(&**image)?;
    if fat == Some(fat::Likeness::Named) {
        return Ok(Some(FAT));
    }
    for (offset, bytes) in &UFS {
        if has(image, *offset, bytes)? {
            return Ok(Some(Recognized {
                format: "ufs",
                unreadable: NO_READER,
            }));
        }
    }
    if is_swap(image)? {
        return Ok(Some(Recognized {
            format: "swap",
            unreadable: Some("swap space holds no files"),
        }));
    }
    if is_old_raid(image)? {
        return Ok(Some(Recognized {
            format: "mdraid",
            unreadable: MEMBER,
        }));
    }
    if is_zfs(image)? {
        return Ok(Some(Recognized {
            format: "zfs",
            unreadable: NO_READER,
        }));
    }
    // FAT is weak, and a copy may be a leftover: they count only where nothing else is.
    if fat.is_some() {
        return Ok(Some(FAT));
    }
    let (offset, bytes) = BTRFS_COPY;
    if has(image, offset, bytes)? {
        return Ok(Some(Recognized {
            format: "btrfs",
            unreadable: None,
        }));
    }
    let format = if ntfs::has_copy(&**image)? {
        "ntfs"
    } else if fat::backup::has_copy(&**image)? {
        "fat"
    } else if ext::has_backup(&**image)? {
        "ext"
    } else {
        return Ok(None);
    };
    Ok(Some(Recognized {
        format,
        unreadable: None,
    }))
}

/// Returns what lies in front of an ext or btrfs and is newer than that: their makers wipe
/// the boot sector (mke2fs 1 KiB, mkfs.btrfs 2 MiB), and those of Windows leave what is
/// behind theirs.
fn newer_in_front(image: &Arc<dyn ReadAt>, format: &str) -> Result<Option<Recognized>> {
    let found = match format {
        "ext" | "btrfs" if ntfs::has_mft(&**image)? => Some("ntfs"),
        "ext" | "btrfs" if is_exfat(image)? => Some("exfat"),
        "btrfs" if fat::recognize(&**image)? == Some(fat::Likeness::Named) => Some("fat"),
        _ => None,
    };
    Ok(found.map(|format| Recognized {
        format,
        unreadable: None,
    }))
}

/// Tells whether the boot sector is that of an exFAT, by more than its name: it has zeros
/// where FAT has its numbers.
///
/// Source: exFAT file system specification, section 3.1.3.
fn is_exfat(image: &Arc<dyn ReadAt>) -> Result<bool> {
    Ok(has(image, 3, b"EXFAT   ")? && has(image, 11, &[0; 53])? && has(image, 510, &[0x55, 0xAA])?)
}

/// Returns every format that something in `image` is a mark of, each once: what fills it
/// can only be told where it is one. Copies that often outlive their file system (those of
/// btrfs and NTFS) do not count.
///
/// # Errors
///
/// Only if reading fails.
pub fn probe_all(image: &Arc<dyn ReadAt>) -> Result<Vec<&'static str>> {
    let mut found = vec![];
    for magic in &MAGICS {
        if has(image, magic.offset, magic.bytes)? {
            found.push(magic.format);
        }
    }
    for (offset, bytes) in &UFS {
        if has(image, *offset, bytes)? {
            found.push("ufs");
        }
    }
    if is_swap(image)? {
        found.push("swap");
    }
    if is_old_raid(image)? || is_firmware_raid(image)? {
        found.push("mdraid");
    }
    if is_zfs(image)? {
        found.push("zfs");
    }
    if fat::recognize(&**image)?.is_some() {
        found.push("fat");
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// RAID of the firmware has its metadata in the last sectors of the whole disk.
///
/// Source: SNIA DDF 2.0, section 5.5 (anchor header); mdadm's documentation of IMSM.
fn is_firmware_raid(image: &Arc<dyn ReadAt>) -> Result<bool> {
    const DDF: [u8; 4] = [0xDE, 0x11, 0xDE, 0x11];
    const INTEL: &[u8] = b"Intel Raid ISM Cfg Sig. ";
    let from_end = |len| image.len().checked_sub(len).unwrap_or(u64::MAX);
    Ok(has(image, from_end(512), &DDF)? || has(image, from_end(1024), INTEL)?)
}

/// Tells whether `image` is swap space with the memory of a machine that sleeps: it will go
/// on with what it knew of its mounted file systems.
///
/// # Errors
///
/// Only if reading fails.
pub fn is_suspended(image: &Arc<dyn ReadAt>) -> Result<bool> {
    for page_len in SWAP_PAGE_LENS {
        for bytes in SUSPEND_MAGICS {
            if has(image, page_len.saturating_sub(10), bytes)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_swap(image: &Arc<dyn ReadAt>) -> Result<bool> {
    for page_len in SWAP_PAGE_LENS {
        for bytes in SWAP_MAGICS {
            if has(image, page_len.saturating_sub(10), bytes)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn has(image: &Arc<dyn ReadAt>, offset: ByteOffset, bytes: &[u8]) -> Result<bool> {
    let end = offset.checked_add(super::len_of(bytes));
    if end.is_none_or(|end| end > image.len()) {
        return Ok(false);
    }
    let mut found = vec![0; bytes.len()];
    image.read_exact_at(offset, &mut found).map_err(Error::Io)?;
    Ok(found == bytes)
}

/// MD RAID superblocks 0.90 and 1.0 lie at the end.
fn is_old_raid(image: &Arc<dyn ReadAt>) -> Result<bool> {
    const MAGIC: [u8; 4] = [0xFC, 0x4E, 0x2B, 0xA9];
    const BLOCK: u64 = 64 << 10;
    let len = image.len();
    let Some(v090) = (len / BLOCK)
        .checked_sub(1)
        .map(|number| number.saturating_mul(BLOCK))
    else {
        return Ok(false);
    };
    let v10 = (len.saturating_sub(8192) / 4096).saturating_mul(4096);
    Ok(has(image, v090, &MAGIC)? || has(image, v10, &MAGIC)?)
}

fn is_zfs(image: &Arc<dyn ReadAt>) -> Result<bool> {
    if image.len() < ZFS_FIRST.saturating_mul(2) {
        return Ok(false);
    }
    let mut array = vec![0; ZFS_STEP.saturating_mul(super::index_of(ZFS_COUNT))];
    image
        .read_exact_at(ZFS_FIRST, &mut array)
        .map_err(Error::Io)?;
    let (little, big) = (ZFS_MAGIC.to_le_bytes(), ZFS_MAGIC.to_be_bytes());
    Ok(array
        .chunks(ZFS_STEP)
        .any(|block| block.starts_with(&little) || block.starts_with(&big)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognized(offset: ByteOffset, bytes: &[u8]) -> Option<&'static str> {
        let mut image = vec![0; 2 << 20];
        let start = usize::try_from(offset).unwrap();
        image[start..start + bytes.len()].copy_from_slice(bytes);
        let image: Arc<dyn ReadAt> = Arc::new(image);
        probe(&image).unwrap().map(|found| found.format)
    }

    #[test]
    fn every_magic_is_recognised_at_its_place() {
        for magic in &MAGICS {
            assert_eq!(recognized(magic.offset, magic.bytes), Some(magic.format));
        }
        assert_eq!(recognized(4086, b"SWAPSPACE2"), Some("swap"));
        assert_eq!(
            recognized((128 << 10) + 5 * 1024, &ZFS_MAGIC.to_be_bytes()),
            Some("zfs")
        );
        assert_eq!(
            recognized((2 << 20) - (64 << 10), &[0xFC, 0x4E, 0x2B, 0xA9]),
            Some("mdraid")
        );
        assert_eq!(recognized(0, b"nothing"), None);
    }

    #[test]
    fn a_short_image_is_nothing() {
        for len in [0, 1, 512, 1081] {
            let image: Arc<dyn ReadAt> = Arc::new(vec![0; len]);
            assert_eq!(probe(&image).unwrap(), None);
        }
    }
}
