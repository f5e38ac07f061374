//! A chunk in a pack: a header that describes it alone, and its bytes. See
//! docs/format/pack.md, "Frame".

use super::cursor::{Cursor, demand};
use super::{Error, Result};
use crate::base::ChunkId;
use crate::base::limits::CHUNK_LEN_ACCEPT_MAX;

const MAGIC: [u8; 4] = *b"TTFR";
const CHECKSUM_OFFSET: usize = 24;
const ID_OFFSET: usize = 32;

/// Length of the encoded header in bytes.
pub const FRAME_HEADER_LEN: usize = 64;

/// How the content is stored. Values are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is, where compressing gains nothing.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// What the content is. Values are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentKind {
    /// Blocks of images.
    Data = 0,
    /// A node of a map.
    MapNode = 1,
    /// What a snapshot is, beside the root of its map: the catalog can be rebuilt.
    Manifest = 2,
}

impl Codec {
    pub(super) fn from_u8(value: u8) -> Result<Self> {
        match value {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            _ => Err(Error::Unsupported(format!("chunk uses codec {value}"))),
        }
    }
}

impl ContentKind {
    pub(super) fn from_u8(value: u8) -> Result<Self> {
        match value {
            0 => Ok(Self::Data),
            1 => Ok(Self::MapNode),
            2 => Ok(Self::Manifest),
            _ => Err(Error::Unsupported(format!(
                "chunk holds content of kind {value}"
            ))),
        }
    }
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The chunk.
    pub chunk: ChunkId,
    /// How it is stored.
    pub codec: Codec,
    /// What it holds.
    pub kind: ContentKind,
    /// Length of what follows the header, in bytes.
    pub stored_len: u32,
    /// Length of the content, in bytes.
    pub content_len: u32,
}

/// Returns header and stored bytes of a chunk, one after the other.
pub fn encode_frame(header: &FrameHeader, stored: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEADER_LEN + stored.len());
    bytes.extend_from_slice(&MAGIC);
    // Nonce and tag lengths are zero while nothing is encrypted, like the key epoch.
    bytes.extend_from_slice(&[header.codec as u8, header.kind as u8, 0, 0]);
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&header.stored_len.to_le_bytes());
    bytes.extend_from_slice(&header.content_len.to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&header.chunk.0);
    bytes.extend_from_slice(stored);
    let checksum = frame_checksum(&bytes).to_le_bytes();
    bytes[CHECKSUM_OFFSET..ID_OFFSET].copy_from_slice(&checksum);
    bytes
}

/// The checksum covers everything but itself, without copying the frame.
fn frame_checksum(frame: &[u8]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(frame.get(..CHECKSUM_OFFSET).unwrap_or_default());
    hasher.update(frame.get(ID_OFFSET..).unwrap_or_default());
    hasher.digest()
}

impl FrameHeader {
    /// Reads the frame that is exactly `frame`, checks it, and returns its header and
    /// its stored bytes.
    ///
    /// # Errors
    ///
    /// If a single byte differs from what was written, or a length exceeds its limit.
    pub fn decode(frame: &[u8]) -> Result<(Self, &[u8])> {
        let mut cursor = Cursor::new("frame", frame);
        let magic: [u8; 4] = cursor.array()?;
        demand(
            magic == MAGIC,
            "frame magic",
            "\"TTFR\"",
            u32::from_le_bytes(magic),
        )?;
        let codec = cursor.u8()?;
        let kind = cursor.u8()?;
        let sealed = cursor.u16()?;
        let key_epoch = cursor.u32()?;
        let stored_len = cursor.u32()?;
        let content_len = cursor.u32()?;
        cursor.take(4)?;
        let checksum = cursor.u64()?;
        let chunk = ChunkId(cursor.array()?);
        let stored = cursor.take(cursor.remaining_len())?;
        if frame_checksum(frame) != checksum {
            let computed = frame_checksum(frame);
            return Err(Error::Checksum {
                structure: "frame",
                expected: checksum,
                computed,
            });
        }
        if sealed != 0 || key_epoch != 0 {
            return Err(Error::Unsupported("chunk is encrypted".to_owned()));
        }
        let fits = u64::from(stored_len) == stored.len() as u64;
        demand(fits, "stored length", "the rest of the frame", stored_len)?;
        let bounded = content_len as usize <= CHUNK_LEN_ACCEPT_MAX && content_len > 0;
        demand(bounded, "content length", "1 to 1,048,576", content_len)?;
        let header = Self {
            chunk,
            codec: Codec::from_u8(codec)?,
            kind: ContentKind::from_u8(kind)?,
            stored_len,
            content_len,
        };
        let whole = header.codec != Codec::Raw || stored_len == content_len;
        demand(
            whole,
            "stored length",
            "the content length of a raw chunk",
            stored_len,
        )?;
        Ok((header, stored))
    }

    /// Returns the length of the frame in bytes.
    pub fn frame_len(&self) -> u32 {
        self.stored_len.saturating_add(FRAME_HEADER_LEN as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_anywhere_is_refused() {
        let header = FrameHeader {
            chunk: ChunkId([5; 32]),
            codec: Codec::Raw,
            kind: ContentKind::Data,
            stored_len: 5,
            content_len: 5,
        };
        let frame = encode_frame(&header, b"abcde");
        assert_eq!(
            FrameHeader::decode(&frame).unwrap(),
            (header, b"abcde".as_slice())
        );
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..frame.len() {
            assert!(FrameHeader::decode(&frame[..len]).is_err());
        }
    }
}
