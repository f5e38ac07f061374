//! A tree of files out of one or several file systems, mounted on each other.

use super::{Error, Result};
use crate::filesystem::{
    DirCursor, ErrorKind, FileSystem, FileType, Metadata, Name, NodeId, RootSelector,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// File systems that one view may consist of.
pub(super) const MOUNT_COUNT_MAX: usize = 256;

/// A file or directory of a [`View`]. Equal values are the same file. A forged one is
/// never more than an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewNode {
    /// Which of the view's mounts it lies in.
    pub mount: u16,
    /// The node of that file system.
    pub node: NodeId,
}

/// One entry of a directory of a view; never `.` or `..`.
#[derive(Clone, Copy, Debug)]
pub struct ViewEntry<'a> {
    /// The name.
    pub name: Name<'a>,
    /// What it names: the root of what is mounted there, if there is something.
    pub node: ViewNode,
    /// The type of the node, if the directory tells it.
    pub file_type: Option<FileType>,
    /// The place behind this entry, to go on from.
    pub next: DirCursor,
}

struct Mounted {
    file_system: Arc<dyn FileSystem>,
    root: NodeId,
}

/// A tree of files. Cheap to read from many threads; changes never.
pub struct View {
    mounts: Vec<Mounted>,
    /// Directories that something is mounted on.
    covered: HashMap<ViewNode, u16>,
}

impl View {
    /// Returns the tree of one file system.
    pub fn plain(file_system: Arc<dyn FileSystem>, root: NodeId) -> Self {
        Self {
            mounts: vec![Mounted { file_system, root }],
            covered: HashMap::new(),
        }
    }

    /// Returns the number that the next file system gets.
    ///
    /// # Errors
    ///
    /// Unsupported if there are too many.
    pub(super) fn next_mount(&self) -> Result<u16> {
        u16::try_from(self.mounts.len())
            .ok()
            .filter(|number| usize::from(*number) < MOUNT_COUNT_MAX)
            .ok_or_else(|| Error::unsupported("more than 256 mounts"))
    }

    /// Mounts a file system on a directory of the view.
    ///
    /// # Errors
    ///
    /// Unsupported if there are too many.
    pub(super) fn mount(
        &mut self,
        on: ViewNode,
        file_system: Arc<dyn FileSystem>,
        root: NodeId,
    ) -> Result<()> {
        let number = self.next_mount()?;
        self.mounts.push(Mounted { file_system, root });
        self.covered.insert(on, number);
        Ok(())
    }

    /// Returns the number of file systems that are mounted in it.
    pub fn mount_count(&self) -> usize {
        self.mounts.len()
    }

    fn mounted(&self, mount: u16) -> Result<&Mounted> {
        self.mounts
            .get(usize::from(mount))
            .ok_or_else(|| Error::NotFound {
                what: "mount".into(),
            })
    }

    /// Returns the root directory.
    pub fn root(&self) -> ViewNode {
        let node = self
            .mounts
            .first()
            .map_or(NodeId::new(0), |mounted| mounted.root);
        self.uncovered(ViewNode { mount: 0, node })
    }

    /// Returns the file system that `node` lies in.
    ///
    /// # Errors
    ///
    /// NotFound if the view has no such mount.
    pub fn file_system(&self, node: ViewNode) -> Result<&Arc<dyn FileSystem>> {
        Ok(&self.mounted(node.mount)?.file_system)
    }

    /// Returns what is mounted on `node`, or `node` itself.
    fn uncovered(&self, node: ViewNode) -> ViewNode {
        let mut node = node;
        // A mount covers only nodes of mounts before it, so this ends.
        while let Some(mount) = self.covered.get(&node) {
            match self.mounted(*mount) {
                Ok(mounted) if *mount > node.mount => {
                    node = ViewNode {
                        mount: *mount,
                        node: mounted.root,
                    };
                }
                _ => break,
            }
        }
        node
    }

    /// Returns what `name` names in `directory`, or `None`.
    ///
    /// # Errors
    ///
    /// See [`FileSystem::lookup`].
    pub fn lookup(&self, directory: ViewNode, name: Name<'_>) -> Result<Option<ViewNode>> {
        let found = self
            .file_system(directory)?
            .lookup(directory.node, name)?
            .map(|node| ViewNode {
                mount: directory.mount,
                node,
            });
        Ok(found.map(|node| self.uncovered(node)))
    }

    /// Gives the entries of `directory` behind `cursor` to `visit`.
    ///
    /// # Errors
    ///
    /// See [`FileSystem::read_dir`].
    pub fn read_dir(
        &self,
        directory: ViewNode,
        cursor: DirCursor,
        visit: &mut dyn FnMut(ViewEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mount = directory.mount;
        self.file_system(directory)?
            .read_dir(directory.node, cursor, &mut |entry| {
                let node = ViewNode {
                    mount,
                    node: entry.node,
                };
                let shown = if self.covered.is_empty() {
                    node
                } else {
                    self.uncovered(node)
                };
                visit(ViewEntry {
                    name: entry.name,
                    node: shown,
                    file_type: entry.file_type,
                    next: entry.next,
                })
            })
    }

    /// Returns everything that `stat` tells about `node`.
    ///
    /// # Errors
    ///
    /// See [`FileSystem::metadata`].
    pub fn metadata(&self, node: ViewNode) -> Result<Metadata> {
        self.file_system(node)?.metadata(node.node)
    }

    /// Fills `target` from `offset`; see [`FileSystem::read_at`].
    ///
    /// # Errors
    ///
    /// See [`FileSystem::read_at`].
    pub fn read_at(&self, node: ViewNode, offset: u64, target: &mut [u8]) -> Result<usize> {
        self.file_system(node)?.read_at(node.node, offset, target)
    }

    /// Returns the target of a symlink.
    ///
    /// # Errors
    ///
    /// See [`FileSystem::read_link`].
    pub fn read_link(&self, node: ViewNode) -> Result<Vec<u8>> {
        self.file_system(node)?.read_link(node.node)
    }

    /// Returns the first byte from `offset` on that is data (or in a hole), as
    /// `lseek(2)` does: `None` at and behind the end, or if no data follows. Holes are
    /// what the file system does not store, in its own units.
    ///
    /// # Errors
    ///
    /// See [`FileSystem::extents`].
    pub fn seek(&self, node: ViewNode, offset: u64, hole: bool) -> Result<Option<u64>> {
        let len = self.metadata(node)?.size;
        if offset >= len {
            return Ok(None);
        }
        let mut place = offset;
        let mut found = None;
        self.file_system(node)?
            .extents(node.node, offset, &mut |extent| {
                let end = extent.offset.saturating_add(extent.len);
                if end <= place {
                    return ControlFlow::Continue(());
                }
                if !hole {
                    found = Some(extent.offset.max(place));
                    return ControlFlow::Break(());
                }
                if extent.offset > place {
                    return ControlFlow::Break(());
                }
                place = end;
                ControlFlow::Continue(())
            })?;
        if hole {
            return Ok(Some(place.min(len)));
        }
        Ok(found.filter(|found| *found < len))
    }

    /// Returns another root of the first file system, or `None` if it has none like it.
    pub(super) fn root_like(
        file_system: &Arc<dyn FileSystem>,
        selector: &RootSelector,
    ) -> Result<Option<NodeId>> {
        match file_system.root_of(selector) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("mount_count", &self.mounts.len())
            .finish_non_exhaustive()
    }
}
