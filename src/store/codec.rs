//! Compressing and decompressing with contexts that each thread keeps.

use super::error::{Error, Result};
use crate::base::ChunkId;
use crate::format::{Codec, ContentKind, FrameHeader, encode_frame};
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::WriteBuf;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>, Vec<u8>)>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A chunk must shrink by one part in this many, or it is stored as it is.
const WORTHWHILE_PART: usize = 32;

/// Returns the frame of a chunk and its header.
pub fn seal_chunk(
    chunk: ChunkId,
    kind: ContentKind,
    content: &[u8],
    level: i32,
) -> Result<(FrameHeader, Vec<u8>)> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let (_, compressor, buffer) = match slot {
            Some(kept) if kept.0 == level => kept,
            _ => slot.insert((level, Compressor::new(level).map_err(Error::Codec)?, vec![])),
        };
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(content.len()));
        let compressed_len = compressor
            .compress_to_buffer(content, buffer)
            .map_err(Error::Codec)?;
        let (codec, stored) = if compressed_len <= content.len() - content.len() / WORTHWHILE_PART {
            (Codec::Zstd, buffer.as_slice())
        } else {
            (Codec::Raw, content)
        };
        let header = FrameHeader {
            chunk,
            codec,
            kind,
            stored_len: stored.len() as u32,
            content_len: content.len() as u32,
        };
        Ok((header, encode_frame(&header, stored)))
    })
}

/// Fills `target`, which is exactly as long as the content, from stored bytes.
pub fn unseal_into(header: &FrameHeader, stored: &[u8], target: &mut [u8]) -> Result<()> {
    let len = match header.codec {
        Codec::Raw => {
            target.copy_from_slice(stored);
            stored.len()
        }
        Codec::Zstd => decompress(header, stored, target)?,
    };
    check_len(header, len)
}

/// Returns the content of stored bytes, in memory that is not cleared first.
pub fn unseal(header: &FrameHeader, stored: &[u8]) -> Result<Vec<u8>> {
    let content = match header.codec {
        Codec::Raw => stored.to_vec(),
        Codec::Zstd => {
            let mut content = Vec::with_capacity(header.content_len as usize);
            decompress(header, stored, &mut content)?;
            content
        }
    };
    check_len(header, content.len())?;
    Ok(content)
}

fn check_len(header: &FrameHeader, len: usize) -> Result<()> {
    if len == header.content_len as usize {
        return Ok(());
    }
    let problem = format!(
        "content has {len} bytes, the frame says {}",
        header.content_len
    );
    Err(Error::Corrupt {
        object: format!("chunk {}", header.chunk),
        problem,
    })
}

fn decompress(
    header: &FrameHeader,
    stored: &[u8],
    target: &mut (impl WriteBuf + ?Sized),
) -> Result<usize> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(kept) => kept,
            None => slot.insert(Decompressor::new().map_err(Error::Codec)?),
        };
        decompressor
            .decompress_to_buffer(stored, target)
            .map_err(|error| Error::Corrupt {
                object: format!("chunk {}", header.chunk),
                problem: format!("it cannot be decompressed: {error}"),
            })
    })
}
