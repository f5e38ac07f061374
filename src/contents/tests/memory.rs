//! A file system that exists in memory only.

use crate::base::ByteLen;
use crate::filesystem::{
    Consistency, DirCursor, DirEntry, DirVisitor, Error, ExtentVisitor, FileExtent, FileSystem,
    FileTime, FileType, Metadata, Name, NodeFlags, NodeId, RangeVisitor, Result, SpaceUsage,
    Summary,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) enum Content {
    Directory(BTreeMap<Vec<u8>, u64>),
    File(Vec<u8>),
    Link(Vec<u8>),
}

/// What a file system was asked.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) lookups: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) summaries: AtomicU64,
}

/// A file system in memory; the root is node 2, as in ext.
pub(super) struct Memory {
    nodes: BTreeMap<u64, Content>,
    pub(super) summary: Summary,
    pub(super) asked: Arc<Asked>,
}

impl Memory {
    pub(super) fn new(label: &str) -> Self {
        Self {
            nodes: BTreeMap::from([(2, Content::Directory(BTreeMap::new()))]),
            summary: Summary {
                format: "memory",
                label: label.as_bytes().to_vec(),
                uuid: None,
                fs_block_len: 4096,
                len: 1 << 20,
                features: vec![],
                consistency: Consistency::Clean,
                warnings: vec![],
            },
            asked: Arc::default(),
        }
    }

    /// Adds what is at `path`, directories above it too.
    pub(super) fn with(mut self, path: &str, content: Content) -> Self {
        let mut parent = 2;
        let parts: Vec<&str> = path.split('/').collect();
        let (last, above) = parts.split_last().unwrap();
        for part in above {
            parent = self.child(parent, part, Content::Directory(BTreeMap::new()));
        }
        self.child(parent, last, content);
        self
    }

    fn child(&mut self, parent: u64, name: &str, content: Content) -> u64 {
        let free = self.nodes.keys().max().unwrap() + 1;
        let Some(Content::Directory(names)) = self.nodes.get_mut(&parent) else {
            panic!("{parent} is no directory");
        };
        let node = *names.entry(name.as_bytes().to_vec()).or_insert(free);
        self.nodes.entry(node).or_insert(content);
        node
    }

    fn get(&self, node: NodeId) -> Result<&Content> {
        self.nodes.get(&node.inode).ok_or(Error::NotFound {
            what: "node".into(),
        })
    }
}

impl FileSystem for Memory {
    fn summary(&self) -> &Summary {
        self.asked.summaries.fetch_add(1, Ordering::Relaxed);
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(2)
    }

    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        self.asked.lookups.fetch_add(1, Ordering::Relaxed);
        match self.get(directory)? {
            Content::Directory(names) => Ok(names.get(name.bytes()).copied().map(NodeId::new)),
            _ => Err(Error::WrongType {
                expected: FileType::Directory,
                actual: FileType::Regular,
            }),
        }
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        let Content::Directory(names) = self.get(directory)? else {
            panic!("only directories are listed here");
        };
        let start = usize::try_from(cursor.0).unwrap();
        for (place, (name, node)) in names.iter().enumerate().skip(start) {
            let entry = DirEntry {
                name: Name::new(name).unwrap(),
                node: NodeId::new(*node),
                file_type: None,
                next: DirCursor(place as u64 + 1),
            };
            if visit(entry) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let (file_type, size) = match self.get(node)? {
            Content::Directory(_) => (FileType::Directory, 0),
            Content::File(bytes) => (FileType::Regular, bytes.len()),
            Content::Link(target) => (FileType::Symlink, target.len()),
        };
        let time = FileTime::default();
        Ok(Metadata {
            file_type,
            permissions: 0o644,
            user: 0,
            group: 0,
            link_count: 1,
            size: size as ByteLen,
            block_count_512: 0,
            preferred_io_len: 4096,
            accessed: time,
            modified: time,
            changed: time,
            created: None,
            device: None,
            generation: 0,
            flags: NodeFlags::default(),
        })
    }

    fn read_at(&self, node: NodeId, offset: u64, target: &mut [u8]) -> Result<usize> {
        self.asked.reads.fetch_add(1, Ordering::Relaxed);
        let Content::File(bytes) = self.get(node)? else {
            panic!("only files are read here");
        };
        let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// Every file has 4,096 bytes of data, 4,096 bytes of hole, and so on.
    fn extents(&self, node: NodeId, _: u64, visit: &mut ExtentVisitor<'_>) -> Result<()> {
        let len = self.metadata(node)?.size;
        for offset in (0..len).step_by(8192) {
            let extent = FileExtent {
                offset,
                len: 4096,
                place: crate::filesystem::ExtentPlace::Encoded,
            };
            if visit(extent) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        match self.get(node)? {
            Content::Link(target) => Ok(target.clone()),
            _ => panic!("only links are followed here"),
        }
    }

    fn xattr_names(&self, _: NodeId) -> Result<Vec<Vec<u8>>> {
        Ok(vec![])
    }

    fn xattr(&self, _: NodeId, _: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        Ok(SpaceUsage::default())
    }

    fn allocated_ranges(&self, _: &mut RangeVisitor<'_>) -> Result<()> {
        Err(Error::unsupported("memory"))
    }
}

pub(super) fn file(text: &str) -> Content {
    Content::File(text.as_bytes().to_vec())
}

pub(super) fn link(target: &str) -> Content {
    Content::Link(target.as_bytes().to_vec())
}

pub(super) fn directory() -> Content {
    Content::Directory(BTreeMap::new())
}
