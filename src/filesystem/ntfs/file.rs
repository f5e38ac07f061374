//! Content of files, in whichever form it is kept.

use super::inode::{Inode, file_flag};
use super::reparse::Reparse;
use super::stream::Stream;
use super::volume::Volume;
use super::wof::{self, Algorithm};
use crate::base::ByteOffset;
use crate::filesystem::{
    Error, ExtentPlace, ExtentVisitor, FileExtent, FileType, Result, index_of, len_of,
};

/// Where the content of a file is.
enum Content<'a> {
    Nothing,
    Stream(&'a Stream),
    Compressed(&'a Stream, Algorithm),
}

/// Returns where the content is.
fn content<'a>(inode: &'a Inode) -> Result<Content<'a>> {
    if inode.file_type != FileType::Regular {
        return Err(Error::WrongType {
            expected: FileType::Regular,
            actual: inode.file_type,
        });
    }
    let Some(data) = &inode.data else {
        return Ok(Content::Nothing);
    };
    if data.size() == 0 {
        return Ok(Content::Nothing);
    }
    let away = file_flag::OFFLINE | file_flag::RECALL_ON_DATA_ACCESS;
    match &inode.reparse {
        None => Ok(Content::Stream(data)),
        Some(Reparse::Compressed(algorithm)) => Ok(Content::Compressed(data, *algorithm)),
        Some(Reparse::Cloud) if inode.flags & away == 0 => Ok(Content::Stream(data)),
        Some(Reparse::Cloud) => Err(Error::unsupported("a file whose content is in a cloud")),
        Some(Reparse::Deduplicated) => Err(Error::unsupported("a deduplicated file")),
        Some(Reparse::Damaged) => {
            let expected = "a reparse point";
            let place = inode.record.offset;
            Err(Error::corrupt("file", place, expected, inode.record.number))
        }
        Some(Reparse::Other(tag)) => Err(Error::unsupported(format!(
            "a file with the reparse tag {tag:#010x}"
        ))),
        // Links have no content.
        Some(_) => Ok(Content::Nothing),
    }
}

/// See [`crate::filesystem::FileSystem::read_at`].
pub(super) fn read(
    volume: &Volume,
    inode: &Inode,
    offset: ByteOffset,
    target: &mut [u8],
) -> Result<usize> {
    match content(inode)? {
        Content::Nothing => Ok(0),
        Content::Stream(stream) => stream.read(volume, offset, target),
        Content::Compressed(data, algorithm) => {
            let available = data.size().saturating_sub(offset).min(len_of(target));
            let target = target.get_mut(..index_of(available)).unwrap_or_default();
            wof::read(volume, inode, algorithm, offset, target)?;
            Ok(target.len())
        }
    }
}

/// See [`crate::filesystem::FileSystem::extents`].
pub(super) fn extents(
    volume: &Volume,
    inode: &Inode,
    offset: ByteOffset,
    visit: &mut ExtentVisitor<'_>,
) -> Result<()> {
    match content(inode)? {
        Content::Nothing => Ok(()),
        Content::Stream(stream) => stream.extents(volume, offset, visit),
        Content::Compressed(data, _) if offset < data.size() => {
            let _ = visit(FileExtent {
                offset: 0,
                len: data.size(),
                place: ExtentPlace::Encoded,
            });
            Ok(())
        }
        Content::Compressed(..) => Ok(()),
    }
}
