//! A file in `create/`: a draft that is written, published, for a while still there
//! under its name, and perhaps a draft again.
//!
//! Locks, outermost first: `work` (preparing, publishing, ingesting: whoever holds it
//! may wait), `activity` (shared by changes, alone for the moment in which a draft is
//! settled), then those of [`Content`], then `state`.

use crate::base::{ByteLen, ByteOffset, Extent, SnapshotId, Timestamp, is_zero};
use crate::image::Image;
use crate::snapshot::{Catalog, Snapshot};
use crate::store::Store;
use crate::tree::content::Content;
use crate::tree::ingest::Wake;
use crate::tree::publications::Publications;
use crate::tree::record::{DraftId, Publication, Record, remove_files};
use crate::tree::rule::History;
use crate::tree::slow_pool::SlowPool;
use crate::tree::spool::Spool;
use crate::tree::{Error, Kind, Result, names, node};
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long a published name stays.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes that wait in the spool before writers are slowed down.
const BACKLOG_LIMIT: ByteLen = 1 << 30;
/// How long one write is held back at most.
const THROTTLE: Duration = Duration::from_secs(2);
/// Bytes that leave the spool before its space is freed.
pub(super) const CHECKPOINT_LEN: ByteLen = 1 << 30;
/// Bits of a mode that give a program rights of its owner.
pub(super) const PRIVILEGE_BITS: u32 = 0o6000;

/// What all drafts of a mount share.
pub(super) struct Shared {
    pub(super) catalog: Arc<Catalog>,
    /// The store's folder of drafts.
    pub(super) folder: PathBuf,
    pub(super) pool: SlowPool,
    pub(super) publications: Publications,
}

impl Shared {
    pub(super) fn store(&self) -> &Arc<Store> {
        self.catalog.store()
    }
}

/// Where the bytes are.
#[derive(Clone)]
pub(super) enum Body {
    /// In a spool and a map that change.
    Working(Arc<Content>),
    /// In a snapshot.
    Published(Image, Arc<Snapshot>),
}

pub(super) struct State {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) accessed_at: Timestamp,
    pub(super) modified_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) body: Body,
    pub(super) history: History,
    /// Changed since everything was prepared last.
    pub(super) is_changed: bool,
    /// Changes have to go through [`Draft::unsettle`] first.
    pub(super) is_settled: bool,
    pub(super) prepared: Option<Publication>,
    pub(super) replaces: Option<SnapshotId>,
    pub(super) failure: Option<(Kind, String)>,
    pub(super) published_at: Option<Instant>,
    pub(super) is_recorded: bool,
}

/// A file in `create/`.
pub struct Draft {
    pub(super) id: DraftId,
    pub(super) inode: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) own: Weak<Draft>,
    pub(super) work: Mutex<()>,
    pub(super) activity: RwLock<()>,
    pub(super) state: Mutex<State>,
    is_ingesting: AtomicBool,
    backlog_shrank: Condvar,
}

/// Who makes a draft, and how.
#[derive(Clone, Copy, Debug)]
pub struct Creation {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Draft {
    /// Makes an empty draft with its files.
    pub(super) fn create(shared: &Arc<Shared>, name: &[u8], by: Creation) -> Result<Arc<Self>> {
        let target = names::parse(name)?;
        let id = DraftId::random();
        let parent = parent_of(shared, &target.resource);
        let spool = Spool::create(&shared.folder, &id)?;
        let content = Content::new(Arc::clone(shared.store()), spool, None, parent)?;
        let draft = Self::with(shared, id, name, by, Body::Working(Arc::new(content)));
        draft.record(None)?.write(&shared.folder, false)?;
        Ok(draft)
    }

    /// Goes on with a draft whose mount is gone.
    pub(super) fn adopt(shared: &Arc<Shared>, record: &Record, spool: Spool) -> Result<Arc<Self>> {
        let name = record.name.as_bytes();
        let parent = names::parse(name)
            .ok()
            .and_then(|name| parent_of(shared, &name.resource));
        let store = Arc::clone(shared.store());
        let len = spool.len()?;
        let base = Image::new(
            Arc::clone(&store),
            record.map_root,
            len.max(record.image_len_bytes),
        );
        let base = record.map_root.map(|_| base);
        let content = Arc::new(Content::new(store, spool, base, parent)?);
        let by = Creation {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
        };
        let draft = Self::with(shared, record.id, name, by, Body::Working(content));
        let mut state = draft.state.lock();
        state.history.has_data = record.has_data;
        state.replaces = record.replaces;
        state.is_changed = true;
        state.is_recorded = true;
        drop(state);
        Ok(draft)
    }

