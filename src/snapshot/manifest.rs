//! What one snapshot is. See docs/format/catalog.md.

use crate::base::{ByteLen, ChunkId, SnapshotId, Timestamp, limits};
use crate::store::{Error, Result};
use serde::{Deserialize, Serialize};

/// What an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// A whole machine: it boots.
    Machine,
    /// A volume of data.
    Volume,
    /// Something in the making that shares chunks.
    Draft,
}

/// How a snapshot came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotType {
    /// On demand.
    Snapshot,
    /// By a schedule.
    Backup,
    /// Brought in from elsewhere.
    Custom,
}

/// What a snapshot is and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name for ever.
    pub id: SnapshotId,
    /// The machine or volume, as people call it.
    pub resource: String,
    /// What the image is of.
    pub kind: SnapshotKind,
    /// How it came to be.
    #[serde(rename = "type")]
    pub snapshot_type: SnapshotType,
    /// The moment that the image shows.
    pub created_at: Timestamp,
    /// Length of the image in bytes.
    pub image_len_bytes: ByteLen,
    /// Blocks that are not zero, in bytes.
    pub allocated_len_bytes: ByteLen,
    /// What the store grew by when it was made, in bytes.
    pub added_len_bytes: ByteLen,
    /// Root of the map; `None` if every block is zero.
    pub map_root: Option<ChunkId>,
    /// Reasons to doubt the content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Bytes of blocks that a file system said are free, and that read as zeros for that:
    /// the image is not what it was made from, bit by bit. `None` if nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded_len_bytes: Option<ByteLen>,
    /// The snapshot that this one takes the place of, by the same entry of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<SnapshotId>,
}

/// What of a snapshot may be revised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// What people call it; unnamed, it goes by its creation time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Words to find it by, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Not to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
}

impl Labels {
    /// Sorts the tags, drops doubles and an empty name, and checks the limits.
    ///
    /// # Errors
    ///
    /// If a text is longer than its limit, or a tag is empty.
    pub fn normalize(mut self) -> Result<Self> {
        self.name = self.name.filter(|name| !name.is_empty());
        self.tags.sort();
        self.tags.dedup();
        check_len(
            "the name",
            self.name.as_deref().unwrap_or(""),
            limits::NAME_LEN_MAX,
        )?;
        check_len(
            "the description",
            &self.description,
            limits::DESCRIPTION_LEN_MAX,
        )?;
        if self.tags.len() > limits::TAG_COUNT_MAX {
            return Err(Error::Invalid(format!(
                "{} tags are more than the {} that a snapshot may have",
                self.tags.len(),
                limits::TAG_COUNT_MAX
            )));
        }
        for tag in &self.tags {
            check_len("a tag", tag, limits::NAME_LEN_MAX)?;
            if tag.is_empty() {
                return Err(Error::Invalid("a tag is empty".to_owned()));
            }
        }
        Ok(self)
    }
}

/// Fails unless `resource` can be the name of a resource.
pub(super) fn check_resource(resource: &str) -> Result<()> {
    if resource.is_empty() {
        return Err(Error::Invalid(
            "the name of the resource is empty".to_owned(),
        ));
    }
    check_len("the name of the resource", resource, limits::NAME_LEN_MAX)
}

fn check_len(what: &str, text: &str, len_max: usize) -> Result<()> {
    if text.len() <= len_max {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{what} has {} bytes; {len_max} are allowed",
        text.len()
    )))
}

/// One snapshot as the fold of the log knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What never changes.
    pub manifest: Manifest,
    /// What may be revised.
    pub labels: Labels,
    /// Number of the entry that created it: the catalog order.
    pub sequence: u64,
    /// Its name in the mounted tree, unique in its resource until it is renamed.
    pub path_name: String,
    /// The root of the map in force: that of the manifest, or of a repacked map.
    pub map_root: Option<ChunkId>,
}

impl Snapshot {
    /// Returns `resource@name` as the command line takes it.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.manifest.resource, self.path_name)
    }
}
