//! Open files and directories.

use crate::base::{ByteOffset, ReadAt};
use crate::tree::directory::Listing;
use crate::tree::disk_image::OpenImage;
use crate::tree::draft::Draft;
use crate::tree::folder::Folder;
use crate::tree::inside::OpenFile;
use crate::tree::node::Node;
use crate::tree::partition_image::PartitionImage;
use crate::tree::{Kind, Result, Tree};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is behind an open descriptor.
pub struct Open {
    what: What,
}

enum What {
    Image(OpenImage),
    PartitionImage(PartitionImage),
    File(OpenFile),
    Information(Vec<u8>),
    Draft { draft: Arc<Draft>, is_writer: bool },
    Directory(Mutex<Listing>),
    Folder(Folder),
}

/// How the kernel should treat an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// The content never changes: pages may stay for ever.
    Keep,
    /// Every request comes here; listings are not remembered.
    None,
}

impl Open {
    pub(super) fn draft(draft: Arc<Draft>, is_writer: bool) -> Self {
        if is_writer {
            draft.begin_writing();
        }
        Self {
            what: What::Draft { draft, is_writer },
        }
    }

    /// Returns the draft, and whether this descriptor may write to it.
    pub fn as_draft(&self) -> Option<(&Arc<Draft>, bool)> {
        match &self.what {
            What::Draft { draft, is_writer } => Some((draft, *is_writer)),
            _ => None,
        }
    }

    /// Returns the image of an open `disk.img`.
    pub(super) fn as_image(&self) -> Option<&OpenImage> {
        match &self.what {
            What::Image(image) => Some(image),
            _ => None,
        }
    }

