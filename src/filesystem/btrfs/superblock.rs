//! The superblock and its copies.
//!
//! Source: btrfs documentation, "On-disk format" (superblock, incompat flags).

use super::checksum::{CSUM_FIELD_LEN, ChecksumKind};
use crate::base::{ByteLen, ByteOffset, Fields, ReadAt};
use crate::filesystem::{Error, Result, len_of};

/// Places of the superblock and its copies; a smaller device has fewer.
pub(super) const PLACES: [ByteOffset; 3] = [64 << 10, 64 << 20, 256 << 30];

/// Bytes of a superblock.
pub(super) const SUPERBLOCK_LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"_BHRfS_M";

const FSID: usize = 32;
const BYTENR: usize = 48;
const FLAGS: usize = 56;
const MAGIC_AT: usize = 64;
const GENERATION: usize = 72;
const ROOT: usize = 80;
const CHUNK_ROOT: usize = 88;
const LOG_ROOT: usize = 96;
const TOTAL_BYTES: usize = 112;
const BYTES_USED: usize = 120;
const ROOT_DIR_OBJECTID: usize = 128;
const NUM_DEVICES: usize = 136;
const SECTORSIZE: usize = 144;
const NODESIZE: usize = 148;
const SYS_CHUNK_ARRAY_SIZE: usize = 160;
const CHUNK_ROOT_GENERATION: usize = 164;
const COMPAT_RO_FLAGS: usize = 180;
const INCOMPAT_FLAGS: usize = 188;
const CSUM_TYPE: usize = 196;
const ROOT_LEVEL: usize = 198;
const CHUNK_ROOT_LEVEL: usize = 199;
const LOG_ROOT_LEVEL: usize = 200;
const DEV_ITEM: usize = 201;
const DEV_TOTAL_BYTES: usize = DEV_ITEM + 8;
const DEV_BYTES_USED: usize = DEV_ITEM + 16;
const LABEL: usize = 299;
const LABEL_LEN: usize = 256;
const METADATA_UUID: usize = 571;
const SYS_CHUNK_ARRAY: usize = 811;
const SYS_CHUNK_ARRAY_LEN: usize = 2048;

/// Features that a reader must know.
pub(super) mod incompat {
    pub(crate) const MIXED_GROUPS: u64 = 1 << 2;
    pub(crate) const METADATA_UUID: u64 = 1 << 10;
    pub(crate) const ZONED: u64 = 1 << 12;
    pub(crate) const EXTENT_TREE_V2: u64 = 1 << 13;
    pub(crate) const RAID_STRIPE_TREE: u64 = 1 << 14;
}

/// Features that only a writer must know.
pub(super) mod compat_ro {
    pub(crate) const BLOCK_GROUP_TREE: u64 = 1 << 3;
}

const INCOMPAT_NAMES: [(u64, &str); 16] = [
    (1, "mixed-backref"),
    (1 << 1, "default-subvol"),
    (incompat::MIXED_GROUPS, "mixed-bg"),
    (1 << 3, "compress-lzo"),
    (1 << 4, "compress-zstd"),
    (1 << 5, "big-metadata"),
    (1 << 6, "extref"),
    (1 << 7, "raid56"),
    (1 << 8, "skinny-metadata"),
    (1 << 9, "no-holes"),
    (incompat::METADATA_UUID, "metadata-uuid"),
    (1 << 11, "raid1c34"),
    (incompat::ZONED, "zoned"),
    (incompat::EXTENT_TREE_V2, "extent-tree-v2"),
    (incompat::RAID_STRIPE_TREE, "raid-stripe-tree"),
    (1 << 16, "squota"),
];

/// Known, and in need of another reader.
const UNREADABLE: u64 = incompat::ZONED | incompat::EXTENT_TREE_V2 | incompat::RAID_STRIPE_TREE;

