//! The extents of a file: what lies where, hole by hole.
//!
//! Source: btrfs documentation, "On-disk format" (file extent item).

use super::compression::{Compression, EXTENT_LEN_MAX};
use super::key::{Key, kind};
use super::node::Item;
use super::volume::{Items, Volume};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, NodeId, Result, len_of};

pub(super) const RAM_BYTES: usize = 8;
const COMPRESSION: usize = 16;
const ENCRYPTION: usize = 17;
const OTHER_ENCODING: usize = 18;
pub(super) const TYPE: usize = 20;
pub(super) const INLINE_DATA: usize = 21;
pub(super) const DISK_BYTENR: usize = 21;
pub(super) const DISK_NUM_BYTES: usize = 29;
pub(super) const OFFSET: usize = 37;
pub(super) const NUM_BYTES: usize = 45;

/// Bytes of the item of an extent that is not inline.
pub(super) const EXTENT_ITEM_LEN: usize = 53;

/// Types of extents.
pub(super) const TYPE_INLINE: u8 = 0;
pub(super) const TYPE_REGULAR: u8 = 1;
pub(super) const TYPE_PREALLOC: u8 = 2;

/// What a run of a file is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing, or never written.
    Hole,
    /// Data as it is, from this address on.
    Plain { logical: u64 },
    /// A part of a compressed extent.
    Compressed(CompressedExtent),
    /// In the item itself, which is for the beginning of the file.
    Inline(Item),
}

/// Where a compressed extent lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompressedExtent {
    pub(super) logical: u64,
    pub(super) disk_len: u64,
    /// Bytes that come out.
    pub(super) len: u64,
    /// The first of them that belongs to the run.
    pub(super) skip: u64,
    pub(super) compression: Compression,
}

/// A run of a file.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) start: ByteOffset,
    /// Above `start`.
    pub(super) end: ByteOffset,
    pub(super) content: Content,
}

/// Decodes the item of an extent.
///
/// # Errors
///
/// Corrupt if it cannot be one; Unsupported if it is encrypted.
pub(super) fn decode(item: Item, sector_len: u32) -> Result<Run> {
    let fields = item.fields();
    let start = item.key.offset;
    if fields.u8(ENCRYPTION)? != 0 || fields.le_u16(OTHER_ENCODING)? != 0 {
        return Err(Error::unsupported("encrypted btrfs file content"));
    }
    let extent_type = fields.u8(TYPE)?;
    if extent_type == TYPE_INLINE {
        let len = fields.le_u64(RAM_BYTES)?;
        if start != 0 || len > EXTENT_LEN_MAX {
            return corrupt(&fields, RAM_BYTES, "a short one at 0", len);
        }
        let unit = u64::from(sector_len);
        let end = len.max(1).next_multiple_of(unit.max(1));
        let content = Content::Inline(item);
        return Ok(Run {
            start,
            end,
            content,
        });
    }
    if !matches!(extent_type, TYPE_REGULAR | TYPE_PREALLOC) {
        return corrupt(&fields, TYPE, "type 0 to 2", extent_type.into());
    }
    let num_bytes = fields.le_u64(NUM_BYTES)?;
    let Some(end) = start.checked_add(num_bytes).filter(|end| *end > start) else {
        return corrupt(&fields, NUM_BYTES, "a length that fits", num_bytes);
    };
    let is_hole = fields.le_u64(DISK_BYTENR)? == 0 || extent_type == TYPE_PREALLOC;
    let content = match is_hole {
        true => Content::Hole,
        false => decode_place(&fields, start, num_bytes, sector_len)?,
    };
    Ok(Run {
        start,
        end,
        content,
    })
}

/// Decodes where `num_bytes` of a file from `start` on lie.
fn decode_place(
    fields: &Fields<'_>,
    start: ByteOffset,
    num_bytes: u64,
    sector_len: u32,
) -> Result<Content> {
    let compression = Compression::from_number(fields.u8(COMPRESSION)?)?;
    let logical = fields.le_u64(DISK_BYTENR)?;
    let skip = fields.le_u64(OFFSET)?;
    let disk_len = fields.le_u64(DISK_NUM_BYTES)?;
    let len = match compression {
        Some(_) => fields.le_u64(RAM_BYTES)?,
        None => disk_len,
    };
    let is_inside = skip.checked_add(num_bytes).is_some_and(|last| last <= len);
    let is_possible = logical.checked_add(disk_len).is_some();
    let unit = u64::from(sector_len);
    let is_aligned = [logical, disk_len, skip, start, num_bytes]
        .iter()
        .all(|number| number.checked_rem(unit) == Some(0));
    if !is_inside || !is_possible || !is_aligned {
        return corrupt(fields, OFFSET, "a part of the extent", skip);
    }
    match compression {
        None => Ok(Content::Plain {
            logical: logical.saturating_add(skip),
        }),
        Some(_) if len.max(disk_len) > EXTENT_LEN_MAX => {
            corrupt(fields, RAM_BYTES, "at most 128 KiB, compressed", len)
        }
        Some(compression) => Ok(Content::Compressed(CompressedExtent {
            logical,
            disk_len,
            len,
            skip,
            compression,
        })),
    }
}

fn corrupt<T>(
    fields: &Fields<'_>,
    position: usize,
    expected: &'static str,
    actual: u64,
) -> Result<T> {
    let place = fields.place(position);
    Err(Error::corrupt("file extent", place, expected, actual))
}

