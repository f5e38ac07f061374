//! Looks at everything that a reader gives, and holds it to what its trait promises,
//! whatever the image: an error, or data of the promised form.

use crate::image::Image;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{
    BlockCache, DirCursor, ExtentPlace, FileExtent, FileSystem, FileType, Metadata, Name, NodeId,
    OpenOptions, XATTR_VALUE_LEN_MAX,
};

/// Bytes of the cache of metadata in a run.
pub const CACHE_LEN: usize = 1 << 20;

/// What one walk looks at, at most.
const NODE_COUNT_MAX: usize = 600;
const ENTRY_COUNT_MAX: usize = 6000;
const EXTENT_COUNT_MAX: usize = 4000;
const XATTR_COUNT_MAX: usize = 600;
const RANGE_COUNT_MAX: usize = 100_000;

/// Entries of one directory that are looked up, and bytes of one file that are read.
const LOOKUP_COUNT_MAX: usize = 24;
const READ_LEN: usize = 32 << 10;

/// Cursors are below this by the trait.
const CURSOR_END: u64 = 1 << 62;

/// Opens the file system that fills the image, and walks it; returns how many nodes
/// there were.
pub fn file_system(image: &Arc<Image>) -> usize {
    let options = OpenOptions::new(BlockCache::new(CACHE_LEN));
    let readable: Arc<dyn ReadAt> = Arc::<Image>::clone(image);
    match tintype::filesystem::open(readable, &options) {
        Ok(fs) => Walk::new(&*fs, image).run(),
        Err(_) => 0,
    }
}

struct Walk<'a> {
    fs: &'a dyn FileSystem,
    image: &'a Image,
    buffer: Vec<u8>,
    entries_left: usize,
    extents_left: usize,
    xattrs_left: usize,
    pending: Vec<NodeId>,
}

impl<'a> Walk<'a> {
    fn new(fs: &'a dyn FileSystem, image: &'a Image) -> Self {
        Self {
            fs,
            image,
            buffer: vec![0; READ_LEN],
            entries_left: ENTRY_COUNT_MAX,
            extents_left: EXTENT_COUNT_MAX,
            xattrs_left: XATTR_COUNT_MAX,
            pending: vec![],
        }
    }

    fn run(mut self) -> usize {
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        // Forged numbers first: they are never more than an error.
        for number in [0, 1, 3, 7, 11, 0xFFFF_FFFF, 1 << 40, u64::MAX] {
            self.pending.push(NodeId::new(number));
        }
        self.pending.push(NodeId {
            subvolume: 5,
            inode: 256,
        });
        self.pending.push(self.fs.root());
        while let Some(node) = self.pending.pop() {
            if seen.insert(node) && seen.len() <= NODE_COUNT_MAX {
                count += usize::from(self.node(node));
            }
        }
        let _ = self.fs.statfs();
        self.allocated_ranges();
        count
    }

    /// Looks at a node; tells whether there is one.
    fn node(&mut self, node: NodeId) -> bool {
        let metadata = self.fs.metadata(node).ok();
        if let Some(metadata) = &metadata {
            assert_eq!(self.fs.metadata(node).ok().as_ref(), Some(metadata));
            for time in [metadata.accessed, metadata.modified, metadata.changed] {
                assert!(time.nanoseconds < 1_000_000_000, "a second of nanoseconds");
            }
        }
        if let Ok(target) = self.fs.read_link(node) {
            assert!(target.len() <= 65_536, "a target of {}", target.len());
        }
        self.xattrs(node);
        self.directory(node);
        let extents = self.extents(node, 0);
        self.content(node, metadata.as_ref(), &extents);
        if let Some(middle) = extents.get(extents.len() / 2) {
            let behind = self.extents(node, middle.offset);
            let first = behind.first().map(|extent| extent.offset);
            // In a changed image keys of a tree may contradict its leaves, and so may a
            // walk along the leaves and one down the tree: neither is more right.
            let is_there = !self.image.is_whole()
                || first.is_none_or(|first| first <= middle.offset)
                || extents.len() == 1;
            assert!(is_there, "extents from {} on: {first:?}", middle.offset);
        }
        metadata.is_some()
    }

    fn xattrs(&mut self, node: NodeId) {
        for name in self.fs.xattr_names(node).unwrap_or_default() {
            if self.xattrs_left == 0 {
                return;
            }
            self.xattrs_left -= 1;
            if let Ok(Some(value)) = self.fs.xattr(node, &name) {
                assert!(value.len() <= XATTR_VALUE_LEN_MAX, "{} bytes", value.len());
            }
        }
        let _ = self.fs.xattr(node, b"user.not-there");
    }

