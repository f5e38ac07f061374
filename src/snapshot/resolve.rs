//! Finding a snapshot by what a person writes.

use super::manifest::Snapshot;
use super::state::State;
use crate::base::{SnapshotId, encode_path_name};
use crate::store::{Error, Result};
use std::sync::Arc;

/// Digits of an id that are taken as a prefix at least.
const PREFIX_DIGITS_MIN: usize = 4;

impl State {
    /// Returns the snapshot that `text` names: an id, `resource@name`,
    /// `resource@latest`, a resource alone (its latest), or the beginning of an id.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one; the message says what to write.
    pub fn resolve(&self, text: &str) -> Result<&Arc<Snapshot>> {
        if let Ok(id) = text.parse::<SnapshotId>()
            && let Some(snapshot) = self.get(&id)
        {
            return Ok(snapshot);
        }
        for (place, _) in text.match_indices('@') {
            let (resource, name) = (&text[..place], &text[place + 1..]);
            if let Some(snapshot) = self.resolve_in(resource, name) {
                return Ok(snapshot);
            }
        }
        if let Some(latest) = self.resolve_in(text, "latest") {
            return Ok(latest);
        }
        self.resolve_prefix(text)
    }

    fn resolve_in(&self, resource: &str, name: &str) -> Option<&Arc<Snapshot>> {
        let mut snapshots = self.of_resource(&encode_path_name(resource));
        if snapshots.is_empty() {
            snapshots = self.of_resource(resource);
        }
        if name == "latest" {
            return snapshots.last();
        }
        let by_path = snapshots.iter().find(|snapshot| snapshot.path_name == name);
        by_path.or_else(|| {
            snapshots
                .iter()
                .rfind(|snapshot| snapshot.labels.name.as_deref() == Some(name))
        })
    }

    fn resolve_prefix(&self, text: &str) -> Result<&Arc<Snapshot>> {
        let prefix = text.to_ascii_lowercase();
        let is_prefix = prefix.len() >= PREFIX_DIGITS_MIN
            && prefix.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut found = self
            .snapshots()
            .filter(|snapshot| is_prefix && snapshot.manifest.id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(snapshot), None) => Ok(snapshot),
            (Some(_), Some(_)) => Err(Error::Invalid(format!(
                "{text:?} is the beginning of more than one id; write more digits"
            ))),
            (None, _) => Err(Error::NotFound(format!(
                "there is no snapshot {text:?}; write RESOURCE@NAME, RESOURCE@latest or the \
                 beginning of an id (`tintype list` shows them)"
            ))),
        }
    }
}
