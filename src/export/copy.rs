//! A file or a tree of an image, copied to a folder of this machine. One thread walks
//! and makes directories and links; the others make and fill files, large ones in pieces.
//! Memory is bounded by a queue, except for what [`Walk`](super::Walk) and the table of
//! hard links take.

use super::content::BUFFER_LEN;
use super::error::{Error, Result};
use super::file::{Item, NewFile};
use super::folder::Folder;
use super::links::{First, HardLinks, LinkId};
use super::report::{Counters, Report, Totals};
use super::target::{self, TemporaryNames};
use super::walk::{Found, Step, Walk};
use super::{hard_link, special};
use crate::base::Progress;
use crate::contents::{View, ViewNode};
use crate::filesystem::{FileType, Metadata};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files from this size on are copied in pieces by several threads.
const LARGE_LEN: u64 = 8 << 20;
/// Bytes of a piece, all inside one range of this length.
const PIECE_LEN: u64 = 4 << 20;
/// Jobs that wait; each holds a directory of the target open.
const QUEUE_LEN: usize = 256;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Set owner and group.
    pub owner: bool,
    /// Set extended attributes and ACLs.
    pub attributes: bool,
    /// Make names of one file hard links.
    pub links: bool,
    /// Replace files that are there; never directories.
    pub force: bool,
    /// Make holes of blocks of zeros, too.
    pub sparse: bool,
    /// Keep files that are damaged, with zeros where nothing can be read.
    pub keep_damaged: bool,
    /// Threads that fill files.
    pub thread_count: usize,
}

/// What is copied.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The files of the image.
    pub view: &'a View,
    /// The file or directory.
    pub node: ViewNode,
}

/// Where it goes.
#[derive(Debug)]
pub enum Target {
    /// To a name in a directory; a directory that has the name already is added to.
    Named {
        /// The directory.
        folder: OwnedFd,
        /// The name, one component.
        name: Vec<u8>,
    },
    /// Into a directory: what is in the source, which must be one as well.
    Into(OwnedFd),
}

/// What all threads of one copy share.
pub(super) struct Shared<'a> {
    pub(super) view: &'a View,
    pub(super) options: &'a CopyOptions,
    pub(super) report: &'a dyn Report,
    pub(super) progress: &'a Progress,
    pub(super) links: &'a HardLinks,
    pub(super) counters: Counters,
    /// The directory of the target that links are remembered from, and the name in it of
    /// what is copied: empty if it goes into the directory itself.
    pub(super) root: OwnedFd,
    own_name: Vec<u8>,
    fatal: Mutex<Option<Error>>,
    stops: AtomicBool,
    temporary_names: TemporaryNames,
}

impl Shared<'_> {
    /// Tells whether the work is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stops.load(Ordering::Relaxed) || self.progress.is_cancelled()
    }

    /// Tells that something failed, and stops everything if nothing else can succeed.
    pub(super) fn failed(&self, path: &[u8], error: Error) {
        if error.is_fatal() {
            // In this order: who sees the stop fails as well, and only the first counts.
            self.fatal.lock().get_or_insert_with(|| error.at(path));
            self.stops.store(true, Ordering::Relaxed);
        } else {
            self.report.failed(path, &error);
        }
    }

    /// Returns names for what replaces something; none if nothing is to be replaced.
    pub(super) fn names_beside(&self) -> Option<&TemporaryNames> {
        self.options.force.then_some(&self.temporary_names)
    }

    /// Removes the links to a file that failed.
    pub(super) fn remove_links(&self, node: ViewNode, link: LinkId) {
        for path in self.links.fail(node, link) {
            let (folder, name) = target::split_path(&path);
            let removed = target::open_below(&self.root, folder)
                .and_then(|folder| target::make_room(folder, name));
            let error = removed.err().unwrap_or(Error::SameFile);
            let below = path.strip_prefix(self.own_name.as_slice());
            let below = below.map(|path| path.strip_prefix(b"/").unwrap_or(path));
            self.failed(below.unwrap_or(&path), error);
        }
    }

    /// Returns where something lies from the root, which is at `path` of what is copied.
    pub(super) fn path_from_root(&self, path: &[u8]) -> Vec<u8> {
        let parts = [self.own_name.as_slice(), path];
        let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(&b'/')
    }
}

