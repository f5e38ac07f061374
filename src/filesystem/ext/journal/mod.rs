//! Replay of a journal in memory, so that a crash-consistent image shows what a
//! mount would show. Nothing is written.
//!
//! Source: Linux documentation, filesystems/ext4 "Journal (jbd2)". Numbers are
//! big-endian. Fast commits are recognised and not replayed; external journals are
//! not looked for.

mod overlay;
mod record;
mod scan;

pub(super) use overlay::Replayed;

use super::checksum::crc32c;
use super::file::{self, Content};
use super::inode::Inode;
use super::{Ext, checksum};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, FileType, Result};
use overlay::NewBlock;
use std::collections::BTreeMap;
use std::sync::Arc;

const MAGIC: u32 = 0xC03B_3998;
const HEADER_LEN: usize = 12;
const TYPE_SUPERBLOCK_V1: u32 = 3;
const TYPE_SUPERBLOCK_V2: u32 = 4;

const BLOCK_LEN: usize = 0x0C;
const MAX_LEN: usize = 0x10;
const FIRST: usize = 0x14;
const SEQUENCE: usize = 0x18;
const START: usize = 0x1C;
const FEATURE_COMPAT: usize = 0x24;
const FEATURE_INCOMPAT: usize = 0x28;
const UUID: usize = 0x30;
const CHECKSUM_TYPE: usize = 0x50;
const FAST_COMMIT_BLOCKS: usize = 0x54;
const CHECKSUM: usize = 0xFC;
const SUPERBLOCK_LEN: usize = 1024;

const COMPAT_CHECKSUM: u32 = 1;
const INCOMPAT_64BIT: u32 = 2;
const INCOMPAT_CSUM_V2: u32 = 8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = 0x3F;
const FAST_COMMIT_BLOCKS_DEFAULT: u32 = 256;

/// The kernel takes no blocks for fast commits from a ring that would be shorter then.
const RING_BLOCKS_MIN: u32 = 1024;

/// Pieces of the journal that are accepted: a journal of mkfs is one or a few.
const PIECE_COUNT_MAX: usize = 1 << 16;

/// Blocks that a replay changes: 16 MiB of overlay, 4 GiB of journal. `mkfs` makes
/// none above 1 GiB.
const NEW_BLOCK_COUNT_MAX: usize = 1 << 20;

/// What the journal did to the image.
pub(super) enum Replay {
    /// There was nothing to do.
    Nothing,
    /// These blocks are new.
    Done(Replayed),
    /// It was not replayed, and why.
    Refused(&'static str),
}

/// Features of a journal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    has_v1_checksums: bool,
    is_64bit: bool,
    has_v2_checksums: bool,
    has_v3_checksums: bool,
    has_fast_commits: bool,
}

impl Features {
    const fn has_block_checksums(self) -> bool {
        self.has_v2_checksums || self.has_v3_checksums
    }
}

/// A run of blocks of the journal.
struct Piece {
    start: u64,
    end: u64,
    image_block: u64,
}

/// An opened journal.
pub(super) struct Journal<'a> {
    ext: &'a Ext,
    pieces: Vec<Piece>,
    first: u32,
    /// Behind the last block of the ring.
    last: u32,
    start: u32,
    sequence: u32,
    features: Features,
    checksum_seed: u32,
    fast_commit_start: u32,
    fast_commit_end: u32,
}

/// Replays the journal of `ext`.
///
/// # Errors
///
/// Only if reading the image fails; a damaged journal is `Refused`.
pub(super) fn replay(ext: &Ext) -> Result<Replay> {
    match try_replay(ext) {
        Ok(replay) => Ok(replay),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(Error::Unsupported { .. }) => Ok(Replay::Refused("its journal has unknown features")),
        Err(_) => Ok(Replay::Refused("its journal is damaged")),
    }
}

