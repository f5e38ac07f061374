//! The trailer of a pack: windows that list its chunks and the fingerprints of their
//! blocks, a directory of the windows, and a footer. See docs/format/pack.md.

use super::cursor::{Cursor, demand, demand_checksum};
use super::{Codec, ContentKind, Result};
use crate::base::limits::{PACK_CHUNKS_ACCEPT_MAX, PACK_LEN_ACCEPT_MAX};
use crate::base::{ChunkId, Fingerprint};

/// Chunks that a window lists, the last window of a pack perhaps fewer.
pub const WINDOW_CHUNKS: usize = 64;

/// Length of the footer in bytes.
pub const FOOTER_LEN: usize = 40;

const FOOTER_MAGIC: [u8; 8] = *b"TTPACKFT";
const WINDOW_HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 48;
const DIRECTORY_ENTRY_LEN: usize = 12;

/// Fingerprints of one chunk that we accept: 1 MiB of blocks.
const FINGERPRINTS_ACCEPT_MAX: u16 = 256;

/// Length of a window that we accept: as many chunks and fingerprints as one may list.
const WINDOW_LEN_ACCEPT_MAX: usize = WINDOW_HEADER_LEN
    + WINDOW_CHUNKS * (ENTRY_LEN + FINGERPRINTS_ACCEPT_MAX as usize * Fingerprint::LEN);

/// One chunk as a window lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where its frame begins in the pack.
    pub pack_offset: u32,
    /// Length of the frame, header included, in bytes.
    pub frame_len: u32,
    /// Length of the content in bytes.
    pub content_len: u32,
    /// How it is stored.
    pub codec: Codec,
    /// What it holds.
    pub kind: ContentKind,
    /// Fingerprints of its blocks, in order; none for a map node.
    pub fingerprints: Vec<Fingerprint>,
}

/// Returns the bytes of a window that lists `chunks`.
pub fn encode_window(chunks: &[PackedChunk]) -> Vec<u8> {
    let fingerprint_count: usize = chunks.iter().map(|chunk| chunk.fingerprints.len()).sum();
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(fingerprint_count as u32).to_le_bytes());
    for chunk in chunks {
        bytes.extend_from_slice(&chunk.chunk.0);
        bytes.extend_from_slice(&chunk.pack_offset.to_le_bytes());
        bytes.extend_from_slice(&chunk.frame_len.to_le_bytes());
        bytes.extend_from_slice(&chunk.content_len.to_le_bytes());
        bytes.extend_from_slice(&(chunk.fingerprints.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&[chunk.codec as u8, chunk.kind as u8]);
    }
    for fingerprint in chunks.iter().flat_map(|chunk| &chunk.fingerprints) {
        bytes.extend_from_slice(&fingerprint.0);
    }
    let checksum = super::checksum(&bytes[8..]).to_le_bytes();
    bytes[..8].copy_from_slice(&checksum);
    bytes
}

/// Reads the window that is exactly `bytes`.
///
/// # Errors
///
/// If a single byte differs from what was written, or a number exceeds its limit.
pub fn decode_window(bytes: &[u8]) -> Result<Vec<PackedChunk>> {
    let mut cursor = Cursor::new("window of a pack", bytes);
    let checksum = cursor.u64()?;
    demand_checksum(
        "window of a pack",
        checksum,
        bytes.get(8..).unwrap_or_default(),
    )?;
    let chunk_count = cursor.u32()?;
    let fingerprint_count = cursor.u32()?;
    demand(
        chunk_count as usize <= WINDOW_CHUNKS,
        "chunks of a window",
        "64 at most",
        chunk_count,
    )?;
    let expected = (chunk_count as usize)
        .saturating_mul(ENTRY_LEN)
        .saturating_add((fingerprint_count as usize).saturating_mul(Fingerprint::LEN))
        .saturating_add(WINDOW_HEADER_LEN);
    demand(
        expected == bytes.len(),
        "length of a window",
        "its entries",
        bytes.len() as u64,
    )?;
    let mut chunks = Vec::with_capacity(chunk_count as usize);
    let mut counts = Vec::with_capacity(chunk_count as usize);
    for _ in 0..chunk_count {
        let (chunk, count) = decode_entry(&mut cursor)?;
        chunks.push(chunk);
        counts.push(count);
    }
    let sum: u32 = counts.iter().map(|count| u32::from(*count)).sum();
    demand(
        sum == fingerprint_count,
        "fingerprints of a window",
        "those of its chunks",
        sum,
    )?;
    for (chunk, count) in chunks.iter_mut().zip(counts) {
        for _ in 0..count {
            chunk.fingerprints.push(Fingerprint(cursor.array()?));
        }
    }
    Ok(chunks)
}

