//! Directories: what a name means and what is listed. All answers come from the state
//! of the catalog in memory.

use crate::base::{SnapshotId, Timestamp, decode_path_name, encode_path_name};
use crate::snapshot::{Snapshot, State};
use crate::tree::attributes::{Attributes, Entry, FileKind, file_time};
use crate::tree::draft::Draft;
use crate::tree::node::{Link, LinkPlace, Node};
use crate::tree::open_contents::{Opened, Part};
use crate::tree::partition_image::PartitionImage;
use crate::tree::{Asked, Kind, Result, Tree};
use std::sync::Arc;
use std::time::Duration;

const LATEST: &str = "latest";
const DISK_IMAGE: &str = "disk.img";
const INFORMATION: &str = "snapshot.json";
const FILES: &str = "files";
const PARTITIONS: &str = "partitions";

/// What an open directory shows: the tree as it was when it was opened (or rewound),
/// so that places in it keep their meaning while entries come and go.
#[derive(Clone)]
pub struct Listing {
    node: Node,
    state: Arc<State>,
    drafts: Arc<Vec<(Vec<u8>, Arc<Draft>)>>,
    /// Of a snapshot whose partition tables could be read.
    opened: Option<Arc<Opened>>,
    is_read_only: bool,
}

/// One entry of a directory.
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What kind it is.
    pub kind: FileKind,
    /// The number that it has, or gets when it is looked up.
    pub inode: u64,
    node: Node,
}

impl DirEntry {
    fn new(name: impl Into<Vec<u8>>, node: Node) -> Self {
        Self {
            name: name.into(),
            kind: kind_of(&node),
            inode: node.number(),
            node,
        }
    }
}

impl Listing {
    /// Returns the entries from place `start` on; `.` and `..` are the adapter's.
    pub fn entries(&self, start: usize) -> Box<dyn Iterator<Item = DirEntry> + '_> {
        let state = &self.state;
        match &self.node {
            Node::Root => Box::new(root_entries(self.is_read_only).skip(start)),
            Node::Snapshots => Box::new(
                state
                    .resources()
                    .skip(start)
                    .map(|name| DirEntry::new(name, Node::Resource(name.into()))),
            ),
            Node::Resource(name) => self.resource_entries(name, start),
            Node::Snapshot(id) => Box::new(self.snapshot_entries(id).skip(start)),
            Node::Partitions(id) => Box::new(
                self.opened
                    .iter()
                    .flat_map(|opened| opened.partitions())
                    .skip(start)
                    .map(|(index, volume)| {
                        DirEntry::new(volume.path_name(), Node::Partition(*id, index))
                    }),
            ),
            Node::Partition(id, index) => Box::new(
                [
                    DirEntry::new(DISK_IMAGE, Node::PartitionImage(*id, *index)),
                    DirEntry::new(FILES, Node::Files(*id, Part(*index))),
                ]
                .into_iter()
                .skip(start),
            ),
            Node::ById => Box::new(state.snapshots().skip(start).map(|snapshot| {
                DirEntry::new(snapshot.manifest.id.to_string(), id_link(snapshot))
            })),
            Node::ByTag => Box::new(
                state
                    .tags()
                    .skip(start)
                    .map(|tag| DirEntry::new(encode_path_name(tag), Node::Tag(tag.into()))),
            ),
            Node::Tag(tag) => {
                let tagged = state.with_tag(tag).get(start..).unwrap_or_default();
                Box::new(tagged.iter().map(move |snapshot| {
                    DirEntry::new(tag_link_name(snapshot), tag_link(tag, snapshot))
                }))
            }
            Node::Create => {
                Box::new(self.drafts.iter().skip(start).map(|(name, draft)| {
                    DirEntry::new(name.clone(), Node::Draft(Arc::clone(draft)))
                }))
            }
            // What lies inside images is listed by `Folder`.
            Node::Files(..) | Node::File(..) => Box::new(std::iter::empty()),
            Node::DiskImage(_)
            | Node::PartitionImage(..)
            | Node::Information(_)
            | Node::Link(_)
            | Node::Draft(_) => Box::new(std::iter::empty()),
        }
    }

    /// Tells whether the directory shows the same for ever.
    pub fn is_fixed(&self) -> bool {
        matches!(
            self.node,
            Node::Snapshot(_) | Node::Partitions(_) | Node::Partition(..)
        )
    }

    fn snapshot_entries(&self, id: &SnapshotId) -> impl Iterator<Item = DirEntry> + use<> {
        let opened = self.opened.as_ref();
        let has_partitions = opened.is_some_and(|opened| opened.partitions().next().is_some());
        let partitions = has_partitions.then_some((PARTITIONS, Node::Partitions(*id)));
        [
            (DISK_IMAGE, Node::DiskImage(*id)),
            (FILES, Node::Files(*id, Part::ASSEMBLED)),
        ]
        .into_iter()
        .chain(partitions)
        .chain([(INFORMATION, Node::Information(*id))])
        .map(|(name, node)| DirEntry::new(name, node))
    }

    fn resource_entries(
        &self,
        name: &Arc<str>,
        start: usize,
    ) -> Box<dyn Iterator<Item = DirEntry> + '_> {
        let snapshots = self.state.of_resource(name);
        let latest = snapshots
            .last()
            .map(|snapshot| DirEntry::new(LATEST, latest_link(name, snapshot)));
        let entries = snapshots
            .get(start..)
            .unwrap_or_default()
            .iter()
            .map(|snapshot| {
                DirEntry::new(
                    snapshot.path_name.as_str(),
                    Node::Snapshot(snapshot.manifest.id),
                )
            });
        Box::new(entries.chain(latest.filter(|_| start <= snapshots.len())))
    }
}

