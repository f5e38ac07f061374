//! Extended attributes in the inode, in a block and in inodes of their own.
//!
//! Source: Linux documentation, filesystems/ext4 "Extended Attributes".

use super::checksum::{crc32c, crc32c_with_hole};
use super::inode::{Inode, SHORT_LEN, flag};
use super::superblock::feature;
use super::{BLOCK_KIND_XATTR, Ext, acl, file};
use crate::base::Fields;
use crate::filesystem::{BlockKind, Error, Result, XATTR_VALUE_LEN_MAX, index_of};
use std::sync::Arc;

const MAGIC: u32 = 0xEA02_0000;
const IBODY_HEADER_LEN: usize = 4;
const BLOCK_HEADER_LEN: usize = 32;
const BLOCK_CHECKSUM: usize = 0x10;
const ENTRY_LEN: usize = 16;
const NAME_INDEX: usize = 1;
const VALUE_OFFSET: usize = 2;
const VALUE_INODE: usize = 4;
const VALUE_SIZE: usize = 8;
const INDEX_SYSTEM: u8 = 7;
const NAME_INLINE_DATA: &[u8] = b"data";
/// The longest name that is shown: the kernel's own limit.
const NAME_LEN_MAX: usize = 255;

/// Where a value lies.
enum Value<'a> {
    Bytes(&'a [u8]),
    Inode { number: u32, len: u32 },
}

struct Entry<'a> {
    index: u8,
    name: &'a [u8],
    value: Value<'a>,
}

/// Gives the entries of one area to `visit` until that returns something.
///
/// `entries` begins with the first entry; offsets of values count from `values`.
fn search<'a, T>(
    entries: Fields<'a>,
    values: Fields<'a>,
    visit: &mut dyn FnMut(Entry<'a>) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut position: usize = 0;
    // Every entry has at least 16 bytes, so the loop ends.
    while entries.rest(position).len() >= 4 && entries.le_u32(position)? != 0 {
        let header = entries.part(position, ENTRY_LEN)?;
        let name_len = usize::from(header.u8(0)?);
        let name = entries.slice(position.saturating_add(ENTRY_LEN), name_len)?;
        let len = header.le_u32(VALUE_SIZE)?;
        let number = header.le_u32(VALUE_INODE)?;
        let value = if number != 0 {
            Value::Inode { number, len }
        } else {
            let offset = if len == 0 {
                0
            } else {
                usize::from(header.le_u16(VALUE_OFFSET)?)
            };
            Value::Bytes(values.slice(offset, index_of(len))?)
        };
        let found = visit(Entry {
            index: header.u8(NAME_INDEX)?,
            name,
            value,
        })?;
        if found.is_some() {
            return Ok(found);
        }
        let len = ENTRY_LEN.saturating_add(name_len).next_multiple_of(4);
        position = position.saturating_add(len);
    }
    Ok(None)
}

/// Returns the area behind the used part of the inode, if it has attributes.
fn ibody(inode: &Inode) -> Result<Option<Fields<'_>>> {
    let fields = inode.fields()?;
    let area = fields.rest(inode.used_len);
    if inode.used_len <= SHORT_LEN || area.len() < IBODY_HEADER_LEN {
        return Ok(None);
    }
    if fields.le_u32(inode.used_len)? != MAGIC {
        return Ok(None);
    }
    let start = inode.used_len.saturating_add(IBODY_HEADER_LEN);
    Ok(Some(fields.part(
        start,
        area.len().saturating_sub(IBODY_HEADER_LEN),
    )?))
}

fn read_block(ext: &Ext, inode: &Inode) -> Result<Option<(Arc<[u8]>, u64)>> {
    let superblock = &ext.superblock;
    let block = inode.xattr_block(superblock)?;
    if block == 0 {
        return Ok(None);
    }
    let offset = superblock.offset_of(block);
    if !superblock.contains(block, 1) {
        let expected = "a block inside the file system";
        return Err(Error::corrupt("attribute block", offset, expected, block));
    }
    let kind = BlockKind(BLOCK_KIND_XATTR);
    let bytes = ext
        .reader
        .checked_block(offset, superblock.block_size(), kind, |bytes| {
            let fields = Fields::new(bytes, offset);
            let magic = fields.le_u32(0)?;
            if magic != MAGIC {
                return Err(Error::corrupt(
                    "attribute block magic",
                    offset,
                    "0xea020000",
                    magic,
                ));
            }
            if superblock.has(feature::METADATA_CSUM) {
                let seed = crc32c(superblock.checksum_seed, &block.to_le_bytes());
                let stored = fields.le_u32(BLOCK_CHECKSUM)?;
                if crc32c_with_hole(seed, bytes, BLOCK_CHECKSUM, 4) != stored {
                    let place = fields.place(BLOCK_CHECKSUM);
                    return Err(Error::corrupt(
                        "attribute checksum",
                        place,
                        "that of its bytes",
                        stored,
                    ));
                }
            }
            Ok(())
        })?;
    Ok(Some((bytes, offset)))
}

