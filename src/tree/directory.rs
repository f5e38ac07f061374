//! Directories: what a name means and what is listed. All answers come from the state
//! of the catalog in memory.

use crate::base::{SnapshotId, Timestamp, decode_path_name, encode_path_name};
use crate::snapshot::{Snapshot, State};
use crate::tree::attributes::{Attributes, Entry, FileKind};
use crate::tree::draft::Draft;
use crate::tree::node::Node;
use crate::tree::{Kind, Result, Tree, information};
use std::sync::Arc;

const LATEST: &str = "latest";
const DISK_IMAGE: &str = "disk.img";
const INFORMATION: &str = "snapshot.json";

/// What an open directory shows: the tree as it was when it was opened (or rewound),
/// so that places in it keep their meaning while entries come and go.
#[derive(Clone)]
pub struct Listing {
    node: Node,
    state: Arc<State>,
    drafts: Arc<Vec<(Vec<u8>, Arc<Draft>)>>,
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
            Node::Snapshot(id) => {
                let names = [
                    (DISK_IMAGE, Node::DiskImage(*id)),
                    (INFORMATION, Node::Information(*id)),
                ];
                let entries = names
                    .into_iter()
                    .map(|(name, node)| DirEntry::new(name, node));
                Box::new(entries.skip(start))
            }
            Node::ById => Box::new(state.snapshots().skip(start).map(|snapshot| {
                let id = snapshot.manifest.id;
                DirEntry::new(id.to_string(), Node::IdLink(id))
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
                    let link = Box::new((Arc::clone(tag), snapshot.manifest.id));
                    DirEntry::new(tag_link_name(snapshot), Node::TagLink(link))
                }))
            }
            Node::Create => {
                Box::new(self.drafts.iter().skip(start).map(|(name, draft)| {
                    DirEntry::new(name.clone(), Node::Draft(Arc::clone(draft)))
                }))
            }
            Node::Latest(_)
            | Node::DiskImage(_)
            | Node::Information(_)
            | Node::IdLink(_)
            | Node::TagLink(_)
            | Node::Draft(_) => Box::new(std::iter::empty()),
        }
    }

    fn resource_entries(
        &self,
        name: &Arc<str>,
        start: usize,
    ) -> Box<dyn Iterator<Item = DirEntry> + '_> {
        let snapshots = self.state.of_resource(name);
        let latest =
            (!snapshots.is_empty()).then(|| DirEntry::new(LATEST, Node::Latest(Arc::clone(name))));
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
        | Node::Tag(_) => FileKind::Directory,
        Node::Latest(_) | Node::IdLink(_) | Node::TagLink(_) => FileKind::Symlink,
        Node::DiskImage(_) | Node::Information(_) | Node::Draft(_) => FileKind::File,
    }
}

/// Returns where a symbolic link leads.
pub(super) fn link_target(state: &State, node: &Node) -> Result<Vec<u8>> {
    let get = |id: &SnapshotId| state.get(id).ok_or(Kind::NotFound);
    let target = match node {
        Node::Latest(resource) => state
            .of_resource(resource)
            .last()
            .ok_or(Kind::NotFound)?
            .path_name
            .clone(),
        Node::IdLink(id) => format!("../{}", path_of(get(id)?)),
        Node::TagLink(link) => format!("../../{}", path_of(get(&link.1)?)),
        _ => return Err(Kind::Invalid.into()),
    };
    Ok(target.into_bytes())
}

impl Tree {
    /// Returns what a directory shows now.
    pub fn list(&self, inode: u64) -> Result<Listing> {
        let node = self.node(inode)?;
        if kind_of(&node) != FileKind::Directory {
            return Err(Kind::NotADirectory.into());
        }
        let drafts = match (&node, &self.create) {
            (Node::Create, Some(create)) => create.list(),
            _ => vec![],
        };
        Ok(Listing {
            node,
            state: self.state(),
            drafts: Arc::new(drafts),
            is_read_only: self.create.is_none(),
        })
    }

    /// Returns what a look-up of a listed entry shows, and counts it.
    pub fn look_up_listed(&self, entry: &DirEntry) -> Result<Entry> {
        self.entry(&entry.node)
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
                (!state.of_resource(resource).is_empty())
                    .then(|| Node::Latest(Arc::clone(resource)))
            }
            Node::Resource(resource) => text
                .and_then(|name| state.find(resource, name))
                .map(|snapshot| Node::Snapshot(snapshot.manifest.id)),
            Node::Snapshot(id) if state.get(id).is_none() => None,
            Node::Snapshot(id) => match text {
                Some(DISK_IMAGE) => Some(Node::DiskImage(*id)),
                Some(INFORMATION) => Some(Node::Information(*id)),
                _ => None,
            },
            Node::ById => text
                .and_then(|name| {
                    name.parse()
                        .ok()
                        .filter(|id: &SnapshotId| id.to_string() == name)
                })
                .filter(|id| state.get(id).is_some())
                .map(Node::IdLink),
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
                .map(|snapshot| Node::TagLink(Box::new((Arc::clone(tag), snapshot.manifest.id)))),
            Node::Create => {
                let create = self.create.as_ref().ok_or(Kind::NotFound)?;
                return create.get(name).map(Node::Draft);
            }
            Node::Latest(_)
            | Node::DiskImage(_)
            | Node::Information(_)
            | Node::IdLink(_)
            | Node::TagLink(_)
            | Node::Draft(_) => return Err(Kind::NotADirectory.into()),
        };
        found.ok_or(Kind::NotFound.into())
    }

    /// Returns what `stat` shows of a node; the number is set by the caller.
    pub(super) fn attributes_of(&self, node: &Node) -> Result<Attributes> {
        let state = self.state();
        let (mode, len_bytes, allocated_len_bytes, time) = match node {
            Node::Root | Node::Snapshots | Node::ById | Node::ByTag => (
                0o755,
                0,
                0,
                newest(state.snapshots().last(), self.started_at),
            ),
            Node::Create => (0o700, 0, 0, self.started_at),
            Node::Resource(name) => {
                let last = state.of_resource(name).last().ok_or(Kind::NotFound)?;
                (0o755, 0, 0, last.manifest.created_at)
            }
            Node::Tag(tag) => {
                let last = state.with_tag(tag).last().ok_or(Kind::NotFound)?;
                (0o755, 0, 0, last.manifest.created_at)
            }
            Node::Latest(_) | Node::IdLink(_) | Node::TagLink(_) => {
                let len = link_target(&state, node)?.len() as u64;
                (0o777, len, 0, self.started_at)
            }
            Node::Snapshot(id) => {
                let snapshot = state.get(id).ok_or(Kind::NotFound)?;
                (0o755, 0, 0, snapshot.manifest.created_at)
            }
            Node::DiskImage(id) => {
                let manifest = &state.get(id).ok_or(Kind::NotFound)?.manifest;
                let (len, allocated) = (manifest.image_len_bytes, manifest.allocated_len_bytes);
                (0o400, len, allocated, manifest.created_at)
            }
            Node::Information(id) => {
                let snapshot = state.get(id).ok_or(Kind::NotFound)?;
                let len = information::to_json(snapshot).len() as u64;
                (0o444, len, len, snapshot.manifest.created_at)
            }
            Node::Draft(draft) => return Ok(draft.attributes()),
        };
        let kind = kind_of(node);
        Ok(Attributes {
            inode: 0,
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
        })
    }
}

fn newest(last: Option<&Arc<Snapshot>>, otherwise: Timestamp) -> Timestamp {
    last.map_or(otherwise, |snapshot| snapshot.manifest.created_at)
}
