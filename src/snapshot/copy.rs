//! A snapshot of one store becomes one of another; only what is missing there is
//! decompressed and stored.

use super::catalog::Catalog;
use super::ingest::{IngestOptions, ingest};
use super::manifest::Snapshot;
use crate::base::{Progress, ReadAt};
use crate::image::Image;
use crate::source::ImageSource;
use crate::store::{Error, Result};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// An image of a store as the source of another.
struct SnapshotSource {
    image: Image,
}

impl ImageSource for SnapshotSource {
    fn len(&self) -> u64 {
        ReadAt::len(&self.image)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let Some(start) = self.image.next_data(offset).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let end = self.image.next_hole(start).map_err(io::Error::other)?;
        Ok(Some(start..end))
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        self.image.read_exact_at(offset, target)?;
        Ok(target.len())
    }

    fn warnings(&self) -> Vec<String> {
        vec![]
    }
}

/// Copies a snapshot to another store. Names, tags, times and warnings are kept; the
/// copy has an id of its own.
///
/// # Errors
///
/// If the target holds a snapshot of that resource, name and time already.
pub fn copy(
    from: &Arc<Catalog>,
    snapshot: &Snapshot,
    to: &Arc<Catalog>,
    progress: &Arc<Progress>,
) -> Result<Arc<Snapshot>> {
    to.refresh()?;
    let state = to.state();
    let manifest = &snapshot.manifest;
    let twin = state.snapshots().find(|other| {
        other.manifest.resource == manifest.resource
            && other.manifest.created_at == manifest.created_at
            && other.labels.name == snapshot.labels.name
    });
    if let Some(twin) = twin {
        let reference = twin.reference();
        return Err(Error::Exists(format!(
            "the other store has {reference} already"
        )));
    }
    let source: Arc<dyn ImageSource> = Arc::new(SnapshotSource {
        image: from.image(snapshot),
    });
    let options = IngestOptions {
        resource: manifest.resource.clone(),
        labels: snapshot.labels.clone(),
        kind: manifest.kind,
        snapshot_type: manifest.snapshot_type,
        created_at: manifest.created_at,
        warnings: manifest.warnings.clone(),
        discarded_len_bytes: manifest.discarded_len_bytes,
    };
    ingest(to, &source, options, progress)
}
