//! The files inside an image: what a name there means, what `stat` shows, and reading
//! them. Everything goes through [`crate::contents`]; nothing here knows a format.

use crate::base::{ByteOffset, SnapshotId};
use crate::contents::{View, ViewNode};
use crate::filesystem::{self, FileSystem, Metadata, Name, SpaceUsage};
use crate::tree::attributes::{Attributes, file_time};
use crate::tree::disk_image::OpenImage;
use crate::tree::node::Node;
use crate::tree::open_contents::{OpenContents, Opened, Part, Shown};
use crate::tree::space::{Space, SpaceKey, Spaces};
use crate::tree::{Error, Kind, Result, Tree};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What a request wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The node itself.
    Node,
    /// What a directory lists.
    Entries,
    /// What this name in a directory means.
    Name(&'a [u8]),
}

/// The number that an image itself gives to a file.
const XATTR_INODE: &[u8] = b"user.tintype.inode";
/// Damaged places that are remembered, so that each is reported once.
const REPORT_COUNT_MAX: usize = 4096;

/// What the tree holds of images that are looked into.
pub(super) struct Inside {
    pub(super) contents: OpenContents,
    pub(super) spaces: Spaces,
    reported: Mutex<HashSet<u64>>,
}

impl Inside {
    pub(super) fn new(contents: OpenContents) -> Self {
        Self {
            contents,
            spaces: Spaces::default(),
            reported: Mutex::default(),
        }
    }

    /// Reports a damaged place of a file system, once.
    fn report(&self, id: &SnapshotId, error: &filesystem::Error) {
        let filesystem::Error::Corrupt { .. } = error else {
            return;
        };
        let message = error.to_string();
        let mut hasher = DefaultHasher::new();
        (id, &message).hash(&mut hasher);
        let mut reported = self.reported.lock();
        if reported.len() < REPORT_COUNT_MAX && reported.insert(hasher.finish()) {
            log::error!("snapshot {id}: a file system in it is damaged: {message}");
        }
    }
}

/// A file or directory inside an image, with all that is needed to read it.
#[derive(Clone)]
pub(super) struct Place {
    /// Keeps everything open.
    shown: Arc<Shown>,
    view: Arc<View>,
    pub(super) space: Arc<Space>,
    pub(super) at: ViewNode,
}

impl Place {
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    fn file_system(&self) -> Result<&Arc<dyn FileSystem>> {
        Ok(self.view.file_system(self.at)?)
    }
}

/// An open file inside an image.
pub(super) struct OpenFile {
    /// Keeps everything open.
    place: Place,
    file_system: Arc<dyn FileSystem>,
}

impl OpenFile {
    /// Returns the length in bytes.
    pub(super) fn len(&self) -> Result<u64> {
        Ok(self.file_system.metadata(self.place.at.node)?.size)
    }

    /// Fills the start of `target`; shorter only at the end of the file.
    pub(super) fn read(&self, tree: &Tree, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let read = self.file_system.read_at(self.place.at.node, offset, target);
        tree.reported(&self.place.space, read)
    }

    /// Returns the first byte at or after `offset` that is data (or in a hole).
    pub(super) fn seek(&self, tree: &Tree, offset: ByteOffset, hole: bool) -> Result<ByteOffset> {
        let found = self.place.view.seek(self.place.at, offset, hole);
        let found = tree.reported(&self.place.space, found)?;
        found.ok_or(Kind::NoSuchPlace.into())
    }
}

impl Tree {
    /// Returns the contents of a snapshot; reads its partition tables if nobody has. May
    /// wait.
    pub(super) fn opened_contents(&self, id: &SnapshotId) -> Result<Arc<Opened>> {
        let opened = self.inside.contents.open(id, || {
            let snapshot = self.snapshot(id)?;
            let open = OpenImage {
                image: self.catalog.image(&snapshot),
                title: format!("{}@{}", snapshot.manifest.resource, snapshot.path_name),
            };
            Ok((open, Arc::clone(&self.damage)))
        });
        opened.inspect_err(|error| self.report(id, error))
    }

    /// Returns a tree of files; opens its file systems if nobody has. May wait.
    fn shown(&self, id: &SnapshotId, part: Part) -> Result<Arc<Shown>> {
        if let Some(shown) = self.inside.contents.get_shown(id, part) {
            return Ok(shown);
        }
        let opened = self.opened_contents(id)?;
        let shown = self.inside.contents.show(id, &opened, part);
        shown.inspect_err(|error| self.report(id, error))
    }