const COMPAT_RO_NAMES: [(u64, &str); 4] = [
    (1, "free-space-tree"),
    (1 << 1, "free-space-tree-valid"),
    (1 << 2, "verity"),
    (compat_ro::BLOCK_GROUP_TREE, "block-group-tree"),
];

/// Set by `btrfs-image`: the content of files is not there.
const FLAG_METADUMP: u64 = 1 << 33 | 1 << 34;
/// A tool that changes the whole file system was interrupted.
const FLAG_CHANGING: u64 = 1 << 35 | 1 << 38 | 1 << 39 | 1 << 40;

/// What is known of the whole file system.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    /// Which of [`PLACES`] it was read from.
    pub(super) place: ByteOffset,
    pub(super) fsid: [u8; 16],
    /// What blocks of metadata carry.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) flags: u64,
    pub(super) generation: u64,
    pub(super) root: u64,
    pub(super) root_level: u8,
    pub(super) chunk_root: u64,
    pub(super) chunk_root_level: u8,
    pub(super) chunk_root_generation: u64,
    /// 0 if there is none.
    pub(super) log_root: u64,
    pub(super) log_root_level: u8,
    pub(super) total_bytes: ByteLen,
    pub(super) bytes_used: ByteLen,
    pub(super) root_dir: u64,
    pub(super) device_count: u64,
    pub(super) device_id: u64,
    pub(super) device_bytes: ByteLen,
    pub(super) device_bytes_used: ByteLen,
    pub(super) sector_len: u32,
    pub(super) node_len: u32,
    pub(super) compat_ro: u64,
    pub(super) incompat: u64,
    pub(super) checksum: ChecksumKind,
    pub(super) label: Vec<u8>,
    /// Keys and chunks, one after the other.
    pub(super) system_chunks: Vec<u8>,
}

