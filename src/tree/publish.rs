//! From a draft to a snapshot: FLUSH prepares (all work, and all that can fail),
//! RELEASE publishes, and a change takes a draft back from either.

use crate::base::{ByteLen, ChunkId, SnapshotId, Timestamp};
use crate::image::Image;
use crate::snapshot::{Labels, Manifest, SnapshotKind, SnapshotType, plausible};
use crate::tree::content::Content;
use crate::tree::draft::{Body, Draft, parent_of};
use crate::tree::error::Context;
use crate::tree::record::{Publication, sync_folder};
use crate::tree::rule::History;
use crate::tree::spool::Spool;
use crate::tree::{Error, Kind, Result, names};
use std::sync::Arc;
use std::time::Instant;

type MapPlace = (Option<ChunkId>, ByteLen);

impl Draft {
    /// Notes one more descriptor that may write.
    pub fn begin_writing(&self) {
        self.state.lock().history.writer_count += 1;
    }

    /// FLUSH: brings everything into the store and writes down what is to be
    /// published. May wait.
    pub fn flush(&self, is_killed: bool) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.history.is_killed = is_killed;
            if let Some((kind, message)) = &state.failure {
                return Err(Error::Failed {
                    kind: *kind,
                    message: message.clone(),
                });
            }
            if is_killed || state.history.is_removed {
                return Ok(());
            }
        }
        let prepared = self.prepare();
        match &prepared {
            Ok(true) => self.shared.publications.expect(self.id),
            Ok(false) => {}
            Err(error) => self.fail(error),
        }
        prepared.map(drop)
    }

    /// FSYNC: nothing that was written is lost after this. May wait.
    pub fn sync(&self) -> Result<()> {
        let _turn = self.work.lock();
        let Body::Working(content) = self.body() else {
            return Ok(());
        };
        content.spool.sync()?;
        if content.is_map_ahead() || !self.state.lock().is_recorded {
            self.checkpoint(&content)?;
        }
        Ok(())
    }

    /// RELEASE of a descriptor that may write: publishes if the rule says so. May wait.
    pub fn end_writing(&self) {
        let is_due = {
            let mut state = self.state.lock();
            state.history.writer_count = state.history.writer_count.saturating_sub(1);
            state.history.is_due()
        };
        if is_due && let Err(error) = self.publish() {
            // The record is prepared: the next mount, or a rename, tries again.
            let name = names::to_text(&self.name());
            log::error!(
                "publishing create/{name} failed: {}",
                crate::store::chain(&error)
            );
        }
        self.shared.publications.settle(&self.id);
        self.forget_if_removed();
    }

    /// Publishes because somebody asked for it by name. Waits for its writers: with
    /// one left it happens at their end.
    pub fn ask_to_publish(&self) -> Result<()> {
        let is_due = {
            let mut state = self.state.lock();
            if let Some((kind, message)) = &state.failure {
                return Err(Error::Failed {
                    kind: *kind,
                    message: message.clone(),
                });
            }
            state.history.is_asked = true;
            state.history.is_held = false;
            state.history.is_due() && matches!(state.body, Body::Working(_))
        };
        if is_due { self.publish() } else { Ok(()) }
    }

    /// Removes the name: of a draft with all it holds, or just the name of what is
    /// published.
    pub(super) fn remove(&self) -> Result<()> {
        self.state.lock().history.is_removed = true;
        self.shared.publications.settle(&self.id);
        self.forget_if_removed();
        Ok(())
    }

    fn forget_if_removed(&self) {
        let is_over = {
            let state = self.state.lock();
            let is_draft = matches!(state.body, Body::Working(_));
            state.history.is_removed && state.history.writer_count == 0 && is_draft
        };
        if is_over && let Err(error) = self.remove_files() {
            log::warn!("{}", crate::store::chain(&error));
        }
    }

    /// Makes all that can fail and takes long; true if a RELEASE would publish now.
    pub(super) fn prepare(&self) -> Result<bool> {
        let turn = self.work.lock();
        let prepared = self.prepare_in_turn();
        drop(turn);
        prepared
    }

    fn prepare_in_turn(&self) -> Result<bool> {
        let (content, is_wanted) = {
            // Changes that are under way end first; later ones come back through
            // `unsettle`, which waits for our turn to end.
            let _nobody_changes = self.activity.write();
            let mut state = self.state.lock();
            let is_wanted = state.history.is_wanted();
            let Body::Working(content) = &state.body else {
                return Ok(false);
            };
            let is_named = state.prepared.is_some() == is_wanted;
            if !state.is_changed && is_named {
                return Ok(is_wanted);
            }
            let content = Arc::clone(content);
            state.is_settled = true;
            (content, is_wanted)
        };
        match self.settle(&content, is_wanted) {
            Ok(()) => Ok(is_wanted),
            Err(error) => {
                self.state.lock().is_settled = false;
                Err(error)
            }
        }
    }

    /// Drains, makes everything durable and writes the record.
    fn settle(&self, content: &Arc<Content>, is_wanted: bool) -> Result<()> {
        content.drain()?;
        let settled = content.take_settled();
        let (map, len, publication) = content.finish(|map, len| {
            if !is_wanted {
                return Ok(None);
            }
            let place = (map.root, len);
            let publication = self.publication(content, place, map.allocated_block_count)?;
            let Publication { manifest, labels } = &publication;
            crate::snapshot::write_manifest(&content.writer, manifest, labels)?;
            Ok(Some(publication))
        })?;
        let mut record = self.record(Some((map.root, len)))?;
        record.prepared.clone_from(&publication);
        record.write(&self.shared.folder, true)?;
        let mut state = self.state.lock();
        state.is_recorded = true;
        state.is_changed = false;
        state.prepared = publication;
        drop(state);
        if !is_wanted {
            content.free(settled)?;
        }
        Ok(())
    }

    /// Writes the record, so that space of the spool can be freed. In turn.
    pub(super) fn checkpoint(&self, content: &Arc<Content>) -> Result<()> {
        let settled = content.take_settled();
        let (map, len, ()) = content.finish(|_, _| Ok(()))?;
        let mut record = self.record(Some((map.root, len)))?;
        record.prepared.clone_from(&self.state.lock().prepared);
        record.write(&self.shared.folder, true)?;
        self.state.lock().is_recorded = true;
        content.free(settled)
    }

    /// Returns what is to be published.
    fn publication(
        &self,
        content: &Content,
        (map_root, image_len_bytes): MapPlace,
        allocated_block_count: u64,
    ) -> Result<Publication> {
        let (name, replaces) = {
            let state = self.state.lock();
            (state.name.clone(), state.replaces)
        };
        let target = names::parse(&name)?;
        let image = Image::new(Arc::clone(&content.store), map_root, image_len_bytes);
        let found = plausible::look(&image);
        let path_name = crate::base::encode_path_name(&target.resource);
        let parent_kind = self
            .shared
            .catalog
            .state()
            .of_resource(&path_name)
            .last()
            .map(|newest| newest.manifest.kind);
        let own_kind = if found.has_partitions {
            SnapshotKind::Machine
        } else {
            SnapshotKind::Volume
        };
        let manifest = Manifest {
            id: SnapshotId::random(),
            resource: target.resource,
            kind: parent_kind.unwrap_or(own_kind),
            snapshot_type: SnapshotType::Snapshot,
            created_at: Timestamp::now(),
            image_len_bytes,
            allocated_len_bytes: allocated_block_count * crate::base::BLOCK_LEN_BYTES,
            added_len_bytes: content.writer.stats().stored_len_bytes,
            map_root,
            warnings: found.warnings,
            discarded_len_bytes: None,
            replaces,
        };
        Ok(Publication {
            manifest,
            labels: Labels {
                name: target.label,
                ..Labels::default()
            },
        })
    }

    /// Makes the draft a snapshot. May wait.
    pub(super) fn publish(&self) -> Result<()> {
        let turn = self.work.lock();
        self.prepare_in_turn()?;
        let publication = {
            let state = self.state.lock();
            // A writer may have come while we waited for our turn.
            if !state.history.is_due() {
                return Ok(());
            }
            state.prepared.clone()
        };
        let Some(Publication { manifest, labels }) = publication else {
            return Ok(());
        };
        let snapshot = match self.shared.catalog.create(manifest.clone(), labels) {
            Ok(snapshot) => snapshot,
            Err(error) => match self.shared.catalog.state().get(&manifest.id) {
                // An earlier try had reached the log.
                Some(snapshot) => Arc::clone(snapshot),
                None => return Err(error.into()),
            },
        };
        log::info!(
            "created {}@{}",
            snapshot.manifest.resource,
            snapshot.path_name
        );
        for warning in &snapshot.manifest.warnings {
            log::warn!(
                "{}@{}: {warning}",
                snapshot.manifest.resource,
                snapshot.path_name
            );
        }
        let image = self.shared.catalog.image(&snapshot);
        {
            let mut state = self.state.lock();
            state.body = Body::Published(image, snapshot);
            state.history = History {
                is_removed: state.history.is_removed,
                writer_count: state.history.writer_count,
                ..History::default()
            };
            state.is_settled = true;
            state.is_changed = false;
            state.prepared = None;
            state.replaces = None;
            state.published_at = Some(Instant::now());
        }
        drop(turn);
        // The snapshot is in the log; what is left of the draft is only untidy.
        self.remove_files()
            .unwrap_or_else(|error| log::warn!("{}", crate::store::chain(&error)));
        Ok(())
    }

    /// Makes the draft open for changes again. May wait.
    pub(super) fn unsettle(&self, empties: bool) -> Result<()> {
        let _turn = self.work.lock();
        let body = {
            let state = self.state.lock();
            if !state.is_settled {
                return Ok(());
            }
            state.body.clone()
        };
        match body {
            Body::Working(_) => self.withdraw()?,
            Body::Published(image, snapshot) => {
                let base = (!empties).then_some((image, snapshot.manifest.id));
                self.revive(base)?;
            }
        }
        self.state.lock().is_settled = false;
        Ok(())
    }

    /// Takes the wish to publish out of the record, durably.
    fn withdraw(&self) -> Result<()> {
        let publication = self.state.lock().prepared.take();
        if publication.is_none() {
            return Ok(());
        }
        let place = publication.map(|publication| {
            (
                publication.manifest.map_root,
                publication.manifest.image_len_bytes,
            )
        });
        self.record(place)?.write(&self.shared.folder, true)
    }

    /// Makes a draft of what was published, with its content or with none.
    fn revive(&self, base: Option<(Image, SnapshotId)>) -> Result<()> {
        let folder = &self.shared.folder;
        let store = Arc::clone(self.shared.store());
        let spool = Spool::create(folder, &self.id)?;
        let (image, replaces) = base.unzip();
        let resource = names::parse(&self.name())?.resource;
        let parent = image.clone().or_else(|| parent_of(&self.shared, &resource));
        let place = image
            .as_ref()
            .map(|image| (image.root(), crate::base::ReadAt::len(image)));
        if let Some((_, len)) = place {
            spool.set_len(len)?;
        }
        let content = Content::new(store, spool, image, parent)?;
        {
            let mut state = self.state.lock();
            state.body = Body::Working(Arc::new(content));
            state.replaces = replaces;
            state.published_at = None;
            state.is_recorded = true;
            state.history.is_held = names::is_held(&state.name);
        }
        self.record(place)?.write(folder, true)
    }

    /// Empties the draft: what was written before no longer counts.
    pub(super) fn empty(&self) -> Result<()> {
        self.modify(false, true, |content| content.set_len(0))?;
        let _turn = self.work.lock();
        let failed = {
            let mut state = self.state.lock();
            state.history.has_data = false;
            state.replaces = None;
            state.history.is_failed = false;
            state.failure.take().is_some()
        };
        if failed {
            self.start_anew()?;
        }
        Ok(())
    }

    /// Replaces the chunk writer, which refuses work after a failure. In turn.
    fn start_anew(&self) -> Result<()> {
        let folder = &self.shared.folder;
        let spool = Spool::create(folder, &self.id)?;
        let parent = names::parse(&self.name()).ok();
        let parent = parent.and_then(|target| parent_of(&self.shared, &target.resource));
        let content = Content::new(Arc::clone(self.shared.store()), spool, None, parent)?;
        self.state.lock().body = Body::Working(Arc::new(content));
        self.record(None)?.write(folder, true)
    }

    /// Gives the draft another name. In a look-up table the caller does the same.
    pub(super) fn rename(&self, name: &[u8]) -> Result<()> {
        names::parse(name)?;
        let turn = self.work.lock();
        let body = {
            let mut state = self.state.lock();
            state.name = name.to_vec();
            state.history.is_held = names::is_held(name);
            state.body.clone()
        };
        match body {
            Body::Working(content) => {
                // What was prepared was prepared for the old name.
                self.withdraw_name(&content)?;
                drop(turn);
                if names::is_held(name) {
                    Ok(())
                } else {
                    self.ask_to_publish()
                }
            }
            Body::Published(_, snapshot) => {
                drop(turn);
                self.republish(&snapshot)
            }
        }
    }

    fn withdraw_name(&self, content: &Arc<Content>) -> Result<()> {
        let _nobody_changes = self.activity.write();
        self.state.lock().prepared = None;
        self.checkpoint(content)?;
        sync_folder(&self.shared.folder).context("renaming a draft")
    }

    /// What is published under a name that was not final gets its final name.
    fn republish(&self, old: &crate::snapshot::Snapshot) -> Result<()> {
        let name = self.name();
        if names::is_held(&name) {
            return Err(Kind::NotPermitted.into());
        }
        let target = names::parse(&name)?;
        let manifest = Manifest {
            id: SnapshotId::random(),
            resource: target.resource,
            replaces: Some(old.manifest.id),
            ..old.manifest.clone()
        };
        let labels = Labels {
            name: target.label,
            ..old.labels.clone()
        };
        let snapshot = self.shared.catalog.create(manifest, labels)?;
        let image = self.shared.catalog.image(&snapshot);
        self.state.lock().body = Body::Published(image, snapshot);
        Ok(())
    }
}
