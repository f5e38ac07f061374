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
mod draft_ingest;
pub mod drafts;
mod error;
mod files;
mod information;
mod ingest;
mod names;
mod node;
mod node_table;
mod plausible;
mod process;
mod publications;
mod publish;
mod record;
mod rule;
mod slow_pool;
mod spool;
mod sys;
#[cfg(test)]
mod tests;

pub use attributes::{AttributeChange, Attributes, Entry, FileKind};
pub use copy::CopyRange;
pub use directory::{DirEntry, Listing};
pub use draft::{Creation, Draft};
pub use error::{Error, Kind, Result};
pub use files::{Caching, Open};
pub use node::ROOT;
pub use process::is_killed;
pub use record::DraftId;
pub use slow_pool::SlowPool;

use crate::base::{SnapshotId, Timestamp};
use crate::snapshot::{Catalog, Snapshot, State};
use create_dir::CreateDir;
use disk_image::Damage;
use draft::Shared;
use node::Node;
use node_table::NodeTable;
use parking_lot::RwLock;
use publications::Publications;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long what never changes may be remembered.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// How a tree is shown.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// Owner of everything that is ours.
    pub uid: u32,
    /// Group of everything that is ours.
    pub gid: u32,
    /// There is no `create/`.
    pub is_read_only: bool,
}

/// The tree that a mount shows.
pub struct Tree {
    catalog: Arc<Catalog>,
    options: TreeOptions,
    started_at: Timestamp,
    nodes: NodeTable,
    create: Option<CreateDir>,
    publications: Arc<Shared>,
    damage: Damage,
    open: RwLock<HashMap<u64, Arc<Open>>>,
    next_handle: AtomicU64,
    pool: SlowPool,
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
        Ok(Arc::new(Self {
            catalog,
            options,
            started_at: Timestamp::now(),
            nodes: NodeTable::default(),
            create,
            publications: shared,
            damage: Damage::default(),
            open: RwLock::default(),
            next_handle: AtomicU64::new(1),
            pool,
        }))
    }

    /// Returns the threads for requests that may wait.
    pub fn pool(&self) -> &SlowPool {
        &self.pool
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
        Ok((attributes, attributes_lifetime(&node)))
    }

    /// Returns where a symbolic link leads.
    pub fn read_link(&self, inode: u64) -> Result<Vec<u8>> {
        directory::link_target(&self.catalog.state(), &self.node(inode)?)
    }

    /// Counts a look-up of the node and returns what it shows.
    fn entry(&self, node: &Node) -> Result<Entry> {
        let mut attributes = self.attributes_of(node)?;
        attributes.inode = self.nodes.hold(node);
        Ok(Entry {
            attributes,
            name_lifetime: name_lifetime(node),
            attributes_lifetime: attributes_lifetime(node),
        })
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

    /// Returns all extended attributes of a node.
    pub fn xattrs(&self, inode: u64) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.node(inode)? {
            Node::Snapshot(id) => Ok(information::xattrs(&*self.snapshot(&id)?)),
            Node::Draft(draft) => Ok(draft.xattrs()),
            _ => Ok(vec![]),
        }
    }

    /// Returns one extended attribute of a node.
    pub fn xattr(&self, inode: u64, name: &[u8]) -> Result<Vec<u8>> {
        if let Node::Draft(draft) = self.node(inode)? {
            return draft.xattr(name);
        }
        let found = self
            .xattrs(inode)?
            .into_iter()
            .find(|(found, _)| found == name);
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

/// Returns how long the kernel may remember a name.
fn name_lifetime(node: &Node) -> Duration {
    match node {
        // Names inside a snapshot, and those that are always there.
        Node::DiskImage(_) | Node::Information(_) => FOR_EVER,
        Node::Root | Node::Snapshots | Node::ById | Node::ByTag | Node::Create => FOR_EVER,
        Node::Resource(_) | Node::Latest(_) | Node::Snapshot(_) | Node::IdLink(_) => Duration::ZERO,
        Node::Tag(_) | Node::TagLink(_) | Node::Draft(_) => Duration::ZERO,
    }
}

/// Returns how long the kernel may remember attributes.
fn attributes_lifetime(node: &Node) -> Duration {
    match node {
        Node::DiskImage(_) | Node::Snapshot(_) => FOR_EVER,
        Node::Root
        | Node::Snapshots
        | Node::ById
        | Node::ByTag
        | Node::Create
        | Node::Resource(_)
        | Node::Latest(_)
        | Node::Information(_)
        | Node::IdLink(_)
        | Node::Tag(_)
        | Node::TagLink(_)
        | Node::Draft(_) => Duration::ZERO,
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
