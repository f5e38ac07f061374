//! Chunks: where the addresses that all trees use lie on the device.
//!
//! Source: btrfs documentation, "On-disk format" (chunk item), "Volume management".

use super::key::{KEY_LEN, Key, kind, object};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result};

const LENGTH: usize = 0;
const STRIPE_LEN: usize = 16;
const TYPE: usize = 24;
const NUM_STRIPES: usize = 44;
const SUB_STRIPES: usize = 46;
const STRIPES: usize = 48;
const STRIPE_ITEM_LEN: usize = 32;

/// The only length of stripes there is.
const STRIPE_BYTES: u64 = 64 << 10;

/// Types of block groups.
pub(super) mod group {
    pub(crate) const DATA: u64 = 1;
    pub(crate) const RAID0: u64 = 1 << 3;
    pub(crate) const RAID1: u64 = 1 << 4;
    pub(crate) const DUP: u64 = 1 << 5;
    pub(crate) const RAID10: u64 = 1 << 6;
    pub(crate) const RAID5: u64 = 1 << 7;
    pub(crate) const RAID6: u64 = 1 << 8;
    pub(crate) const RAID1C3: u64 = 1 << 9;
    pub(crate) const RAID1C4: u64 = 1 << 10;
    pub(crate) const PROFILES: u64 =
        RAID0 | RAID1 | DUP | RAID10 | RAID5 | RAID6 | RAID1C3 | RAID1C4;
}

/// How the bytes of a chunk are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Each stripe has all of it.
    Copies { count: u64 },
    /// Pieces of 64 KiB go to groups of stripes in turn; each of a group has a copy.
    Striped { copies: u64 },
    /// With parity.
    Parity,
}

/// A run of a chunk's bytes that lie one after the other on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: ByteOffset,
    pub(super) len: u64,
}

/// A range of addresses and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) logical: u64,
    pub(super) len: u64,
    pub(super) group_type: u64,
    layout: Layout,
    /// Places on this device; `None` for those on another one.
    pub(super) stripes: Vec<Option<ByteOffset>>,
}

impl Chunk {
    /// Reads the chunk of `key`; `device` is the one that is here.
    ///
    /// # Errors
    ///
    /// Corrupt if it cannot be one.
    pub(super) fn decode(key: &Key, fields: &Fields<'_>, device: u64) -> Result<Self> {
        let corrupt = |position, field, expected, actual: u64| {
            Error::corrupt(field, fields.place(position), expected, actual)
        };
        if key.object != object::CHUNKS || key.kind != kind::CHUNK_ITEM {
            return Err(corrupt(0, "chunk key", "that of a chunk", key.object));
        }
        let len = fields.le_u64(LENGTH)?;
        if len == 0 || key.offset.checked_add(len).is_none() {
            return Err(corrupt(LENGTH, "chunk length", "one that fits", len));
        }
        let stripe_len = fields.le_u64(STRIPE_LEN)?;
        if stripe_len != STRIPE_BYTES {
            return Err(corrupt(STRIPE_LEN, "stripe_len", "64 KiB", stripe_len));
        }
        let group_type = fields.le_u64(TYPE)?;
        let count = fields.le_u16(NUM_STRIPES)?;
        let Some(layout) = layout_of(group_type) else {
            let found = group_type & group::PROFILES;
            return Err(corrupt(TYPE, "chunk type", "one profile", found));
        };
        // More copies than the profile has would only cost time.
        let sub_stripes = fields.le_u16(SUB_STRIPES)?;
        let is_possible = match layout {
            Layout::Copies { count: copies } => u64::from(count) == copies,
            Layout::Striped { copies: 1 } | Layout::Parity => count > 0,
            Layout::Striped { copies } => {
                let is_whole = u64::from(count).checked_rem(copies) == Some(0);
                count > 0 && is_whole && u64::from(sub_stripes) == copies
            }
        };
        if !is_possible {
            let expected = "as the profile needs";
            return Err(corrupt(NUM_STRIPES, "num_stripes", expected, count.into()));
        }
        let mut stripes = Vec::with_capacity(count.into());
        for index in 0..usize::from(count) {
            let position = STRIPES.saturating_add(index.saturating_mul(STRIPE_ITEM_LEN));
            let stripe = fields.part(position, STRIPE_ITEM_LEN)?;
            let is_here = stripe.le_u64(0)? == device;
            stripes.push(is_here.then_some(stripe.le_u64(8)?));
        }
        Ok(Self {
            logical: key.offset,
            len,
            group_type,
            layout,
            stripes,
        })
    }