fn root_entries(is_read_only: bool) -> impl Iterator<Item = DirEntry> {
    let create = (!is_read_only).then_some(("create", Node::Create));
    [
        ("snapshots", Node::Snapshots),
        ("by-id", Node::ById),
        ("by-tag", Node::ByTag),
    ]
    .into_iter()
    .chain(create)
    .map(|(name, node)| DirEntry::new(name, node))
}

fn tag_link_name(snapshot: &Snapshot) -> String {
    format!(
        "{}@{}",
        encode_path_name(&snapshot.manifest.resource),
        snapshot.path_name
    )
}

fn path_of(snapshot: &Snapshot) -> String {
    format!(
        "snapshots/{}/{}",
        encode_path_name(&snapshot.manifest.resource),
        snapshot.path_name
    )
}

fn kind_of(node: &Node) -> FileKind {
    match node {
        Node::Root
        | Node::Snapshots
        | Node::ById
        | Node::ByTag
        | Node::Create
        | Node::Resource(_)
        | Node::Snapshot(_)
        | Node::Files(..)
        | Node::Partitions(_)
        | Node::Partition(..)
        | Node::Tag(_) => FileKind::Directory,
        Node::Link(_) => FileKind::Symlink,
        Node::DiskImage(_) | Node::PartitionImage(..) | Node::Information(_) | Node::Draft(_) => {
            FileKind::File
        }
        // Only the image knows; whoever needs it asks there.
        Node::File(..) => FileKind::File,
    }
}

fn latest_link(resource: &Arc<str>, last: &Snapshot) -> Node {
    link(
        LinkPlace::Latest(Arc::clone(resource)),
        last.path_name.clone(),
    )
}

fn id_link(snapshot: &Snapshot) -> Node {
    let target = format!("../{}", path_of(snapshot));
    link(LinkPlace::Id(snapshot.manifest.id), target)
}

fn tag_link(tag: &Arc<str>, snapshot: &Snapshot) -> Node {
    let place = LinkPlace::Tag(Arc::clone(tag), snapshot.manifest.id);
    link(place, format!("../../{}", path_of(snapshot)))
}

fn link(place: LinkPlace, target: String) -> Node {
    Node::Link(Arc::new(Link { place, target }))
}

