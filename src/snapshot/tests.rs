//! The catalog and whole snapshots, in memory.

use super::*;
use crate::backend::{Backend, MemoryBackend};
use crate::base::{Progress, ReadAt, SnapshotId, Timestamp};
use crate::source::RestoreTarget;
use crate::store::{InitOptions, Kind, OpenOptions, Store};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(backend: &Arc<MemoryBackend>) -> Arc<Catalog> {
    let options = OpenOptions {
        cache_len_bytes: 16 << 20,
        thread_count: 2,
    };
    Catalog::open(Store::open(backend.clone(), &options).unwrap()).unwrap()
}

fn new_catalog() -> (Arc<MemoryBackend>, Arc<Catalog>) {
    let backend = Arc::new(MemoryBackend::new());
    Store::init(&*backend, &InitOptions::default()).unwrap();
    let catalog = open(&backend);
    (backend, catalog)
}

fn manifest(resource: &str, seconds: i64) -> Manifest {
    Manifest {
        id: SnapshotId::random(),
        resource: resource.to_owned(),
        kind: SnapshotKind::Volume,
        snapshot_type: SnapshotType::Snapshot,
        created_at: Timestamp::from_nanoseconds(seconds * 1_000_000_000),
        image_len_bytes: 4096,
        allocated_len_bytes: 0,
        added_len_bytes: 0,
        map_root: None,
        warnings: vec![],
        discarded_len_bytes: None,
        replaces: None,
    }
}

fn named(name: &str) -> Labels {
    Labels {
        name: Some(name.to_owned()),
        ..Labels::default()
    }
}

fn options(resource: &str) -> IngestOptions {
    IngestOptions {
        resource: resource.to_owned(),
        labels: Labels::default(),
        kind: SnapshotKind::Volume,
        snapshot_type: SnapshotType::Snapshot,
        created_at: Timestamp::from_nanoseconds(1),
        warnings: vec![],
        discarded_len_bytes: None,
    }
}

