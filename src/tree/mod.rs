//! The mounted tree: what is where, what it shows, and what a request does to it.
//! Knows no FUSE and no errno; see docs/reference/mount.md for what it promises.

mod attributes;
mod block_set;
mod content;
mod copy;
mod create_dir;
mod directory;
mod disk_image;
mod draft;
mod draft_attributes;
pub mod drafts;
mod error;
mod files;
mod folder;
mod information;
mod ingest;
mod inside;
mod names;
mod node;
mod node_table;
mod open_contents;
mod partition_image;
mod process;
mod publications;
mod publish;
mod record;
mod rule;
mod slow_pool;
mod space;
mod spool;
mod sys;
#[cfg(test)]
mod tests;

pub use attributes::{AttributeChange, Attributes, Entry, FileKind};
pub use copy::CopyRange;
pub use directory::{DirEntry, Listing};
pub use draft::{Creation, Draft};
pub use draft_attributes::XATTR_DRAFT;
pub use error::{Error, Kind, Result};
pub use files::{Caching, Open};
pub use folder::{Folder, FolderEntry};
pub use inside::Asked;
pub use node::ROOT;
pub use process::is_killed;
pub use record::DraftId;
pub use slow_pool::SlowPool;

use crate::base::{SnapshotId, Timestamp};
use crate::contents::FolderSpill;
use crate::filesystem::{self, BlockCache};
use crate::snapshot::{Catalog, Snapshot, State};
use create_dir::CreateDir;
use disk_image::Damage;
use draft::Shared;
use information::Inspections;
use inside::Inside;
use node::Node;
use node_table::NodeTable;
use open_contents::OpenContents;
use parking_lot::RwLock;
use publications::Publications;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long what never changes may be remembered.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// How long what another process may change is remembered: with the time until this one
/// sees the change, well below the second in which it shows.
const SHORTLY: Duration = Duration::from_millis(400);

/// Requests that open images at a time; others wait, and no close of a draft with them.
const OPENING_COUNT_MAX: usize = 32;

/// How a tree is shown.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// Owner of everything that is ours.
    pub uid: u32,
    /// Group of everything that is ours.
    pub gid: u32,
    /// There is no `create/`.
    pub is_read_only: bool,
    /// Bytes of memory for the metadata of file systems inside images.
    pub block_cache_len_bytes: u64,
    /// Where a large replay goes.
    pub spill_folder: PathBuf,
    /// What is shown of files where the format does not say it.
    pub substitutes: filesystem::Substitutes,
    /// For tests: reading anything of this name inside an image is a fault.
    pub fault_at: Option<Vec<u8>>,
}

/// The tree that a mount shows.
pub struct Tree {
    catalog: Arc<Catalog>,
    options: TreeOptions,
    started_at: Timestamp,
    nodes: NodeTable,
    create: Option<CreateDir>,
    publications: Arc<Shared>,
    damage: Arc<Damage>,
    inside: Inside,
    inspections: Inspections,
    /// Sequence of the state that what is open was last compared with.
    compared_at: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Open>>>,
    next_handle: AtomicU64,
    pool: SlowPool,
    opening_pool: SlowPool,
}

impl Tree {
    /// Opens the tree, publishes what was ready when an earlier mount ended, and takes
    /// over drafts that were left behind.
    pub fn open(catalog: Arc<Catalog>, options: TreeOptions) -> Result<Arc<Self>> {
        catalog.refresh()?;
        let pool = SlowPool::default();
        let folder = if options.is_read_only {
            std::path::PathBuf::new()
        } else {
            create_dir::folder_of(&catalog)?
        };
        let shared = Arc::new(Shared {
            catalog: Arc::clone(&catalog),
            folder,
            pool: pool.clone(),
            publications: Publications::default(),
        });
        let create = if options.is_read_only {
            None
        } else {
            Some(CreateDir::open(Arc::clone(&shared))?)
        };
        let cache_len = usize::try_from(options.block_cache_len_bytes).unwrap_or(usize::MAX);
        let inside = Inside::new(OpenContents::new(filesystem::OpenOptions {
            spill: Arc::new(FolderSpill::new(&options.spill_folder)),
            substitutes: options.substitutes,
            ..filesystem::OpenOptions::new(BlockCache::new(cache_len))
        }));
        Ok(Arc::new(Self {
            catalog,
            options,
            started_at: Timestamp::now(),
            nodes: NodeTable::default(),
            create,
            publications: shared,
            damage: Arc::default(),
            inside,
            inspections: Inspections::default(),
            compared_at: AtomicU64::default(),
            open: RwLock::default(),
            next_handle: AtomicU64::new(1),
            pool,
            opening_pool: SlowPool::new(OPENING_COUNT_MAX),
        }))
    }

