//! A snapshot as it is printed. The names of the JSON fields are a promise.

use super::table::write_fields;
use crate::base::{SnapshotId, Timestamp, format_byte_len};
use crate::snapshot::{Snapshot, SnapshotKind, SnapshotType};
use serde::Serialize;
use std::io::{self, Write};

/// A snapshot as `--json` shows it; the same fields in every command.
#[derive(Debug, Serialize)]
pub struct SnapshotView<'a> {
    id: SnapshotId,
    /// What every command takes.
    reference: String,
    resource: &'a str,
    /// None: unnamed.
    name: Option<&'a str>,
    path_name: &'a str,
    kind: SnapshotKind,
    #[serde(rename = "type")]
    snapshot_type: SnapshotType,
    created_at: Timestamp,
    image_len_bytes: u64,
    allocated_len_bytes: u64,
    added_len_bytes: u64,
    tags: &'a [String],
    description: &'a str,
    hold: bool,
    warnings: &'a [String],
    /// None: the image is bit-exact.
    discarded_len_bytes: Option<u64>,
    sequence: u64,
}

impl<'a> SnapshotView<'a> {
    /// Returns the view of a snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let (manifest, labels) = (&snapshot.manifest, &snapshot.labels);
        Self {
            id: manifest.id,
            reference: snapshot.reference(),
            resource: &manifest.resource,
            name: labels.name.as_deref(),
            path_name: &snapshot.path_name,
            kind: manifest.kind,
            snapshot_type: manifest.snapshot_type,
            created_at: manifest.created_at,
            image_len_bytes: manifest.image_len_bytes,
            allocated_len_bytes: manifest.allocated_len_bytes,
            added_len_bytes: manifest.added_len_bytes,
            tags: &labels.tags,
            description: &labels.description,
            hold: labels.hold,
            warnings: &manifest.warnings,
            discarded_len_bytes: manifest.discarded_len_bytes,
            sequence: snapshot.sequence,
        }
    }

    /// Writes all that is known, for people.
    pub fn write(&self, target: &mut dyn Write) -> io::Result<()> {
        let size = |len: u64| format!("{} ({len} bytes)", format_byte_len(len));
        let mut fields = vec![
            ("snapshot", self.reference.clone()),
            ("id", self.id.to_string()),
            ("kind", kind_text(self.kind).to_owned()),
            ("type", type_text(self.snapshot_type).to_owned()),
            ("created", self.created_at.to_string()),
            ("image", size(self.image_len_bytes)),
            ("data", size(self.allocated_len_bytes)),
            ("added", size(self.added_len_bytes)),
        ];
        if let Some(len) = self.discarded_len_bytes {
            let text = format!("{} of free blocks, which read as zeros", size(len));
            fields.push(("left out", text));
        }
        if let Some(name) = self.name {
            fields.push(("name", name.to_owned()));
        }
        if !self.tags.is_empty() {
            fields.push(("tags", self.tags.join(", ")));
        }
        if !self.description.is_empty() {
            fields.push(("description", self.description.to_owned()));
        }
        if self.hold {
            fields.push(("hold", "yes".to_owned()));
        }
        let warnings = self
            .warnings
            .iter()
            .map(|warning| ("warning", warning.clone()));
        fields.extend(warnings);
        write_fields(target, &fields)
    }
}

/// Returns the word for a kind.
pub fn kind_text(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Machine => "machine",
        SnapshotKind::Volume => "volume",
        SnapshotKind::Draft => "draft",
    }
}

/// Returns the word for a type.
pub fn type_text(snapshot_type: SnapshotType) -> &'static str {
    match snapshot_type {
        SnapshotType::Snapshot => "snapshot",
        SnapshotType::Backup => "backup",
        SnapshotType::Custom => "custom",
    }
}
