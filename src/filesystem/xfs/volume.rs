//! The blocks of one file system, read through the cache and checked: what all parts
//! of the reader stand on.

use super::checksum::CheckLayout;
use super::extent::Patch;
use super::overlay::Overlay;
use super::superblock::Superblock;
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{BlockKind, BlockReader, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One file system's blocks, with the log replayed over them if there was need.
pub(super) struct Volume {
    pub(super) superblock: Superblock,
    pub(super) blocks: BlockReader,
    /// What the replay changed.
    pub(super) overlay: Option<Arc<Overlay>>,
    /// Inodes whose extent trees got a new owner in the log: their blocks still name
    /// the old one.
    pub(super) reowned: BTreeSet<u64>,
    /// Extents that the log promised to map or unmap, by inode.
    pub(super) patches: BTreeMap<u64, Arc<[Patch]>>,
}

impl Volume {
    /// Returns the block of `len` bytes at `offset` that belongs to `owner`, checked.
    ///
    /// # Errors
    ///
    /// Io if the medium fails; Corrupt if a check fails.
    pub(super) fn block(
        &self,
        offset: ByteOffset,
        len: usize,
        layout: &CheckLayout,
        owner: u64,
    ) -> Result<Arc<[u8]>> {
        if !self.superblock.features.is_v5() {
            return self.blocks.block(offset, len);
        }
        let uuid = &self.superblock.meta_uuid;
        let kind = BlockKind(layout.cache_kind);
        let is_replayed = self.is_replayed(offset, len);
        let block = self.blocks.checked_block(offset, len, kind, |bytes| {
            // The log changes parts of a block; the kernel makes its checksum anew
            // when it writes the whole.
            match is_replayed {
                true => layout.check_identity(bytes, offset, uuid),
                false => layout.check(bytes, offset, uuid),
            }
        })?;
        layout.check_owner(&block, offset, owner)?;
        Ok(block)
    }

    /// Returns the header sector number `index` of a group, checked.
    ///
    /// # Errors
    ///
    /// As [`Volume::block`].
    pub(super) fn group_header(
        &self,
        group: u32,
        index: u64,
        magic: u32,
        layout: &CheckLayout,
    ) -> Result<(Arc<[u8]>, ByteOffset)> {
        let offset = self.superblock.header_offset(group, index)?;
        let block = self.block(offset, self.superblock.sector_bytes(), layout, 0)?;
        let fields = Fields::new(&block, offset);
        expect(
            &fields,
            0,
            "group header magic",
            u64::from(magic),
            fields.be_u32(0)?,
        )?;
        expect(
            &fields,
            8,
            "group number",
            u64::from(group),
            fields.be_u32(8)?,
        )?;
        Ok((block, offset))
    }

    /// Tells whether the log changed any of these bytes.
    pub(super) fn is_replayed(&self, offset: ByteOffset, len: usize) -> bool {
        self.overlay
            .as_ref()
            .is_some_and(|overlay| overlay.touches(offset, u64::try_from(len).unwrap_or(u64::MAX)))
    }

    /// Returns the length of a block for slices.
    pub(super) fn block_len(&self) -> usize {
        to_usize(self.superblock.block_len())
    }
}

/// Returns Corrupt unless `found` is what was expected.
pub(super) fn expect(
    fields: &Fields<'_>,
    position: usize,
    name: &'static str,
    expected: u64,
    found: impl Into<u64>,
) -> Result<()> {
    let found = found.into();
    if found == expected {
        return Ok(());
    }
    let place = fields.place(position);
    Err(Error::corrupt(
        name,
        place,
        "the value of this structure",
        found,
    ))
}

/// Returns `value` as a length in memory; too long ones become the longest.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
