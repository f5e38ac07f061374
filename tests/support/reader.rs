//! Image files, and short ways to ask a reader of a file system.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{
    BlockCache, DirCursor, ErrorKind, FileExtent, FileSystem, Name, NodeId, OpenOptions, Result,
};

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

/// Returns the images of the folder that an environment variable names, if it is set.
pub fn images_of(variable: &str) -> Option<Vec<PathBuf>> {
    let folder = std::env::var_os(variable)?;
    let mut images: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of images")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    images.sort();
    assert!(!images.is_empty(), "no image in the folder");
    Some(images)
}