fn decode_entry(cursor: &mut Cursor<'_>) -> Result<(PackedChunk, u16)> {
    let chunk = ChunkId(cursor.array()?);
    let pack_offset = cursor.u32()?;
    let frame_len = cursor.u32()?;
    let content_len = cursor.u32()?;
    let count = cursor.u16()?;
    demand(
        count <= FINGERPRINTS_ACCEPT_MAX,
        "fingerprints of a chunk",
        "256 at most",
        count,
    )?;
    let codec = Codec::from_u8(cursor.u8()?)?;
    let kind = ContentKind::from_u8(cursor.u8()?)?;
    let fingerprints = Vec::with_capacity(usize::from(count));
    Ok((
        PackedChunk {
            chunk,
            pack_offset,
            frame_len,
            content_len,
            codec,
            kind,
            fingerprints,
        },
        count,
    ))
}

/// Where one window of a pack lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlace {
    /// Where it begins in the pack.
    pub pack_offset: u32,
    /// Its length in bytes.
    pub len: u32,
    /// Where the frame of its first chunk begins in the pack.
    pub first_frame_offset: u32,
}

/// Returns the bytes of the directory.
pub fn encode_directory(windows: &[WindowPlace]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(windows.len() * DIRECTORY_ENTRY_LEN);
    for window in windows {
        bytes.extend_from_slice(&window.pack_offset.to_le_bytes());
        bytes.extend_from_slice(&window.len.to_le_bytes());
        bytes.extend_from_slice(&window.first_frame_offset.to_le_bytes());
    }
    bytes
}

/// The last bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackFooter {
    /// Number of chunks.
    pub chunk_count: u32,
    /// Number of windows.
    pub window_count: u32,
    /// Where the directory begins in the pack; it ends where the footer begins.
    pub directory_offset: u32,
    /// Checksum of the directory.
    pub directory_checksum: u64,
}