enum Work<'a> {
    /// Something to make and fill.
    Item(Item<'a>),
    /// A small file that is made already.
    Whole(NewFile<'a>),
    /// A piece of a large one.
    Piece(Arc<NewFile<'a>>, Range<u64>),
}

/// Copies a file or a tree. What fails alone is told to `report`, and the rest goes on.
/// `links` is what copies of the same view into the same directory have met before.
///
/// # Errors
///
/// Interrupted when `progress` is cancelled; what the system said if nothing at all can be
/// written (the disk is full); Exists if the source is a directory and its target is
/// something else.
pub fn copy(
    source: Source<'_>,
    target: Target,
    links: &HardLinks,
    options: &CopyOptions,
    report: &dyn Report,
    progress: &Progress,
) -> Result<Totals> {
    let metadata = source.view.metadata(source.node)?;
    let is_tree = metadata.file_type == FileType::Directory;
    let mut is_new = false;
    let (root, own_name, folder) = match target {
        Target::Named { folder, name } if is_tree => {
            let (below, is_made) = target::make_folder(&folder, &name)?;
            is_new = is_made;
            (folder, name, below)
        }
        Target::Named { folder, name } => (again(&folder)?, name, folder),
        Target::Into(folder) if is_tree => (again(&folder)?, vec![], folder),
        Target::Into(_) => {
            return Err(Error::Exists {
                what: "a directory",
            });
        }
    };
    let name = if is_tree { vec![] } else { own_name.clone() };
    let shared = Shared {
        view: source.view,
        options,
        report,
        progress,
        links,
        counters: Counters::default(),
        root,
        own_name,
        fatal: Mutex::new(None),
        stops: AtomicBool::new(false),
        temporary_names: TemporaryNames::new(),
    };
    let own = is_tree.then_some((source.node, metadata, is_new));
    let found = Found {
        name,
        node: source.node,
        metadata,
    };
    run(&shared, folder, own, found);
    if let Some(error) = shared.fatal.lock().take() {
        return Err(error);
    }
    if progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(shared.counters.totals())
}

fn again(folder: &OwnedFd) -> Result<OwnedFd> {
    folder.try_clone().map_err(|source| Error::Target {
        action: "opening the directory again".into(),
        source,
    })
}

fn run<'a>(
    shared: &'a Shared<'a>,
    folder: OwnedFd,
    own: Option<(ViewNode, Metadata, bool)>,
    found: Found,
) {
    std::thread::scope(|scope| {
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE_LEN);
        for _ in 0..shared.options.thread_count.max(1) {
            let receiver = receiver.clone();
            scope.spawn(|| work(shared, receiver));
        }
        drop(receiver);
        let giver = Giver { shared, sender };
        let source = own.map(|(node, metadata, _)| (node, metadata));
        let is_new = own.is_some_and(|(_, _, is_new)| is_new);
        let top = Arc::new(Folder::given(shared, folder, source, is_new));
        if own.is_some() {
            giver.walk(top, found.node);
        } else {
            giver.give(&top, found, b"");
        }
    });
}

fn work<'a>(shared: &'a Shared<'a>, receiver: Receiver<Work<'a>>) {
    let mut buffer = vec![0; BUFFER_LEN];
    for work in receiver {
        if shared.is_stopping() {
            // Others may hold the file yet, and must not take it for whole.
            if let Work::Piece(file, _) = work {
                file.fail(Error::Interrupted);
            }
            continue;
        }
        // A panic in a reader costs this file and no other.
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Item(item) => make(shared, item, &mut buffer),
            Work::Whole(file) => file.copy_whole(&mut buffer),
            Work::Piece(file, range) => {
                let copy = AssertUnwindSafe(|| file.copy_piece(range, &mut buffer));
                if catch_unwind(copy).is_err() {
                    file.fail(Error::Fault);
                }
                if let Some(file) = Arc::into_inner(file) {
                    file.finish();
                }
            }
        }));
        if done.is_err() {
            shared.failed(b"", Error::Fault);
        }
    }
}

