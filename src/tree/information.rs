//! `snapshot.json` and the extended attributes of a snapshot directory.

use crate::base::SnapshotId;
use crate::snapshot::Snapshot;
use crate::tree::{Result, Tree};
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Prefix of all extended attributes of a snapshot directory.
const PREFIX: &str = "user.tintype.";

/// Bytes of what was found in images that are remembered: several thousand images.
const INSPECTIONS_LEN_MAX: usize = 8 << 20;
/// What remembering one costs beside its bytes.
const OVERHEAD_LEN: usize = 128;

/// What was found in images that somebody asked about, as text.
pub(super) struct Inspections {
    known: Mutex<Known>,
}

struct Known {
    texts: LruCache<SnapshotId, Arc<[u8]>>,
    len: usize,
}

impl Default for Inspections {
    fn default() -> Self {
        let texts = LruCache::unbounded();
        Self {
            known: Mutex::new(Known { texts, len: 0 }),
        }
    }
}

impl Inspections {
    /// Tells whether it is known what is in the image of a snapshot.
    pub(super) fn is_known(&self, id: &SnapshotId) -> bool {
        self.known.lock().texts.contains(id)
    }

    fn get(&self, id: &SnapshotId) -> Option<Arc<[u8]>> {
        self.known.lock().texts.get(id).cloned()
    }

    fn put(&self, id: SnapshotId, text: Arc<[u8]>) {
        let mut known = self.known.lock();
        known.len += text.len() + OVERHEAD_LEN;
        if let Some((_, old)) = known.texts.push(id, text) {
            known.len -= old.len() + OVERHEAD_LEN;
        }
        while known.len > INSPECTIONS_LEN_MAX {
            let Some((_, old)) = known.texts.pop_lru() else {
                return;
            };
            known.len -= old.len() + OVERHEAD_LEN;
        }
    }
}

impl Tree {
    /// Returns what `snapshot.json` holds: what the store knows, and what is found in
    /// the image. Opens all its file systems if nobody has asked before. May wait.
    pub(super) fn information(&self, id: &SnapshotId) -> Result<Vec<u8>> {
        let snapshot = self.snapshot(id)?;
        let mut all = to_map(&snapshot);
        match self.inspection(id) {
            Ok(found) => all.extend(found),
            // The rest is true all the same.
            Err(error) => {
                let message = crate::store::chain(&error);
                all.insert("contents_error".to_owned(), json!(message));
            }
        }
        Ok(to_text(all))
    }

    fn inspection(&self, id: &SnapshotId) -> Result<Map<String, Value>> {
        let known = self.inspections.get(id);
        let known = known.and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let inspection = self.opened_contents(id)?.contents()?.inspect()?;
        let mut found = match serde_json::to_value(&inspection) {
            Ok(Value::Object(found)) => found,
            _ => Map::new(),
        };
        // The manifest has warnings of its own.
        if let Some(warnings) = found.remove("warnings") {
            found.insert("contents_warnings".to_owned(), warnings);
        }
        let text = serde_json::to_vec(&found).unwrap_or_default();
        self.inspections.put(*id, text.into());
        Ok(found)
    }
}

/// Returns what the store knows of a snapshot.
fn to_map(snapshot: &Snapshot) -> Map<String, Value> {
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
    all
}

fn to_text(all: Map<String, Value>) -> Vec<u8> {
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
    let discarded = manifest
        .discarded_len_bytes
        .map(|len| len.to_string())
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
        ("discarded", discarded),
    ];
    values
        .into_iter()
        .map(|(name, value)| (format!("{PREFIX}{name}").into_bytes(), value.into_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let inspections = Inspections::default();
        let id = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            SnapshotId(id)
        };
        for number in 0..10_000 {
            inspections.put(id(number), vec![b'x'; 1000].into());
            inspections.put(id(number), vec![b'y'; 1000].into());
        }
        assert!(!inspections.is_known(&id(0)));
        assert_eq!(inspections.get(&id(9_999)).unwrap()[0], b'y');
        let known = inspections.known.lock();
        assert_eq!(known.len, known.texts.len() * (1000 + OVERHEAD_LEN));
        assert_eq!(
            known.texts.len(),
            INSPECTIONS_LEN_MAX / (1000 + OVERHEAD_LEN)
        );
    }
}
