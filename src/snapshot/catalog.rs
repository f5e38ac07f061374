//! The numbered log. Publishing is one compare-and-swap: an entry takes the number
//! behind the last one that its writer has seen, or reads what came and tries again.
//!
//! So there is no moment between checking and acting: whoever gets number n has folded
//! everything below n, condemnations included.

use super::entry::{
    Action, Checkpoint, Entry, checkpoint_name, checkpoint_number, entry_name, open_json, seal_json,
};
use super::manifest::{Labels, Manifest, Snapshot, check_resource};
use super::state::State;
use crate::backend::Put;
use crate::base::limits::CATALOG_OBJECT_LEN_ACCEPT_MAX;
use crate::base::{PackId, SnapshotId, Timestamp};
use crate::format::ObjectKind;
use crate::format::map::{Node, root_level};
use crate::image::{Image, for_each_node};
use crate::store::{Error, Kind, Result, Store};
use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::sync::Arc;

/// Entries after which a checkpoint is written at least; more when there are many
/// snapshots, so that checkpoints cost a constant share.
const CHECKPOINT_ENTRIES_MIN: u64 = 64;

/// The log, read up to some entry.
#[derive(Debug)]
pub struct Catalog {
    store: Arc<Store>,
    state: RwLock<Arc<State>>,
    /// Number of the last checkpoint, and the right to read or write entries.
    checkpoint: Mutex<u64>,
}

impl Catalog {
    /// Reads the newest checkpoint and the entries behind it.
    pub fn open(store: Arc<Store>) -> Result<Arc<Self>> {
        let (number, state) = newest_checkpoint(&store)?;
        let catalog = Self {
            store,
            state: RwLock::new(Arc::new(state)),
            checkpoint: Mutex::new(number),
        };
        catalog.refresh()?;
        catalog.store.set_excluded(catalog.state().excluded());
        Ok(Arc::new(catalog))
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the state as last read.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    /// Returns the image of a snapshot.
    pub fn image(&self, snapshot: &Snapshot) -> Image {
        let len = snapshot.manifest.image_len_bytes;
        Image::new(Arc::clone(&self.store), snapshot.map_root, len)
    }

    /// Reads what others have written since. Tells whether there was anything. Costs one
    /// look for a name when there is nothing.
    pub fn refresh(&self) -> Result<bool> {
        let _turn = self.checkpoint.lock();
        self.refresh_locked()
    }

    fn refresh_locked(&self) -> Result<bool> {
        let mut next = self.state().sequence() + 1;
        let mut state: Option<State> = None;
        loop {
            let entry = match self.read_entry(next) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    // What came before the damaged entry is in force all the same.
                    self.put_in_force(state);
                    return Err(error);
                }
            };
            state
                .get_or_insert_with(|| State::clone(&self.state()))
                .apply(entry);
            next += 1;
        }
        Ok(self.put_in_force(state))
    }

    fn put_in_force(&self, state: Option<State>) -> bool {
        let Some(state) = state else { return false };
        self.store.set_excluded(state.excluded());
        *self.state.write() = Arc::new(state);
        true
    }

    fn read_entry(&self, number: u64) -> Result<Option<Entry>> {
        let name = entry_name(number);
        let bytes = match self
            .store
            .backend()
            .read(&name, CATALOG_OBJECT_LEN_ACCEPT_MAX)
        {
            Err(error) if error.kind() == crate::backend::Kind::NotFound => return Ok(None),
            other => other?,
        };
        let entry: Entry = open_json(&name, &bytes, ObjectKind::CatalogEntry, self.store.id())?;
        if entry.number != number {
            let problem = format!("it holds entry {}", entry.number);
            return Err(Error::Corrupt {
                object: name,
                problem,
            });
        }
        Ok(Some(entry))
    }

    /// Publishes the entry that `action` gives for the state before it; `action` is
    /// asked again when another writer was faster.
    fn publish(&self, action: &mut dyn FnMut(&State) -> Result<Action>) -> Result<Arc<State>> {
        let mut checkpoint = self.checkpoint.lock();
        loop {
            self.refresh_locked()?;
            let before = self.state();
            let entry = Entry {
                number: before.sequence() + 1,
                written_at: Timestamp::now(),
                action: action(&before)?,
            };
            let bytes = seal_json(ObjectKind::CatalogEntry, self.store.id(), &entry)?;
            let name = entry_name(entry.number);
            if self.store.backend().put_new(&name, &bytes)? == Put::Exists {
                continue;
            }
            let mut state = State::clone(&before);
            state.apply(entry);
            self.put_in_force(Some(state));
            let state = self.state();
            self.write_checkpoint(&mut checkpoint, &state);
            return Ok(state);
        }
    }

    /// Writes a checkpoint when it is due. A failure costs time at the next opening.
    fn write_checkpoint(&self, last: &mut u64, state: &State) {
        let due = CHECKPOINT_ENTRIES_MIN.max(state.snapshots().len() as u64 / 8);
        if state.sequence() < last.saturating_add(due) {
            return;
        }
        let name = checkpoint_name(state.sequence());
        let checkpoint = state.to_checkpoint();
        let written = seal_json(ObjectKind::Checkpoint, self.store.id(), &checkpoint)
            .and_then(|bytes| Ok(self.store.backend().put_new(&name, &bytes)?));
        match written {
            Ok(_) => *last = state.sequence(),
            Err(error) => log::warn!("no checkpoint was written: {error}"),
        }
    }

    /// Publishes a snapshot whose chunks and map are durable. What it replaces goes to
    /// the trash by the same entry.
    pub fn create(&self, manifest: Manifest, labels: Labels) -> Result<Arc<Snapshot>> {
        check_resource(&manifest.resource)?;
        let labels = labels.normalize()?;
        let id = manifest.id;
        let state = self.publish(&mut |state| {
            self.demand_not_condemned(state, &manifest)?;
            let (manifest, labels) = (Box::new(manifest.clone()), labels.clone());
            Ok(Action::Create { manifest, labels })
        })?;
        found(&state, &id)
    }

    /// Fails if the snapshot needs a chunk of which every copy is condemned.
    fn demand_not_condemned(&self, state: &State, manifest: &Manifest) -> Result<()> {
        let condemned = state.excluded().packs;
        let Some(root) = manifest.map_root.filter(|_| !condemned.is_empty()) else {
            return Ok(());
        };
        let level = root_level(crate::base::block_count_for(manifest.image_len_bytes));
        let mut seen = HashSet::new();
        for_each_node(&self.store, root, level, &mut |id, node| {
            self.demand_kept(id, &condemned)?;
            if let Node::Leaf(extents) = &**node {
                for extent in extents {
                    if seen.insert(extent.chunk.prefix()) {
                        self.demand_kept(&extent.chunk, &condemned)?;
                    }
                }
            }
            Ok(true)
        })
    }

    fn demand_kept(&self, chunk: &crate::base::ChunkId, condemned: &HashSet<PackId>) -> Result<()> {
        let locations = self.store.locations(chunk)?;
        if locations
            .iter()
            .any(|location| !condemned.contains(&location.pack))
        {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "chunk {chunk} was condemned while the snapshot was made; make it again"
        )))
    }

    /// Changes the labels of a snapshot. `change` sees them as they are when the entry
    /// is written.
    pub fn revise(
        &self,
        id: &SnapshotId,
        change: &mut dyn FnMut(&mut Labels),
    ) -> Result<Arc<Snapshot>> {
        let state = self.publish(&mut |state| {
            let mut labels = found(state, id)?.labels.clone();
            change(&mut labels);
            Ok(Action::Revise {
                id: *id,
                labels: Some(labels.normalize()?),
                map_root: None,
            })
        })?;
        found(&state, id)
    }

    /// Moves a snapshot to the trash.
    ///
    /// # Errors
    ///
    /// If there is none, or it is on hold.
    pub fn delete(&self, id: &SnapshotId) -> Result<()> {
        self.publish(&mut |state| {
            let snapshot = found(state, id)?;
            if snapshot.labels.hold {
                return Err(Error::Invalid(format!(
                    "{} is on hold; release it first",
                    snapshot.reference()
                )));
            }
            Ok(Action::Delete { id: *id })
        })?;
        Ok(())
    }
}

