//! The directory `create/`: names and the drafts behind them, those of dead mounts
//! included.

use crate::snapshot::Catalog;
use crate::tree::draft::{Creation, Draft, Shared};
use crate::tree::error::Context;
use crate::tree::record::{DraftId, Record, remove_files, spool_path};
use crate::tree::spool::Spool;
use crate::tree::{Error, Kind, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the store's folder of drafts.
const FOLDER: &str = "drafts";
/// Temporary files younger than this may belong to a mount that is at work.
const TEMPORARY_AGE: Duration = Duration::from_secs(60);

/// Drafts by name.
pub(super) struct CreateDir {
    pub(super) shared: Arc<Shared>,
    entries: Mutex<BTreeMap<Vec<u8>, Arc<Draft>>>,
}

impl CreateDir {
    /// Opens the folder of drafts, publishes what was ready and takes over what dead
    /// mounts have left.
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self> {
        let dir = Self {
            shared,
            entries: Mutex::default(),
        };
        dir.adopt_all()?;
        Ok(dir)
    }

    /// Returns the draft with this name.
    pub(super) fn get(&self, name: &[u8]) -> Result<Arc<Draft>> {
        self.entries
            .lock()
            .get(name)
            .cloned()
            .ok_or(Kind::NotFound.into())
    }

    /// Returns all names and drafts.
    pub(super) fn list(&self) -> Vec<(Vec<u8>, Arc<Draft>)> {
        let entries = self.entries.lock();
        entries
            .iter()
            .map(|(name, draft)| (name.clone(), Arc::clone(draft)))
            .collect()
    }

    /// Tells whether there is no name at all: neither a draft nor what was published
    /// a moment ago.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Makes an empty draft. May wait.
    pub(super) fn create(&self, name: &[u8], by: Creation) -> Result<Arc<Draft>> {
        if self.entries.lock().contains_key(name) {
            return Err(Kind::Exists.into());
        }
        let draft = Draft::create(&self.shared, name, by)?;
        let mut entries = self.entries.lock();
        if entries.contains_key(name) {
            drop(entries);
            draft.remove()?;
            return Err(Kind::Exists.into());
        }
        entries.insert(name.to_vec(), Arc::clone(&draft));
        Ok(draft)
    }

    /// Removes a draft, or just the name of what is published.
    pub(super) fn remove(&self, name: &[u8]) -> Result<()> {
        let draft = self.entries.lock().remove(name);
        draft.ok_or(Kind::NotFound)?.remove()
    }

    /// Renames, and publishes if the new name is final. May wait.
    pub(super) fn rename(&self, old: &[u8], new: &[u8], keeps_target: bool) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let (draft, replaced) = {
            let mut entries = self.entries.lock();
            let draft = entries.get(old).cloned().ok_or(Kind::NotFound)?;
            if keeps_target && entries.contains_key(new) {
                return Err(Kind::Exists.into());
            }
            crate::tree::names::parse(new)?;
            entries.remove(old);
            (Arc::clone(&draft), entries.insert(new.to_vec(), draft))
        };
        if let Some(replaced) = replaced {
            replaced.remove()?;
        }
        draft.rename(new)
    }

    /// Takes names out that have been published long enough.
    pub(super) fn expire(&self) {
        self.entries.lock().retain(|_, draft| !draft.is_expired());
    }

    /// Writes down all drafts, so that the next mount goes on with them.
    pub(super) fn settle_all(&self) {
        for (name, draft) in self.list() {
            if let Err(error) = draft.sync() {
                let name = String::from_utf8_lossy(&name).into_owned();
                log::error!("create/{name}: {}", crate::store::chain(&error));
            }
        }
    }

    fn adopt_all(&self) -> Result<()> {
        for id in left_over(&self.shared.folder)? {
            match adopt(&self.shared, &id) {
                Ok(Some(draft)) => self.insert_adopted(draft),
                Ok(None) => {}
                Err(error) => log::error!("draft {id}: {}", crate::store::chain(&error)),
            }
        }
        Ok(())
    }

    fn insert_adopted(&self, draft: Arc<Draft>) {
        let mut entries = self.entries.lock();
        let mut name = draft.name();
        let mut number = 2;
        while entries.contains_key(&name) {
            name = draft.name();
            name.extend(format!("~{number}").into_bytes());
            number += 1;
        }
        entries.insert(name, draft);
    }
}

/// Returns the folder of drafts of the store, and makes it if it is not there.
pub(super) fn folder_of(catalog: &Catalog) -> Result<PathBuf> {
    let store_path = catalog
        .store()
        .backend()
        .local_path()
        .ok_or(Kind::Unsupported)?;
    let folder = store_path.join(FOLDER);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.context("making the folder of drafts")?;
    Ok(folder)
}

/// Returns the drafts in the folder, and removes temporary files that are left over.
pub(super) fn left_over(folder: &Path) -> Result<Vec<DraftId>> {
    let action = "reading the folder of drafts";
    let mut ids = vec![];
    for entry in fs::read_dir(folder).context(action)? {
        let entry = entry.context(action)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_old = || {
            let modified = entry.metadata().ok()?.modified().ok()?;
            Some(modified.elapsed().ok()? > TEMPORARY_AGE)
        };
        match name.split_once('.') {
            Some((id, "json")) => ids.extend(id.parse::<DraftId>().ok()),
            Some((id, "spool")) => {
                let Ok(id) = id.parse::<DraftId>() else {
                    continue;
                };
                // A spool gets its record before anybody writes to it.
                let is_nameless = !crate::tree::record::record_path(folder, &id).exists();
                if is_nameless && is_old() == Some(true) && Spool::adopt(folder, &id).is_ok() {
                    drop(fs::remove_file(spool_path(folder, &id)));
                }
            }
            _ if name.ends_with(".new") && is_old() == Some(true) => {
                drop(fs::remove_file(entry.path()));
            }
            _ => {}
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Takes over a draft whose mount is gone; None if it is published now, or if another
/// mount has it.
pub(super) fn adopt(shared: &Arc<Shared>, id: &DraftId) -> Result<Option<Arc<Draft>>> {
    let spool = match Spool::adopt(&shared.folder, id) {
        Ok(spool) => spool,
        Err(error) if error.kind() == Kind::Busy => return Ok(None),
        // A draft is removed spool first.
        Err(error) if error.kind() == Kind::NotFound => {
            let removed = remove_files(&shared.folder, id);
            removed.context("removing what is left of a draft")?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(record) = Record::read(&shared.folder, id)? else {
        return Ok(None);
    };
    let Some(publication) = record.prepared.clone() else {
        return Draft::adopt(shared, &record, spool).map(Some);
    };
    let id = publication.manifest.id;
    if shared.catalog.state().get(&id).is_none() {
        let snapshot = shared
            .catalog
            .create(publication.manifest, publication.labels)?;
        log::info!(
            "created {}@{} from a draft that was ready when its mount ended",
            snapshot.manifest.resource,
            snapshot.path_name
        );
    }
    remove_files(&shared.folder, &record.id).map_err(|source| Error::File {
        action: "removing a draft",
        source,
    })?;
    Ok(None)
}