    /// Returns the threads for requests that may wait.
    pub fn pool(&self) -> &SlowPool {
        &self.pool
    }

    /// Returns the threads for requests that look into an image for the first time.
    pub fn opening_pool(&self) -> &SlowPool {
        &self.opening_pool
    }

    /// Returns the catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Looks for changes of others, and takes names out of `create/` that have been
    /// published long enough. To be called a few times a second.
    pub fn refresh(&self) -> Result<()> {
        if let Some(create) = &self.create {
            create.expire();
        }
        self.catalog.refresh()?;
        let state = self.state();
        if self.compared_at.swap(state.sequence(), Ordering::Relaxed) != state.sequence() {
            self.inside.contents.retain(&state);
        }
        self.inside.spaces.tidy();
        Ok(())
    }

    /// Writes down all drafts at the end of a mount. May wait.
    pub fn settle(&self) {
        if let Some(create) = &self.create {
            create.settle_all();
        }
    }

    /// Returns how many nodes the kernel holds.
    pub fn held_node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Tells whether a look at this node should wait for a publication that is queued.
    pub fn must_wait(&self, inode: u64) -> bool {
        self.publications.publications.is_expected()
            && self
                .nodes
                .get(inode)
                .is_some_and(|node| node.shows_publications())
    }

    /// Waits for publications that are queued; bounded.
    pub fn wait_for_publications(&self) {
        self.publications.publications.wait();
    }

    /// Looks a name up and counts it.
    pub fn look_up(&self, parent: u64, name: &[u8]) -> Result<Entry> {
        let node = self.child(&self.node(parent)?, name)?;
        self.entry(&node)
    }

    /// Takes look-ups back.
    pub fn forget(&self, inode: u64, count: u64) {
        self.nodes.forget(inode, count);
    }

    /// Returns what `stat` shows, and how long that may be remembered.
    pub fn attributes(&self, inode: u64) -> Result<(Attributes, Duration)> {
        let node = self.node(inode)?;
        let mut attributes = self.attributes_of(&node)?;
        attributes.inode = inode;
        Ok((attributes, self.attributes_lifetime(&node)))
    }

    /// Returns where a symbolic link leads.
    pub fn read_link(&self, inode: u64) -> Result<Vec<u8>> {
        match self.node(inode)? {
            node @ Node::File(..) => self.read_link_inside(&node),
            Node::Link(link) => Ok(link.target.clone().into_bytes()),
            _ => Err(Kind::Invalid.into()),
        }
    }

    /// Counts a look-up of the node and returns what it shows.
    fn entry(&self, node: &Node) -> Result<Entry> {
        let mut attributes = self.attributes_of(node)?;
        attributes.inode = self.nodes.hold(node);
        Ok(Entry {
            attributes,
            name_lifetime: self.name_lifetime(node),
            attributes_lifetime: self.attributes_lifetime(node),
        })
    }

    /// Returns how long the kernel may remember that there is no such name.
    pub fn absence_lifetime(&self, parent: u64) -> Duration {
        match self.nodes.get(parent) {
            Some(Node::Files(..) | Node::File(..)) => FOR_EVER,
            _ => Duration::ZERO,
        }
    }

    fn node(&self, inode: u64) -> Result<Node> {
        self.nodes.get(inode).ok_or(Kind::NotFound.into())
    }

    /// Returns the draft with this number.
    pub fn draft(&self, inode: u64) -> Result<Arc<Draft>> {
        match self.node(inode)? {
            Node::Draft(draft) => Ok(draft),
            _ => Err(Kind::ReadOnly.into()),
        }
    }

    fn create_dir(&self, parent: u64) -> Result<&CreateDir> {
        match (self.node(parent)?, &self.create) {
            (Node::Create, Some(create)) => Ok(create),
            _ => Err(Kind::ReadOnly.into()),
        }
    }

    /// Makes an empty draft, counts it and opens it for writing. May wait.
    pub fn create(&self, parent: u64, name: &[u8], by: Creation) -> Result<(Entry, u64)> {
        let draft = self.create_dir(parent)?.create(name, by)?;
        let entry = self.entry(&Node::Draft(Arc::clone(&draft)))?;
        Ok((entry, self.keep_open(Open::draft(draft, true))))
    }

    /// Refuses what the tree never does, with the reason that fits the place.
    pub fn refuse(&self, parent: u64) -> Error {
        match self.create_dir(parent) {
            Ok(_) => Kind::NotPermitted.into(),
            Err(error) => error,
        }
    }

