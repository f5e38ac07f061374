//! A tree of a view, walked from top to bottom without recursion. Takes memory for one
//! batch of entries a level, and for the set of directories that were seen: an image may
//! claim that a directory lies inside itself, or in two places.

use crate::contents::{View, ViewNode};
use crate::filesystem::{DirCursor, Error, FileType, Metadata, Result};
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;

/// Levels below the start that are entered: Linux itself reaches 2,048 by the longest
/// path that a program can name at once.
pub const DEPTH_MAX: usize = 4096;

/// Bytes of the path of a directory that is entered. Each entry below has it, and hostile
/// images have many: a program names 4,096 bytes at once.
pub const PATH_LEN_MAX: usize = 32 << 10;

/// Returns the error of a directory whose path is longer, which is not entered.
pub fn path_too_long() -> Error {
    Error::unsupported("paths of more than 32,768 bytes")
}

/// Entries that are read of a directory at a time.
const BATCH_LEN: usize = 256;

/// Something that was found in a directory.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name: validated, so that it is one component.
    pub name: Vec<u8>,
    /// The node.
    pub node: ViewNode,
    /// What `stat` tells.
    pub metadata: Metadata,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Step {
    /// A directory, which is entered next unless [`Walk::skip`] is called.
    Directory(Found),
    /// Anything else.
    Other(Found),
    /// The directory at [`Walk::path`] is done.
    Left,
    /// The entry at [`Walk::path`], or the rest of the directory there, cannot be read.
    Failed(Error),
}

struct Entry {
    name: Vec<u8>,
    node: ViewNode,
}

struct Level {
    node: ViewNode,
    path_len: usize,
    cursor: DirCursor,
    batch: VecDeque<Entry>,
    is_read: bool,
    failed: Option<Error>,
}

/// A walk through everything below a directory.
pub struct Walk<'a> {
    view: &'a View,
    levels: Vec<Level>,
    path: Vec<u8>,
    /// The directory that the last step returned.
    next: Option<ViewNode>,
    seen: HashSet<ViewNode>,
}

impl<'a> Walk<'a> {
    /// Returns a walk through what is below the directory `start`.
    pub fn new(view: &'a View, start: ViewNode) -> Self {
        Self {
            view,
            levels: vec![],
            path: vec![],
            next: Some(start),
            seen: HashSet::from([start]),
        }
    }

    /// Returns the path of what the last step returned, relative to the start.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns how many directories below the start the last step was in.
    pub fn depth(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    /// Does not enter the directory that the last step returned.
    pub fn skip(&mut self) {
        self.next = None;
    }

    /// Returns the next step, or `None` when all was seen.
    #[expect(
        clippy::should_implement_trait,
        reason = "callers look at the path between two steps"
    )]
    pub fn next(&mut self) -> Option<Step> {
        if let Some(node) = self.next.take() {
            self.levels.push(Level {
                node,
                path_len: self.path.len(),
                cursor: DirCursor::START,
                batch: VecDeque::new(),
                is_read: false,
                failed: None,
            });
        }
        let level = self.levels.last_mut()?;
        self.path.truncate(level.path_len);
        if level.batch.is_empty() && !level.is_read {
            level.fill(self.view);
        }
        match level.batch.pop_front() {
            Some(entry) => Some(self.look_at(entry)),
            None => match level.failed.take() {
                Some(error) => Some(Step::Failed(error)),
                None => {
                    self.levels.pop();
                    (!self.levels.is_empty()).then_some(Step::Left)
                }
            },
        }
    }

    fn look_at(&mut self, entry: Entry) -> Step {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        let found = match self.view.metadata(entry.node) {
            Ok(metadata) => Found {
                name: entry.name,
                node: entry.node,
                metadata,
            },
            Err(error) => return Step::Failed(error),
        };
        if found.metadata.file_type != FileType::Directory {
            return Step::Other(found);
        }
        match self.admit(found.node) {
            Ok(()) => {
                self.next = Some(found.node);
                Step::Directory(found)
            }
            Err(error) => Step::Failed(error),
        }
    }

    fn admit(&mut self, node: ViewNode) -> Result<()> {
        if self.levels.len() > DEPTH_MAX {
            return Err(Error::unsupported(
                "more than 4,096 directories in each other",
            ));
        }
        if self.path.len() > PATH_LEN_MAX {
            return Err(path_too_long());
        }
        if !self.seen.insert(node) {
            return Err(Error::corrupt(
                "directory tree",
                0,
                "each directory in one place",
                node.node.inode,
            ));
        }
        Ok(())
    }
}

impl Level {
    fn fill(&mut self, view: &View) {
        let (batch, cursor) = (&mut self.batch, &mut self.cursor);
        let mut is_full = false;
        let result = view.read_dir(self.node, *cursor, &mut |entry| {
            batch.push_back(Entry {
                name: entry.name.bytes().to_vec(),
                node: entry.node,
            });
            *cursor = entry.next;
            is_full = batch.len() >= BATCH_LEN;
            if is_full {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        // An error of a full batch is of what was passed over in it.
        self.is_read = !is_full;
        if let Err(error) = result
            && self.failed.is_none()
        {
            self.failed = Some(error);
        }
    }
}