impl Run {
    /// Returns the part of the run from `position` on.
    fn from(self, position: ByteOffset) -> Self {
        let skipped = position.saturating_sub(self.start);
        if skipped == 0 {
            return self;
        }
        let content = match self.content {
            Content::Plain { logical } => Content::Plain {
                logical: logical.saturating_add(skipped),
            },
            Content::Compressed(extent) => Content::Compressed(CompressedExtent {
                skip: extent.skip.saturating_add(skipped),
                ..extent
            }),
            // Inline data knows its own beginning.
            other @ (Content::Hole | Content::Inline(_)) => other,
        };
        Self {
            start: position,
            content,
            ..self
        }
    }
}

/// A walk over the runs of a file, holes included, without gaps.
pub(super) struct Runs<'a> {
    items: Items<'a>,
    key: Key,
    sector_len: u32,
    position: ByteOffset,
    end: ByteOffset,
    /// The next run that is in an item.
    pending: Option<Run>,
}

impl Volume {
    /// Walks the runs of `node` from `start` to `end`.
    ///
    /// # Errors
    ///
    /// Those of reading the tree.
    pub(super) fn runs(
        &self,
        node: NodeId,
        start: ByteOffset,
        end: ByteOffset,
    ) -> Result<Runs<'_>> {
        let key = Key::new(node.inode, kind::EXTENT_DATA, start);
        Ok(Runs {
            items: self
                .subvolume_of(node)?
                .items_around(&key, end.saturating_sub(1))?,
            key,
            sector_len: self.space.superblock.sector_len,
            position: start,
            end,
            pending: None,
        })
    }
}

impl Runs<'_> {
    /// Returns the next run, cut at the beginning and end of the walk.
    ///
    /// # Errors
    ///
    /// Corrupt if extents overlap; those of reading the tree.
    pub(super) fn next(&mut self) -> Result<Option<Run>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let run = match self.pending.take() {
            Some(run) => Some(run),
            None => self.next_in_items()?,
        };
        let run = match run {
            Some(run) if run.start <= self.position => run.from(self.position),
            other => {
                let hole_end = other.as_ref().map_or(self.end, |run| run.start);
                self.pending = other;
                Run {
                    start: self.position,
                    end: hole_end,
                    content: Content::Hole,
                }
            }
        };
        let end = run.end.min(self.end);
        self.position = end;
        Ok(Some(Run { end, ..run }))
    }

    /// Returns the next extent that reaches beyond the position.
    fn next_in_items(&mut self) -> Result<Option<Run>> {
        while let Some(item) = self.items.next_beside(&self.key)? {
            let place = item.fields().offset();
            let run = decode(item, self.sector_len)?;
            if run.end <= self.position {
                continue;
            }
            // Only the first one may begin before what was asked for.
            if run.start < self.position && self.position > self.key.offset {
                let expected = "behind the one before";
                return Err(Error::corrupt("extent", place, expected, run.start));
            }
            return Ok(Some(run));
        }
        Ok(None)
    }
}

/// Returns the data of an inline extent, decompressed.
pub(super) fn inline_bytes(item: &Item, sector_len: u32) -> Result<Vec<u8>> {
    let fields = item.fields();
    let len = fields.le_u64(RAM_BYTES)?;
    let source = fields.rest(INLINE_DATA);
    match Compression::from_number(fields.u8(COMPRESSION)?)? {
        None => {
            let len = len.min(len_of(source));
            Ok(source
                .get(..crate::filesystem::index_of(len))
                .unwrap_or_default()
                .to_vec())
        }
        Some(compression) => {
            compression.decompress(source, len, sector_len, fields.place(INLINE_DATA))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(start: u64, change: impl FnOnce(&mut [u8])) -> Item {
        let mut bytes = vec![0; EXTENT_ITEM_LEN];
        bytes[TYPE] = TYPE_REGULAR;
        for (position, number) in [
            (RAM_BYTES, 32_768_u64),
            (DISK_BYTENR, 1 << 20),
            (DISK_NUM_BYTES, 32_768),
            (OFFSET, 4096),
            (NUM_BYTES, 8192),
        ] {
            bytes[position..position + 8].copy_from_slice(&number.to_le_bytes());
        }
        change(&mut bytes);
        Item::of_bytes(Key::new(257, kind::EXTENT_DATA, start), bytes.into())
    }

    #[test]
    fn extents_are_decoded_and_cut() {
        let run = decode(item(8192, |_| ()), 4096).unwrap().from(12_288);
        assert_eq!((run.start, run.end), (12_288, 16_384));
        assert!(matches!(run.content, Content::Plain { logical } if logical == (1 << 20) + 8192));
        let run = decode(item(0, |bytes| bytes[COMPRESSION] = 3), 4096)
            .unwrap()
            .from(4096);
        let Content::Compressed(extent) = run.content else {
            panic!("{run:?}");
        };
        assert_eq!((extent.skip, extent.len), (8192, 32_768));
        let prealloc = decode(item(0, |bytes| bytes[TYPE] = TYPE_PREALLOC), 4096).unwrap();
        assert!(matches!(prealloc.content, Content::Hole));
    }

    #[test]
    fn impossible_extents_are_refused() {
        for (position, byte) in [
            (ENCRYPTION, 1),
            (OTHER_ENCODING, 1),
            (COMPRESSION, 4),
            (TYPE, 3),
            (NUM_BYTES + 1, 0),
            (NUM_BYTES + 7, 0xFF),
            (OFFSET, 1),
            (OFFSET + 2, 1),
            (DISK_NUM_BYTES + 1, 0),
        ] {
            assert!(
                decode(item(0, |bytes| bytes[position] = byte), 4096).is_err(),
                "{position}"
            );
        }
        let long = |bytes: &mut [u8]| {
            bytes[COMPRESSION] = 1;
            bytes[RAM_BYTES + 2] = 3;
        };
        assert!(decode(item(0, long), 4096).is_err());
        assert!(decode(item(4096, |bytes| bytes[TYPE] = TYPE_INLINE), 4096).is_err());
    }
}