impl Superblock {
    /// Reads the newest good one of the copies.
    ///
    /// # Errors
    ///
    /// What is wrong with the first one if none is good.
    pub(super) fn read(image: &dyn ReadAt) -> Result<Self> {
        let mut first_error = None;
        let mut best: Option<Self> = None;
        for place in PLACES {
            let end = place.saturating_add(len_of(&[0; SUPERBLOCK_LEN]));
            if end > image.len() {
                break;
            }
            let mut bytes = [0; SUPERBLOCK_LEN];
            image.read_exact_at(place, &mut bytes)?;
            match Self::decode(&bytes, place) {
                Ok(found) => {
                    // A copy of another file system was left by somebody before us.
                    let is_newer = best.as_ref().is_none_or(|best| {
                        best.fsid == found.fsid && best.generation < found.generation
                    });
                    if is_newer {
                        best = Some(found);
                    }
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        best.ok_or_else(|| {
            first_error.unwrap_or_else(|| Error::unsupported("not a btrfs file system"))
        })
    }

    fn decode(bytes: &[u8], place: ByteOffset) -> Result<Self> {
        let fields = Fields::new(bytes, place);
        if fields.array(MAGIC_AT)? != MAGIC {
            return Err(Error::unsupported("not a btrfs file system"));
        }
        let checksum = ChecksumKind::from_number(fields.le_u16(CSUM_TYPE)?)?;
        if !checksum.is_right(fields.rest(CSUM_FIELD_LEN), bytes) {
            let found = fields.le_u32(0)?;
            let expected = "that of its bytes";
            return Err(Error::corrupt(
                "superblock checksum",
                place,
                expected,
                found,
            ));
        }
        check(&fields, BYTENR, "bytenr", "its own place", |found| {
            found == place
        })?;
        let incompat = fields.le_u64(INCOMPAT_FLAGS)?;
        check_features(incompat, fields.le_u64(FLAGS)?)?;
        let fsid = fields.array(FSID)?;
        let metadata_uuid = match incompat & incompat::METADATA_UUID {
            0 => fsid,
            _ => fields.array(METADATA_UUID)?,
        };
        let array_len = fields.le_u32(SYS_CHUNK_ARRAY_SIZE)?;
        let array = fields.part(SYS_CHUNK_ARRAY, SYS_CHUNK_ARRAY_LEN)?;
        let label = fields.slice(LABEL, LABEL_LEN)?;
        let label_end = label.iter().position(|byte| *byte == 0);
        Ok(Self {
            place,
            fsid,
            metadata_uuid,
            flags: fields.le_u64(FLAGS)?,
            generation: fields.le_u64(GENERATION)?,
            root: fields.le_u64(ROOT)?,
            root_level: fields.u8(ROOT_LEVEL)?,
            chunk_root: fields.le_u64(CHUNK_ROOT)?,
            chunk_root_level: fields.u8(CHUNK_ROOT_LEVEL)?,
            chunk_root_generation: fields.le_u64(CHUNK_ROOT_GENERATION)?,
            log_root: fields.le_u64(LOG_ROOT)?,
            log_root_level: fields.u8(LOG_ROOT_LEVEL)?,
            total_bytes: fields.le_u64(TOTAL_BYTES)?,
            bytes_used: fields.le_u64(BYTES_USED)?,
            root_dir: fields.le_u64(ROOT_DIR_OBJECTID)?,
            device_count: fields.le_u64(NUM_DEVICES)?,
            device_id: fields.le_u64(DEV_ITEM)?,
            device_bytes: fields.le_u64(DEV_TOTAL_BYTES)?,
            device_bytes_used: fields.le_u64(DEV_BYTES_USED)?,
            sector_len: block_len(&fields, SECTORSIZE, "sectorsize")?,
            node_len: block_len(&fields, NODESIZE, "nodesize")?,
            compat_ro: fields.le_u64(COMPAT_RO_FLAGS)?,
            incompat,
            checksum,
            label: label
                .get(..label_end.unwrap_or(LABEL_LEN))
                .unwrap_or_default()
                .to_vec(),
            system_chunks: array
                .slice(0, crate::filesystem::index_of(array_len))?
                .to_vec(),
        })
    }

    /// Tells whether the content of files was left out.
    pub(super) const fn is_metadump(&self) -> bool {
        self.flags & FLAG_METADUMP != 0
    }

    /// Tells whether data and metadata share chunks.
    pub(super) const fn has_mixed_groups(&self) -> bool {
        self.incompat & incompat::MIXED_GROUPS != 0
    }

    /// Tells whether block groups have a tree of their own.
    pub(super) const fn has_block_group_tree(&self) -> bool {
        self.compat_ro & compat_ro::BLOCK_GROUP_TREE != 0
    }

    /// Tells whether a writer would have to know something that is not known here.
    pub(super) fn has_unknown_compat_ro(&self) -> bool {
        COMPAT_RO_NAMES
            .iter()
            .fold(self.compat_ro, |rest, (bit, _)| rest & !bit)
            != 0
    }

    /// Returns the features that are on, by the names that the tools print.
    pub(super) fn feature_names(&self) -> Vec<String> {
        let incompat = INCOMPAT_NAMES
            .iter()
            .filter(|(bit, _)| self.incompat & bit != 0);
        let compat_ro = COMPAT_RO_NAMES
            .iter()
            .filter(|(bit, _)| self.compat_ro & bit != 0);
        let mut names: Vec<String> = incompat
            .chain(compat_ro)
            .map(|(_, name)| (*name).to_owned())
            .collect();
        names.push(self.checksum.name().to_owned());
        names
    }
}

fn check_features(incompat: u64, flags: u64) -> Result<()> {
    for (bit, name) in INCOMPAT_NAMES {
        if incompat & bit & UNREADABLE != 0 {
            return Err(Error::unsupported(format!("btrfs with {name}")));
        }
    }
    let unknown = INCOMPAT_NAMES
        .iter()
        .fold(incompat, |rest, (bit, _)| rest & !bit);
    if unknown != 0 {
        let feature = format!("btrfs with unknown incompatible features {unknown:#x}");
        return Err(Error::unsupported(feature));
    }
    if flags & FLAG_CHANGING != 0 {
        let feature = "btrfs whose conversion by a tool was interrupted";
        return Err(Error::unsupported(feature));
    }
    Ok(())
}

fn check(
    fields: &Fields<'_>,
    position: usize,
    field: &'static str,
    expected: &'static str,
    is_right: impl FnOnce(u64) -> bool,
) -> Result<()> {
    let found = fields.le_u64(position)?;
    match is_right(found) {
        true => Ok(()),
        false => Err(Error::corrupt(
            field,
            fields.place(position),
            expected,
            found,
        )),
    }
}

fn block_len(fields: &Fields<'_>, position: usize, field: &'static str) -> Result<u32> {
    let found = fields.le_u32(position)?;
    if !found.is_power_of_two() || !(4096..=65_536).contains(&found) {
        let expected = "a power of two from 4,096 to 65,536";
        return Err(Error::corrupt(
            field,
            fields.place(position),
            expected,
            found,
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        bytes[MAGIC_AT..MAGIC_AT + 8].copy_from_slice(&MAGIC);
        bytes[BYTENR..BYTENR + 8].copy_from_slice(&PLACES[0].to_le_bytes());
        bytes[SECTORSIZE..SECTORSIZE + 4].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[NODESIZE..NODESIZE + 4].copy_from_slice(&16_384_u32.to_le_bytes());
        bytes[LABEL..LABEL + 3].copy_from_slice(b"lab");
        change(&mut bytes);
        let crc = crc32c::crc32c(&bytes[32..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn every_refusal_is_made() {
        let good = Superblock::decode(&superblock(|_| ()), PLACES[0]).unwrap();
        assert_eq!((good.node_len, &good.label[..]), (16_384, &b"lab"[..]));
        assert!(Superblock::decode(&superblock(|_| ()), PLACES[1]).is_err());
        for (place, byte) in [
            (MAGIC_AT, 0),
            (CSUM_TYPE, 9),
            (SECTORSIZE, 1),
            (NODESIZE + 3, 1),
            (INCOMPAT_FLAGS + 1, 0x10),
            (INCOMPAT_FLAGS + 1, 0x20),
            (INCOMPAT_FLAGS + 1, 0x40),
            (INCOMPAT_FLAGS + 7, 0x40),
            (FLAGS + 4, 0x40),
            (SYS_CHUNK_ARRAY_SIZE + 2, 1),
        ] {
            let bad = superblock(|bytes| bytes[place] = byte);
            assert!(Superblock::decode(&bad, PLACES[0]).is_err(), "{place}");
        }
        let mut flipped = superblock(|_| ());
        flipped[4000] ^= 1;
        assert!(Superblock::decode(&flipped, PLACES[0]).is_err());
    }

    #[test]
    fn the_newest_copy_of_the_same_file_system_counts() {
        let write = |image: &mut Vec<u8>, place: u64, generation: u8, fsid: u8| {
            let bytes = superblock(|bytes| {
                bytes[GENERATION] = generation;
                bytes[FSID] = fsid;
                bytes[BYTENR..BYTENR + 8].copy_from_slice(&place.to_le_bytes());
            });
            image[place as usize..][..SUPERBLOCK_LEN].copy_from_slice(&bytes);
        };
        let mut image = vec![0; (64 << 20) + SUPERBLOCK_LEN];
        write(&mut image, PLACES[1], 7, 1);
        assert_eq!(Superblock::read(&image).unwrap().place, PLACES[1]);
        write(&mut image, PLACES[0], 7, 1);
        assert_eq!(Superblock::read(&image).unwrap().place, PLACES[0]);
        write(&mut image, PLACES[0], 6, 1);
        assert_eq!(Superblock::read(&image).unwrap().generation, 7);
        write(&mut image, PLACES[0], 6, 2);
        assert_eq!(Superblock::read(&image).unwrap().generation, 6);
    }
}
