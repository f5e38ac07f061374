//! Directories: read linearly, which htree directories allow by design; names of
//! large ones are found through a small index of hashes that is made at first use.
//!
//! Source: Linux documentation, filesystems/ext4 "Directory Entries".

use super::checksum::{crc32c, crc32c_with_hole};
use super::file::{self, Content, inline_data};
use super::inode::{BLOCK_MAP_LEN, Inode, flag};
use super::superblock::feature;
use super::{BLOCK_KIND_DIRECTORY, Ext};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::damage::Damage;
use crate::filesystem::{
    BlockKind, DirCursor, DirEntry, Error, FileType, Name, NodeId, Result, index_of,
};
use std::ops::ControlFlow;
use std::sync::Arc;

const ENTRY_HEADER_LEN: usize = 8;
const REC_LEN: usize = 4;
const NAME_LEN: usize = 6;
const FILE_TYPE: usize = 7;
const TAIL_LEN: usize = 12;
const TAIL_TYPE: u8 = 0xDE;
const DX_ENTRY_LEN: usize = 8;
/// The longest directory that is read: 100 million names. One block may lie at many
/// places of a crafted one, so its length says nothing about that of the image.
const DIRECTORY_LEN_MAX: u64 = 4 << 30;
/// The first four bytes of an inline directory are its parent.
const INLINE_PARENT_LEN: usize = 4;

/// An entry and the places around it.
pub(super) struct RawEntry<'a> {
    pub(super) inode: u32,
    pub(super) name: &'a [u8],
    pub(super) file_type: u8,
    /// Where it begins in the directory.
    pub(super) position: u64,
    /// Where the next one begins.
    pub(super) next: u64,
    offset: ByteOffset,
}

/// A run of entries: a block, or one of the two parts of an inline directory.
struct Run<'a> {
    fields: Fields<'a>,
    /// Where the run begins in the directory.
    start: u64,
}

type RawVisitor<'a> = dyn FnMut(&RawEntry<'_>) -> Result<ControlFlow<()>> + 'a;

fn check_directory(inode: &Inode) -> Result<()> {
    if inode.file_type != FileType::Directory {
        return Err(Error::WrongType {
            expected: FileType::Directory,
            actual: inode.file_type,
        });
    }
    if inode.has(flag::ENCRYPT) {
        return Err(Error::unsupported("encrypted directory (fscrypt)"));
    }
    Ok(())
}

/// Gives all used entries that begin at `from` or behind to `visit`, `.` and `..` too. A
/// damaged block is passed over, and an error at the end, as in the kernel's listings.
pub(super) fn walk(ext: &Ext, inode: &Inode, from: u64, visit: &mut RawVisitor<'_>) -> Result<()> {
    check_directory(inode)?;
    if inode.has(flag::INLINE_DATA) {
        return walk_inline(ext, inode, from, visit);
    }
    if inode.size > DIRECTORY_LEN_MAX {
        return Err(Error::unsupported("a directory of more than 4 GiB"));
    }
    let block_len = u64::from(ext.superblock.block_len.get());
    let end = inode.size.checked_div(block_len).unwrap_or(0);
    let mut block = from.checked_div(block_len).unwrap_or(0);
    let mut damage = Damage::default();
    while block < end {
        let mapping = file::map(ext, inode, block)?;
        let Content::Data(place) = mapping.content else {
            let place = inode.fields()?.offset();
            damage.note(Error::corrupt("directory", place, "no hole", block))?;
            block = mapping.end;
            continue;
        };
        for step in 0..mapping.end.min(end).saturating_sub(block) {
            let place = place.saturating_add(step);
            let start = block.saturating_add(step).saturating_mul(block_len);
            let walked = read_block(ext, inode, place).and_then(|bytes| {
                let fields = Fields::new(&bytes, ext.superblock.offset_of(place));
                walk_run(ext, &Run { fields, start }, from, visit)
            });
            if damage.pass(walked)?.is_some_and(|flow| flow.is_break()) {
                return damage.end();
            }
        }
        block = mapping.end;
    }
    damage.end()
}

