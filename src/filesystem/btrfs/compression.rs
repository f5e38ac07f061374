//! Compressed extents: zlib, LZO and zstd, and a bounded cache of what came out.
//!
//! Source: btrfs documentation, "Compression"; the framing of LZO is told in the
//! comments of the kernel's `fs/btrfs/lzo.c`.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of};
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes of the longest compressed extent, before and after (the kernel writes no
/// more than this, encoded writes included).
pub(super) const EXTENT_LEN_MAX: u64 = 128 << 10;

/// Bytes of decompressed extents that are kept: 32 of the longest.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// Bytes of the two kinds of headers of LZO.
const LZO_HEADER_LEN: usize = 4;

/// How an extent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Compression {
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    /// Returns the algorithm with this number; `None` if it is none at all.
    pub(super) fn from_number(number: u8) -> Result<Option<Self>> {
        match number {
            0 => Ok(None),
            1 => Ok(Some(Self::Zlib)),
            2 => Ok(Some(Self::Lzo)),
            3 => Ok(Some(Self::Zstd)),
            _ => Err(Error::unsupported(format!("btrfs compression {number}"))),
        }
    }

    /// Decompresses `source`, which was read at `offset`, to `len` bytes: less that
    /// comes out is filled up with zeros, as the kernel does. What follows the end
    /// of the stream is padding.
    ///
    /// # Errors
    ///
    /// Corrupt if it is no such stream or gives more.
    pub(super) fn decompress(
        self,
        source: &[u8],
        len: u64,
        sector_len: u32,
        offset: ByteOffset,
    ) -> Result<Vec<u8>> {
        if len > EXTENT_LEN_MAX {
            let expected = "at most 128 KiB";
            return Err(Error::corrupt(
                "length of a compressed extent",
                offset,
                expected,
                len,
            ));
        }
        let mut target = vec![0; index_of(len)];
        let is_right = match self {
            Self::Zlib => inflate(source, &mut target),
            Self::Lzo => lzo(
                &Fields::new(source, offset),
                &mut target,
                index_of(sector_len),
            )?,
            Self::Zstd => zstd(source, &mut target),
        };
        match is_right {
            true => Ok(target),
            false => {
                let expected = "a compressed stream";
                Err(Error::corrupt("compressed extent", offset, expected, len))
            }
        }
    }
}

fn inflate(source: &[u8], target: &mut [u8]) -> bool {
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
    let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
        | inflate_flags::TINFL_FLAG_IGNORE_ADLER32;
    // Data has better checksums than that of zlib, and the kernel ends with the page.
    let mut state = Box::<DecompressorOxide>::default();
    let (status, _, _) = decompress(&mut state, source, target, 0, flags);
    matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput)
}

fn zstd(source: &[u8], target: &mut [u8]) -> bool {
    // Behind the frame is padding up to the sector.
    let Ok(len) = zstd::zstd_safe::find_frame_compressed_size(source) else {
        return false;
    };
    let frame = source.get(..len).unwrap_or_default();
    let decompressor = zstd::bulk::Decompressor::new();
    let count = decompressor.and_then(|mut found| found.decompress_to_buffer(frame, target));
    // It may have written beyond what it tells.
    let behind = count.ok().and_then(|count| target.get_mut(count..));
    behind.map(|rest| rest.fill(0)).is_some()
}

/// A header with the length of all, then segments of a sector each: a header with the
/// length, and the stream. A header never lies across the end of a sector.
fn lzo(source: &Fields<'_>, target: &mut [u8], sector_len: usize) -> Result<bool> {
    let end = index_of(source.le_u32(0)?);
    if end > source.bytes().len() {
        return Ok(false);
    }
    let mut position = LZO_HEADER_LEN;
    let mut sectors = target.chunks_mut(sector_len.max(1));
    let mut sector = vec![0; sector_len];
    while position < end {
        let Some(target) = sectors.next() else {
            break;
        };
        let room = sector_len.saturating_sub(position.checked_rem(sector_len).unwrap_or(0));
        if room < LZO_HEADER_LEN {
            position = position.saturating_add(room);
        }
        let len = index_of(source.le_u32(position)?);
        let stream = source.slice(position.saturating_add(LZO_HEADER_LEN), len)?;
        let Ok(count) = lzokay::decompress::decompress(stream, &mut sector) else {
            return Ok(false);
        };
        let count = count.min(target.len());
        let (now, _) = target.split_at_mut(count);
        now.copy_from_slice(sector.get(..count).unwrap_or_default());
        position = position.saturating_add(LZO_HEADER_LEN).saturating_add(len);
    }
    Ok(true)
}

/// What makes a decompressed extent: its place and how it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DecodedKey {
    pub(super) logical: u64,
    pub(super) disk_len: u64,
    pub(super) len: u64,
    pub(super) compression: Compression,
    /// Whether it was verified.
    pub(super) has_checksums: bool,
}