#[test]
fn names_are_unique_and_latest_is_the_last_entry() {
    let (backend, catalog) = new_catalog();
    let first = catalog.create(manifest("web", 10), named("a")).unwrap();
    let second = catalog.create(manifest("web", 5), named("a")).unwrap();
    let third = catalog
        .create(manifest("web", 1), Labels::default())
        .unwrap();
    assert_eq!(first.path_name, "a");
    assert_eq!(second.path_name, "a~2");
    assert_eq!(third.path_name, "1970-01-01T00-00-01Z");
    for state in [catalog.state(), open(&backend).state()] {
        assert_eq!(state.latest("web").unwrap().manifest.id, third.manifest.id);
        assert_eq!(state.resolve("web").unwrap().manifest.id, third.manifest.id);
        assert_eq!(
            state.resolve("web@a~2").unwrap().manifest.id,
            second.manifest.id
        );
        assert_eq!(
            state.resolve("web@a").unwrap().manifest.id,
            first.manifest.id
        );
        assert_eq!(
            state.resolve("web@latest").unwrap().manifest.id,
            third.manifest.id
        );
        let prefix = first.manifest.id.to_string()[..12].to_owned();
        assert_eq!(
            state.resolve(&prefix).unwrap().manifest.id,
            first.manifest.id
        );
        assert_eq!(state.resolve("web@b").unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn revising_and_deleting_are_seen_by_others_and_survive_checkpoints() {
    let (backend, catalog) = new_catalog();
    let other = open(&backend);
    let ids: Vec<SnapshotId> = (0..100)
        .map(|number| {
            let resource = format!("r{}", number % 7);
            catalog
                .create(manifest(&resource, number), Labels::default())
                .unwrap()
                .manifest
                .id
        })
        .collect();
    let revised = catalog
        .revise(&ids[3], &mut |labels| {
            labels.name = Some("kept".to_owned());
            labels.tags = vec!["z".to_owned(), "b".to_owned(), "z".to_owned()];
        })
        .unwrap();
    assert_eq!(revised.labels.tags, ["b", "z"]);
    catalog.delete(&ids[4]).unwrap();
    assert!(
        catalog.revise(&ids[4], &mut |_| ()).is_err(),
        "it is in the trash"
    );
    assert!(other.refresh().unwrap());
    assert!(!other.refresh().unwrap());
    let names = backend.list("catalog").unwrap();
    assert!(names.iter().any(|name| name.starts_with("checkpoint-")));
    for state in [catalog.state(), other.state(), open(&backend).state()] {
        assert_eq!(state.snapshots().len(), 99);
        assert_eq!(state.with_tag("b")[0].path_name, "kept");
        assert!(state.get(&ids[4]).is_none());
        assert_eq!(state.trash().len(), 1);
        assert_eq!(state.sequence(), 102);
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_a_damaged_entry_is_named() {
    let (backend, catalog) = new_catalog();
    for number in 0..70 {
        catalog
            .create(manifest("r", number), Labels::default())
            .unwrap();
    }
    let checkpoint = backend
        .names()
        .into_iter()
        .find(|name| name.contains("checkpoint"))
        .unwrap();
    backend.damage(&checkpoint, |bytes| bytes[60] ^= 1);
    assert_eq!(open(&backend).state().snapshots().len(), 70);
    backend.damage("catalog/0000000000000066", |bytes| bytes[60] ^= 1);
    let options = OpenOptions::default();
    let store = Store::open(backend.clone(), &options).unwrap();
    let error = Catalog::open(store).unwrap_err();
    assert!(
        error.to_string().contains("catalog/0000000000000066"),
        "{error}"
    );
}

#[test]
fn held_snapshots_are_kept_and_replaced_ones_go_in_one_step() {
    let (_backend, catalog) = new_catalog();
    let held = catalog
        .create(
            manifest("r", 1),
            Labels {
                hold: true,
                ..named("a")
            },
        )
        .unwrap();
    assert!(catalog.delete(&held.manifest.id).is_err());
    let first = catalog.create(manifest("r", 2), named("b")).unwrap();
    let replacing = Manifest {
        replaces: Some(first.manifest.id),
        ..manifest("r", 3)
    };
    let second = catalog.create(replacing, named("b")).unwrap();
    assert_eq!(second.path_name, "b");
    assert_eq!(catalog.state().snapshots().len(), 2);
}

#[test]
fn writers_at_the_same_instant_lose_nothing_and_share_no_number() {
    let (backend, _catalog) = new_catalog();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let catalog = open(&backend);
            scope.spawn(move || {
                for number in 0..100 {
                    let resource = format!("thread{thread}");
                    catalog
                        .create(manifest(&resource, number), Labels::default())
                        .unwrap();
                }
            });
        }
    });
    let state = open(&backend).state();
    assert_eq!(state.snapshots().len(), 400);
    assert_eq!(state.sequence(), 400);
    assert!((0..4).all(|thread| state.of_resource(&format!("thread{thread}")).len() == 100));
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let len = word.len();
        word.copy_from_slice(&state.to_le_bytes()[..len]);
    }
    bytes
}

#[test]
fn streams_come_back_byte_for_byte() {
    let (_backend, catalog) = new_catalog();
    let progress = Arc::new(Progress::default());
    for len in [0, 1, 4095, 4096, 4097, 1 << 20, (3 << 20) + 5, 9 << 20] {
        let mut bytes = noise(len as u64, len);
        bytes
            .iter_mut()
            .skip(100_000)
            .take(2 << 20)
            .for_each(|byte| *byte = 0);
        let resource = format!("r{len}");
        let snapshot =
            ingest_stream(&catalog, &mut &bytes[..], options(&resource), &progress).unwrap();
        assert_eq!(snapshot.manifest.image_len_bytes, len as u64);
        let image = catalog.image(&snapshot);
        let mut back = vec![7; len];
        image.read_exact_at(0, &mut back).unwrap();
        assert!(back == bytes, "{len}");
        let mut streamed = vec![];
        restore_stream(&image, &mut streamed, &progress).unwrap();
        assert!(streamed == bytes, "{len}");
    }
}

#[test]
fn a_copy_in_another_store_is_equal_and_stores_only_what_is_missing() {
    let (_backend, catalog) = new_catalog();
    let (_other_backend, other) = new_catalog();
    let progress = Arc::new(Progress::default());
    let mut bytes = noise(1, 6 << 20);
    let first = ingest_stream(&catalog, &mut &bytes[..], options("r"), &progress).unwrap();
    bytes[1 << 20..(1 << 20) + 10].fill(1);
    let mut second = options("r");
    second.created_at = Timestamp::from_nanoseconds(2);
    let second = ingest_stream(&catalog, &mut &bytes[..], second, &progress).unwrap();
    copy(&catalog, &first, &other, &progress).unwrap();
    assert!(
        copy(&catalog, &first, &other, &progress).is_err(),
        "it is there already"
    );
    let copied = copy(&catalog, &second, &other, &progress).unwrap();
    assert!(
        copied.manifest.added_len_bytes < 10_000,
        "{:?}",
        copied.manifest
    );
    let mut back = vec![0; bytes.len()];
    other.image(&copied).read(0, &mut back).unwrap();
    assert!(back == bytes);
}

#[test]
fn stats_tell_what_a_snapshot_has_to_itself() {
    let (_backend, catalog) = new_catalog();
    let progress = Arc::new(Progress::default());
    let mut bytes = noise(1, 8 << 20);
    ingest_stream(&catalog, &mut &bytes[..], options("r"), &progress).unwrap();
    bytes[..64 << 10].copy_from_slice(&noise(2, 64 << 10));
    ingest_stream(&catalog, &mut &bytes[..], options("r"), &progress).unwrap();
    let stats = stats(&catalog, true, &progress).unwrap();
    assert_eq!(stats.unique_len_bytes, Some((8 << 20) + (64 << 10)));
    let exclusive: Vec<u64> = stats
        .snapshots
        .iter()
        .map(|s| s.exclusive_len_bytes)
        .collect();
    assert_eq!(exclusive, [64 << 10, 64 << 10]);
    assert_eq!(stats.snapshot_count, 2);
    assert!(stats.pack_len_bytes > 8 << 20);
}

#[test]
fn a_cancelled_ingest_leaves_no_snapshot_and_no_lease() {
    let (backend, catalog) = new_catalog();
    let progress = Arc::new(Progress::default());
    progress.cancel();
    let bytes = noise(1, 3 << 20);
    let error = ingest_stream(&catalog, &mut &bytes[..], options("r"), &progress).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(catalog.state().snapshots().len(), 0);
    assert!(backend.list("leases").unwrap().is_empty());
    assert!(leases(catalog.store()).unwrap().is_empty());
}

/// A target whose medium takes so long that the work is cancelled meanwhile.
struct SlowTarget {
    progress: Arc<Progress>,
    in_place: bool,
    published: AtomicBool,
}

impl RestoreTarget for SlowTarget {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _len: u64) -> io::Result<()> {
        self.progress.cancel();
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        self.published.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        self.in_place
    }
}

#[test]
fn a_restore_cancelled_while_the_medium_writes_publishes_nothing() {
    let (_, catalog) = new_catalog();
    let bytes = noise(1, 3 << 20);
    let progress = Arc::new(Progress::default());
    let snapshot = ingest_stream(&catalog, &mut &bytes[..], options("r"), &progress).unwrap();
    for in_place in [false, true] {
        let progress = Arc::new(Progress::default());
        let target = SlowTarget {
            progress: progress.clone(),
            in_place,
            published: AtomicBool::new(false),
        };
        let result = restore(&catalog.image(&snapshot), &target, &progress);
        let kind = result.err().map(|error| error.kind());
        assert_eq!(kind, (!in_place).then_some(Kind::Interrupted));
        assert_eq!(target.published.into_inner(), in_place);
    }
}
