//! Decoded map nodes, and the fingerprints of chunks.

use super::error::{Error, Result};
use super::{Content, Store};
use crate::base::{ChunkId, Fingerprint};
use crate::format::map::Node;
use std::sync::Arc;

impl Store {
    /// Returns the whole content of a chunk, through the cache.
    pub fn read_chunk(&self, chunk: &ChunkId) -> Result<Content> {
        self.reader().read(chunk)
    }

    /// Returns a map node, through the cache of decoded nodes.
    pub fn read_node(&self, id: &ChunkId) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(id) {
            return Ok(node);
        }
        let content = self.reader().read(id)?;
        let node = Node::decode(&content).map_err(|error| Error::Corrupt {
            object: format!("map node {id}"),
            problem: error.to_string(),
        })?;
        let node = Arc::new(node);
        self.nodes.insert(*id, Arc::clone(&node), node.memory_len());
        Ok(node)
    }

    /// Tells whether the chunk is durable and will stay.
    pub(super) fn has_node(&self, id: &ChunkId) -> Result<bool> {
        let excluded = self.excluded();
        let locations = self.locations(id)?;
        Ok(!excluded.chunks.contains(id)
            && locations
                .iter()
                .any(|location| !excluded.packs.contains(&location.pack)))
    }

    /// Returns the fingerprints of the blocks of a chunk, from the trailer of its pack:
    /// no content is read.
    pub fn fingerprints(&self, chunk: &ChunkId) -> Result<Vec<Fingerprint>> {
        let mut last_error = Error::ChunkMissing(*chunk);
        for location in self.locations(chunk)? {
            let found = self.reader().packs.open(&location.pack).and_then(|pack| {
                let window = pack.window_of_offset(location.pack_offset)?;
                pack.read_window(window)
            });
            match found {
                Ok(chunks) => {
                    if let Some(found) = chunks.into_iter().find(|packed| packed.chunk == *chunk) {
                        return Ok(found.fingerprints);
                    }
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}