    /// Tells whether `logical` lies in this chunk.
    pub(super) fn has(&self, logical: u64) -> bool {
        logical
            .checked_sub(self.logical)
            .is_some_and(|inside| inside < self.len)
    }

    /// Returns how many copies there may be, here and elsewhere.
    pub(super) fn copy_count(&self) -> usize {
        match self.layout {
            Layout::Copies { count: copies } | Layout::Striped { copies } => {
                crate::filesystem::index_of(copies)
            }
            Layout::Parity => 0,
        }
    }

    /// Tells whether each stripe has the chunk's bytes one after the other.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.layout, Layout::Copies { .. })
    }

    /// Returns by how much more than the chunk's length its stripes take.
    pub(super) fn factor(&self) -> u64 {
        u64::try_from(self.copy_count()).unwrap_or(1).max(1)
    }

    /// Returns where `logical` lies in one of the copies, or `None` if not here.
    pub(super) fn place(&self, logical: u64, copy: usize) -> Option<Place> {
        let inside = logical.checked_sub(self.logical)?;
        let rest = self.len.checked_sub(inside).filter(|rest| *rest > 0)?;
        let stripe = |index: u64| *self.stripes.get(usize::try_from(index).ok()?)?;
        let copy = u64::try_from(copy).ok()?;
        let (offset, len) = match self.layout {
            Layout::Copies { .. } => (stripe(copy)?.checked_add(inside)?, rest),
            Layout::Striped { copies } => {
                let (number, within) = (inside / STRIPE_BYTES, inside % STRIPE_BYTES);
                let groups = u64::try_from(self.stripes.len())
                    .ok()?
                    .checked_div(copies)?;
                let first = number.checked_rem(groups)?.checked_mul(copies)?;
                let row = number.checked_div(groups)?;
                let start = stripe(first.checked_add(copy)?)?;
                let offset = row.checked_mul(STRIPE_BYTES)?.checked_add(within)?;
                (
                    start.checked_add(offset)?,
                    STRIPE_BYTES.checked_sub(within)?.min(rest),
                )
            }
            Layout::Parity => return None,
        };
        offset.checked_add(len)?;
        Some(Place { offset, len })
    }

    /// Returns why no copy of `logical` could be read.
    pub(super) fn missing(&self) -> Error {
        match self.layout {
            Layout::Parity => Error::unsupported("btrfs chunks of RAID5 and RAID6"),
            _ => Error::unsupported("a part of the btrfs that is on another device"),
        }
    }
}

fn layout_of(group_type: u64) -> Option<Layout> {
    match group_type & group::PROFILES {
        0 => Some(Layout::Copies { count: 1 }),
        group::DUP | group::RAID1 => Some(Layout::Copies { count: 2 }),
        group::RAID1C3 => Some(Layout::Copies { count: 3 }),
        group::RAID1C4 => Some(Layout::Copies { count: 4 }),
        group::RAID0 => Some(Layout::Striped { copies: 1 }),
        group::RAID10 => Some(Layout::Striped { copies: 2 }),
        group::RAID5 | group::RAID6 => Some(Layout::Parity),
        _ => None,
    }
}

