//! What is recognised and not done: fast commits, journals on other devices, and the
//! folding of names without the kernel's own tables. The images are those that the
//! fuzzers start from.

use crate::pages::{Base, Image};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use tintype::filesystem::{
    BlockCache, Consistency, DirCursor, ErrorKind, FileSystem, Name, NodeId, OpenOptions,
};

fn open(name: &str) -> Arc<dyn FileSystem> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz/ext");
    let path = PathBuf::from(folder).join(format!("{name}.pages.zst"));
    let base = Arc::new(Base::load(&path).unwrap());
    let len = base.len;
    let options = OpenOptions::new(BlockCache::new(4 << 20));
    tintype::filesystem::open(Arc::new(Image::new(base, len)), &options).unwrap()
}

fn lookup(fs: &dyn FileSystem, directory: NodeId, name: &str) -> Option<NodeId> {
    let name = Name::new(name.as_bytes()).unwrap();
    fs.lookup(directory, name).unwrap()
}

/// Nobody may throw away what such a file system does not name.
fn assert_no_free_space(fs: &dyn FileSystem) {
    let result = fs.allocated_ranges(&mut |_| ControlFlow::Continue(()));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
}

/// The image was copied behind an `fsync` that made fast commits of the transaction
/// that a full commit would have had next (`debugfs -R "logdump -a"` shows them).
#[test]
fn fast_commits_are_said_and_not_shown_in_part() {
    let fs = open("fast-commits");
    let Consistency::Dirty { reason } = fs.summary().consistency else {
        panic!("{:?}", fs.summary().consistency);
    };
    assert!(reason.contains("fast commits"), "{reason}");
    assert!(fs.summary().features.contains(&"fast_commit".to_owned()));
    assert_no_free_space(&*fs);
}

/// The same, when the last full commit is newer than the area of fast commits.
#[test]
fn a_journal_without_fast_commits_of_its_end_is_replayed() {
    let fs = open("fast-commit");
    assert_eq!(fs.summary().consistency, Consistency::Replayed);
    let later = lookup(&*fs, fs.root(), "later").unwrap();
    let last = lookup(&*fs, later, "last").unwrap();
    let mut content = [0; 8];
    assert_eq!(fs.read_at(last, 0, &mut content).unwrap(), 4);
    assert_eq!(content[..4], *b"last");
    assert_eq!(lookup(&*fs, fs.root(), "many"), None);
}

#[test]
fn a_journal_on_another_device_is_said() {
    let fs = open("external");
    let Consistency::Dirty { reason } = fs.summary().consistency else {
        panic!("{:?}", fs.summary().consistency);
    };
    assert!(reason.contains("another device"), "{reason}");
    assert_no_free_space(&*fs);
}

#[test]
fn a_directory_that_folds_is_told_and_finds_names_in_any_case() {
    let fs = open("casefold-dir");
    assert!(fs.summary().features.contains(&"casefold".to_owned()));
    let many = lookup(&*fs, fs.root(), "many").unwrap();
    assert!(fs.metadata(many).unwrap().flags.is_casefold);
    let exact = lookup(&*fs, many, "002-nn");
    assert!(exact.is_some());
    assert_eq!(lookup(&*fs, many, "002-NN"), exact);
    assert_eq!(lookup(&*fs, many, "002-Nx"), None);
    // The directory above does not fold.
    assert!(!fs.metadata(fs.root()).unwrap().flags.is_casefold);
    assert_eq!(lookup(&*fs, fs.root(), "MANY"), None);
    let mut names = vec![];
    fs.read_dir(many, DirCursor::START, &mut |entry| {
        names.push(entry.name.bytes().to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(names.len(), 40);
}