/// Gives all entries of `inode` to `visit` until that returns something.
fn search_all<T>(
    ext: &Ext,
    inode: &Inode,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<Option<T>>,
) -> Result<Option<T>> {
    if let Some(area) = ibody(inode)?
        && let Some(found) = search(area, area, visit)?
    {
        return Ok(Some(found));
    }
    let Some((bytes, offset)) = read_block(ext, inode)? else {
        return Ok(None);
    };
    let all = Fields::new(&bytes, offset);
    let len = bytes.as_ref().len().saturating_sub(BLOCK_HEADER_LEN);
    search(all.part(BLOCK_HEADER_LEN, len)?, all, visit)
}

/// Returns the name as `listxattr` shows it; `None` for what the kernel hides.
fn full_name(index: u8, name: &[u8]) -> Option<Vec<u8>> {
    let prefix: &[u8] = match index {
        1 => b"user.",
        2 if name.is_empty() => b"system.posix_acl_access",
        3 if name.is_empty() => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        10 => b"gnu.",
        _ => return None,
    };
    let full = [prefix, name].concat();
    (full.len() <= NAME_LEN_MAX && !name.contains(&0)).then_some(full)
}

/// Returns the names of all attributes of `inode`.
pub(super) fn names(ext: &Ext, inode: &Inode) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![];
    search_all::<()>(ext, inode, &mut |entry| {
        names.extend(full_name(entry.index, entry.name));
        Ok(None)
    })?;
    Ok(names)
}

/// Returns the value of the attribute `name` of `inode`.
pub(super) fn value(ext: &Ext, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
    search_all(ext, inode, &mut |entry| {
        if full_name(entry.index, entry.name).as_deref() != Some(name) {
            return Ok(None);
        }
        let bytes = read_value(ext, &entry.value)?;
        Ok(Some(match entry.index {
            2 | 3 => acl::to_xattr(&bytes, inode.fields()?.offset())?,
            _ => bytes,
        }))
    })
}

/// Returns the part of the inline data that lies in the attribute `system.data`.
pub(super) fn inline_data(ext: &Ext, inode: &Inode) -> Result<Vec<u8>> {
    let Some(area) = ibody(inode)? else {
        return Ok(vec![]);
    };
    let found = search(area, area, &mut |entry| {
        if entry.index != INDEX_SYSTEM || entry.name != NAME_INLINE_DATA {
            return Ok(None);
        }
        read_value(ext, &entry.value).map(Some)
    })?;
    Ok(found.unwrap_or_default())
}

fn read_value(ext: &Ext, value: &Value<'_>) -> Result<Vec<u8>> {
    let (number, len) = match value {
        Value::Bytes(bytes) => return Ok(bytes.to_vec()),
        Value::Inode { number, len } => (*number, *len),
    };
    if index_of(len) > XATTR_VALUE_LEN_MAX {
        return Err(Error::unsupported("an extended attribute above 64 KiB"));
    }
    let inode = Inode::read(ext, number)?;
    let place = inode.fields()?.offset();
    if !inode.has(flag::EA_INODE) || inode.size != u64::from(len) {
        return Err(Error::corrupt(
            "attribute inode",
            place,
            "one of that length",
            inode.size,
        ));
    }
    let mut bytes = vec![0; index_of(len)];
    file::read(ext, &inode, 0, &mut bytes)?;
    let stored = inode.access_seconds()?;
    if crc32c(ext.superblock.checksum_seed, &bytes) != stored {
        return Err(Error::corrupt(
            "attribute value checksum",
            place,
            "that of its bytes",
            stored,
        ));
    }
    Ok(bytes)
}
