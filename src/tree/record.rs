//! The record of a draft, `drafts/<id>.json`: its name, its map so far, and, once a
//! FLUSH has done all the work, what is to be published. It is the one file in a
//! store that is replaced; always by a whole new one.

use crate::base::{ByteLen, ChunkId, SnapshotId};
use crate::snapshot::{Labels, Manifest};
use crate::tree::error::Context;
use crate::tree::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Version of the record's form.
const VERSION: u32 = 1;
/// Bytes of a record that are accepted: the largest description and all tags fit
/// many times.
const LEN_ACCEPT_MAX: u64 = 1 << 20;

/// Name of a draft; random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DraftId(SnapshotId);

impl DraftId {
    /// Returns a new random id.
    pub(super) fn random() -> Self {
        Self(SnapshotId::random())
    }

    /// Returns the bytes of the id.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Display for DraftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DraftId {
    type Err = crate::base::ids::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is published when the last writer is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Publication {
    pub(super) manifest: Manifest,
    pub(super) labels: Labels,
}

/// A draft as it is after a crash, together with its spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: DraftId,
    /// Name in `create/`.
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Length of the image when the record was written; the spool's is newer.
    pub(super) image_len_bytes: ByteLen,
    /// Map of what has left the spool.
    pub(super) map_root: Option<ChunkId>,
    /// Whether anything but zeros was written since the last publication.
    pub(super) has_data: bool,
    /// The snapshot that this draft began as.
    pub(super) replaces: Option<SnapshotId>,
    /// There once everything is stored: the next mount publishes it.
    pub(super) prepared: Option<Publication>,
}

impl Record {
    /// Returns the form version that this program writes.
    pub(super) const fn version() -> u32 {
        VERSION
    }

    /// Puts the record in place of the last one; durable when it returns, if asked.
    pub(super) fn write(&self, folder: &Path, durable: bool) -> Result<()> {
        let path = record_path(folder, &self.id);
        let temporary = folder.join(format!("{}.json.new", self.id));
        let action = "writing the record of a draft";
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::File {
            action,
            source: io::Error::other(error),
        })?;
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            if durable {
                file.sync_all()?;
            }
            fs::rename(&temporary, &path)?;
            if durable { sync_folder(folder) } else { Ok(()) }
        })();
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written.context(action)
    }

    /// Reads the record of a draft; None if there is none.
    pub(super) fn read(folder: &Path, id: &DraftId) -> Result<Option<Self>> {
        let path = record_path(folder, id);
        let action = "reading the record of a draft";
        let refuse = |problem: &str| Error::File {
            action,
            source: io::Error::other(problem),
        };
        match fs::metadata(&path) {
            Ok(found) if found.len() > LEN_ACCEPT_MAX => return Err(refuse("it is too long")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { action, source }),
        }
        let bytes = fs::read(&path).context(action)?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| Error::File {
            action,
            source: io::Error::other(error),
        })?;
        if record.version != VERSION || record.id != *id {
            return Err(refuse("it is of another version or of another draft"));
        }
        Ok(Some(record))
    }
}

/// Returns where the record of a draft is.
pub(super) fn record_path(folder: &Path, id: &DraftId) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Returns where the spool of a draft is.
pub(super) fn spool_path(folder: &Path, id: &DraftId) -> PathBuf {
    folder.join(format!("{id}.spool"))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes all files of a draft; the record last, so that no spool is left nameless.
pub(super) fn remove_files(folder: &Path, id: &DraftId) -> io::Result<()> {
    for path in [spool_path(folder, id), record_path(folder, id)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: VERSION,
            id: DraftId::random(),
            name: "web".to_owned(),
            mode: 0o600,
            uid: 1,
            gid: 2,
            image_len_bytes: 3,
            map_root: Some(ChunkId([7; 32])),
            has_data: true,
            replaces: None,
            prepared: None,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record();
        assert_eq!(Record::read(folder.path(), &record.id).unwrap(), None);
        record.write(folder.path(), true).unwrap();
        record.has_data = false;
        record.write(folder.path(), true).unwrap();
        let found = Record::read(folder.path(), &record.id).unwrap();
        assert_eq!(found, Some(record.clone()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove_files(folder.path(), &record.id).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record();
        record.version = 2;
        record.write(folder.path(), false).unwrap();
        assert!(Record::read(folder.path(), &record.id).is_err());
        fs::write(record_path(folder.path(), &record.id), b"{").unwrap();
        assert!(Record::read(folder.path(), &record.id).is_err());
    }
}
