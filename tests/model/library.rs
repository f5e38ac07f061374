//! The model against the library: sparse files go in by ingest and by a stream, images
//! come out by the reader, restore gives the same file back.

use crate::operations::{Operation, content, for_each_sequence, moved, punch, write};
use crate::support::{Scratch, expected_ranges};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tintype::backend::MemoryBackend;
use tintype::base::{Progress, ReadAt, Timestamp};
use tintype::image::Image;
use tintype::snapshot::{
    Catalog, IngestOptions, Labels, Snapshot, SnapshotKind, SnapshotType, ingest, ingest_stream,
    restore,
};
use tintype::source;
use tintype::store::{InitOptions, OpenOptions, Store};

/// A store in memory, the image as a file and as bytes, and what was published.
struct World {
    scratch: Scratch,
    backend: Arc<MemoryBackend>,
    catalog: Arc<Catalog>,
    file: File,
    model: Vec<u8>,
    published: Vec<(Arc<Snapshot>, Vec<u8>)>,
    number: usize,
}

fn open(backend: &Arc<MemoryBackend>) -> Arc<Catalog> {
    let options = OpenOptions {
        cache_len_bytes: 1 << 20,
        thread_count: 2,
    };
    let store = Store::open(backend.clone(), &options).expect("the store opens");
    Catalog::open(store).expect("the catalog opens")
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        let backend = Arc::new(MemoryBackend::default());
        Store::init(backend.as_ref(), &InitOptions::default()).expect("a store");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(scratch.join("image"))
            .expect("a file");
        Self {
            catalog: open(&backend),
            scratch,
            backend,
            file,
            model: vec![],
            published: vec![],
            number: 0,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write {
                offset,
                len,
                seed,
                fill,
            } => {
                self.write(offset, &content(len, seed, fill));
            }
            Operation::Truncate { len } => {
                self.model.resize(len as usize, 0);
                self.file.set_len(len).expect("truncate");
            }
            Operation::Punch { offset, len } => {
                punch(&mut self.model, offset, len);
                // The file gets the same bytes; whether as a hole is up to the others.
                let end = (offset + len).min(self.model.len() as u64);
                if offset < end {
                    self.file
                        .write_all_at(&vec![0; (end - offset) as usize], offset)
                        .expect("write");
                }
            }
            Operation::Move { from, to, len } => {
                if let Some((to, bytes)) = moved(&self.model, from, to, len) {
                    self.write(to, &bytes);
                }
            }
            Operation::Snapshot => self.publish(),
            Operation::Delete { which } => self.delete(which),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        write(&mut self.model, offset, bytes);
        self.file.write_all_at(bytes, offset).expect("write");
    }

    fn publish(&mut self) {
        self.number += 1;
        let options = IngestOptions {
            resource: format!("resource{}", self.number % 2),
            labels: Labels {
                name: Some(format!("n{}", self.number)),
                ..Labels::default()
            },
            kind: SnapshotKind::Machine,
            snapshot_type: SnapshotType::Snapshot,
            created_at: Timestamp::now(),
            warnings: vec![],
            discarded_len_bytes: None,
        };
        let progress = Arc::new(Progress::default());
        let snapshot = if self.number.is_multiple_of(3) {
            ingest_stream(
                &self.catalog,
                &mut self.model.as_slice(),
                options,
                &progress,
            )
        } else {
            let source = source::open(&self.scratch.join("image")).expect("a source");
            ingest(&self.catalog, &source, options, &progress)
        };
        self.published
            .push((snapshot.expect("published"), self.model.clone()));
        // A reader that has cached nothing sees the same.
        if self.number.is_multiple_of(2) {
            self.catalog = open(&self.backend);
        }
    }

    fn delete(&mut self, which: usize) {
        if self.published.is_empty() {
            return;
        }
        let (snapshot, _) = self.published.remove(which % self.published.len());
        self.catalog.delete(&snapshot.manifest.id).expect("deleted");
    }

    fn check(&self) {
        for catalog in [self.catalog.clone(), open(&self.backend)] {
            let state = catalog.state();
            let listed: Vec<_> = state
                .snapshots()
                .map(|snapshot| snapshot.manifest.id)
                .collect();
            let expected: Vec<_> = self
                .published
                .iter()
                .map(|(snapshot, _)| snapshot.manifest.id)
                .collect();
            assert_eq!(listed, expected, "what is listed, in order");
            for (snapshot, bytes) in &self.published {
                check_image(&catalog.image(snapshot), bytes);
            }
        }
        if let Some((snapshot, bytes)) = self.published.last() {
            let path = self.scratch.join("restored");
            let _ = std::fs::remove_file(&path);
            let target = source::open_target(&path, bytes.len() as u64, false).expect("a target");
            let image = self.catalog.image(snapshot);
            restore(&image, target.as_ref(), &Arc::new(Progress::default())).expect("restored");
            drop(target);
            assert!(
                std::fs::read(&path).expect("read") == *bytes,
                "the restored file differs"
            );
        }
    }
}

/// Compares bytes, data ranges, and reads across every kind of boundary.
fn check_image(image: &Image, bytes: &[u8]) {
    assert_eq!(image.len(), bytes.len() as u64);
    let mut target = vec![0xEE; bytes.len()];
    image.read_exact_at(0, &mut target).expect("read");
    assert!(target == bytes, "the image differs from the model");
    assert_eq!(ranges_of(image), expected_ranges(bytes));
    for start in (0..bytes.len()).step_by(777_777) {
        let end = bytes.len().min(start + 100_001);
        let mut part = vec![0; end - start];
        image.read_exact_at(start as u64, &mut part).expect("read");
        assert!(part == bytes[start..end], "a read at {start} differs");
    }
    assert!(
        image.read_exact_at(bytes.len() as u64, &mut [0]).is_err(),
        "beyond the end"
    );
}

fn ranges_of(image: &Image) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(start) = image.next_data(at).expect("next_data") {
        at = image.next_hole(start).expect("next_hole");
        ranges.push(start..at);
        if at >= image.len() {
            break;
        }
    }
    ranges
}

#[test]
fn images_are_what_was_written() {
    for_each_sequence(24, 2000, |list| {
        let mut world = World::new();
        list.iter().for_each(|operation| world.apply(operation));
        world.check();
    });
}