impl Tree {
    /// Returns what a directory that is not inside an image shows now. May wait.
    pub fn list(&self, inode: u64) -> Result<Listing> {
        let node = self.node(inode)?;
        if kind_of(&node) != FileKind::Directory {
            return Err(Kind::NotADirectory.into());
        }
        let drafts = match (&node, &self.create) {
            (Node::Create, Some(create)) => create.list(),
            _ => vec![],
        };
        let opened = match &node {
            // If the tables cannot be read the rest is there all the same.
            Node::Snapshot(id) => self.opened_contents(id).ok(),
            Node::Partitions(id) => Some(self.opened_contents(id)?),
            _ => None,
        };
        Ok(Listing {
            node,
            state: self.state(),
            drafts: Arc::new(drafts),
            opened,
            is_read_only: self.create.is_none(),
        })
    }

    /// Returns what a look-up of a listed entry shows, and counts it. Attributes that
    /// would take long to find out are left for who asks for them.
    pub fn look_up_listed(&self, entry: &DirEntry) -> Result<Entry> {
        if !self.is_costly(&entry.node, Asked::Node) {
            return self.entry(&entry.node);
        }
        let mut attributes = Attributes::unknown(entry.kind);
        if let Node::PartitionImage(id, index) = &entry.node {
            // Somebody may be reading it, and a wrong length would be the end to him.
            attributes.len_bytes = self.opened_contents(id)?.volume(*index)?.len();
        }
        attributes.inode = self.nodes.hold(&entry.node);
        Ok(Entry {
            attributes,
            name_lifetime: Duration::ZERO,
            attributes_lifetime: Duration::ZERO,
        })
    }

    /// Returns the node that a name in a directory means.
    pub(super) fn child(&self, parent: &Node, name: &[u8]) -> Result<Node> {
        let text = std::str::from_utf8(name).ok();
        let state = self.state();
        let found = match parent {
            Node::Root => root_entries(self.create.is_none())
                .find(|entry| entry.name == name)
                .map(|entry| entry.node),
            Node::Snapshots => text
                .filter(|name| !state.of_resource(name).is_empty())
                .map(|name| Node::Resource(name.into())),
            Node::Resource(resource) if text == Some(LATEST) => {
                let last = state.of_resource(resource).last();
                last.map(|snapshot| latest_link(resource, snapshot))
            }
            Node::Resource(resource) => text
                .and_then(|name| state.find(resource, name))
                .map(|snapshot| Node::Snapshot(snapshot.manifest.id)),
            Node::Snapshot(id) if state.get(id).is_none() => None,
            Node::Snapshot(_) | Node::Partitions(_) | Node::Partition(..) => {
                self.child_of_snapshot(parent, text.ok_or(Kind::NotFound)?)?
            }
            Node::Files(..) | Node::File(..) => return self.child_inside(parent, name),
            Node::ById => text
                .and_then(|name| {
                    name.parse()
                        .ok()
                        .filter(|id: &SnapshotId| id.to_string() == name)
                })
                .and_then(|id| state.get(&id))
                .map(|snapshot| id_link(snapshot)),
            Node::ByTag => {
                let tag = decode_path_name(name);
                let is_there = !state.with_tag(&tag).is_empty();
                (is_there && encode_path_name(&tag).as_bytes() == name)
                    .then(|| Node::Tag(tag.into()))
            }
            Node::Tag(tag) => state
                .with_tag(tag)
                .iter()
                .find(|snapshot| tag_link_name(snapshot).as_bytes() == name)
                .map(|snapshot| tag_link(tag, snapshot)),
            Node::Create => {
                let create = self.create.as_ref().ok_or(Kind::NotFound)?;
                return create.get(name).map(Node::Draft);
            }
            Node::DiskImage(_)
            | Node::PartitionImage(..)
            | Node::Information(_)
            | Node::Link(_)
            | Node::Draft(_) => return Err(Kind::NotADirectory.into()),
        };
        found.ok_or(Kind::NotFound.into())
    }