    /// Removes a draft, or just the name of what is published. May wait.
    pub fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.create_dir(parent)?.remove(name)
    }

    /// Renames a draft, and publishes it if the new name is final. May wait.
    pub fn rename(
        &self,
        (parent, name): (u64, &[u8]),
        (new_parent, new_name): (u64, &[u8]),
        keeps_target: bool,
    ) -> Result<()> {
        self.create_dir(new_parent)?;
        self.create_dir(parent)?
            .rename(name, new_name, keeps_target)
    }

    /// Returns the names of all extended attributes of a node. May wait.
    pub fn xattr_names(&self, inode: u64) -> Result<Vec<Vec<u8>>> {
        let names = |all: Vec<(Vec<u8>, Vec<u8>)>| all.into_iter().map(|(name, _)| name).collect();
        match self.node(inode)? {
            Node::Snapshot(id) => Ok(names(information::xattrs(&*self.snapshot(&id)?))),
            Node::Draft(draft) => Ok(names(draft.xattrs())),
            node @ (Node::Files(..) | Node::File(..)) => self.xattr_names_inside(&node),
            _ => Ok(vec![]),
        }
    }

    /// Returns one extended attribute of a node. May wait.
    pub fn xattr(&self, inode: u64, name: &[u8]) -> Result<Vec<u8>> {
        let all = match self.node(inode)? {
            Node::Snapshot(id) => information::xattrs(&*self.snapshot(&id)?),
            Node::Draft(draft) => return draft.xattr(name),
            node @ (Node::Files(..) | Node::File(..)) => return self.xattr_inside(&node, name),
            _ => vec![],
        };
        let found = all.into_iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value).ok_or(Kind::NoData.into())
    }

    /// Sets an extended attribute of a draft, or removes it. The name
    /// `user.tintype.publish` publishes. May wait.
    pub fn set_xattr(&self, inode: u64, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let node = self.node(inode)?;
        match node {
            Node::Draft(draft) if name == b"user.tintype.publish" => draft.ask_to_publish(),
            Node::Draft(draft) => draft.set_xattr(name, value),
            Node::Create => Err(Kind::Unsupported.into()),
            _ => Err(Kind::ReadOnly.into()),
        }
    }

    fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Snapshot>> {
        self.catalog
            .state()
            .get(id)
            .cloned()
            .ok_or(Kind::NotFound.into())
    }

    /// Returns free and total space of the store in bytes.
    pub fn space(&self) -> Result<(u64, u64)> {
        let space = self
            .catalog
            .store()
            .backend()
            .space()
            .map_err(crate::store::Error::from)?;
        Ok((space.available_len_bytes, space.total_len_bytes))
    }

    fn state(&self) -> Arc<State> {
        self.catalog.state()
    }
}

impl Tree {
    /// Returns how long the kernel may remember a name.
    fn name_lifetime(&self, node: &Node) -> Duration {
        match node {
            // Names inside a snapshot, and those that are always there.
            Node::DiskImage(_) | Node::Information(_) => FOR_EVER,
            Node::Files(..) | Node::File(..) => FOR_EVER,
            Node::Partitions(_) | Node::Partition(..) | Node::PartitionImage(..) => FOR_EVER,
            Node::Root | Node::Snapshots | Node::ById | Node::ByTag | Node::Create => FOR_EVER,
            Node::Resource(_) | Node::Snapshot(_) => self.short_lifetime(),
            Node::Tag(_) | Node::Link(_) | Node::Draft(_) => Duration::ZERO,
        }
    }

    /// Returns how long what others may change is remembered: every file that is
    /// reached by a path costs a look at each name of it, so not at all would double
    /// the requests of a `cp -a`. While this mount makes snapshots, nothing is: a
    /// publication may give a name to another snapshot, and shows at once.
    fn short_lifetime(&self) -> Duration {
        match &self.create {
            Some(create) if !create.is_empty() => Duration::ZERO,
            _ => SHORTLY,
        }
    }

    /// Returns how long the kernel may remember attributes.
    fn attributes_lifetime(&self, node: &Node) -> Duration {
        match node {
            Node::DiskImage(_) | Node::Snapshot(_) | Node::File(..) | Node::Link(_) => FOR_EVER,
            Node::Partitions(_) | Node::Partition(..) | Node::PartitionImage(..) => FOR_EVER,
            // Where it could not be opened, another try may bring more.
            Node::Files(..) if self.is_costly(node, Asked::Node) => Duration::ZERO,
            Node::Files(..) => FOR_EVER,
            Node::Snapshots | Node::ById | Node::ByTag | Node::Resource(_) => self.short_lifetime(),
            // The root tells whether the mount is alive.
            Node::Root | Node::Create | Node::Information(_) | Node::Tag(_) | Node::Draft(_) => {
                Duration::ZERO
            }
        }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
