//! The content of a file, from the image to an open file of the target: extents where
//! the image has them, holes between them.

use super::copy::Shared;
use super::error::{Error, Result};
use crate::base::{BLOCK_LEN_BYTES, is_zero};
use crate::contents::{View, ViewNode};
use crate::filesystem;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;

/// Bytes that are read and written at a time.
pub(super) const BUFFER_LEN: usize = 1 << 20;

/// Gives the ranges below `size` that the image stores to `visit`.
pub(super) fn for_each_extent(
    shared: &Shared<'_>,
    node: ViewNode,
    size: u64,
    mut visit: impl FnMut(Range<u64>) -> Result<()>,
) -> Result<()> {
    let mut result = Ok(());
    shared
        .view
        .file_system(node)?
        .extents(node.node, 0, &mut |extent| {
            let end = extent.offset.saturating_add(extent.len).min(size);
            if extent.offset < end {
                result = visit(extent.offset..end);
            }
            if result.is_err() || end >= size {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
    result
}

/// Where content goes, and what is said when some of it cannot be read.
pub(super) struct Content<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) node: ViewNode,
    pub(super) file: &'a File,
    pub(super) path: &'a [u8],
}

impl Content<'_> {
    /// Copies a range; returns how much of it was written.
    pub(super) fn copy(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<u64> {
        let mut written = 0;
        let mut offset = range.start;
        while offset < range.end {
            if self.shared.is_stopping() {
                return Err(Error::Interrupted);
            }
            // To a border of the buffer's length, so that blocks stay whole.
            let border = (offset / BUFFER_LEN as u64 + 1) * BUFFER_LEN as u64;
            let len = border.min(range.end) - offset;
            let part = &mut buffer[..len as usize];
            if let Err(error) = read(self.shared.view, self.node, offset, part) {
                if !self.shared.options.keep_damaged {
                    return Err(error);
                }
                self.shared.report.failed(self.path, &error);
                read_what_can_be(self.shared.view, self.node, offset, part);
            }
            written += self.write(offset, part)?;
            self.shared.progress.add_done(len);
            offset += len;
        }
        Ok(written)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<u64> {
        let write = |start: usize, end: usize| {
            let place = offset + start as u64;
            let written = self.file.write_all_at(&bytes[start..end], place);
            written.map_err(|source| Error::Target {
                action: "writing the file".into(),
                source,
            })
        };
        if !self.shared.options.sparse {
            write(0, bytes.len())?;
            return Ok(bytes.len() as u64);
        }
        let mut written = 0;
        for run in data_runs(offset, bytes) {
            write(run.start, run.end)?;
            written += run.len() as u64;
        }
        Ok(written)
    }
}

/// Reads all that is asked for.
pub(super) fn read(view: &View, node: ViewNode, offset: u64, target: &mut [u8]) -> Result<()> {
    let count = view.read_at(node, offset, target)?;
    if count < target.len() {
        let (field, expected) = ("file content", "as long as the file");
        let end = offset.saturating_add(count as u64);
        return Err(filesystem::Error::corrupt(field, offset, expected, end).into());
    }
    Ok(())
}

/// Reads block by block; what fails is zeros.
pub(super) fn read_what_can_be(view: &View, node: ViewNode, offset: u64, target: &mut [u8]) {
    let mut place = offset;
    let mut rest = target;
    while !rest.is_empty() {
        let len = (BLOCK_LEN_BYTES - place % BLOCK_LEN_BYTES).min(rest.len() as u64);
        let (now, later) = rest.split_at_mut(len as usize);
        if read(view, node, place, now).is_err() {
            now.fill(0);
        }
        place += len;
        rest = later;
    }
}

/// Returns the runs of blocks of 4 KiB, aligned in the file, that are not all zero.
fn data_runs(offset: u64, bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = vec![];
    let mut start = 0;
    while start < bytes.len() {
        let place = offset + start as u64;
        let len = (BLOCK_LEN_BYTES - place % BLOCK_LEN_BYTES) as usize;
        let end = (start + len).min(bytes.len());
        if !is_zero(&bytes[start..end]) {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_found_by_the_blocks_of_the_file() {
        let mut bytes = vec![0_u8; 20_000];
        bytes[5000] = 1;
        bytes[19_999] = 1;
        assert_eq!(data_runs(0, &bytes), [4096..8192, 16_384..20_000]);
        // The same bytes 96 further on in the file: borders move by as much.
        assert_eq!(data_runs(96, &bytes), [4000..8096, 16_288..20_000]);
        assert_eq!(data_runs(0, &vec![0; 9000]), []);
        assert_eq!(data_runs(0, &vec![1; 9000]).first(), Some(&(0..9000)));
    }
}