    fn shown_of(&self, space: &Space) -> Result<Arc<Shown>> {
        let known = space.shown.lock().upgrade();
        if let Some(shown) = known {
            shown.touch();
            return Ok(shown);
        }
        let shown = self.shown(&space.key.snapshot, space.key.part)?;
        *space.shown.lock() = Arc::downgrade(&shown);
        Ok(shown)
    }

    /// Returns what is needed to read a node inside an image; `None` for `files/` that
    /// have nothing to show. May wait.
    pub(super) fn place(&self, node: &Node) -> Result<Option<Place>> {
        match node {
            Node::Files(id, part) => {
                let shown = self.shown(id, *part)?;
                let Some(view) = shown.view.clone() else {
                    return Ok(None);
                };
                let at = view.root();
                let space = self.space_at(id, *part, at);
                Ok(Some(Place {
                    shown,
                    view,
                    space,
                    at,
                }))
            }
            Node::File(space, inode) => {
                let shown = self.shown_of(space)?;
                let view = shown.view.clone().ok_or(Kind::NotFound)?;
                Ok(Some(Place {
                    shown,
                    view,
                    space: Arc::clone(space),
                    at: space.view_node(*inode),
                }))
            }
            _ => Err(Kind::Invalid.into()),
        }
    }

    /// Returns what is needed to read a node that must be there.
    fn existing_place(&self, node: &Node) -> Result<Place> {
        self.place(node)?.ok_or(Kind::NotFound.into())
    }

    fn space_at(&self, snapshot: &SnapshotId, part: Part, node: ViewNode) -> Arc<Space> {
        self.inside.spaces.get(SpaceKey {
            snapshot: *snapshot,
            part,
            mount: node.mount,
            subvolume: node.node.subvolume,
        })
    }

    /// Returns the node of a file that lies in the same tree of files as `from`.
    pub(super) fn node_inside(&self, from: &Place, found: ViewNode) -> Node {
        let space = if from.space.has(found) {
            Arc::clone(&from.space)
        } else {
            let key = &from.space.key;
            let space = self.space_at(&key.snapshot, key.part, found);
            *space.shown.lock() = Arc::downgrade(&from.shown);
            space
        };
        Node::File(space, found.node.inode)
    }

    /// Ends in a fault if a test asked for it.
    pub(super) fn fail_at(&self, name: &[u8]) {
        let is_asked_for = self.options.fault_at.as_deref() == Some(name);
        assert!(!is_asked_for, "a fault that a test asked for");
    }

    fn report(&self, id: &SnapshotId, error: &Error) {
        if let Error::Contents(error) = error {
            self.inside.report(id, error);
        }
    }