fn walk_inline(ext: &Ext, inode: &Inode, from: u64, visit: &mut RawVisitor<'_>) -> Result<()> {
    let content = inline_data(ext, inode)?;
    let end = index_of(inode.size).min(content.len());
    let offset = inode.fields()?.offset();
    let all = Fields::new(content.get(..end).unwrap_or_default(), offset);
    let first_end = end.min(BLOCK_MAP_LEN);
    let parts = [(INLINE_PARENT_LEN, first_end), (BLOCK_MAP_LEN, end)];
    for (start, end) in parts {
        let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else {
            continue;
        };
        let fields = all.part(start, len)?;
        let run = Run {
            fields,
            start: u64::try_from(start).unwrap_or(0),
        };
        if walk_run(ext, &run, from, visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn walk_run(
    ext: &Ext,
    run: &Run<'_>,
    from: u64,
    visit: &mut RawVisitor<'_>,
) -> Result<ControlFlow<()>> {
    let len = run.fields.bytes().len();
    let mut position: usize = 0;
    // Every entry is at least 8 bytes long, so the loop ends.
    while position.saturating_add(ENTRY_HEADER_LEN) <= len {
        let (entry, next) = decode(ext, run, position)?;
        if entry.inode != 0 && entry.position >= from && visit(&entry)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        position = next;
    }
    Ok(ControlFlow::Continue(()))
}

fn decode<'a>(ext: &Ext, run: &Run<'a>, position: usize) -> Result<(RawEntry<'a>, usize)> {
    let fields = run.fields;
    let entry = fields.part(position, ENTRY_HEADER_LEN)?;
    let inode = entry.le_u32(0)?;
    let raw_len = entry.le_u16(REC_LEN)?;
    let len = record_len(raw_len, fields.bytes().len());
    let name_len = usize::from(entry.u8(NAME_LEN)?);
    let next = position.saturating_add(len);
    let used = ENTRY_HEADER_LEN.saturating_add(name_len);
    if len < TAIL_LEN
        || !len.is_multiple_of(4)
        || next > fields.bytes().len()
        || (inode != 0 && used > len)
    {
        let expected = "a length inside the block";
        return Err(Error::corrupt(
            "directory entry",
            entry.offset(),
            expected,
            raw_len,
        ));
    }
    if inode > ext.superblock.inode_count {
        let expected = "an inode of the file system";
        return Err(Error::corrupt(
            "directory entry",
            entry.offset(),
            expected,
            inode,
        ));
    }
    let name = if inode == 0 {
        &[][..]
    } else {
        fields.slice(position.saturating_add(ENTRY_HEADER_LEN), name_len)?
    };
    let at = |position: usize| {
        run.start
            .saturating_add(u64::try_from(position).unwrap_or(0))
    };
    let (position, next_position) = (at(position), at(next));
    let file_type = entry.u8(FILE_TYPE)?;
    Ok((
        RawEntry {
            inode,
            name,
            file_type,
            position,
            next: next_position,
            offset: entry.offset(),
        },
        next,
    ))
}

/// Returns the length of an entry: blocks of 64 KiB need more than 16 bits.
fn record_len(raw: u16, block_len: usize) -> usize {
    if block_len < 65_536 {
        return raw.into();
    }
    match raw {
        0 | u16::MAX => block_len,
        _ => usize::from(raw & 0xFFFC) | usize::from(raw & 3) << 16,
    }
}

fn read_block(ext: &Ext, inode: &Inode, block: u64) -> Result<Arc<[u8]>> {
    let offset = ext.superblock.offset_of(block);
    let kind = BlockKind(BLOCK_KIND_DIRECTORY ^ inode.checksum_seed);
    ext.reader
        .checked_block(offset, ext.superblock.block_size(), kind, |bytes| {
            if !ext.superblock.has(feature::METADATA_CSUM) {
                return Ok(());
            }
            check_block(&Fields::new(bytes, offset), inode.checksum_seed)
        })
}

/// Checks a block of entries by its tail, or a block of the htree by its own.
fn check_block(fields: &Fields<'_>, seed: u32) -> Result<()> {
    let len = fields.bytes().len();
    let (computed, stored);
    if let Some(count_position) = index_position(fields)? {
        let limit = usize::from(fields.le_u16(count_position)?);
        let count = usize::from(fields.le_u16(count_position.saturating_add(2))?);
        let end = count_position.saturating_add(count.saturating_mul(DX_ENTRY_LEN));
        let tail_position = count_position.saturating_add(limit.saturating_mul(DX_ENTRY_LEN));
        let tail = fields.slice(tail_position, DX_ENTRY_LEN)?;
        stored = fields.le_u32(tail_position.saturating_add(4))?;
        computed = crc32c_with_hole(crc32c(seed, fields.slice(0, end)?), tail, 4, 4);
    } else {
        let tail_position = len.saturating_sub(TAIL_LEN);
        let tail = fields.part(tail_position, TAIL_LEN)?;
        if tail.le_u16(REC_LEN)? != 12 || tail.u8(FILE_TYPE)? != TAIL_TYPE {
            let actual = tail.le_u32(REC_LEN)?;
            return Err(Error::corrupt(
                "directory block",
                tail.offset(),
                "a tail",
                actual,
            ));
        }
        stored = tail.le_u32(8)?;
        computed = crc32c(seed, fields.slice(0, tail_position)?);
    }
    if computed != stored {
        let expected = "that of its bytes";
        return Err(Error::corrupt(
            "directory checksum",
            fields.offset(),
            expected,
            stored,
        ));
    }
    Ok(())
}

/// Returns where limit and count of an htree block lie; `None` for a block of entries.
///
/// The tail cannot decide: that of a former block of entries may still be there.
fn index_position(fields: &Fields<'_>) -> Result<Option<usize>> {
    const ROOT: usize = 0x20;
    const NODE: usize = 8;
    const SECOND_ENTRY: usize = 12;
    let len = fields.bytes().len();
    let first_len = record_len(fields.le_u16(REC_LEN)?, len);
    if fields.le_u32(0)? == 0 && first_len == len {
        return Ok(Some(NODE));
    }
    let second_len = record_len(fields.le_u16(SECOND_ENTRY.saturating_add(REC_LEN))?, len);
    let is_root = first_len == SECOND_ENTRY && second_len == len.saturating_sub(SECOND_ENTRY);
    Ok(is_root.then_some(ROOT))
}

const fn file_type_of(raw: u8) -> Option<FileType> {
    match raw {
        1 => Some(FileType::Regular),
        2 => Some(FileType::Directory),
        3 => Some(FileType::CharacterDevice),
        4 => Some(FileType::BlockDevice),
        5 => Some(FileType::Fifo),
        6 => Some(FileType::Socket),
        7 => Some(FileType::Symlink),
        _ => None,
    }
}

/// Gives the entries behind `cursor` to `visit`.
pub(super) fn read(
    ext: &Ext,
    inode: &Inode,
    cursor: DirCursor,
    visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let has_types = ext.superblock.has_incompat(feature::FILETYPE);
    let mut damage = Damage::default();
    let walked = walk(ext, inode, cursor.0, &mut |entry| {
        if matches!(entry.name, b"." | b"..") {
            return Ok(ControlFlow::Continue(()));
        }
        let name = Name::of_image(entry.name, entry.offset);
        let Some(name) = damage.pass(name)? else {
            return Ok(ControlFlow::Continue(()));
        };
        Ok(visit(DirEntry {
            name,
            node: NodeId::new(entry.inode.into()),
            file_type: if has_types {
                file_type_of(entry.file_type)
            } else {
                None
            },
            next: DirCursor(entry.next),
        }))
    });
    walked.and(damage.end())
}

/// Finds `name`: by its bytes, and in a folding directory also by its lower case.
pub(super) fn lookup(ext: &Ext, inode: &Inode, name: Name<'_>) -> Result<Option<u32>> {
    check_directory(inode)?;
    let found = if inode.size > super::name_index::DIRECTORY_LEN_MIN {
        ext.names.lookup(ext, inode, name.bytes())?
    } else {
        scan(ext, inode, 0, None, &|candidate| candidate == name.bytes())?
    };
    if found.is_some() || !inode.has(flag::CASEFOLD) {
        return Ok(found);
    }
    let Ok(text) = std::str::from_utf8(name.bytes()) else {
        return Ok(None);
    };
    let folded = text.to_lowercase();
    scan(ext, inode, 0, None, &|candidate| {
        std::str::from_utf8(candidate).is_ok_and(|text| text.to_lowercase() == folded)
    })
}

/// Returns the first inode from `from` on, before `end`, whose name `matches`.
pub(super) fn scan(
    ext: &Ext,
    inode: &Inode,
    from: u64,
    end: Option<u64>,
    matches: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<u32>> {
    let mut found = None;
    let walked = walk(ext, inode, from, &mut |entry| {
        if end.is_some_and(|end| entry.position >= end) {
            return Ok(ControlFlow::Break(()));
        }
        if matches(entry.name) {
            found = Some(entry.inode);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    });
    match walked {
        // What lies in front of it may be damaged.
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) if found.is_some() => Ok(found),
        walked => walked.map(|()| found),
    }
}