    fn with(shared: &Arc<Shared>, id: DraftId, name: &[u8], by: Creation, body: Body) -> Arc<Self> {
        let now = Timestamp::now();
        let state = State {
            name: name.to_vec(),
            mode: by.mode & 0o7777,
            uid: by.uid,
            gid: by.gid,
            accessed_at: now,
            modified_at: now,
            changed_at: now,
            xattrs: BTreeMap::new(),
            body,
            history: History {
                is_held: names::is_held(name),
                ..History::default()
            },
            is_changed: false,
            is_settled: false,
            prepared: None,
            replaces: None,
            failure: None,
            published_at: None,
            is_recorded: false,
        };
        Arc::new_cyclic(|own| Self {
            id,
            inode: node::number_of_draft(&id),
            shared: Arc::clone(shared),
            own: Weak::clone(own),
            work: Mutex::new(()),
            activity: RwLock::new(()),
            state: Mutex::new(state),
            is_ingesting: AtomicBool::new(false),
            backlog_shrank: Condvar::new(),
        })
    }

    /// Returns the number of the node.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Returns the name in `create/`.
    pub(super) fn name(&self) -> Vec<u8> {
        self.state.lock().name.clone()
    }

    pub(super) fn body(&self) -> Body {
        self.state.lock().body.clone()
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> ByteLen {
        match self.body() {
            Body::Working(content) => content.len(),
            Body::Published(_, snapshot) => snapshot.manifest.image_len_bytes,
        }
    }

    /// Tells whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills the start of `target`; shorter only at the end.
    pub fn read(&self, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        match self.body() {
            Body::Working(content) => content.read(offset, target),
            Body::Published(image, snapshot) => {
                let len = snapshot.manifest.image_len_bytes.saturating_sub(offset);
                let count = usize::try_from(len).unwrap_or(usize::MAX).min(target.len());
                image.read(offset, target.get_mut(..count).unwrap_or_default())?;
                Ok(count)
            }
        }
    }

    /// Returns the first byte at or after `offset` that is data (or a hole).
    pub fn seek(&self, offset: ByteOffset, hole: bool) -> Result<ByteOffset> {
        if offset >= self.len() {
            return Err(Kind::NoSuchPlace.into());
        }
        let found = match (self.body(), hole) {
            (Body::Working(content), false) => content.next_data(offset)?,
            (Body::Working(content), true) => Some(content.next_hole(offset)?),
            (Body::Published(image, _), false) => image.next_data(offset)?,
            (Body::Published(image, _), true) => Some(image.next_hole(offset)?),
        };
        found.ok_or(Kind::NoSuchPlace.into())
    }

    /// Returns the extents of `blocks`, if all of them are in chunks.
    pub(super) fn extents(&self, blocks: Range<u64>) -> Result<Option<Vec<Extent>>> {
        match self.body() {
            Body::Working(content) => content.extents(blocks),
            Body::Published(image, _) => Ok(Some(image.extents(blocks)?)),
        }
    }

    /// Tells whether a change has to wait for something: call it from a thread that
    /// may wait then.
    pub fn is_settled(&self) -> bool {
        self.state.lock().is_settled
    }

    /// Makes a change to the content. May wait if the draft is settled.
    pub(super) fn modify(
        &self,
        has_data: bool,
        empties: bool,
        change: impl Fn(&Arc<Content>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let active = self.activity.read();
            let content = {
                let mut state = self.state.lock();
                if let Some((kind, message)) = &state.failure
                    && !empties
                {
                    return Err(Error::Failed {
                        kind: *kind,
                        message: message.clone(),
                    });
                }
                match &state.body {
                    Body::Working(content) if !state.is_settled => {
                        let content = Arc::clone(content);
                        state.is_changed = true;
                        state.history.has_data |= has_data;
                        state.mode &= !PRIVILEGE_BITS;
                        state.modified_at = Timestamp::now();
                        state.changed_at = state.modified_at;
                        Some(content)
                    }
                    _ => None,
                }
            };
            self.shared.publications.settle(&self.id);
            let Some(content) = content else {
                drop(active);
                self.unsettle(empties)?;
                continue;
            };
            let changed = change(&content);
            if let Err(error) = &changed
                && !matches!(error.kind(), Kind::TooLarge | Kind::Invalid)
            {
                self.fail(error);
            }
            return changed;
        }
    }

    /// Writes all of `data`.
    pub fn write(&self, offset: ByteOffset, data: &[u8]) -> Result<()> {
        self.modify(!is_zero(data), false, |content| content.write(offset, data))?;
        self.start_ingest();
        Ok(())
    }

    /// Tells whether the writer is so far ahead that its next write should wait.
    pub fn is_behind(&self) -> bool {
        matches!(self.body(), Body::Working(content) if content.backlog() > BACKLOG_LIMIT)
    }

    /// Waits until the ingester has caught up a little; bounded.
    pub fn throttle(&self) {
        let deadline = Instant::now() + THROTTLE;
        let mut state = self.state.lock();
        while matches!(&state.body, Body::Working(content) if content.backlog() > BACKLOG_LIMIT) {
            if self
                .backlog_shrank
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return;
            }
        }
    }

