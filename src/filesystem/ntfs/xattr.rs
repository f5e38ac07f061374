//! Alternate data streams as extended attributes: the stream `NAME` of a file or
//! directory is `user.ads.NAME`.

use super::inode::Inode;
use super::record::kind;
use super::volume::Volume;
use super::{index, wof};
use crate::filesystem::{Error, FileType, Result, XATTR_VALUE_LEN_MAX, index_of, utf16};

const PREFIX: &[u8] = b"user.ads.";

/// Linux takes no longer names.
const NAME_LEN_MAX: usize = 255;

/// Streams of a file that are listed.
const NAME_COUNT_MAX: usize = 4096;

/// Returns the names of all streams that Linux could have a name for.
///
/// # Errors
///
/// Corrupt if the record is damaged.
pub(super) fn names(inode: &Inode) -> Result<Vec<Vec<u8>>> {
    if !has_streams(inode) {
        return Ok(vec![]);
    }
    let names = inode.stream_names(kind::DATA, NAME_COUNT_MAX)?;
    let shown = names
        .iter()
        .filter(|name| !name.is_empty() && *name != wof::STREAM);
    let full = shown.map(|name| [PREFIX, &utf16::to_bytes(&index::units(name))].concat());
    Ok(full
        .filter(|name| name.len() <= NAME_LEN_MAX && !name.contains(&0))
        .collect())
}

/// Returns a stream by its full name.
///
/// # Errors
///
/// Unsupported if it is longer than a value may be; Corrupt; Io.
pub(super) fn value(volume: &Volume, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(name) = name.strip_prefix(PREFIX).filter(|_| has_streams(inode)) else {
        return Ok(None);
    };
    let Some(units) = utf16::from_bytes(name).filter(|units| !units.is_empty()) else {
        return Ok(None);
    };
    let name: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    if name == wof::STREAM {
        return Ok(None);
    }
    match inode.stream(volume, kind::DATA, &name)? {
        None => Ok(None),
        Some(stream) if index_of(stream.size()) > XATTR_VALUE_LEN_MAX => Err(Error::unsupported(
            format!("a stream of {} bytes as an attribute", stream.size()),
        )),
        Some(stream) => stream.read_all(volume, XATTR_VALUE_LEN_MAX).map(Some),
    }
}

/// Linux gives such attributes to files and directories only.
const fn has_streams(inode: &Inode) -> bool {
    matches!(inode.file_type, FileType::Regular | FileType::Directory)
}
