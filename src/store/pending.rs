//! Chunks that are written and in no index yet, so that they can be read at once.

use crate::backend::PendingObject;
use crate::base::ChunkId;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Where such a chunk lies.
#[derive(Clone, Debug)]
pub struct PendingPlace {
    /// The pack in the making.
    pub object: Arc<dyn PendingObject>,
    /// Where its frame begins.
    pub pack_offset: u32,
    /// Length of the frame in bytes.
    pub frame_len: u32,
}

/// The chunks of all writers of this process that are in no index yet. Writers flush
/// before there are many.
#[derive(Debug, Default)]
pub struct PendingChunks {
    places: RwLock<HashMap<ChunkId, PendingPlace>>,
}

impl PendingChunks {
    /// Returns the place of a chunk.
    pub fn get(&self, chunk: &ChunkId) -> Option<PendingPlace> {
        self.places.read().get(chunk).cloned()
    }

    /// Adds a chunk.
    pub fn insert(&self, chunk: ChunkId, place: PendingPlace) {
        self.places.write().insert(chunk, place);
    }

    /// Removes chunks that an index has now, or whose writer has failed; one that
    /// another writer has put in meanwhile stays.
    pub fn remove(&self, object: &Arc<dyn PendingObject>, chunks: impl Iterator<Item = ChunkId>) {
        let mut places = self.places.write();
        for chunk in chunks {
            if places
                .get(&chunk)
                .is_some_and(|place| Arc::ptr_eq(&place.object, object))
            {
                places.remove(&chunk);
            }
        }
    }
}