/// Extents that were decompressed lately.
pub(super) struct DecodedCache {
    inner: Mutex<Inner>,
}

struct Inner {
    extents: LruCache<DecodedKey, Arc<[u8]>>,
    used_bytes: usize,
}

impl DecodedCache {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                extents: LruCache::unbounded(),
                used_bytes: 0,
            }),
        }
    }

    pub(super) fn get(&self, key: &DecodedKey) -> Option<Arc<[u8]>> {
        self.inner.lock().extents.get(key).cloned()
    }

    pub(super) fn put(&self, key: DecodedKey, extent: Arc<[u8]>) {
        let mut inner = self.inner.lock();
        inner.used_bytes = inner.used_bytes.saturating_add(cost_of(&extent));
        let mut old = inner.extents.push(key, extent);
        while let Some((_, extent)) = old {
            inner.used_bytes = inner.used_bytes.saturating_sub(cost_of(&extent));
            let is_full = inner.used_bytes > CACHE_BYTES_MAX;
            old = is_full.then(|| inner.extents.pop_lru()).flatten();
        }
        while inner.used_bytes > CACHE_BYTES_MAX {
            let Some((_, extent)) = inner.extents.pop_lru() else {
                break;
            };
            inner.used_bytes = inner.used_bytes.saturating_sub(cost_of(&extent));
        }
    }
}

fn cost_of(extent: &[u8]) -> usize {
    extent.len().saturating_add(128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        b"tintype ".iter().copied().cycle().take(10_000).collect()
    }

    #[test]
    fn zstd_and_zlib_end_before_their_padding() {
        let mut frame = zstd::bulk::compress(&text(), 3).unwrap();
        frame.resize(4096, 0);
        let found = Compression::Zstd
            .decompress(&frame, 12_288, 4096, 0)
            .unwrap();
        assert_eq!(&found[..10_000], text());
        assert!(found[10_000..].iter().all(|byte| *byte == 0));
        assert!(Compression::Zstd.decompress(&frame, 4096, 4096, 0).is_err());
        assert!(
            Compression::Zstd
                .decompress(&frame[1..], 12_288, 4096, 0)
                .is_err()
        );
        let mut stream = miniz_oxide::deflate::compress_to_vec_zlib(&text(), 6);
        stream.resize(4096, 0);
        let found = Compression::Zlib
            .decompress(&stream, 12_288, 4096, 0)
            .unwrap();
        assert_eq!(&found[..10_000], text());
        assert!(
            Compression::Zlib
                .decompress(&stream[..15], 12_288, 4096, 0)
                .is_err()
        );
        assert!(
            Compression::Zlib
                .decompress(&stream, 1 << 20, 4096, 0)
                .is_err()
        );
    }

    /// Two segments of literals, and a header that must not cross the sector.
    #[test]
    fn segments_of_lzo_are_found_behind_sectors() {
        let literals = |byte: u8, len: usize| {
            // 18 and less: a run of 255 for each zero, then the rest.
            let mut stream = vec![0];
            let rest = len - 18;
            stream.extend(vec![0; rest / 255]);
            stream.push((rest % 255) as u8);
            stream.extend(vec![byte; len]);
            stream.extend([0x11, 0, 0]);
            stream
        };
        let first = literals(b'a', 4066);
        let mut source = vec![0; 4];
        source.extend((first.len() as u32).to_le_bytes());
        source.extend(&first);
        assert!((4093..=4096).contains(&source.len()), "{}", source.len());
        source.resize(4096, 0);
        let second = literals(b'b', 100);
        source.extend((second.len() as u32).to_le_bytes());
        source.extend(&second);
        let len = source.len() as u32;
        source[..4].copy_from_slice(&len.to_le_bytes());
        source.resize(8192, 0);
        let found = Compression::Lzo.decompress(&source, 8192, 4096, 0).unwrap();
        assert_eq!(found[..4066], [b'a'; 4066]);
        assert_eq!(found[4096..4196], [b'b'; 100]);
        assert!(found[4196..].iter().all(|byte| *byte == 0));
        source[4] ^= 1;
        assert!(Compression::Lzo.decompress(&source, 8192, 4096, 0).is_err());
        source[3] = 1;
        assert!(Compression::Lzo.decompress(&source, 8192, 4096, 0).is_err());
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = DecodedCache::new();
        let key = |logical| DecodedKey {
            logical,
            disk_len: 4096,
            len: 1 << 17,
            compression: Compression::Lzo,
            has_checksums: true,
        };
        for logical in 0..100 {
            cache.put(key(logical), vec![0; 1 << 17].into());
            cache.put(key(logical), vec![1; 1 << 17].into());
        }
        assert!(cache.inner.lock().used_bytes <= CACHE_BYTES_MAX);
        assert!(cache.get(&key(99)).is_some() && cache.get(&key(0)).is_none());
        assert_eq!(cache.inner.lock().extents.len(), 31);
    }
}
