//! The state of the catalog: the fold of the log up to an entry. Immutable; a new entry
//! makes a new state.

use super::entry::{Action, Checkpoint, Entry};
use super::manifest::{Labels, Manifest, Snapshot};
use crate::base::{ChunkId, IndexId, PackId, SnapshotId, encode_path_name, numbered_path_name};
use crate::store::Excluded;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What the log says up to an entry.
#[derive(Clone, Debug, Default)]
pub struct State {
    number: u64,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
    sequences: HashMap<SnapshotId, u64>,
    resources: BTreeMap<String, Vec<Arc<Snapshot>>>,
    tags: BTreeMap<String, Vec<Arc<Snapshot>>>,
    trash: Vec<Arc<Snapshot>>,
    condemned_packs: HashSet<PackId>,
    condemned_indexes: HashSet<IndexId>,
    damaged_chunks: HashSet<ChunkId>,
}

impl State {
    /// Returns the number of the last entry folded in; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.number
    }

    /// Returns all snapshots in catalog order.
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &Arc<Snapshot>> {
        self.snapshots.values()
    }

    /// Returns a snapshot by its id.
    pub fn get(&self, id: &SnapshotId) -> Option<&Arc<Snapshot>> {
        self.snapshots.get(self.sequences.get(id)?)
    }

    /// Returns the path names of all resources, sorted.
    pub fn resources(&self) -> impl ExactSizeIterator<Item = &str> {
        self.resources.keys().map(String::as_str)
    }

    /// Returns the snapshots of a resource, given its path name, in catalog order: the
    /// last one is the latest.
    pub fn of_resource(&self, path_name: &str) -> &[Arc<Snapshot>] {
        self.resources.get(path_name).map_or(&[], Vec::as_slice)
    }

    /// Returns a snapshot by the path names of its resource and its own.
    pub fn find(&self, resource: &str, path_name: &str) -> Option<&Arc<Snapshot>> {
        self.of_resource(resource)
            .iter()
            .find(|snapshot| snapshot.path_name == path_name)
    }

    /// Returns the newest snapshot of a resource, given its display name.
    pub fn latest(&self, resource: &str) -> Option<&Arc<Snapshot>> {
        self.of_resource(&encode_path_name(resource)).last()
    }

    /// Returns all tags, sorted.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    /// Returns the snapshots with a tag in catalog order.
    pub fn with_tag(&self, tag: &str) -> &[Arc<Snapshot>] {
        self.tags.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Returns the snapshots in the trash in the order of their deletion.
    pub fn trash(&self) -> &[Arc<Snapshot>] {
        &self.trash
    }

    /// Returns what deduplication must pass over.
    pub fn excluded(&self) -> Excluded {
        Excluded {
            packs: self.condemned_packs.clone(),
            chunks: self.damaged_chunks.clone(),
        }
    }

    /// Returns the state of a checkpoint.
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        let mut state = Self {
            number: checkpoint.number,
            trash: checkpoint.trash.into_iter().map(Arc::new).collect(),
            condemned_packs: checkpoint.condemned_packs.into_iter().collect(),
            condemned_indexes: checkpoint.condemned_indexes.into_iter().collect(),
            damaged_chunks: checkpoint.damaged_chunks.into_iter().collect(),
            ..Self::default()
        };
        checkpoint
            .snapshots
            .into_iter()
            .for_each(|snapshot| state.insert(Arc::new(snapshot)));
        state
    }

    /// Returns the checkpoint of this state.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let owned = |snapshot: &Arc<Snapshot>| Snapshot::clone(snapshot);
        let mut checkpoint = Checkpoint {
            number: self.number,
            snapshots: self.snapshots.values().map(owned).collect(),
            trash: self.trash.iter().map(owned).collect(),
            condemned_packs: self.condemned_packs.iter().copied().collect(),
            condemned_indexes: self.condemned_indexes.iter().copied().collect(),
            damaged_chunks: self.damaged_chunks.iter().copied().collect(),
        };
        // One state has one encoding, whoever writes it.
        checkpoint.condemned_packs.sort();
        checkpoint.condemned_indexes.sort();
        checkpoint.damaged_chunks.sort();
        checkpoint
    }

    /// Folds in the entry behind the last one. Entries never fail: what no longer makes
    /// sense does nothing.
    pub fn apply(&mut self, entry: Entry) {
        self.number = entry.number;
        match entry.action {
            Action::Create { manifest, labels } => self.create(entry.number, *manifest, labels),
            Action::Revise {
                id,
                labels,
                map_root,
            } => self.revise(&id, labels, map_root),
            Action::Delete { id } => self.delete(&id),
            Action::Purge { id } => self.trash.retain(|snapshot| snapshot.manifest.id != id),
            Action::Condemn { packs, indexes } => {
                self.condemned_packs.extend(packs);
                self.condemned_indexes.extend(indexes);
            }
            Action::Damaged { chunks } => self.damaged_chunks.extend(chunks),
        }
    }

    fn create(&mut self, sequence: u64, manifest: Manifest, labels: Labels) {
        if self.sequences.contains_key(&manifest.id) {
            return;
        }
        if let Some(replaced) = manifest.replaces {
            self.delete(&replaced);
        }
        let path_name = self.free_path_name(&manifest, &labels);
        let map_root = manifest.map_root;
        self.insert(Arc::new(Snapshot {
            manifest,
            labels,
            sequence,
            path_name,
            map_root,
        }));
    }

    fn revise(&mut self, id: &SnapshotId, labels: Option<Labels>, map_root: Option<ChunkId>) {
        let Some(old) = self.remove(id) else { return };
        let mut snapshot = Snapshot::clone(&old);
        if let Some(labels) = labels {
            if labels.name != snapshot.labels.name {
                snapshot.path_name = self.free_path_name(&snapshot.manifest, &labels);
            }
            snapshot.labels = labels;
        }
        snapshot.map_root = map_root.or(snapshot.map_root);
        self.insert(Arc::new(snapshot));
    }

    fn delete(&mut self, id: &SnapshotId) {
        if let Some(snapshot) = self.remove(id) {
            self.trash.push(snapshot);
        }
    }

    /// Returns the name that a snapshot gets in its resource: that of its label or its
    /// creation time, with a number behind it if it is taken.
    fn free_path_name(&self, manifest: &Manifest, labels: &Labels) -> String {
        let wanted = match &labels.name {
            Some(name) => encode_path_name(name),
            None => manifest.created_at.to_path_name(),
        };
        let resource = encode_path_name(&manifest.resource);
        if self.find(&resource, &wanted).is_none() {
            return wanted;
        }
        (2..)
            .map(|number| numbered_path_name(&wanted, number))
            .find(|path_name| self.find(&resource, path_name).is_none())
            .unwrap_or(wanted)
    }

    fn insert(&mut self, snapshot: Arc<Snapshot>) {
        self.sequences
            .insert(snapshot.manifest.id, snapshot.sequence);
        self.snapshots
            .insert(snapshot.sequence, Arc::clone(&snapshot));
        for tag in &snapshot.labels.tags {
            insert_ordered(self.tags.entry(tag.clone()).or_default(), &snapshot);
        }
        let resource = encode_path_name(&snapshot.manifest.resource);
        insert_ordered(self.resources.entry(resource).or_default(), &snapshot);
    }

    fn remove(&mut self, id: &SnapshotId) -> Option<Arc<Snapshot>> {
        let sequence = self.sequences.remove(id)?;
        let snapshot = self.snapshots.remove(&sequence)?;
        for tag in &snapshot.labels.tags {
            remove_from(&mut self.tags, tag, sequence);
        }
        remove_from(
            &mut self.resources,
            &encode_path_name(&snapshot.manifest.resource),
            sequence,
        );
        Some(snapshot)
    }
}

fn insert_ordered(list: &mut Vec<Arc<Snapshot>>, snapshot: &Arc<Snapshot>) {
    let place = list.partition_point(|other| other.sequence < snapshot.sequence);
    list.insert(place, Arc::clone(snapshot));
}

fn remove_from(lists: &mut BTreeMap<String, Vec<Arc<Snapshot>>>, key: &str, sequence: u64) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|snapshot| snapshot.sequence != sequence);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