fn found(state: &State, id: &SnapshotId) -> Result<Arc<Snapshot>> {
    let snapshot = state.get(id).cloned();
    snapshot.ok_or_else(|| Error::NotFound(format!("snapshot {id} is not there any more")))
}

/// Returns the newest checkpoint that can be read, with its number.
fn newest_checkpoint(store: &Store) -> Result<(u64, State)> {
    let names = store.backend().list("catalog")?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| checkpoint_number(name))
        .collect();
    numbers.sort_unstable();
    while let Some(number) = numbers.pop() {
        match read_checkpoint(store, number) {
            Ok(state) => return Ok((number, state)),
            // An older one, and the entries behind it, say the same.
            Err(error) if error.kind() == Kind::Corrupt => {
                log::error!("{error}; an older checkpoint is used");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((0, State::default()))
}

fn read_checkpoint(store: &Store, number: u64) -> Result<State> {
    let name = checkpoint_name(number);
    let bytes = store.backend().read(&name, CATALOG_OBJECT_LEN_ACCEPT_MAX)?;
    let checkpoint: Checkpoint = open_json(&name, &bytes, ObjectKind::Checkpoint, store.id())?;
    if checkpoint.number != number {
        let problem = format!("it holds checkpoint {}", checkpoint.number);
        return Err(Error::Corrupt {
            object: name,
            problem,
        });
    }
    Ok(State::from_checkpoint(checkpoint))
}
