//! Walking a path inside a view. Symbolic links are followed inside the view: an
//! absolute target begins at its root again, and `..` never leaves it.

use super::view::{View, ViewNode};
use super::{Error, Result};
use crate::filesystem::{FileType, Name};

/// Links that one path may lead through, as Linux has it (`MAXSYMLINKS`).
pub const SYMLINK_COUNT_MAX: usize = 40;

/// Components that one path may have, or all of a table, links included: what 40 targets
/// of 4,095 bytes could add, bounded far below.
const COMPONENT_COUNT_MAX: usize = 16_384;

/// Components that paths may still lead through.
#[derive(Debug)]
pub(super) struct Steps(usize);

impl Default for Steps {
    fn default() -> Self {
        Self(COMPONENT_COUNT_MAX)
    }
}

/// What to do when the last component is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it leads, as `stat` does.
    Yes,
    /// Return the link itself, as `lstat` does.
    No,
}

/// Pushes the components of `path` so that the first is popped first.
fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8], steps: &mut Steps) -> Result<()> {
    let components = path
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty());
    let Some(left) = steps.0.checked_sub(components.clone().count()) else {
        return Err(Error::unsupported("paths of more than 16,384 components"));
    };
    steps.0 = left;
    pending.extend(components.rev().map(<[u8]>::to_vec));
    Ok(())
}

fn not_found(component: &[u8]) -> Error {
    Error::NotFound {
        what: format!("\"{}\"", component.escape_ascii()).into(),
    }
}

impl View {
    /// Returns the node at `path`, seen from the root whether or not it begins with a
    /// slash.
    ///
    /// # Errors
    ///
    /// NotFound if there is none; WrongType if a component is no directory;
    /// Unsupported for a loop of links; otherwise see [`View::lookup`].
    pub fn walk(&self, path: &[u8], follow: Follow) -> Result<ViewNode> {
        self.walk_within(path, follow, &mut Steps::default())
    }

    /// As [`View::walk`], where several paths have a number of components together.
    ///
    /// # Errors
    ///
    /// As [`View::walk`]; Unsupported if there are no more of them.
    pub(super) fn walk_within(
        &self,
        path: &[u8],
        follow: Follow,
        steps: &mut Steps,
    ) -> Result<ViewNode> {
        let mut pending = vec![];
        push_components(&mut pending, path, steps)?;
        let must_be_directory = path.ends_with(b"/");
        // The directories above the current one, for `..`.
        let mut above: Vec<ViewNode> = vec![];
        let mut current = self.root();
        let mut link_count = 0_usize;
        while let Some(component) = pending.pop() {
            match component.as_slice() {
                b"." => {
                    self.expect_directory(current)?;
                    continue;
                }
                b".." => {
                    self.expect_directory(current)?;
                    current = above.pop().unwrap_or(current);
                    continue;
                }
                _ => {}
            }
            let name = Name::new(&component).ok_or_else(|| not_found(&component))?;
            let found = self
                .lookup(current, name)?
                .ok_or_else(|| not_found(&component))?;
            let is_last = pending.is_empty();
            let is_link = self.metadata(found)?.file_type == FileType::Symlink;
            if !is_link || (is_last && follow == Follow::No && !must_be_directory) {
                above.push(current);
                current = found;
                continue;
            }
            link_count = link_count.saturating_add(1);
            if link_count > SYMLINK_COUNT_MAX {
                return Err(Error::unsupported("too many levels of symbolic links"));
            }
            let target = self.read_link(found)?;
            if target.starts_with(b"/") {
                current = self.root();
                above.clear();
            }
            push_components(&mut pending, &target, steps)?;
        }
        if must_be_directory {
            self.expect_directory(current)?;
        }
        Ok(current)
    }

    fn expect_directory(&self, node: ViewNode) -> Result<()> {
        match self.metadata(node)?.file_type {
            FileType::Directory => Ok(()),
            actual => Err(Error::WrongType {
                expected: FileType::Directory,
                actual,
            }),
        }
    }

    /// Returns the first `len_max` bytes of the file at `path`, links followed, or
    /// `None` if there is no such regular file or it cannot be read.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub(super) fn read_small(&self, path: &[u8], len_max: usize) -> Result<Option<Vec<u8>>> {
        let read = || {
            let node = self.walk(path, Follow::Yes)?;
            let size = self.metadata(node)?.size;
            let len = usize::try_from(size).unwrap_or(usize::MAX).min(len_max);
            let mut bytes = vec![0; len];
            let count = self.read_at(node, 0, &mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(_) => Ok(None),
        }
    }
}
