//! Compressed extents: zlib, LZO and zstd, and a bounded cache of what came out.
//!
//! Source: btrfs documentation, "Compression"; the framing of LZO is told in the
//! comments of the kernel's `fs/btrfs/lzo.c`.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of};
use lru::LruCache;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

thread_local! {
    /// Making one takes longer than decompressing a small file.
    static ZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Bytes of the longest compressed extent, before and after (the kernel writes no
/// more than this, encoded writes included).
pub(super) const EXTENT_LEN_MAX: u64 = 128 << 10;

/// Bytes of decompressed extents that are kept: 32 of the longest.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// The largest window of zstd, 2 MiB, which is where the kernel ends too: the stream
/// must not choose how much memory a thread keeps. The kernel's own streams have none
/// above 128 KiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 21;

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
    /// comes out is filled up with zeros and more is cut off, as the kernel does. What
    /// follows the end of the stream is padding.
    ///
    /// # Errors
    ///
    /// Corrupt if it is no such stream.
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

/// Decompresses one frame; what follows it, or comes out beyond `target`, is left.
fn zstd(source: &[u8], target: &mut [u8]) -> bool {
    let len = target.len();
    let count = ZSTD.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(new_zstd()?),
        };
        // The last frame may not have been read to its end.
        context.reset(ResetDirective::SessionOnly).ok()?;
        let mut input = InBuffer::around(source);
        let mut output = OutBuffer::around(&mut *target);
        loop {
            let before = (input.pos(), output.pos());
            let is_ended = context.decompress_stream(&mut output, &mut input).ok()? == 0;
            if is_ended || output.pos() == len {
                return Some(output.pos());
            }
            if before == (input.pos(), output.pos()) {
                return None;
            }
        }
    });
    // It may have written beyond what it tells.
    let behind = count.and_then(|count| target.get_mut(count..));
    behind.map(|rest| rest.fill(0)).is_some()
}

fn new_zstd() -> Option<DCtx<'static>> {
    let mut context = DCtx::try_create()?;
    let limit = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
    context.set_parameter(limit).ok()?;
    Some(context)
}

/// A header with the length of all, then segments of a sector each, as a rule: a header
/// with the length, and the stream. A header never lies across the end of a sector. What
/// comes out is put together, whatever the lengths of the pieces.
fn lzo(source: &Fields<'_>, target: &mut [u8], sector_len: usize) -> Result<bool> {
    let end = index_of(source.le_u32(0)?);
    if end > source.bytes().len() {
        return Ok(false);
    }
    let mut position = LZO_HEADER_LEN;
    let mut rest = target;
    let mut piece = vec![0; lzo_piece_len_max(sector_len)];
    while position < end && !rest.is_empty() {
        let room = sector_len.saturating_sub(position.checked_rem(sector_len).unwrap_or(0));
        if room < LZO_HEADER_LEN {
            position = position.saturating_add(room);
        }
        let len = index_of(source.le_u32(position)?);
        let stream = source.slice(position.saturating_add(LZO_HEADER_LEN), len)?;
        let Ok(count) = lzokay::decompress::decompress(stream, &mut piece) else {
            return Ok(false);
        };
        let (now, later) = rest.split_at_mut(count.min(rest.len()));
        now.copy_from_slice(piece.get(..now.len()).unwrap_or_default());
        rest = later;
        position = position.saturating_add(LZO_HEADER_LEN).saturating_add(len);
    }
    Ok(true)
}

/// Returns how much one segment may give: room for a sector that did not compress.
const fn lzo_piece_len_max(sector_len: usize) -> usize {
    sector_len
        .saturating_add(sector_len / 16)
        .saturating_add(67)
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
        for bad in [&frame[1..], &frame[..20]] {
            let found = Compression::Zstd.decompress(bad, 12_288, 4096, 0);
            assert!(found.is_err());
        }
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

    #[test]
    fn what_comes_out_beyond_the_extent_is_cut_off() {
        let frame = zstd::bulk::compress(&text(), 3).unwrap();
        let stream = miniz_oxide::deflate::compress_to_vec_zlib(&text(), 6);
        for (compression, source) in [(Compression::Zstd, frame), (Compression::Zlib, stream)] {
            // The one that is left in the middle does not spoil the next.
            for len in [4096, 12_288, 8192] {
                let found = compression.decompress(&source, len, 4096, 0).unwrap();
                let count = text().len().min(found.len());
                assert_eq!(found[..count], text()[..count]);
            }
        }
    }

    #[test]
    fn windows_of_zstd_are_not_as_large_as_they_say() {
        for (window_log, is_read) in [(17, true), (21, true), (22, false), (27, false)] {
            let mut encoder = zstd::stream::Encoder::new(vec![], 3).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.include_contentsize(false).unwrap();
            std::io::Write::write_all(&mut encoder, &text()).unwrap();
            let frame = encoder.finish().unwrap();
            let found = Compression::Zstd.decompress(&frame, 12_288, 4096, 0);
            assert_eq!(found.is_ok(), is_read, "{window_log}");
        }
    }

    /// 18 and less: a run of 255 for each zero, then the rest.
    fn literals(byte: u8, len: usize) -> Vec<u8> {
        let rest = len - 18;
        let mut stream = vec![0; 1 + rest / 255];
        stream.push((rest % 255) as u8);
        stream.extend(vec![byte; len]);
        stream.extend([0x11, 0, 0]);
        stream
    }

    /// Two segments of literals, and a header that must not cross the sector.
    #[test]
    fn segments_of_lzo_are_found_behind_sectors() {
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
        // As the kernel does: the next one follows, wherever the first one ends.
        assert_eq!(found[4066..4166], [b'b'; 100]);
        assert!(found[4166..].iter().all(|byte| *byte == 0));
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