    /// Reports what went wrong, if it is damage.
    pub(super) fn reported<T>(&self, space: &Space, result: filesystem::Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.inside.report(&space.key.snapshot, &error);
            error.into()
        })
    }

    /// Returns the node that a name in a directory inside an image means.
    pub(super) fn child_inside(&self, parent: &Node, name: &[u8]) -> Result<Node> {
        let Some(place) = self.place(parent)? else {
            return Err(Kind::NotFound.into());
        };
        self.fail_at(name);
        let name = Name::new(name).ok_or(Kind::NotFound)?;
        let found = self.reported(&place.space, place.view.lookup(place.at, name))?;
        found
            .map(|found| self.node_inside(&place, found))
            .ok_or(Kind::NotFound.into())
    }

    /// Returns what `stat` shows of a node inside an image; the number is set by the
    /// caller.
    pub(super) fn attributes_inside(&self, node: &Node) -> Result<Attributes> {
        match self.place(node) {
            Ok(Some(place)) => self.attributes_at(&place),
            Ok(None) => Ok(self.empty_files()),
            // The directory is there; what is wrong shows when it is looked into.
            Err(error) => match (node, error.kind()) {
                (Node::Files(..), Kind::Inconsistent | Kind::Damaged | Kind::Io) => {
                    Ok(self.empty_files())
                }
                _ => Err(error),
            },
        }
    }

    /// Returns what `stat` shows of `files/` when there are none.
    fn empty_files(&self) -> Attributes {
        let time = file_time(self.started_at);
        Attributes {
            mode: 0o755,
            link_count: 2,
            uid: self.options.uid,
            gid: self.options.gid,
            accessed_at: time,
            modified_at: time,
            changed_at: time,
            ..Attributes::directory()
        }
    }

    pub(super) fn attributes_at(&self, place: &Place) -> Result<Attributes> {
        let metadata = self.reported(&place.space, place.view.metadata(place.at))?;
        Ok(to_attributes(&metadata))
    }

    /// Returns where a symbolic link inside an image leads.
    pub(super) fn read_link_inside(&self, node: &Node) -> Result<Vec<u8>> {
        let place = self.existing_place(node)?;
        self.reported(&place.space, place.view.read_link(place.at))
    }

    /// Returns the names of the extended attributes that the image has.
    pub(super) fn xattr_names_inside(&self, node: &Node) -> Result<Vec<Vec<u8>>> {
        let Some(place) = self.place(node)? else {
            return Ok(vec![]);
        };
        let names = place.file_system()?.xattr_names(place.at.node);
        self.reported(&place.space, names)
    }

    /// Returns an extended attribute of a node inside an image. One more than are
    /// listed: a copy with all attributes must not carry it along.
    pub(super) fn xattr_inside(&self, node: &Node, name: &[u8]) -> Result<Vec<u8>> {
        let place = self.place(node)?.ok_or(Kind::NoData)?;
        if name == XATTR_INODE {
            return Ok(place.at.node.inode.to_string().into_bytes());
        }
        let value = place.file_system()?.xattr(place.at.node, name);
        self.reported(&place.space, value)?
            .ok_or(Kind::NoData.into())
    }

    /// Returns how full the file system is that a node lies in; `None` outside of images.
    /// May wait.
    pub fn space_inside(&self, inode: u64) -> Result<Option<SpaceUsage>> {
        let node = self.node(inode)?;
        if !matches!(node, Node::Files(..) | Node::File(..)) {
            return Ok(None);
        }
        let Some(place) = self.place(&node)? else {
            return Ok(None);
        };
        let usage = place.file_system()?.statfs();
        self.reported(&place.space, usage).map(Some)
    }

    /// Opens a file inside an image for reading.
    pub(super) fn open_inside(&self, node: &Node) -> Result<OpenFile> {
        let place = self.existing_place(node)?;
        let file_system = Arc::clone(place.file_system()?);
        Ok(OpenFile { place, file_system })
    }

    /// Tells whether a request about this node may have to open an image first or to walk
    /// through one, which may take long.
    pub fn may_take_long(&self, inode: u64, asked: Asked<'_>) -> bool {
        self.nodes
            .get(inode)
            .is_some_and(|node| self.is_costly(&node, asked))
    }

    /// Tells the same of a node.
    pub(super) fn is_costly(&self, node: &Node, asked: Asked<'_>) -> bool {
        let contents = &self.inside.contents;
        match node {
            Node::Snapshot(id) => match asked {
                Asked::Node | Asked::Name(b"disk.img") => false,
                Asked::Name(b"snapshot.json") => !self.inspections.is_known(id),
                Asked::Name(b"files") => contents.get_shown(id, Part::ASSEMBLED).is_none(),
                Asked::Name(_) | Asked::Entries => contents.get(id).is_none(),
            },
            Node::Partitions(id) => asked != Asked::Node && contents.get(id).is_none(),
            Node::Partition(id, index) => match asked {
                Asked::Name(b"disk.img") => !self.is_allocation_known(id, *index),
                Asked::Name(b"files") => contents.get_shown(id, Part(*index)).is_none(),
                Asked::Name(_) | Asked::Node | Asked::Entries => false,
            },
            Node::Information(id) => !self.inspections.is_known(id),
            Node::PartitionImage(id, index) => !self.is_allocation_known(id, *index),
            Node::Files(id, part) => contents.get_shown(id, *part).is_none(),
            Node::File(space, _) => {
                space.shown.lock().strong_count() == 0
                    && contents
                        .get_shown(&space.key.snapshot, space.key.part)
                        .is_none()
            }
            Node::Root
            | Node::Snapshots
            | Node::ById
            | Node::ByTag
            | Node::Create
            | Node::Resource(_)
            | Node::DiskImage(_)
            | Node::Tag(_)
            | Node::Link(_)
            | Node::Draft(_) => false,
        }
    }

    fn is_allocation_known(&self, id: &SnapshotId, index: u16) -> bool {
        let opened = self.inside.contents.get(id);
        opened.is_some_and(|opened| opened.known_allocated(index).is_some())
    }
}

/// Returns what `stat` shows of a file of an image.
pub(super) fn to_attributes(from: &Metadata) -> Attributes {
    Attributes {
        inode: 0,
        kind: from.file_type.into(),
        mode: from.permissions & 0o7777,
        // An orphan has a name all the same if a directory has it.
        link_count: from.link_count.max(1),
        uid: from.user,
        gid: from.group,
        len_bytes: from.size,
        allocated_len_bytes: from.block_count_512.saturating_mul(512),
        accessed_at: from.accessed,
        modified_at: from.modified,
        changed_at: from.changed,
        device: from.device,
        preferred_io_len: from.preferred_io_len,
    }
}
