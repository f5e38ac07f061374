//! The map of a sparse member: where its data lies in the file.
//!
//! Source: GNU tar manual, "Storing Sparse Files", PAX format, version 1.0.

use super::header::BLOCK_LEN;
use crate::contents::{View, ViewNode};
use crate::filesystem::Result;
use std::ops::{ControlFlow, Range};

/// Pieces that a map has at most; the last one is filled up with zeros to the end.
const PIECE_COUNT_MAX: usize = 1 << 20;

/// Where the data of a file lies.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) pieces: Vec<Range<u64>>,
    pub(super) size: u64,
}

impl Map {
    /// Asks a view for the extents of a file of `size` bytes.
    pub(super) fn of(view: &View, node: ViewNode, size: u64) -> Result<Self> {
        let mut pieces: Vec<Range<u64>> = vec![];
        if size > 0 {
            view.file_system(node)?
                .extents(node.node, 0, &mut |extent| {
                    let range = extent.offset..extent.offset.saturating_add(extent.len).min(size);
                    match pieces.last_mut() {
                        _ if range.is_empty() => {}
                        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                        _ => pieces.push(range),
                    }
                    if pieces.len() < PIECE_COUNT_MAX {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
        }
        if pieces.len() >= PIECE_COUNT_MAX
            && let Some(last) = pieces.last_mut()
        {
            last.end = size;
        }
        Ok(Self { pieces, size })
    }

    /// Returns the bytes of data.
    pub(super) fn data_len(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| piece.end - piece.start)
            .sum()
    }

    /// Tells whether there is a hole.
    pub(super) fn is_sparse(&self) -> bool {
        self.data_len() < self.size
    }

    /// Returns the map as it stands before the data, in whole blocks.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut entries: Vec<(u64, u64)> = self
            .pieces
            .iter()
            .map(|piece| (piece.start, piece.end - piece.start))
            .collect();
        // A hole at the end is told by an empty piece behind it.
        if self.pieces.last().is_none_or(|last| last.end < self.size) {
            entries.push((self.size, 0));
        }
        let mut text = format!("{}\n", entries.len());
        for (offset, len) in entries {
            text.push_str(&format!("{offset}\n{len}\n"));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_ends_where_the_file_ends() {
        let map = Map {
            pieces: vec![0..10, 4096..5000],
            size: 10_000,
        };
        assert!(map.is_sparse());
        assert_eq!(map.data_len(), 914);
        let bytes = map.encode();
        assert_eq!(bytes.len(), BLOCK_LEN);
        assert!(bytes.starts_with(b"3\n0\n10\n4096\n904\n10000\n0\n\0"));
        let empty = Map {
            pieces: vec![],
            size: 77,
        };
        assert!(empty.encode().starts_with(b"1\n77\n0\n\0"));
        assert!(!Map::default().is_sparse());
    }
}
