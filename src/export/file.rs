//! One regular file of the target, from its creation to its last property. What is not
//! finished is removed, whatever the reason: a signal, damage, a full disk.

use super::content::{BUFFER_LEN, Content, for_each_extent};
use super::copy::Shared;
use super::error::{Error, Result};
use super::folder::Folder;
use super::links::{First, LinkId};
use super::properties::{self, Handle};
use super::report::count;
use super::sys;
use super::target::{self, Identity};
use crate::contents::ViewNode;
use crate::filesystem::Metadata;
use parking_lot::Mutex;
use rustix::fs::AtFlags;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something of the image, and where it goes.
pub(super) struct Item<'a> {
    pub(super) folder: Arc<Folder<'a>>,
    pub(super) name: Vec<u8>,
    /// Relative to what is copied.
    pub(super) path: Vec<u8>,
    pub(super) node: ViewNode,
    pub(super) metadata: Metadata,
}

/// A file that is being made.
pub(super) struct NewFile<'a> {
    shared: &'a Shared<'a>,
    item: Item<'a>,
    file: File,
    /// The name that it has until it takes the place of another file.
    temporary: Option<Vec<u8>>,
    /// The record of a file with several names.
    link: Option<LinkId>,
    written: AtomicU64,
    /// Bytes of its ranges, those that are to be copied and those that are. A range that
    /// was dropped somewhere leaves no other trace.
    given_len: AtomicU64,
    data_len: AtomicU64,
    failed: Mutex<Option<Error>>,
    is_finished: bool,
}

impl<'a> NewFile<'a> {
    /// Makes an empty file. One that is there is replaced, when that is asked for, only
    /// when the new one is whole.
    pub(super) fn create(shared: &'a Shared<'a>, item: Item<'a>) -> Result<Self> {
        let folder = &item.folder.fd;
        let (file, temporary) = target::make_or_beside(
            folder,
            &item.name,
            shared.names_beside(),
            "making the file",
            |name| target::make_file(folder, name),
        )?;
        Ok(Self {
            shared,
            item,
            file,
            temporary,
            link: None,
            written: AtomicU64::new(0),
            given_len: AtomicU64::new(0),
            data_len: AtomicU64::new(0),
            failed: Mutex::new(None),
            is_finished: false,
        })
    }

    /// Remembers the file for its further names.
    pub(super) fn expect_links(&mut self) -> Result<()> {
        let first = First {
            path: self.shared.path_from_root(&self.item.path),
            identity: Identity::of(&self.file)?,
            is_hidden: self.temporary.is_some(),
        };
        let (node, count) = (self.item.node, self.item.metadata.link_count);
        self.link = self.shared.links.begin(node, first, count);
        Ok(())
    }

    /// Fills and finishes it.
    pub(super) fn copy_whole(self, buffer: &mut [u8]) {
        let size = self.item.metadata.size;
        let result = if size == 0 {
            Ok(())
        } else {
            for_each_extent(self.shared, self.item.node, size, |range| {
                self.give(&range);
                self.copy(range, buffer)
            })
        };
        if let Err(error) = result {
            self.fail(error);
        }
        self.finish();
    }

    /// Copies a range, and remembers when that fails.
    pub(super) fn copy_piece(&self, range: Range<u64>, buffer: &mut [u8]) {
        if self.failed.lock().is_none()
            && let Err(error) = self.copy(range, buffer)
        {
            self.fail(error);
        }
    }

    fn give(&self, range: &Range<u64>) {
        let len = range.end - range.start;
        self.given_len.fetch_add(len, Ordering::Relaxed);
    }

    fn copy(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<()> {
        let content = Content {
            shared: self.shared,
            node: self.item.node,
            file: &self.file,
            path: &self.item.path,
        };
        let len = range.end - range.start;
        let written = content.copy(range, buffer)?;
        self.written.fetch_add(written, Ordering::Relaxed);
        self.data_len.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the pieces of a large file to `visit`, none across a border of its length.
    pub(super) fn for_each_piece(
        &self,
        piece_len: u64,
        mut visit: impl FnMut(Range<u64>),
    ) -> Result<()> {
        debug_assert!(piece_len.is_multiple_of(BUFFER_LEN as u64));
        let (node, size) = (self.item.node, self.item.metadata.size);
        for_each_extent(self.shared, node, size, |range| {
            let mut start = range.start;
            while start < range.end {
                let end = ((start / piece_len + 1) * piece_len).min(range.end);
                if self.failed.lock().is_some() {
                    return Ok(());
                }
                if self.shared.is_stopping() {
                    return Err(Error::Interrupted);
                }
                self.give(&(start..end));
                visit(start..end);
                start = end;
            }
            Ok(())
        })
    }

    /// Remembers why it cannot be whole; the first reason counts.
    pub(super) fn fail(&self, error: Error) {
        self.failed.lock().get_or_insert(error);
    }

    /// Sets its properties and gives it its name, or removes it.
    pub(super) fn finish(mut self) {
        let result = match self.failed.get_mut().take() {
            Some(error) => Err(error),
            None => self.complete(),
        };
        let (shared, item) = (self.shared, &self.item);
        match result {
            Ok(()) => {
                count(&shared.counters.files);
                let size = item.metadata.size;
                shared.counters.len_bytes.fetch_add(size, Ordering::Relaxed);
                let data_len = self.data_len.load(Ordering::Relaxed);
                shared.progress.add_hole(size.saturating_sub(data_len));
                if let Some(link) = self.link {
                    shared.links.done(item.node, link);
                }
                self.is_finished = true;
            }
            Err(error) => shared.failed(&item.path, error),
        }
    }

    fn complete(&self) -> Result<()> {
        let item = &self.item;
        if self.data_len.load(Ordering::Relaxed) != self.given_len.load(Ordering::Relaxed) {
            return Err(match self.shared.is_stopping() {
                true => Error::Interrupted,
                false => Error::Fault,
            });
        }
        let written = self.written.load(Ordering::Relaxed);
        if written < item.metadata.size {
            let result = rustix::fs::ftruncate(&self.file, item.metadata.size);
            result.map_err(Error::target("setting the length of the file"))?;
        }
        // Before the times are set: what is written now may change them.
        sys::close_another(&self.file).map_err(|source| Error::Target {
            action: "closing the file".into(),
            source,
        })?;
        let handle = Handle::Open(self.file.as_fd());
        let gets_acl = item.folder.gives_acl;
        properties::set(
            self.shared,
            handle,
            item.node,
            &item.metadata,
            &item.path,
            gets_acl,
        );
        if let Some(temporary) = &self.temporary {
            target::take_place(&item.folder.fd, temporary, &item.name)?;
        }
        Ok(())
    }

    fn name_now(&self) -> &[u8] {
        self.temporary.as_ref().unwrap_or(&self.item.name)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let folder = &self.item.folder.fd;
        if let Err(error) = rustix::fs::unlinkat(folder, self.name_now(), AtFlags::empty()) {
            log::warn!("a file that is not whole could not be removed: {error}");
        }
        if let Some(link) = self.link {
            self.shared.remove_links(self.item.node, link);
        }
    }
}
