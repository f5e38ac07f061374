//! Files that Windows keeps compressed beside their content: chunks in the stream
//! `WofCompressedData`, behind a table of where each but the first begins.
//!
//! Source: Microsoft [MS-FSCC], section 2.1.2 (`IO_REPARSE_TAG_WOF`), and
//! `FILE_PROVIDER_EXTERNAL_INFO_V1`; resources of WIM files have the same chunks.

use super::inode::Inode;
use super::record::kind;
use super::reparse::Reparse;
use super::stream::Stream;
use super::volume::Volume;
use super::{lzx, xpress};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of, len_of};
use std::sync::Arc;

/// `WofCompressedData`.
pub(super) const STREAM: &[u8] = b"W\0o\0f\0C\0o\0m\0p\0r\0e\0s\0s\0e\0d\0D\0a\0t\0a\0";

/// Files of at most this length have a table of 4 bytes an entry, others of 8.
const SHORT_LEN_MAX: u64 = 0xFFFF_FFFF;

/// How content is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// XPRESS in chunks of 2 to this power.
    Xpress(u32),
    Lzx,
    /// Another one, or content in an image file.
    Unknown,
}

impl Algorithm {
    pub(super) const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Xpress(12),
            1 => Self::Lzx,
            2 => Self::Xpress(13),
            3 => Self::Xpress(14),
            _ => Self::Unknown,
        }
    }

    fn chunk_len(self) -> Result<u64> {
        match self {
            Self::Xpress(log) => Ok(1_u64.wrapping_shl(log)),
            Self::Lzx => Ok(32_768),
            Self::Unknown => Err(Error::unsupported(
                "a file whose content is kept by another provider of the overlay filter",
            )),
        }
    }
}

/// Fills `target` from `offset` of the content, all of it before its end.
///
/// # Errors
///
/// Unsupported if the compression is not known; Corrupt; Io.
pub(super) fn read(
    volume: &Volume,
    inode: &Inode,
    algorithm: Algorithm,
    offset: ByteOffset,
    target: &mut [u8],
) -> Result<()> {
    let chunk_len = algorithm.chunk_len()?;
    let size = inode.data.as_ref().map_or(0, Stream::size);
    let stream = inode.stream(volume, kind::DATA, STREAM)?.ok_or_else(|| {
        let expected = "a stream of compressed content";
        Error::corrupt("file", inode.record.offset, expected, inode.record.number)
    })?;
    let name: Arc<[u8]> = Arc::new([]);
    let (mut position, mut rest) = (offset, target);
    while !rest.is_empty() {
        let number = position.checked_div(chunk_len).unwrap_or(0);
        let key = (inode.record.number, None, Arc::clone(&name), number);
        let chunk = match volume.units.get(&key) {
            Some(chunk) => chunk,
            None => {
                let found = Chunks {
                    volume,
                    inode,
                    stream: &stream,
                    size,
                    algorithm,
                    chunk_len,
                };
                let chunk: Arc<[u8]> = found.read(number)?.into();
                volume.units.put(key, Arc::clone(&chunk), chunk.len());
                chunk
            }
        };
        let skip = position.saturating_sub(number.saturating_mul(chunk_len));
        let from = chunk.get(index_of(skip)..).unwrap_or_default();
        let count = from.len().min(rest.len());
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(from.get(..count).unwrap_or_default());
        if count == 0 {
            let expected = "content up to the size";
            let place = inode.record.offset;
            return Err(Error::corrupt("file", place, expected, position));
        }
        position = position.saturating_add(len_of(now));
        rest = later;
    }
    Ok(())
}

/// Returns the bytes that the compressed content takes, 0 for other files. A file with
/// content and without blocks is a hole to `tar`.
///
/// # Errors
///
/// Io.
pub(super) fn allocated(volume: &Volume, inode: &Inode) -> Result<u64> {
    if !matches!(inode.reparse, Some(Reparse::Compressed(_))) {
        return Ok(0);
    }
    match inode.stream(volume, kind::DATA, STREAM) {
        Ok(stream) => Ok(stream.map_or(0, |stream| stream.allocated())),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(0),
    }
}

struct Chunks<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    stream: &'a Stream,
    size: u64,
    algorithm: Algorithm,
    chunk_len: u64,
}

impl Chunks<'_> {
    /// Decompresses one chunk.
    fn read(&self, number: u64) -> Result<Vec<u8>> {
        let start = number.saturating_mul(self.chunk_len);
        let len = self.size.saturating_sub(start).min(self.chunk_len);
        let (from, to) = self.place(number)?;
        let corrupt = |found: u64| {
            let expected = "a compressed chunk";
            Error::corrupt(
                "compressed content",
                self.inode.record.offset,
                expected,
                found,
            )
        };
        let stored = to
            .checked_sub(from)
            .filter(|stored| *stored <= len && *stored > 0);
        let stored = stored.ok_or_else(|| corrupt(from))?;
        let mut source = vec![0; index_of(stored)];
        if self.stream.read(self.volume, from, &mut source)? != source.len() {
            return Err(corrupt(from));
        }
        // What would not get shorter is as it is.
        if stored == len {
            return Ok(source);
        }
        let mut target = vec![0; index_of(len)];
        let done = match self.algorithm {
            Algorithm::Xpress(_) => xpress::decompress(&source, &mut target),
            Algorithm::Lzx | Algorithm::Unknown => lzx::decompress(&source, &mut target),
        };
        done.ok_or_else(|| corrupt(number))?;
        Ok(target)
    }

    /// Returns where a chunk begins and ends in the stream.
    fn place(&self, number: u64) -> Result<(u64, u64)> {
        let entry_len: u64 = match self.size {
            0..=SHORT_LEN_MAX => 4,
            _ => 8,
        };
        let count = self.size.div_ceil(self.chunk_len.max(1));
        let table_len = count.saturating_sub(1).saturating_mul(entry_len);
        let entry = |index: u64| -> Result<u64> {
            let mut bytes = [0; 8];
            let target = bytes.get_mut(..index_of(entry_len)).unwrap_or_default();
            self.stream
                .read(self.volume, index.saturating_mul(entry_len), target)?;
            let found = Fields::new(&bytes, 0).le_u64(0)?;
            Ok(found.saturating_add(table_len))
        };
        let from = match number.checked_sub(1) {
            None => table_len,
            Some(before) => entry(before)?,
        };
        let to = match number.saturating_add(1) < count {
            true => entry(number)?,
            false => self.stream.size(),
        };
        Ok((from, to))
    }
}
