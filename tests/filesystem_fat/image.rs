//! Images in files and in memory, with holes and with changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{
    BlockCache, DirCursor, ErrorKind, FileExtent, FileSystem, Name, NodeId, OpenOptions, Result,
};

const PAGE_LEN: u64 = 4096;

/// A file that is read as an image.
pub struct FileImage {
    file: File,
    len: u64,
}

impl FileImage {
    pub fn open(path: &Path) -> Arc<dyn ReadAt> {
        let file = File::open(path).expect("an image");
        let len = file.metadata().expect("a length").len();
        Arc::new(Self { file, len })
    }
}

impl ReadAt for FileImage {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(target, offset)
    }
}

/// An image of pages over zeros or over other bytes.
#[derive(Clone)]
pub struct Pages {
    base: Arc<Vec<u8>>,
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Pages {
    /// Zeros.
    pub fn new(len: u64) -> Self {
        Self {
            base: Arc::new(vec![]),
            len,
            pages: BTreeMap::new(),
        }
    }

    /// Bytes to be changed.
    pub fn over(base: &Arc<Vec<u8>>) -> Self {
        Self {
            base: Arc::clone(base),
            len: base.as_slice().len() as u64,
            pages: BTreeMap::new(),
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (place, byte) in (offset..).zip(bytes) {
            let start = place / PAGE_LEN * PAGE_LEN;
            if !self.pages.contains_key(&start) {
                let mut page = vec![0; PAGE_LEN as usize];
                self.read_base(start, &mut page);
                self.pages.insert(start, page);
            }
            let page = self.pages.get_mut(&start).expect("made above");
            page[(place - start) as usize] = *byte;
        }
    }

    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exact_at(offset, &mut bytes).expect("inside");
        bytes
    }

    fn read_base(&self, offset: u64, target: &mut [u8]) {
        let base = self.base.get(offset as usize..).unwrap_or_default();
        let len = base.len().min(target.len());
        target[..len].copy_from_slice(&base[..len]);
        target[len..].fill(0);
    }
}

impl ReadAt for Pages {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        let end = offset + target.len() as u64;
        if end > self.len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(offset, target);
        for (start, page) in self.pages.range(offset / PAGE_LEN * PAGE_LEN..end) {
            let (from, to) = (offset.max(*start), end.min(start + PAGE_LEN));
            let part = &page[(from - start) as usize..(to - start) as usize];
            target[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }
}

/// Opens an image with a small cache.
pub fn open(image: Arc<dyn ReadAt>) -> Result<Arc<dyn FileSystem>> {
    let options = OpenOptions::new(BlockCache::new(4 << 20));
    tintype::filesystem::open(image, &options)
}

/// Finds a node by its path.
pub fn find(fs: &dyn FileSystem, path: &str) -> Result<Option<NodeId>> {
    let mut node = fs.root();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match fs.lookup(node, Name::new(name.as_bytes()).expect("a name"))? {
            Some(found) => node = found,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

/// Lists the names of a directory; the error is what came behind them.
pub fn names(fs: &dyn FileSystem, node: NodeId) -> (Vec<String>, Result<()>) {
    let mut names = vec![];
    let result = fs.read_dir(node, DirCursor::START, &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name.bytes()).into_owned());
        ControlFlow::Continue(())
    });
    (names, result)
}

/// Reads a whole file.
pub fn content(fs: &dyn FileSystem, node: NodeId) -> Result<Vec<u8>> {
    let size = fs.metadata(node)?.size;
    let mut bytes = vec![0; usize::try_from(size).expect("a small file")];
    let count = fs.read_at(node, 0, &mut bytes)?;
    assert_eq!(count, bytes.len());
    Ok(bytes)
}

/// Finds a node that is there.
pub fn node(fs: &dyn FileSystem, path: &str) -> NodeId {
    find(fs, path).unwrap().expect(path)
}

/// Returns the kind of an error.
pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

/// Returns the bytes in extents; the error is what came behind them.
pub fn extents(fs: &dyn FileSystem, node: NodeId) -> (u64, Result<()>) {
    let mut len = 0;
    let result = fs.extents(node, 0, &mut |extent: FileExtent| {
        len += extent.len;
        ControlFlow::Continue(())
    });
    (len, result)
}
