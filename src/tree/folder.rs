//! Open directories inside images: read from a place on, as much as a reply takes, so
//! that none is ever held in memory as a whole.

use crate::filesystem::{self, DirCursor};
use crate::tree::attributes::{Attributes, Entry, FileKind};
use crate::tree::inside::{Place, to_attributes};
use crate::tree::{Error, FOR_EVER, Result, Tree};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::time::Duration;

/// An open directory inside an image.
pub struct Folder {
    /// `None`: there is nothing to show.
    place: Option<Place>,
    /// What was passed over in the pieces before, to be told at the end.
    damage: Mutex<Option<Error>>,
}

/// A piece of a listing that is being read.
#[derive(Default)]
struct Piece {
    has_any: bool,
    /// There was no room for the next entry.
    is_full: bool,
}

impl Piece {
    fn note(&mut self, flow: ControlFlow<()>) -> ControlFlow<()> {
        match flow {
            ControlFlow::Break(()) => self.is_full = true,
            ControlFlow::Continue(()) => self.has_any = true,
        }
        flow
    }
}

/// One entry of a directory inside an image.
#[derive(Clone, Copy, Debug)]
pub struct FolderEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The number that it has, or gets when it is looked up.
    pub inode: u64,
    /// What kind it is.
    pub kind: FileKind,
    /// The place behind it, to go on from.
    pub next: u64,
}

/// Takes the name of an entry, the place behind it, and what a look-up shows of it;
/// `Break` ends the listing, and this entry was not taken.
pub type EntryVisitor<'a> = dyn FnMut(&[u8], u64, &Entry) -> ControlFlow<()> + 'a;

/// Places in directories end here: see [`DirCursor`].
const PLACE_END: u64 = 1 << 62;

/// A look-up that was counted for somebody who has not got it yet: taken back when this
/// is dropped, also by a panic.
struct Counted<'a> {
    tree: &'a Tree,
    inode: u64,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.tree.forget(self.inode, 1);
    }
}

impl Folder {
    /// Returns an open directory of which nothing was read yet.
    pub(super) fn new(place: Option<Place>) -> Self {
        Self {
            place,
            damage: Mutex::new(None),
        }
    }

    /// Ends a piece that began at `place`: what was passed over is an error behind the
    /// last entry, as the kernel asks there once more, and drops an error that comes with
    /// entries.
    fn settle(&self, place: u64, piece: &Piece, read: Result<()>) -> Result<()> {
        let mut damage = self.damage.lock();
        if place == 0 {
            *damage = None;
        }
        match read {
            Err(error) if piece.has_any || piece.is_full => {
                // What could not be read is read again by the next piece.
                if !matches!(error, Error::Contents(filesystem::Error::Io(_))) {
                    damage.get_or_insert(error);
                }
                Ok(())
            }
            Ok(()) if piece.has_any || piece.is_full => Ok(()),
            Err(error) => {
                *damage = None;
                Err(error)
            }
            Ok(()) => damage.take().map_or(Ok(()), Err),
        }
    }

    /// Gives the entries from `place` on to `visit`; 0 is the beginning.
    ///
    /// # Errors
    ///
    /// What was damaged, when all entries were given: what can be shown comes first.
    pub fn read(
        &self,
        tree: &Tree,
        place: u64,
        visit: &mut dyn FnMut(FolderEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(folder) = self.place.as_ref().filter(|_| place < PLACE_END) else {
            return Ok(());
        };
        let mut piece = Piece::default();
        let read = folder
            .view()
            .read_dir(folder.at, DirCursor(place), &mut |entry| {
                tree.fail_at(entry.name.bytes());
                let inode = if folder.space.has(entry.node) {
                    folder.space.number(entry.node.node.inode)
                } else {
                    tree.node_inside(folder, entry.node).number()
                };
                // Programs rely on the type, so what the directory does not tell is looked up.
                let file_type = entry.file_type.or_else(|| {
                    let metadata = folder.view().metadata(entry.node);
                    metadata.ok().map(|metadata| metadata.file_type)
                });
                piece.note(visit(FolderEntry {
                    name: entry.name.bytes(),
                    inode,
                    kind: file_type.map_or(FileKind::File, FileKind::from),
                    next: entry.next.0,
                }))
            });
        self.settle(place, &piece, tree.reported(&folder.space, read))
    }

    /// Gives the entries from `place` on to `visit`, each looked up, and counted if it is
    /// taken. One whose attributes cannot be read comes with none, for now.
    ///
    /// # Errors
    ///
    /// As [`Folder::read`].
    pub fn read_with_attributes(
        &self,
        tree: &Tree,
        place: u64,
        visit: &mut EntryVisitor<'_>,
    ) -> Result<()> {
        let Some(folder) = self.place.as_ref().filter(|_| place < PLACE_END) else {
            return Ok(());
        };
        let mut piece = Piece::default();
        let read = folder
            .view()
            .read_dir(folder.at, DirCursor(place), &mut |found| {
                tree.fail_at(found.name.bytes());
                let kind = found.file_type.map_or(FileKind::File, FileKind::from);
                let metadata = folder.view().metadata(found.node);
                let (mut attributes, lifetime) = match tree.reported(&folder.space, metadata) {
                    Ok(metadata) => (to_attributes(&metadata), FOR_EVER),
                    // Who looks at it asks again, and gets the error.
                    Err(_) => (Attributes::unknown(kind), Duration::ZERO),
                };
                attributes.inode = tree.nodes.hold(&tree.node_inside(folder, found.node));
                let counted = Counted {
                    tree,
                    inode: attributes.inode,
                };
                let entry = Entry {
                    attributes,
                    name_lifetime: lifetime,
                    attributes_lifetime: lifetime,
                };
                let flow = piece.note(visit(found.name.bytes(), found.next.0, &entry));
                if flow.is_continue() {
                    std::mem::forget(counted);
                }
                flow
            });
        self.settle(place, &piece, tree.reported(&folder.space, read))
    }
}
