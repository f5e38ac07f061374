//! The three kinds of journal blocks: descriptors, commits and revokes.

use super::{Features, HEADER_LEN, MAGIC};
use crate::base::Fields;
use crate::filesystem::ext::checksum::{crc32c, crc32c_with_hole};
use crate::filesystem::{Error, Result, index_of};

pub(super) const TYPE_DESCRIPTOR: u32 = 1;
pub(super) const TYPE_COMMIT: u32 = 2;
pub(super) const TYPE_REVOKE: u32 = 5;

const FLAG_ESCAPED: u32 = 1;
const FLAG_SAME_UUID: u32 = 2;
const FLAG_LAST: u32 = 8;
const UUID_LEN: usize = 16;
const TAIL_LEN: usize = 4;
const COMMIT_CHECKSUM_TYPE: usize = 0x0C;
const COMMIT_CHECKSUM_SIZE: usize = 0x0D;
const COMMIT_CHECKSUM: usize = 0x10;
const REVOKE_COUNT: usize = 0x0C;
const REVOKE_HEADER_LEN: usize = 16;

/// Returns type and sequence of a block that has a header.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(u32, u32)>> {
    let fields = Fields::new(bytes, 0);
    if fields.be_u32(0)? != MAGIC {
        return Ok(None);
    }
    Ok(Some((fields.be_u32(4)?, fields.be_u32(8)?)))
}

/// One data block that a descriptor announces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) block: u64,
    pub(super) is_escaped: bool,
    checksum: u32,
}

const fn tag_len(features: Features) -> usize {
    match (
        features.has_v3_checksums,
        features.has_v2_checksums,
        features.is_64bit,
    ) {
        (true, ..) => 16,
        // As the kernel counts: version 2 adds two bytes that nobody uses.
        (false, true, true) => 14,
        (false, true, false) => 10,
        (false, false, true) => 12,
        (false, false, false) => 8,
    }
}

/// Reads the tags of a descriptor.
pub(super) fn tags(bytes: &[u8], features: Features) -> Result<Vec<Tag>> {
    let fields = Fields::new(bytes, 0);
    let tail_len = if features.has_block_checksums() {
        TAIL_LEN
    } else {
        0
    };
    let end = bytes.len().saturating_sub(tail_len);
    let tag_len = tag_len(features);
    let mut tags = vec![];
    let mut position = HEADER_LEN;
    // Every tag has at least 8 bytes, so the loop ends.
    while position.saturating_add(tag_len) <= end {
        let tag = fields.part(position, tag_len)?;
        let (flags, checksum) = if features.has_v3_checksums {
            (tag.be_u32(4)?, tag.be_u32(12)?)
        } else {
            (tag.be_u16(6)?.into(), tag.be_u16(4)?.into())
        };
        let high = if features.is_64bit { tag.be_u32(8)? } else { 0 };
        tags.push(Tag {
            block: u64::from(tag.be_u32(0)?) | u64::from(high) << 32,
            is_escaped: flags & FLAG_ESCAPED != 0,
            checksum,
        });
        position = position.saturating_add(tag_len);
        if flags & FLAG_SAME_UUID == 0 {
            position = position.saturating_add(UUID_LEN);
        }
        if flags & FLAG_LAST != 0 {
            break;
        }
    }
    Ok(tags)
}

impl Tag {
    /// Tells whether `data` is the block that was announced.
    pub(super) fn matches(
        &self,
        data: &[u8],
        seed: u32,
        sequence: u32,
        features: Features,
    ) -> bool {
        let computed = crc32c(crc32c(seed, &sequence.to_be_bytes()), data);
        if features.has_v3_checksums {
            computed == self.checksum
        } else if features.has_v2_checksums {
            computed & 0xFFFF == self.checksum
        } else {
            true
        }
    }
}

/// Tells whether the tail of a descriptor or revoke block has its checksum.
pub(super) fn has_valid_tail(bytes: &[u8], seed: u32, features: Features) -> Result<bool> {
    if !features.has_block_checksums() {
        return Ok(true);
    }
    let position = bytes.len().saturating_sub(TAIL_LEN);
    let stored = Fields::new(bytes, 0).be_u32(position)?;
    Ok(crc32c_with_hole(seed, bytes, position, TAIL_LEN) == stored)
}

/// Tells whether a commit block has its checksum; `data` is that of all blocks of the
/// transaction, for the first kind of checksums.
pub(super) fn is_valid_commit(
    bytes: &[u8],
    seed: u32,
    data: u32,
    features: Features,
) -> Result<bool> {
    let fields = Fields::new(bytes, 0);
    let stored = fields.be_u32(COMMIT_CHECKSUM)?;
    if features.has_block_checksums() {
        return Ok(crc32c_with_hole(seed, bytes, COMMIT_CHECKSUM, 4) == stored);
    }
    if features.has_v1_checksums {
        let kind = (
            fields.u8(COMMIT_CHECKSUM_TYPE)?,
            fields.u8(COMMIT_CHECKSUM_SIZE)?,
        );
        // Type 0 without a checksum was written by systems that know none.
        return Ok(
            (kind == (1, 4) && stored == data) || (kind.0 == 0 && kind.1 == 0 && stored == 0)
        );
    }
    Ok(true)
}

/// Gives the blocks that a revoke block names to `visit`.
pub(super) fn revoked(
    bytes: &[u8],
    features: Features,
    visit: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let fields = Fields::new(bytes, 0);
    let end = index_of(fields.be_u32(REVOKE_COUNT)?);
    if end > bytes.len() {
        let actual = u64::try_from(end).unwrap_or(u64::MAX);
        return Err(Error::corrupt(
            "revoke block",
            0,
            "a count inside it",
            actual,
        ));
    }
    let entry_len = if features.is_64bit { 8 } else { 4 };
    let mut position = REVOKE_HEADER_LEN;
    while position.saturating_add(entry_len) <= end {
        let block = if features.is_64bit {
            fields.be_u64(position)?
        } else {
            fields.be_u32(position)?.into()
        };
        visit(block)?;
        position = position.saturating_add(entry_len);
    }
    Ok(())
}