/// Reads the chunks that the superblock lists.
///
/// # Errors
///
/// Corrupt if there is something else.
pub(super) fn system_chunks(array: &[u8], device: u64) -> Result<Vec<Chunk>> {
    let fields = Fields::new(
        array,
        super::superblock::PLACES.first().copied().unwrap_or(0),
    );
    let mut chunks = Vec::new();
    let mut position = 0;
    while position < array.len() {
        let key = Key::read(&fields, position)?;
        let start = KEY_LEN.saturating_add(position);
        let count = fields.le_u16(start.saturating_add(NUM_STRIPES))?;
        let len = usize::from(count)
            .saturating_mul(STRIPE_ITEM_LEN)
            .saturating_add(STRIPES);
        chunks.push(Chunk::decode(&key, &fields.part(start, len)?, device)?);
        position = start.saturating_add(len);
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(group_type: u64, sub_stripes: u16, stripes: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; STRIPES];
        bytes[..8].copy_from_slice(&(1_u64 << 20).to_le_bytes());
        bytes[16..24].copy_from_slice(&STRIPE_BYTES.to_le_bytes());
        bytes[24..32].copy_from_slice(&group_type.to_le_bytes());
        bytes[44..46].copy_from_slice(&(stripes.len() as u16).to_le_bytes());
        bytes[46..48].copy_from_slice(&sub_stripes.to_le_bytes());
        for (device, offset) in stripes {
            bytes.extend(device.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend([0; 16]);
        }
        bytes
    }

    fn chunk(group_type: u64, sub_stripes: u16, stripes: &[(u64, u64)]) -> Result<Chunk> {
        let bytes = item(group_type, sub_stripes, stripes);
        let key = Key::new(object::CHUNKS, kind::CHUNK_ITEM, 5 << 20);
        Chunk::decode(&key, &Fields::new(&bytes, 0), 1)
    }

    #[test]
    fn addresses_are_found_in_every_profile() {
        let at = 5 << 20;
        let dup = chunk(group::DUP, 1, &[(1, 1000), (1, 9000)]).unwrap();
        assert_eq!(
            dup.place(at + 5, 1),
            Some(Place {
                offset: 9005,
                len: (1 << 20) - 5
            })
        );
        assert_eq!(dup.place(at + 5, 2), None);
        assert_eq!(dup.place(at + (1 << 20), 0), None);
        let mirror = chunk(group::RAID1, 1, &[(2, 1000), (1, 9000)]).unwrap();
        assert_eq!((mirror.copy_count(), mirror.place(at, 0)), (2, None));
        assert_eq!(mirror.place(at, 1).unwrap().offset, 9000);
        let striped = chunk(group::RAID0, 1, &[(1, 0), (2, 0), (1, 1 << 30)]).unwrap();
        let third = striped.place(at + 5 * STRIPE_BYTES + 7, 0).unwrap();
        assert_eq!(
            third,
            Place {
                offset: (1 << 30) + STRIPE_BYTES + 7,
                len: STRIPE_BYTES - 7
            }
        );
        assert_eq!(striped.place(at + STRIPE_BYTES, 0), None);
        let ten = chunk(group::RAID10, 2, &[(1, 0), (1, 100), (1, 200), (1, 300)]).unwrap();
        assert_eq!(
            ten.place(at + 3 * STRIPE_BYTES, 1).unwrap().offset,
            300 + STRIPE_BYTES
        );
        let parity = chunk(group::RAID5, 1, &[(1, 0), (1, 100), (1, 200)]).unwrap();
        assert_eq!((parity.copy_count(), parity.place(at, 0)), (0, None));
    }

    #[test]
    fn impossible_chunks_are_refused() {
        assert!(chunk(group::RAID10, 0, &[(1, 0), (1, 0)]).is_err());
        assert!(chunk(group::RAID10, 2, &[(1, 0)]).is_err());
        assert!(chunk(group::DUP | group::RAID1, 1, &[(1, 0)]).is_err());
        assert!(chunk(0, 1, &[]).is_err());
        assert!(chunk(0, 1, &[(1, 0), (1, 0)]).is_err());
        assert!(chunk(group::RAID1C3, 1, &[(1, 0), (1, 0)]).is_err());
        let mut array = vec![0; KEY_LEN];
        array[..8].copy_from_slice(&object::CHUNKS.to_le_bytes());
        array[8] = kind::CHUNK_ITEM;
        array.extend(item(0, 1, &[(1, 4096)]));
        assert_eq!(system_chunks(&array, 1).unwrap().len(), 1);
        assert!(system_chunks(&array[..array.len() - 1], 1).is_err());
        array[8] = 1;
        assert!(system_chunks(&array, 1).is_err());
    }
}