    /// Makes the image shorter or longer. Emptied, it begins anew.
    pub fn set_len(&self, len: ByteLen) -> Result<()> {
        if len == 0 {
            return self.empty();
        }
        self.modify(false, false, |content| content.set_len(len))
    }

    /// Makes a range zero; the image becomes at least `len_min` long.
    pub fn zero(&self, range: Range<u64>, len_min: ByteLen) -> Result<()> {
        self.modify(false, false, |content| {
            if content.len() < len_min {
                content.set_len(len_min)?;
            }
            content.zero(range.clone())
        })
    }

    /// Makes the image at least `len` long.
    pub fn extend(&self, len: ByteLen) -> Result<()> {
        self.zero(0..0, len)
    }

    /// Puts `extents` in the place of whole blocks.
    pub(super) fn share(&self, blocks: Range<u64>, extents: &[Extent], len: u64) -> Result<()> {
        let has_data = !extents.is_empty();
        self.modify(has_data, false, |content| {
            content.share(blocks.clone(), extents, len)
        })
    }

    /// Remembers that the draft cannot become a snapshot any more.
    pub(super) fn fail(&self, error: &Error) {
        let failed = error.to_failed();
        let mut state = self.state.lock();
        if state.failure.is_none() {
            log::error!(
                "create/{}: {failed}; the draft stays, but it cannot be published",
                names::to_text(&state.name)
            );
            state.failure = Some((failed.kind(), failed.to_string()));
        }
        state.history.is_failed = true;
    }

    /// Starts the ingester if it has something to do and is not at it.
    pub(super) fn start_ingest(&self) {
        let Body::Working(content) = self.body() else {
            return;
        };
        if !content.has_work() || self.is_ingesting.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(own) = self.own.upgrade() {
            self.shared.pool.run_urgent(move || own.ingest(&content));
        }
    }

    fn ingest(&self, content: &Arc<Content>) {
        let own = Weak::clone(&self.own);
        let wake: Wake = Arc::new(move || {
            if let Some(own) = own.upgrade() {
                own.start_ingest();
            }
        });
        loop {
            let turn = self.work.lock();
            let stepped = content.ingest_step(&wake).and_then(|any| {
                if content.settled_len() >= CHECKPOINT_LEN {
                    self.checkpoint(content)?;
                }
                Ok(any)
            });
            drop(turn);
            self.backlog_shrank.notify_all();
            match stepped {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        self.is_ingesting.store(false, Ordering::Release);
        // What came after the last look found us still at it.
        if self.state.lock().failure.is_none() {
            self.start_ingest();
        }
    }

    /// Returns the record of the draft as it is now.
    pub(super) fn record(
        &self,
        map: Option<(Option<crate::base::ChunkId>, u64)>,
    ) -> Result<Record> {
        let (map_root, image_len_bytes) = map.unwrap_or_default();
        let state = self.state.lock();
        Ok(Record {
            version: Record::version(),
            id: self.id,
            name: names::to_text(&state.name),
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
            image_len_bytes,
            map_root,
            has_data: state.history.has_data,
            replaces: state.replaces,
            prepared: None,
        })
    }

    /// Tells whether the name has been published long enough.
    pub(super) fn is_expired(&self) -> bool {
        let state = self.state.lock();
        state.history.writer_count == 0
            && state
                .published_at
                .is_some_and(|published_at| published_at.elapsed() > GRACE)
    }

    /// Removes the files of the draft.
    pub(super) fn remove_files(&self) -> Result<()> {
        remove_files(&self.shared.folder, &self.id).map_err(|source| Error::File {
            action: "removing a draft",
            source,
        })
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Returns the newest snapshot of the resource, where equal chunks are likely.
pub(super) fn parent_of(shared: &Shared, resource: &str) -> Option<Image> {
    let path_name = crate::base::encode_path_name(resource);
    let state = shared.catalog.state();
    let newest = state.of_resource(&path_name).last()?;
    Some(shared.catalog.image(newest))
}