fn try_replay(ext: &Ext) -> Result<Replay> {
    if ext.superblock.journal_inode == 0 {
        return Ok(Replay::Refused("its journal is on another device"));
    }
    let journal = Journal::open(ext)?;
    if journal.start == 0 {
        return Ok(Replay::Nothing);
    }
    let log = scan::scan(&journal)?;
    if journal.has_fast_commit(log.end_sequence)? {
        return Ok(Replay::Refused(
            "it has fast commits, which are not replayed",
        ));
    }
    let mut new_blocks = BTreeMap::new();
    scan::collect(&journal, &log, &mut new_blocks)?;
    let blocks = new_blocks
        .into_iter()
        .map(|(block, source)| NewBlock { block, source })
        .collect();
    let image = Arc::clone(ext.reader.image());
    Ok(Replay::Done(Replayed {
        image,
        block_len: ext.superblock.block_len.get().into(),
        blocks,
    }))
}

impl<'a> Journal<'a> {
    fn open(ext: &'a Ext) -> Result<Self> {
        let inode = Inode::read(ext, ext.superblock.journal_inode)?;
        let pieces = pieces(ext, &inode)?;
        let mut journal = Self {
            ext,
            pieces,
            first: 0,
            last: 0,
            start: 0,
            sequence: 0,
            features: Features::default(),
            checksum_seed: 0,
            fast_commit_start: 0,
            fast_commit_end: 0,
        };
        let bytes = journal.block(0)?;
        let fields = Fields::new(&bytes, 0).part(0, SUPERBLOCK_LEN)?;
        journal.decode(&fields)?;
        Ok(journal)
    }

    fn decode(&mut self, fields: &Fields<'_>) -> Result<()> {
        let bad = |position, expected, actual: u32| {
            Err(Error::corrupt(
                "journal superblock",
                fields.place(position),
                expected,
                actual,
            ))
        };
        let (magic, kind) = (fields.be_u32(0)?, fields.be_u32(4)?);
        if magic != MAGIC || !matches!(kind, TYPE_SUPERBLOCK_V1 | TYPE_SUPERBLOCK_V2) {
            return bad(0, "its magic", magic);
        }
        let block_len = fields.be_u32(BLOCK_LEN)?;
        if block_len != self.ext.superblock.block_len.get() {
            return bad(BLOCK_LEN, "that of the file system", block_len);
        }
        if kind == TYPE_SUPERBLOCK_V2 {
            self.decode_features(fields)?;
        }
        (self.first, self.last) = (fields.be_u32(FIRST)?, fields.be_u32(MAX_LEN)?);
        (self.sequence, self.start) = (fields.be_u32(SEQUENCE)?, fields.be_u32(START)?);
        let held = self.pieces.last().map_or(0, |piece| piece.end);
        if u64::from(self.last) > held {
            return bad(MAX_LEN, "at most the blocks of its inode", self.last);
        }
        if self.features.has_fast_commits {
            let count = match fields.be_u32(FAST_COMMIT_BLOCKS)? {
                0 => FAST_COMMIT_BLOCKS_DEFAULT,
                count => count,
            };
            self.fast_commit_end = self.last;
            let ring_end = self.last.saturating_sub(count);
            if ring_end >= RING_BLOCKS_MIN {
                self.last = ring_end;
            }
            // One block lies between the ring and the area.
            self.fast_commit_start = self.last.saturating_add(1);
        }
        if self.first == 0 || self.first >= self.last {
            return bad(FIRST, "a ring of blocks", self.first);
        }
        if self.start != 0 && !(self.first..self.last).contains(&self.start) {
            return bad(START, "a block of the ring", self.start);
        }
        Ok(())
    }