    /// Returns the node that a name in a snapshot or in one of its partitions means.
    fn child_of_snapshot(&self, parent: &Node, name: &str) -> Result<Option<Node>> {
        Ok(match (parent, name) {
            (Node::Snapshot(id), DISK_IMAGE) => Some(Node::DiskImage(*id)),
            (Node::Snapshot(id), INFORMATION) => Some(Node::Information(*id)),
            (Node::Snapshot(id), FILES) => Some(Node::Files(*id, Part::ASSEMBLED)),
            (Node::Snapshot(id), PARTITIONS) => {
                let opened = self.opened_contents(id)?;
                let first = opened.partitions().next();
                first.map(|_| Node::Partitions(*id))
            }
            (Node::Partitions(id), name) => self
                .opened_contents(id)?
                .partitions()
                .find(|(_, volume)| volume.path_name() == name)
                .map(|(index, _)| Node::Partition(*id, index)),
            (Node::Partition(id, index), DISK_IMAGE) => Some(Node::PartitionImage(*id, *index)),
            (Node::Partition(id, index), FILES) => Some(Node::Files(*id, Part(*index))),
            _ => None,
        })
    }

    /// Returns what `stat` shows of a node; the number is set by the caller.
    pub(super) fn attributes_of(&self, node: &Node) -> Result<Attributes> {
        let state = self.state();
        let (mode, len_bytes, allocated_len_bytes, time) = match node {
            Node::Root | Node::Snapshots | Node::ById | Node::ByTag => {
                let time = newest(state.snapshots().last(), self.started_at);
                (0o755, 0, 0, time)
            }
            Node::Create => (0o700, 0, 0, self.started_at),
            Node::Resource(_) | Node::Tag(_) => {
                let last = match node {
                    Node::Tag(tag) => state.with_tag(tag).last(),
                    Node::Resource(name) => state.of_resource(name).last(),
                    _ => None,
                };
                (0o755, 0, 0, last.ok_or(Kind::NotFound)?.manifest.created_at)
            }
            Node::Link(link) => (0o777, link.target.len() as u64, 0, self.started_at),
            Node::Snapshot(id) | Node::Partitions(id) | Node::Partition(id, _) => {
                let snapshot = state.get(id).ok_or(Kind::NotFound)?;
                (0o755, 0, 0, snapshot.manifest.created_at)
            }
            Node::PartitionImage(id, index) => {
                let created_at = state.get(id).ok_or(Kind::NotFound)?.manifest.created_at;
                let (len, allocated) = self.partition_len(id, *index)?;
                (0o400, len, allocated, created_at)
            }
            Node::Files(..) | Node::File(..) => return self.attributes_inside(node),
            Node::DiskImage(id) => {
                let manifest = &state.get(id).ok_or(Kind::NotFound)?.manifest;
                let (len, allocated) = (manifest.image_len_bytes, manifest.allocated_len_bytes);
                (0o400, len, allocated, manifest.created_at)
            }
            Node::Information(id) => {
                let snapshot = state.get(id).ok_or(Kind::NotFound)?;
                let len = self.information(id)?.len() as u64;
                (0o444, len, len, snapshot.manifest.created_at)
            }
            Node::Draft(draft) => return Ok(draft.attributes()),
        };
        let time = file_time(time);
        let kind = kind_of(node);
        Ok(Attributes {
            kind,
            mode,
            link_count: if kind == FileKind::Directory { 2 } else { 1 },
            uid: self.options.uid,
            gid: self.options.gid,
            len_bytes,
            allocated_len_bytes,
            accessed_at: time,
            modified_at: time,
            changed_at: time,
            ..Attributes::unknown(kind)
        })
    }

    /// Returns the length of a partition and the bytes of it that are no holes. May
    /// wait.
    fn partition_len(&self, id: &SnapshotId, index: u16) -> Result<(u64, u64)> {
        let opened = self.opened_contents(id)?;
        let volume = opened.volume(index)?;
        let allocated = match opened.known_allocated(index) {
            Some(allocated) => allocated,
            // What cannot be read has no bytes to count.
            None if volume.bytes().is_err() => 0,
            None => {
                let allocated = PartitionImage::new(&opened.image, volume)?.allocated()?;
                opened.set_allocated(index, allocated);
                allocated
            }
        };
        Ok((volume.len(), allocated))
    }
}

fn newest(last: Option<&Arc<Snapshot>>, otherwise: Timestamp) -> Timestamp {
    last.map_or(otherwise, |snapshot| snapshot.manifest.created_at)
}
