//! Entries of the log and checkpoints, as objects. See docs/format/catalog.md.

use super::manifest::{Labels, Manifest, Snapshot};
use crate::base::{ChunkId, IndexId, PackId, SnapshotId, StoreId, Timestamp};
use crate::format::{ObjectHeader, ObjectKind, open_envelope, seal_envelope};
use crate::store::{Error, Result};
use serde::{Deserialize, Serialize};

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// A snapshot, complete and durable, enters the catalog.
    Create {
        /// What it is.
        manifest: Box<Manifest>,
        /// What may be revised.
        labels: Labels,
    },
    /// A snapshot gets other labels or a repacked map. Does nothing after a delete.
    Revise {
        /// The snapshot.
        id: SnapshotId,
        /// Its labels from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Labels>,
        /// The root of its map from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map_root: Option<ChunkId>,
    },
    /// A snapshot goes to the trash; its chunks are kept.
    Delete {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A snapshot in the trash gives up its chunks.
    Purge {
        /// The snapshot.
        id: SnapshotId,
    },
    /// Packs and indexes will be deleted; nobody may begin to use them.
    Condemn {
        /// Packs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        packs: Vec<PackId>,
        /// Indexes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        indexes: Vec<IndexId>,
    },
    /// Chunks were found damaged; they count as absent until they are stored anew.
    Damaged {
        /// Chunks.
        chunks: Vec<ChunkId>,
    },
}

/// One numbered entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, which is its name, too.
    pub number: u64,
    /// When it was written, by the clock of its writer; it orders nothing.
    pub written_at: Timestamp,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

/// The log folded up to an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the last entry folded in.
    pub number: u64,
    /// Snapshots in catalog order.
    pub snapshots: Vec<Snapshot>,
    /// Snapshots in the trash, in the order of their deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trash: Vec<Snapshot>,
    /// Packs that are condemned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condemned_packs: Vec<PackId>,
    /// Indexes that are condemned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condemned_indexes: Vec<IndexId>,
    /// Chunks that are damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_chunks: Vec<ChunkId>,
}

/// Returns the name of the object of an entry.
pub fn entry_name(number: u64) -> String {
    format!("catalog/{number:016}")
}

/// Returns the name of the object of a checkpoint.
pub fn checkpoint_name(number: u64) -> String {
    format!("catalog/checkpoint-{number:016}")
}

/// Returns the number of a checkpoint, given the last part of its name.
pub fn checkpoint_number(file_name: &str) -> Option<u64> {
    file_name.strip_prefix("checkpoint-")?.parse().ok()
}

/// Returns the bytes of an object that holds `value` as JSON.
pub fn seal_json<T: Serialize>(kind: ObjectKind, store: StoreId, value: &T) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(value)
        .map_err(|error| Error::Invalid(format!("it cannot be written as JSON: {error}")))?;
    Ok(seal_envelope(&ObjectHeader::new(kind, store), &payload))
}

/// Reads the value that an object holds as JSON.
pub fn open_json<T: for<'de> Deserialize<'de>>(
    name: &str,
    bytes: &[u8],
    kind: ObjectKind,
    store: StoreId,
) -> Result<T> {
    let corrupt = |problem: String| Error::Corrupt {
        object: name.to_owned(),
        problem,
    };
    let payload = open_envelope(bytes, kind, store).map_err(|error| corrupt(error.to_string()))?;
    serde_json::from_slice(payload).map_err(|error| corrupt(format!("no valid JSON: {error}")))
}