    /// Returns an open directory inside an image.
    pub fn as_folder(&self) -> Option<&Folder> {
        match &self.what {
            What::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// Returns what an open directory that is not inside an image shows.
    pub fn listing(&self) -> Result<Listing> {
        match &self.what {
            What::Directory(listing) => Ok(listing.lock().clone()),
            _ => Err(Kind::NotADirectory.into()),
        }
    }

    /// Shows the directory as it is now: it was rewound.
    pub fn rewind(&self, new: Listing) {
        if let What::Directory(listing) = &self.what {
            *listing.lock() = new;
        }
    }
}

impl Tree {
    pub(super) fn keep_open(&self, open: Open) -> u64 {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.open.write().insert(handle, Arc::new(open));
        handle
    }

    /// Opens a file. Returns the handle, and how the kernel should treat it.
    pub fn open_file(&self, inode: u64, writes: bool) -> Result<(u64, Caching)> {
        let (what, caching) = match self.node(inode)? {
            Node::Draft(draft) => {
                return Ok((self.keep_open(Open::draft(draft, writes)), Caching::None));
            }
            Node::DiskImage(_)
            | Node::PartitionImage(..)
            | Node::Information(_)
            | Node::File(..)
                if writes =>
            {
                return Err(Kind::ReadOnly.into());
            }
            node @ Node::File(..) => (What::File(self.open_inside(&node)?), Caching::Keep),
            Node::PartitionImage(id, index) => {
                let opened = self.opened_contents(&id)?;
                let image = PartitionImage::new(&opened.image, opened.volume(index)?)?;
                (What::PartitionImage(image), Caching::Keep)
            }
            Node::DiskImage(id) => {
                let snapshot = self.snapshot(&id)?;
                let title = format!("{}@{}", snapshot.manifest.resource, snapshot.path_name);
                let image = self.catalog.image(&snapshot);
                (What::Image(OpenImage { image, title }), Caching::Keep)
            }
            Node::Information(id) => (What::Information(self.information(&id)?), Caching::None),
            Node::Link(_) => return Err(Kind::Invalid.into()),
            _ => return Err(Kind::IsADirectory.into()),
        };
        Ok((self.keep_open(Open { what }), caching))
    }

    /// Remembers that a file was opened; true the first time since the kernel holds it,
    /// so nobody can have read anything of it.
    pub fn mark_opened(&self, inode: u64) -> bool {
        self.nodes.mark_opened(inode)
    }

    /// Reads all of a file inside an image into `target`, if it is not empty and fits;
    /// returns its length. `None` also where it cannot be read.
    pub fn read_whole(&self, handle: u64, target: &mut [u8]) -> Option<usize> {
        let open = self.opened(handle).ok()?;
        let What::File(file) = &open.what else {
            return None;
        };
        let len = usize::try_from(file.len().ok()?).ok()?;
        let target = target.get_mut(..len).filter(|target| !target.is_empty())?;
        let count = file.read(self, 0, target).ok()?;
        (count == len).then_some(len)
    }

    /// Opens a directory. Returns the handle, and how the kernel should treat it. May
    /// wait.
    pub fn open_directory(&self, inode: u64) -> Result<(u64, Caching)> {
        let node = self.node(inode)?;
        let (what, caching) = match node {
            Node::Files(..) | Node::File(..) => {
                let place = self.place(&node)?;
                (What::Folder(Folder::new(place)), Caching::Keep)
            }
            _ => {
                let listing = Mutex::new(self.list(inode)?);
                (What::Directory(listing), Caching::None)
            }
        };
        Ok((self.keep_open(Open { what }), caching))
    }

    /// Returns what is behind a handle.
    pub fn opened(&self, handle: u64) -> Result<Arc<Open>> {
        self.open
            .read()
            .get(&handle)
            .cloned()
            .ok_or(Kind::Invalid.into())
    }

    /// Forgets a handle, and publishes if it was the last writer of a draft. May wait.
    pub fn close(&self, handle: u64) {
        let open = self.open.write().remove(&handle);
        if let Some((draft, true)) = open.as_ref().and_then(|open| open.as_draft()) {
            draft.end_writing();
        }
    }

    /// Fills the start of `target`; shorter only at the end of the file or, if that
    /// `may_be_short`, in front of a damaged place of an image.
    pub fn read(
        &self,
        handle: u64,
        offset: ByteOffset,
        target: &mut [u8],
        may_be_short: bool,
    ) -> Result<usize> {
        match &self.opened(handle)?.what {
            What::Image(image) if may_be_short => {
                image.read_up_to_damage(&self.damage, offset, target)
            }
            What::Image(image) => image.read(&self.damage, offset, target),
            What::PartitionImage(image) if may_be_short => image.read_up_to_damage(offset, target),
            What::File(file) => file.read(self, offset, target),
            What::PartitionImage(image) => image.read(offset, target),
            What::Draft { draft, .. } => draft.read(offset, target),
            What::Information(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let rest = bytes.get(start..).unwrap_or_default();
                let count = rest.len().min(target.len());
                for (to, from) in target.iter_mut().zip(rest) {
                    *to = *from;
                }
                Ok(count)
            }
            What::Directory(_) | What::Folder(_) => Err(Kind::IsADirectory.into()),
        }
    }

    /// Returns the first byte at or after `offset` that is data (or in a hole).
    pub fn seek(&self, handle: u64, offset: ByteOffset, hole: bool) -> Result<ByteOffset> {
        let open = self.opened(handle)?;
        let (image, len) = match &open.what {
            What::Image(open) => (&open.image, ReadAt::len(&open.image)),
            What::Draft { draft, .. } => return draft.seek(offset, hole),
            What::File(file) => return file.seek(self, offset, hole),
            What::PartitionImage(image) => {
                return image.seek(offset, hole)?.ok_or(Kind::NoSuchPlace.into());
            }
            What::Information(bytes) => {
                let len = bytes.len() as u64;
                let found = (offset < len).then_some(if hole { len } else { offset });
                return found.ok_or(Kind::NoSuchPlace.into());
            }
            What::Directory(_) | What::Folder(_) => return Err(Kind::IsADirectory.into()),
        };
        if offset >= len {
            return Err(Kind::NoSuchPlace.into());
        }
        let found = if hole {
            Some(image.next_hole(offset)?)
        } else {
            image.next_data(offset)?
        };
        found.ok_or(Kind::NoSuchPlace.into())
    }
}
