//! The library beside the program: opening a store, and checking what its log lists.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tintype::backend::LocalBackend;
use tintype::base::ReadAt;
use tintype::snapshot::{Catalog, Snapshot};
use tintype::store::{OpenOptions, Store};

/// Opens the catalog of a store with a small cache.
pub fn open_catalog(store: &Path) -> Arc<Catalog> {
    let backend = Arc::new(LocalBackend::open(store).expect("the store is there"));
    let options = OpenOptions {
        cache_len_bytes: 32 << 20,
        thread_count: 2,
    };
    let store = Store::open(backend, &options).expect("the store opens");
    Catalog::open(store).expect("the catalog opens")
}

/// Returns all snapshots of a store in catalog order.
pub fn listed(store: &Path) -> Vec<Arc<Snapshot>> {
    open_catalog(store).state().snapshots().cloned().collect()
}

/// Checks that a snapshot holds exactly the bytes of a file.
#[track_caller]
pub fn expect_content(catalog: &Catalog, snapshot: &Snapshot, expected: &Path) {
    let image = catalog.image(snapshot);
    let file = File::open(expected).expect("the expected file");
    let len = file.metadata().expect("stat").len();
    let name = &snapshot.path_name;
    assert_eq!(image.len(), len, "length of {name}");
    let mut buffers = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < len {
        let take = (len - at).min(1 << 20) as usize;
        image
            .read_exact_at(at, &mut buffers.0[..take])
            .unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
        file.read_exact_at(&mut buffers.1[..take], at)
            .expect("read");
        assert!(
            buffers.0[..take] == buffers.1[..take],
            "{name} differs after {at}"
        );
        at += take as u64;
    }
}