fn make<'a>(shared: &'a Shared<'a>, item: Item<'a>, buffer: &mut [u8]) {
    if item.metadata.file_type == FileType::Regular {
        let path = item.path.clone();
        match NewFile::create(shared, item) {
            Ok(file) => file.copy_whole(buffer),
            Err(error) => shared.failed(&path, error),
        }
    } else if let Err(error) = special::make(shared, &item) {
        shared.failed(&item.path, error);
    }
}

/// Walks and gives work to the others.
struct Giver<'a> {
    shared: &'a Shared<'a>,
    sender: Sender<Work<'a>>,
}

impl<'a> Giver<'a> {
    fn walk(&self, top: Arc<Folder<'a>>, start: ViewNode) {
        let shared = self.shared;
        let mut walk = Walk::new(shared.view, start);
        let mut folders = vec![top];
        while let Some(step) = walk.next() {
            let Some(folder) = folders.last().filter(|_| !shared.is_stopping()) else {
                return;
            };
            match step {
                Step::Left => drop(folders.pop()),
                Step::Failed(error) => shared.failed(walk.path(), error.into()),
                Step::Other(found) => self.give(folder, found, walk.path()),
                Step::Directory(found) => {
                    let own = (found.node, found.metadata);
                    match Folder::enter(folder, &found.name, walk.path(), own) {
                        Ok(folder) => folders.push(Arc::new(folder)),
                        Err(error) => {
                            shared.failed(walk.path(), error);
                            walk.skip();
                        }
                    }
                }
            }
        }
    }

    fn give(&self, folder: &Arc<Folder<'a>>, found: Found, path: &[u8]) {
        let shared = self.shared;
        let item = Item {
            folder: Arc::clone(folder),
            name: found.name,
            path: path.to_vec(),
            node: found.node,
            metadata: found.metadata,
        };
        let is_regular = item.metadata.file_type == FileType::Regular;
        let has_links = shared.options.links && item.metadata.link_count > 1;
        if has_links && hard_link::make(shared, &item) {
            return;
        }
        if has_links && !is_regular {
            self.make_linked(&item);
            return;
        }
        let is_large = is_regular && item.metadata.size >= LARGE_LEN;
        if !has_links && !is_large {
            self.send(Work::Item(item));
            return;
        }
        let (node, count) = (item.node, item.metadata.link_count);
        let created = NewFile::create(shared, item).and_then(|mut file| {
            if has_links {
                file.expect_links()?;
            }
            Ok(file)
        });
        match created {
            Ok(file) if is_large => self.give_pieces(file),
            Ok(file) => self.send(Work::Whole(file)),
            Err(error) => {
                shared.failed(path, error);
                if has_links {
                    shared.links.refuse(node, count);
                }
            }
        }
    }

    fn send(&self, work: Work<'a>) {
        // Nobody takes it only when all have ended: then there is nothing to do.
        drop(self.sender.send(work));
    }

    fn give_pieces(&self, file: NewFile<'a>) {
        let file = Arc::new(file);
        let given = file.for_each_piece(PIECE_LEN, |range| {
            self.send(Work::Piece(Arc::clone(&file), range));
        });
        if let Err(error) = given {
            file.fail(error);
        }
        if let Some(file) = Arc::into_inner(file) {
            file.finish();
        }
    }

    /// Makes a link, device, pipe or socket that has several names.
    fn make_linked(&self, item: &Item<'a>) {
        let shared = self.shared;
        let (node, count) = (item.node, item.metadata.link_count);
        match special::make(shared, item) {
            Ok(Some(identity)) => {
                let first = First {
                    path: shared.path_from_root(&item.path),
                    identity,
                    is_hidden: false,
                };
                if let Some(link) = shared.links.begin(node, first, count) {
                    shared.links.done(node, link);
                }
            }
            // The next name is tried, and told, on its own.
            Ok(None) => {}
            Err(error) => {
                shared.failed(&item.path, error);
                shared.links.refuse(node, count);
            }
        }
    }
}
