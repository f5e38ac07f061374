//! Drafts of a store without a mount: what is left, and what is to become of it.

use crate::base::ByteLen;
use crate::snapshot::Catalog;
use crate::tree::create_dir::{adopt, folder_of, left_over};
use crate::tree::draft::Shared;
use crate::tree::publications::Publications;
use crate::tree::record::{DraftId, Record, remove_files};
use crate::tree::slow_pool::SlowPool;
use crate::tree::spool::Spool;
use crate::tree::{Error, Kind, Result};
use std::sync::Arc;

/// A draft as its record tells of it.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Name of the draft for ever.
    pub id: DraftId,
    /// Name in `create/`.
    pub name: String,
    /// Length of the image in bytes.
    pub image_len_bytes: ByteLen,
    /// A mount works on it.
    pub is_mounted: bool,
    /// Everything is stored: the next mount publishes it.
    pub is_ready: bool,
}

/// Returns all drafts of the store.
pub fn list(catalog: &Catalog) -> Result<Vec<Summary>> {
    let folder = folder_of(catalog)?;
    let mut drafts = vec![];
    for id in left_over(&folder)? {
        let record = match Record::read(&folder, &id) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                log::warn!("draft {id}: {}", crate::store::chain(&error));
                continue;
            }
        };
        let (is_mounted, len) = match Spool::adopt(&folder, &id) {
            Ok(spool) => (false, spool.len()?),
            Err(error) => (error.kind() == Kind::Busy, record.image_len_bytes),
        };
        drafts.push(Summary {
            id,
            name: record.name,
            image_len_bytes: len,
            is_mounted,
            is_ready: record.prepared.is_some(),
        });
    }
    Ok(drafts)
}

/// Publishes a draft that no mount works on.
///
/// # Errors
///
/// `Busy` if a mount works on it, `NotFound` if it is not there.
pub fn publish(catalog: &Arc<Catalog>, id: &DraftId) -> Result<()> {
    let folder = folder_of(catalog)?;
    if Record::read(&folder, id)?.is_none() {
        return Err(Kind::NotFound.into());
    }
    // Tells a draft that is worked on from one that is there no more.
    drop(Spool::adopt(&folder, id)?);
    let shared = Arc::new(Shared {
        catalog: Arc::clone(catalog),
        folder,
        pool: SlowPool::default(),
        publications: Publications::default(),
    });
    match adopt(&shared, id)? {
        Some(draft) => draft.ask_to_publish(),
        None => Ok(()),
    }
}

/// Removes a draft that no mount works on.
///
/// # Errors
///
/// `Busy` if a mount works on it, `NotFound` if it is not there.
pub fn remove(catalog: &Catalog, id: &DraftId) -> Result<()> {
    let folder = folder_of(catalog)?;
    let record = Record::read(&folder, id);
    if matches!(record, Ok(None)) {
        return Err(Kind::NotFound.into());
    }
    match Spool::adopt(&folder, id) {
        Err(error) if error.kind() != Kind::NotFound => return Err(error),
        _ => {}
    }
    remove_files(&folder, id).map_err(|source| Error::File {
        action: "removing a draft",
        source,
    })
}
