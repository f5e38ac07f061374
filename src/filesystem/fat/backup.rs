//! The copy of the boot sector of FAT32, for a volume whose first sector was overwritten.
//!
//! Source: Microsoft FAT specification 1.03, "FAT32 Structure Starting at Offset 36"
//! (`BPB_BkBootSec`): it is in sector 6.

use super::superblock::{self, Superblock};
use super::table::Width;
use crate::base::{Fields, ReadAt};
use crate::filesystem::{Error, Result, len_of};

const PLACE: usize = 50;
const SECTOR: u64 = 6;
const SECTOR_LENS: [u64; 4] = [512, 1024, 2048, 4096];

/// Tells whether there is a copy.
///
/// # Errors
///
/// Only if reading fails.
pub(in super::super) fn has_copy(image: &dyn ReadAt) -> Result<bool> {
    Ok(find(image)?.is_some())
}

fn find(image: &dyn ReadAt) -> Result<Option<Superblock>> {
    for sector_len in SECTOR_LENS {
        let mut sector = [0; superblock::LEN];
        let offset = SECTOR.saturating_mul(sector_len);
        if offset.saturating_add(len_of(&sector)) > image.len() {
            break;
        }
        image.read_exact_at(offset, &mut sector)?;
        let place = Fields::new(&sector, offset).le_u16(PLACE)?;
        if let Ok(found) = Superblock::parse(&sector)
            && found.width == Width::Bits32
            && found.has_type
            && found.sector_len == sector_len
            && u64::from(place) == SECTOR
            && sector.ends_with(&[0x55, 0xAA])
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the boot sector, and whether it is the copy.
///
/// # Errors
///
/// Io; Corrupt if the first one cannot be, and there is no copy.
pub(super) fn read(
    image: &dyn ReadAt,
    first: &[u8; superblock::LEN],
) -> Result<(Superblock, bool)> {
    match Superblock::parse(first) {
        Err(Error::Corrupt {
            field,
            offset,
            expected,
            actual,
        }) => match find(image)? {
            Some(found) => Ok((found, true)),
            None => Err(Error::corrupt(field, offset, expected, actual)),
        },
        found => Ok((found?, false)),
    }
}