    fn decode_features(&mut self, fields: &Fields<'_>) -> Result<()> {
        let compat = fields.be_u32(FEATURE_COMPAT)?;
        let incompat = fields.be_u32(FEATURE_INCOMPAT)?;
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Error::unsupported(format!(
                "journal features {incompat:#x}"
            )));
        }
        self.features = Features {
            has_v1_checksums: compat & COMPAT_CHECKSUM != 0,
            is_64bit: incompat & INCOMPAT_64BIT != 0,
            has_v2_checksums: incompat & INCOMPAT_CSUM_V2 != 0,
            has_v3_checksums: incompat & INCOMPAT_CSUM_V3 != 0,
            has_fast_commits: incompat & INCOMPAT_FAST_COMMIT != 0,
        };
        self.checksum_seed = crc32c(!0, &fields.array::<16>(UUID)?);
        if self.features.has_block_checksums() {
            let kind = fields.u8(CHECKSUM_TYPE)?;
            let stored = fields.be_u32(CHECKSUM)?;
            let computed = checksum::crc32c_with_hole(!0, fields.bytes(), CHECKSUM, 4);
            if kind != 4 || computed != stored {
                let place = fields.place(CHECKSUM);
                let expected = "the CRC-32C of its bytes";
                return Err(Error::corrupt(
                    "journal superblock",
                    place,
                    expected,
                    stored,
                ));
            }
        }
        Ok(())
    }

    /// Returns the block of the image that holds block `block` of the journal.
    fn image_block(&self, block: u32) -> Result<u64> {
        let block = u64::from(block);
        let index = self.pieces.partition_point(|piece| piece.end <= block);
        let piece = self.pieces.get(index).filter(|piece| piece.start <= block);
        let piece = piece
            .ok_or_else(|| Error::corrupt("journal block", 0, "a block of its inode", block))?;
        Ok(piece
            .image_block
            .saturating_add(block.saturating_sub(piece.start)))
    }

    fn offset(&self, block: u32) -> Result<ByteOffset> {
        Ok(self.ext.superblock.offset_of(self.image_block(block)?))
    }

    /// Reads block `block` of the journal.
    fn block(&self, block: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.ext.superblock.block_size()];
        self.ext
            .reader
            .read_exact_at(self.offset(block)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the block behind `block` in the ring.
    const fn next(&self, block: u32) -> u32 {
        let next = block.saturating_add(1);
        if next >= self.last { self.first } else { next }
    }

    /// Tells whether the area of fast commits has some for transaction `sequence`.
    fn has_fast_commit(&self, sequence: u32) -> Result<bool> {
        const TAG_HEAD: u16 = 9;
        if !self.features.has_fast_commits || self.fast_commit_start >= self.fast_commit_end {
            return Ok(false);
        }
        let bytes = self.block(self.fast_commit_start)?;
        let fields = Fields::new(&bytes, 0);
        // A tag (type, length), then features and the transaction; little-endian.
        Ok(fields.le_u16(0)? == TAG_HEAD && fields.le_u32(8)? == sequence)
    }
}

fn pieces(ext: &Ext, inode: &Inode) -> Result<Vec<Piece>> {
    let place = inode.fields()?.offset();
    if inode.file_type != FileType::Regular {
        return Err(Error::corrupt(
            "journal inode",
            place,
            "a regular file",
            inode.mode,
        ));
    }
    let block_len = u64::from(ext.superblock.block_len.get());
    let end = inode.size.checked_div(block_len).unwrap_or(0);
    let mut pieces: Vec<Piece> = vec![];
    let mut block = 0;
    while block < end {
        let mapping = file::map(ext, inode, block)?;
        let Content::Data(image_block) = mapping.content else {
            return Err(Error::corrupt("journal inode", place, "no hole", block));
        };
        let piece_end = mapping.end.min(end);
        pieces.push(Piece {
            start: block,
            end: piece_end,
            image_block,
        });
        if pieces.len() > PIECE_COUNT_MAX {
            return Err(Error::corrupt(
                "journal inode",
                place,
                "at most 65,536 pieces",
                block,
            ));
        }
        block = mapping.end;
    }
    check_disjoint(&pieces, place)?;
    Ok(pieces)
}

/// A crafted journal whose pieces share blocks would be longer than the image, and so
/// take longer than it may.
fn check_disjoint(pieces: &[Piece], place: ByteOffset) -> Result<()> {
    let ends = |piece: &Piece| {
        let len = piece.end.saturating_sub(piece.start);
        (piece.image_block, piece.image_block.saturating_add(len))
    };
    let mut ranges: Vec<_> = pieces.iter().map(ends).collect();
    ranges.sort_unstable();
    let pairs = ranges.iter().zip(ranges.iter().skip(1));
    match pairs.into_iter().find(|(one, other)| one.1 > other.0) {
        None => Ok(()),
        Some((_, (block, _))) => {
            let expected = "blocks that belong to it once";
            Err(Error::corrupt("journal inode", place, expected, *block))
        }
    }
}
