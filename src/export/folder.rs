//! A directory of the target. Its own properties are set when everything in it is done:
//! making entries changes its times, and its mode may forbid it.

use super::copy::Shared;
use super::error::Result;
use super::properties::{self, Handle};
use super::report::count;
use super::target;
use crate::contents::ViewNode;
use crate::filesystem::Metadata;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const DEFAULT_ACL: &str = "system.posix_acl_default";

/// A directory of the target that is being filled. What works in it holds an `Arc`; the
/// last one that goes sets the properties.
pub(super) struct Folder<'a> {
    shared: &'a Shared<'a>,
    pub(super) fd: OwnedFd,
    /// Relative to what is copied.
    path: Vec<u8>,
    /// Where the properties come from; none for a directory that is not of the image.
    source: Option<(ViewNode, Metadata)>,
    parent: Option<Arc<Folder<'a>>>,
    /// A directory that was there keeps what it has, unless everything is to be kept.
    is_new: bool,
    /// What is made in it gets ACLs from it, which the image does not have.
    pub(super) gives_acl: bool,
}

impl<'a> Folder<'a> {
    /// Takes a directory that the user named.
    pub(super) fn given(
        shared: &'a Shared<'a>,
        fd: OwnedFd,
        source: Option<(ViewNode, Metadata)>,
        is_new: bool,
    ) -> Self {
        Self {
            gives_acl: has_default_acl(&fd),
            shared,
            fd,
            path: vec![],
            source,
            parent: None,
            is_new,
        }
    }

    /// Makes or opens a directory in this one.
    pub(super) fn enter(
        parent: &Arc<Self>,
        name: &[u8],
        path: &[u8],
        source: (ViewNode, Metadata),
    ) -> Result<Self> {
        let shared = parent.shared;
        let (fd, is_new) = target::make_folder(&parent.fd, name)?;
        let mut gives_acl = false;
        if is_new && parent.gives_acl && shared.options.attributes {
            for name in [DEFAULT_ACL, properties::ACCESS_ACL] {
                // One that is not there is as good as removed.
                let _gone = rustix::fs::fremovexattr(&fd, name);
            }
        } else if !is_new || parent.gives_acl {
            gives_acl = has_default_acl(&fd);
        }
        Ok(Self {
            shared,
            fd,
            path: path.to_vec(),
            source: Some(source),
            parent: Some(Arc::clone(parent)),
            is_new,
            gives_acl,
        })
    }

    fn finish(&mut self) {
        if let Some((node, metadata)) = self.source.take() {
            count(&self.shared.counters.directories);
            if !self.is_new && !self.shared.options.attributes {
                return;
            }
            let handle = Handle::Open(self.fd.as_fd());
            properties::set(self.shared, handle, node, &metadata, &self.path, false);
        }
    }
}

fn has_default_acl(fd: &OwnedFd) -> bool {
    rustix::fs::fgetxattr_query(fd, DEFAULT_ACL).is_ok()
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        self.finish();
        // One after the other: dropping parents from within each other would take stack
        // in proportion to the depth.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            parent.finish();
            next = parent.parent.take();
        }
    }
}
