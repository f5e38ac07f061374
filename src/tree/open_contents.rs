//! Images that are looked into: their partitions, their file systems, and the trees of
//! files that they show. A bounded number is open; the rest is opened again when
//! somebody comes back to it, and shows the same.

use crate::base::{ReadAt, SnapshotId};
use crate::contents::{Contents, View, Volume};
use crate::filesystem::{Consistency, ErrorKind, OpenOptions};
use crate::image::Image;
use crate::snapshot::State;
use crate::tree::disk_image::{Damage, GuardedImage, OpenImage};
use crate::tree::{Kind, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What is open at a time, in images without a log to replay.
const WEIGHT_MAX: usize = 64;
/// What a file system counts whose log was replayed: up to 16 MiB of changed blocks.
const REPLAYED_WEIGHT: usize = 3;

/// Which files of an image: those of the machine (`files/`), or those of the partition
/// with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part(pub(super) u16);

impl Part {
    /// `files/` of the snapshot.
    pub(super) const ASSEMBLED: Self = Self(u16::MAX);
}

/// When something was last used, counted in openings.
#[derive(Debug, Default)]
struct Recency {
    clock: Arc<AtomicU64>,
    used_at: AtomicU64,
}

impl Recency {
    fn touch(&self) {
        let now = self.clock.load(Ordering::Relaxed);
        self.used_at.store(now, Ordering::Relaxed);
    }
}

/// A tree of files that is open.
#[derive(Debug)]
pub(super) struct Shown {
    /// `None`: there is no file system that is read here.
    pub(super) view: Option<Arc<View>>,
    recency: Arc<Recency>,
}

impl Shown {
    /// Remembers that it is in use.
    pub(super) fn touch(&self) {
        self.recency.touch();
    }
}

/// An image that is looked into.
pub(super) struct Opened {
    pub(super) image: Image,
    guarded: Arc<dyn ReadAt>,
    contents: OnceLock<Contents>,
    /// Held while the partition tables are read.
    opening: Mutex<()>,
    shown: Mutex<HashMap<Part, Arc<Shown>>>,
    /// Bytes of partitions that are not holes.
    allocated: Mutex<HashMap<u16, u64>>,
    recency: Arc<Recency>,
}

/// All images that are looked into.
pub(super) struct OpenContents {
    options: OpenOptions,
    opened: Mutex<HashMap<SnapshotId, Arc<Opened>>>,
    clock: Arc<AtomicU64>,
}

impl OpenContents {
    /// Looks into nothing yet.
    pub(super) fn new(options: OpenOptions) -> Self {
        Self {
            options,
            opened: Mutex::default(),
            clock: Arc::default(),
        }
    }

    fn known(&self, id: &SnapshotId) -> Option<Arc<Opened>> {
        let found = self.opened.lock().get(id).cloned()?;
        found.recency.touch();
        Some(found)
    }

    /// Returns the contents of a snapshot if they are open; never waits.
    pub(super) fn get(&self, id: &SnapshotId) -> Option<Arc<Opened>> {
        self.known(id)
            .filter(|opened| opened.contents.get().is_some())
    }

    /// Returns a tree of files if it is open; never waits.
    pub(super) fn get_shown(&self, id: &SnapshotId, part: Part) -> Option<Arc<Shown>> {
        let opened = self.known(id)?;
        opened.shown.lock().get(&part).cloned()
    }

    /// Returns the contents of a snapshot, opened if need be: its partition tables are
    /// read, no file system. May wait.
    pub(super) fn open(
        &self,
        id: &SnapshotId,
        image: impl FnOnce() -> Result<(OpenImage, Arc<Damage>)>,
    ) -> Result<Arc<Opened>> {
        let opened = match self.known(id) {
            Some(opened) => opened,
            None => self.insert(id, image()?),
        };
        if opened.contents.get().is_none() {
            let _turn = opened.opening.lock();
            if opened.contents.get().is_none() {
                let image = Arc::clone(&opened.guarded);
                let contents = Contents::open(image, &self.options)?;
                // Nobody else can have set it.
                let _ = opened.contents.set(contents);
            }
        }
        Ok(opened)
    }

    fn insert(&self, id: &SnapshotId, (open, damage): (OpenImage, Arc<Damage>)) -> Arc<Opened> {
        let mut all = self.opened.lock();
        if let Some(opened) = all.get(id) {
            return Arc::clone(opened);
        }
        self.clock.fetch_add(1, Ordering::Relaxed);
        let recency = Arc::new(Recency {
            clock: Arc::clone(&self.clock),
            used_at: AtomicU64::default(),
        });
        recency.touch();
        let opened = Arc::new(Opened {
            image: open.image.clone(),
            guarded: Arc::new(GuardedImage { open, damage }),
            contents: OnceLock::new(),
            opening: Mutex::default(),
            shown: Mutex::default(),
            allocated: Mutex::default(),
            recency,
        });
        all.insert(*id, Arc::clone(&opened));
        evict(&mut all, id);
        opened
    }

    /// Returns a tree of files of contents that are open; opens file systems. May wait.
    ///
    /// # Errors
    ///
    /// Inconsistent if the only file system there is too damaged to be opened; Damaged
    /// or Io if reading the image failed, and the next call tries again.
    pub(super) fn show(
        &self,
        id: &SnapshotId,
        opened: &Arc<Opened>,
        part: Part,
    ) -> Result<Arc<Shown>> {
        if let Some(shown) = opened.shown.lock().get(&part) {
            return Ok(Arc::clone(shown));
        }
        let contents = opened.contents()?;
        let view = if part == Part::ASSEMBLED {
            assembled(contents)?
        } else {
            plain(opened.volume(part.0)?)?
        };
        tell(id, contents);
        let shown = Arc::new(Shown {
            view,
            recency: Arc::clone(&opened.recency),
        });
        let shown = Arc::clone(opened.shown.lock().entry(part).or_insert(shown));
        evict(&mut self.opened.lock(), id);
        Ok(shown)
    }

    /// Forgets what was deleted; what is in use goes on.
    pub(super) fn retain(&self, state: &State) {
        self.opened.lock().retain(|id, _| state.get(id).is_some());
    }
}

/// Writes into the log what is to be known of the file systems that are open.
fn tell(id: &SnapshotId, contents: &Contents) {
    for volume in contents.volumes() {
        let Some(file_system) = volume.opened() else {
            continue;
        };
        let (summary, name) = (file_system.summary(), volume.path_name());
        for warning in &summary.warnings {
            log::warn!("snapshot {id} {name:?}: {warning}");
        }
        if let Consistency::Dirty { reason } = &summary.consistency {
            log::warn!("snapshot {id} {name:?}: dirty: {reason}");
        }
    }
}

/// Closes what was not used for the longest time, except `keep`.
fn evict(all: &mut HashMap<SnapshotId, Arc<Opened>>, keep: &SnapshotId) {
    let mut weight: usize = all.values().map(|opened| opened.weight()).sum();
    while weight > WEIGHT_MAX {
        let oldest = all
            .iter()
            .filter(|(id, _)| *id != keep)
            .min_by_key(|(_, opened)| opened.recency.used_at.load(Ordering::Relaxed))
            .map(|(id, _)| *id);
        let Some(gone) = oldest.and_then(|id| all.remove(&id)) else {
            return;
        };
        weight -= gone.weight().min(weight);
    }
}

fn assembled(contents: &Contents) -> Result<Option<Arc<View>>> {
    if let Some(view) = contents.assembly()?.view() {
        return Ok(Some(Arc::clone(view)));
    }
    // Nothing to show because of damage is not the same as nothing to show.
    for volume in contents.volumes() {
        plain(volume)?;
    }
    Ok(None)
}

fn plain(volume: &Volume) -> Result<Option<Arc<View>>> {
    match volume.view() {
        Ok(view) => Ok(Some(Arc::new(view))),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Opened {
    /// Returns the contents.
    ///
    /// # Errors
    ///
    /// Invalid if they were not opened.
    pub(super) fn contents(&self) -> Result<&Contents> {
        self.contents.get().ok_or(Kind::Invalid.into())
    }

    /// Returns the volume with this index.
    pub(super) fn volume(&self, index: u16) -> Result<&Arc<Volume>> {
        let contents = self.contents()?;
        let found = contents.volumes().get(usize::from(index));
        found
            .filter(|_| contents.has_partitions())
            .ok_or(Kind::NotFound.into())
    }

    /// Returns the volumes that `partitions/` shows, with their indexes.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (u16, &Arc<Volume>)> {
        let contents = self.contents.get();
        let volumes = contents.filter(|contents| contents.has_partitions());
        let volumes = volumes.map_or(&[][..], Contents::volumes);
        (0..u16::MAX).zip(volumes)
    }

    /// Returns the bytes of a partition that are not holes, if that is known.
    pub(super) fn known_allocated(&self, index: u16) -> Option<u64> {
        self.allocated.lock().get(&index).copied()
    }

    /// Remembers the bytes of a partition that are not holes.
    pub(super) fn set_allocated(&self, index: u16, len: u64) {
        self.allocated.lock().insert(index, len);
    }

    fn weight(&self) -> usize {
        let volumes = self.contents.get().map_or(&[][..], Contents::volumes);
        let is_replayed = |volume: &&Arc<Volume>| {
            volume
                .opened()
                .is_some_and(|found| found.summary().consistency == Consistency::Replayed)
        };
        1 + volumes.iter().filter(is_replayed).count() * REPLAYED_WEIGHT
    }
}
