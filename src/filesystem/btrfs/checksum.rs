//! The checksums of metadata and data: which there are, and how they are compared.
//!
//! Source: btrfs documentation, "Checksumming".

use crate::filesystem::{Error, Result};
use blake2::digest::consts::U32;
use sha2::Digest;

/// Room for a checksum in front of every block of metadata.
pub(super) const CSUM_FIELD_LEN: usize = 32;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChecksumKind {
    Crc32c,
    XxHash64,
    Sha256,
    Blake2b,
}

impl ChecksumKind {
    /// Returns the algorithm with this number in the superblock.
    pub(super) fn from_number(number: u16) -> Result<Self> {
        match number {
            0 => Ok(Self::Crc32c),
            1 => Ok(Self::XxHash64),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Blake2b),
            _ => Err(Error::unsupported(format!("checksum type {number}"))),
        }
    }

    /// Returns the name that the tools print.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::XxHash64 => "xxhash64",
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
        }
    }

    /// Returns the length of a checksum in bytes.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::XxHash64 => 8,
            Self::Sha256 | Self::Blake2b => 32,
        }
    }

    /// Tells whether `bytes` have the checksum that `stored` begins with.
    pub(super) fn is_right(self, bytes: &[u8], stored: &[u8]) -> bool {
        let Some(stored) = stored.get(..self.len()) else {
            return false;
        };
        match self {
            Self::Crc32c => crc32c::crc32c(bytes).to_le_bytes() == stored,
            Self::XxHash64 => xxhash_rust::xxh64::xxh64(bytes, 0).to_le_bytes() == stored,
            Self::Sha256 => sha2::Sha256::digest(bytes).as_slice() == stored,
            Self::Blake2b => blake2::Blake2b::<U32>::digest(bytes).as_slice() == stored,
        }
    }
}

/// Returns the hash of a name that directory entries and attributes are found by.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    // The register starts with all bits but the lowest and is not inverted at the end.
    u64::from(!crc32c::crc32c_append(1, name))
}

/// Returns the hash that long references of inodes are found by.
pub(super) fn reference_hash(parent: u64, name: &[u8]) -> u64 {
    let seed = u32::try_from(parent & 0xFFFF_FFFF).unwrap_or(0);
    u64::from(!crc32c::crc32c_append(!seed, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published test vectors of each algorithm.
    #[test]
    fn every_algorithm_is_the_one_that_is_meant() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2);
            digits
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        };
        let crc = 0xE306_9283_u32.to_le_bytes();
        assert!(ChecksumKind::Crc32c.is_right(b"123456789", &crc));
        let xxh = 0x44BC_2CF5_AD77_0999_u64.to_le_bytes();
        assert!(ChecksumKind::XxHash64.is_right(b"abc", &xxh));
        let sha = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(ChecksumKind::Sha256.is_right(b"abc", &sha));
        let blake = hex("bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
        assert!(ChecksumKind::Blake2b.is_right(b"abc", &blake));
        assert!(!ChecksumKind::Sha256.is_right(b"abd", &sha));
        assert!(!ChecksumKind::Sha256.is_right(b"abc", &sha[..31]));
        assert!(ChecksumKind::from_number(4).is_err());
    }

    /// The key of the entry `default` in the root tree of every file system.
    #[test]
    fn names_are_hashed_as_on_disk() {
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
