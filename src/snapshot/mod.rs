//! SKELETON (being implemented): manifest, catalog (the log and its fold), ingest.
#![allow(unused_variables, missing_docs)]
use crate::base::{ByteLen, ChunkId, SnapshotId, Timestamp};
use crate::image::Image;
use crate::store::{Result, Store};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    Machine,
    Volume,
    Draft,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotType {
    Snapshot,
    Backup,
    Custom,
}

/// What one snapshot is and never changes (JSON in the catalog entry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub id: SnapshotId,
    pub resource: String,
    pub kind: SnapshotKind,
    #[serde(rename = "type")]
    pub snapshot_type: SnapshotType,
    pub created_at: Timestamp,
    pub image_len_bytes: ByteLen,
    /// Blocks that are not zero, in bytes.
    pub allocated_len_bytes: ByteLen,
    /// What the store grew by when it was made.
    pub added_len_bytes: ByteLen,
    /// None: all zeros.
    pub map_root: Option<ChunkId>,
    /// Reasons to doubt the content ("source was mounted read-write", "changed while it was read", "partition table says the disk is larger").
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The snapshot that this one replaces in the same catalog entry.
    #[serde(default)]
    pub replaces: Option<SnapshotId>,
}

/// What may be revised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// None: unnamed, shown by its creation time.
    pub name: Option<String>,
    pub tags: Vec<String>,
    pub description: String,
    pub hold: bool,
}

/// One snapshot as the fold of the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub manifest: Manifest,
    pub labels: Labels,
    /// Entry number that created it: the catalog order.
    pub sequence: u64,
    /// Unique in its resource, percent-encoded, at most 255 bytes; stable until renamed.
    pub path_name: String,
    pub map_root: Option<ChunkId>,
}

/// Immutable view of the catalog.
#[derive(Debug, Default)]
pub struct State {}
impl State {
    /// Number of the last entry folded in.
    pub fn sequence(&self) -> u64 {
        todo!()
    }
    /// All snapshots in catalog order.
    pub fn snapshots(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        std::iter::empty()
    }
    pub fn get(&self, id: &SnapshotId) -> Option<&Arc<Snapshot>> {
        todo!()
    }
    /// Path names of all resources, sorted.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    /// Snapshots of one resource (by its path name) in catalog order; the last one is `latest`.
    pub fn of_resource(&self, path_name: &str) -> &[Arc<Snapshot>] {
        todo!()
    }
    /// By resource path name and snapshot path name.
    pub fn find(&self, resource: &str, path_name: &str) -> Option<&Arc<Snapshot>> {
        todo!()
    }
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    pub fn with_tag(&self, tag: &str) -> &[Arc<Snapshot>] {
        todo!()
    }
    /// `resource@name`, `resource@latest`, `resource` alone (latest), or a unique id prefix of 4+ digits.
    pub fn resolve(&self, text: &str) -> Result<&Arc<Snapshot>> {
        todo!()
    }
}

/// The numbered log and its fold.
#[derive(Debug)]
pub struct Catalog {}
impl Catalog {
    pub fn open(store: Arc<Store>) -> Result<Arc<Self>> {
        todo!()
    }
    pub fn store(&self) -> &Arc<Store> {
        todo!()
    }
    /// Looks for entries of others; true if the state changed. One `exists` when there is nothing new.
    pub fn refresh(&self) -> Result<bool> {
        todo!()
    }
    pub fn state(&self) -> Arc<State> {
        todo!()
    }
    /// Publishes; compare-and-swap inside. `manifest.replaces` deletes that snapshot in the same entry.
    pub fn create(&self, manifest: Manifest, labels: Labels) -> Result<Arc<Snapshot>> {
        todo!()
    }
    pub fn revise(
        &self,
        id: &SnapshotId,
        change: &mut dyn FnMut(&mut Labels),
    ) -> Result<Arc<Snapshot>> {
        todo!()
    }
    pub fn delete(&self, id: &SnapshotId) -> Result<()> {
        todo!()
    }
    pub fn image(&self, snapshot: &Snapshot) -> Image {
        todo!()
    }
}

/// Display name <-> path name (DESIGN section 1, Names).
pub fn encode_path_name(name: &str) -> String {
    todo!()
}
pub fn decode_path_name(path_name: &[u8]) -> String {
    todo!()
}
