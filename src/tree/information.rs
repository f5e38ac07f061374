//! `snapshot.json` and the extended attributes of a snapshot directory.

use crate::snapshot::Snapshot;
use serde_json::{Map, Value, json};

/// Prefix of all extended attributes of a snapshot directory.
const PREFIX: &str = "user.tintype.";

/// Returns what `snapshot.json` holds.
pub(super) fn to_json(snapshot: &Snapshot) -> Vec<u8> {
    let mut all = match serde_json::to_value(&snapshot.manifest) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    all.insert("name".to_owned(), json!(snapshot.labels.name));
    all.insert("tags".to_owned(), json!(snapshot.labels.tags));
    all.insert("description".to_owned(), json!(snapshot.labels.description));
    all.insert("hold".to_owned(), json!(snapshot.labels.hold));
    all.insert("path_name".to_owned(), json!(snapshot.path_name));
    all.insert("sequence".to_owned(), json!(snapshot.sequence));
    all.insert("map_root".to_owned(), json!(snapshot.map_root));
    // A map of strings and numbers has no form that cannot be written.
    let mut bytes = serde_json::to_vec_pretty(&Value::Object(all)).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Returns names and values of the extended attributes.
pub(super) fn xattrs(snapshot: &Snapshot) -> Vec<(Vec<u8>, Vec<u8>)> {
    let manifest = &snapshot.manifest;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let root = snapshot
        .map_root
        .map(|root| root.to_string())
        .unwrap_or_default();
    let values = [
        ("id", manifest.id.to_string()),
        ("resource", manifest.resource.clone()),
        ("name", snapshot.labels.name.clone().unwrap_or_default()),
        ("kind", text(json!(manifest.kind))),
        ("type", text(json!(manifest.snapshot_type))),
        ("created", manifest.created_at.to_string()),
        ("size", manifest.image_len_bytes.to_string()),
        ("allocated", manifest.allocated_len_bytes.to_string()),
        ("added", manifest.added_len_bytes.to_string()),
        ("tags", snapshot.labels.tags.join(",")),
        ("description", snapshot.labels.description.clone()),
        ("map_root", root),
        ("warnings", manifest.warnings.join("\n")),
    ];
    values
        .into_iter()
        .map(|(name, value)| (format!("{PREFIX}{name}").into_bytes(), value.into_bytes()))
        .collect()
}