    fn directory(&mut self, node: NodeId) {
        let mut entries: Vec<(Vec<u8>, NodeId, DirCursor)> = vec![];
        let mut cursors = BTreeSet::from([DirCursor::START]);
        let left = &mut self.entries_left;
        let _ = self.fs.read_dir(node, DirCursor::START, &mut |entry| {
            if *left == 0 {
                return ControlFlow::Break(());
            }
            *left -= 1;
            assert!(entry.next.0 < CURSOR_END, "{:?}", entry.next);
            assert!(cursors.insert(entry.next), "{:?} twice", entry.next);
            entries.push((entry.name.bytes().to_vec(), entry.node, entry.next));
            ControlFlow::Continue(())
        });
        let step = (entries.len() / LOOKUP_COUNT_MAX).max(1);
        for (name, _, _) in entries.iter().step_by(step) {
            let name = Name::new(name).expect("a name that was given is one");
            let _ = self.fs.lookup(node, name);
        }
        if !entries.is_empty() {
            let missing = Name::new(b"not there").expect("a name");
            let _ = self.fs.lookup(node, missing);
        }
        self.resume(node, &entries);
        self.pending
            .extend(entries.iter().map(|(_, child, _)| *child));
    }

    /// A listing goes on behind the cursor of any entry as it did before.
    fn resume(&self, node: NodeId, entries: &[(Vec<u8>, NodeId, DirCursor)]) {
        for place in [0, entries.len() / 2] {
            let (Some((_, _, cursor)), Some(expected)) =
                (entries.get(place), entries.get(place + 1))
            else {
                return;
            };
            let mut found = None;
            let _ = self.fs.read_dir(node, *cursor, &mut |entry| {
                found = Some((entry.name.bytes().to_vec(), entry.node, entry.next));
                ControlFlow::Break(())
            });
            assert_eq!(found.as_ref(), Some(expected), "behind {cursor:?}");
        }
    }

    fn extents(&mut self, node: NodeId, offset: u64) -> Vec<FileExtent> {
        let mut extents: Vec<FileExtent> = vec![];
        let left = &mut self.extents_left;
        let mut last_end = 0;
        let _ = self.fs.extents(node, offset, &mut |extent| {
            if *left == 0 {
                return ControlFlow::Break(());
            }
            *left -= 1;
            assert!(extent.len > 0, "an empty extent");
            assert!(extent.offset >= last_end, "{extent:?} before {last_end}");
            last_end = extent.offset.checked_add(extent.len).expect("an end");
            if let ExtentPlace::Image { offset } = extent.place {
                assert!(offset.checked_add(extent.len).is_some(), "{extent:?}");
            }
            extents.push(extent);
            ControlFlow::Continue(())
        });
        extents
    }

    fn content(&mut self, node: NodeId, metadata: Option<&Metadata>, extents: &[FileExtent]) {
        let size = metadata.map_or(0, |metadata| metadata.size);
        let is_regular = metadata.is_some_and(|metadata| metadata.file_type == FileType::Regular);
        self.image.note(false);
        let ends = [0, size / 2, size.saturating_sub(4096), u64::MAX - 10];
        let inside = extents.iter().take(6).map(|extent| extent.offset);
        for offset in ends.into_iter().chain(inside) {
            let result = self.fs.read_at(node, offset, &mut self.buffer);
            if let Ok(count) = result {
                assert!(is_regular, "content of {metadata:?}");
                let expected = size.saturating_sub(offset).min(self.buffer.len() as u64);
                assert_eq!(count as u64, expected, "at {offset} of {size}");
            }
        }
        for extent in extents.iter().take(6) {
            self.compare(node, size, extent);
        }
        self.image.note(true);
    }

    /// What lies in the image as it is reads as that.
    fn compare(&mut self, node: NodeId, size: u64, extent: &FileExtent) {
        let ExtentPlace::Image { offset } = extent.place else {
            return;
        };
        let len = extent.len.min(size.saturating_sub(extent.offset)).min(512);
        let mut direct = vec![0; len as usize];
        let is_there = self.image.read_exact_at(offset, &mut direct).is_ok();
        let read = self
            .fs
            .read_at(node, extent.offset, &mut self.buffer[..len as usize]);
        if let (Ok(count), true) = (read, is_there) {
            assert_eq!(count, direct.len(), "{extent:?}");
            let is_same = direct == self.buffer[..count];
            let is_doubtful = !self.image.is_whole();
            assert!(is_same || is_doubtful, "{extent:?} is not what is read");
        }
    }

    fn allocated_ranges(&self) {
        let (mut count, mut last_end) = (0, 0);
        let _ = self.fs.allocated_ranges(&mut |range| {
            assert!(range.start < range.end, "{range:?}");
            assert!(range.start >= last_end, "{range:?} before {last_end}");
            last_end = range.end;
            count += 1;
            if count < RANGE_COUNT_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
}