impl PackFooter {
    /// Returns the bytes of the footer.
    pub fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..12].copy_from_slice(&self.chunk_count.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.window_count.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.directory_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.directory_checksum.to_le_bytes());
        let checksum = super::checksum(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the footer of a pack of `pack_len` bytes.
    ///
    /// # Errors
    ///
    /// If a single byte differs from what was written, or a number exceeds its limit.
    pub fn decode(bytes: &[u8], pack_len: u64) -> Result<Self> {
        let mut cursor = Cursor::new("footer of a pack", bytes);
        let magic: [u8; 8] = cursor.array()?;
        demand(
            magic == FOOTER_MAGIC,
            "footer magic",
            "\"TTPACKFT\"",
            u64::from_le_bytes(magic),
        )?;
        let chunk_count = cursor.u32()?;
        let window_count = cursor.u32()?;
        let directory_offset = cursor.u32()?;
        cursor.take(4)?;
        let directory_checksum = cursor.u64()?;
        let checksum = cursor.u64()?;
        demand_checksum(
            "footer of a pack",
            checksum,
            bytes.get(..32).unwrap_or_default(),
        )?;
        demand(
            pack_len <= PACK_LEN_ACCEPT_MAX,
            "length of a pack",
            "2 GiB at most",
            pack_len,
        )?;
        demand(
            chunk_count <= PACK_CHUNKS_ACCEPT_MAX,
            "chunks of a pack",
            "1,048,576 at most",
            chunk_count,
        )?;
        let windows = chunk_count.div_ceil(WINDOW_CHUNKS as u32);
        demand(
            window_count == windows,
            "windows of a pack",
            "one for 64 chunks",
            window_count,
        )?;
        let footer = Self {
            chunk_count,
            window_count,
            directory_offset,
            directory_checksum,
        };
        let end = u64::from(directory_offset)
            .saturating_add(footer.directory_len() as u64)
            .saturating_add(FOOTER_LEN as u64);
        demand(
            end == pack_len,
            "directory offset",
            "just before the footer",
            directory_offset,
        )?;
        Ok(footer)
    }

    /// Returns the length of the directory in bytes.
    pub fn directory_len(&self) -> usize {
        (self.window_count as usize).saturating_mul(DIRECTORY_ENTRY_LEN)
    }

    /// Reads the directory that is exactly `bytes`.
    ///
    /// # Errors
    ///
    /// If a single byte differs from what was written, or a window lies outside.
    pub fn decode_directory(&self, bytes: &[u8]) -> Result<Vec<WindowPlace>> {
        demand_checksum("directory of a pack", self.directory_checksum, bytes)?;
        let mut cursor = Cursor::new("directory of a pack", bytes);
        let mut windows = Vec::with_capacity(self.window_count as usize);
        for _ in 0..self.window_count {
            let place = WindowPlace {
                pack_offset: cursor.u32()?,
                len: cursor.u32()?,
                first_frame_offset: cursor.u32()?,
            };
            let bounded = place.len as usize <= WINDOW_LEN_ACCEPT_MAX;
            demand(bounded, "length of a window", "265,232 at most", place.len)?;
            let end = u64::from(place.pack_offset).saturating_add(u64::from(place.len));
            let inside = end <= u64::from(self.directory_offset);
            demand(
                inside,
                "window of a pack",
                "before the directory",
                place.pack_offset,
            )?;
            windows.push(place);
        }
        Ok(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u8) -> PackedChunk {
        PackedChunk {
            chunk: ChunkId([number; 32]),
            pack_offset: 32 + u32::from(number),
            frame_len: 100,
            content_len: 8192,
            codec: Codec::Zstd,
            kind: ContentKind::Data,
            fingerprints: vec![Fingerprint([number; 16]); 2],
        }
    }

    #[test]
    fn windows_go_there_and_back_and_refuse_flipped_bits() {
        let chunks = vec![chunk(1), chunk(2)];
        let window = encode_window(&chunks);
        assert_eq!(decode_window(&window).unwrap(), chunks);
        for bit in 0..window.len() * 8 {
            let mut bytes = window.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_window(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_window_longer_than_any_is_refused_before_it_is_read() {
        let place = WindowPlace {
            pack_offset: 32,
            len: WINDOW_LEN_ACCEPT_MAX as u32 + 1,
            first_frame_offset: 32,
        };
        let directory = encode_directory(&[place]);
        let footer = PackFooter {
            chunk_count: 1,
            window_count: 1,
            directory_offset: 1 << 20,
            directory_checksum: super::super::checksum(&directory),
        };
        assert_eq!(WINDOW_LEN_ACCEPT_MAX, 265_232);
        assert!(footer.decode_directory(&directory).is_err());
    }

    #[test]
    fn the_footer_must_fit_the_pack() {
        let place = WindowPlace {
            pack_offset: 32,
            len: 100,
            first_frame_offset: 32,
        };
        let directory = encode_directory(&[place]);
        let footer = PackFooter {
            chunk_count: 64,
            window_count: 1,
            directory_offset: 132,
            directory_checksum: super::super::checksum(&directory),
        };
        let len = 132 + directory.len() as u64 + FOOTER_LEN as u64;
        let bytes = footer.encode();
        assert_eq!(PackFooter::decode(&bytes, len).unwrap(), footer);
        assert_eq!(footer.decode_directory(&directory).unwrap(), [place]);
        assert!(PackFooter::decode(&bytes, len + 1).is_err());
        for bit in 0..FOOTER_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(PackFooter::decode(&damaged, len).is_err(), "bit {bit}");
        }
    }
}
