//! A store with ten thousand snapshots of 1 TiB each: opening, listing and memory.

use super::support::{
    Fixture, Mount, MountOptions, Scratch, measured, needs, number_from_env, open_catalog, tintype,
    tintype_ok, vm_hwm_bytes,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tintype::base::SnapshotId;
use tintype::snapshot::Labels;

/// A debug build is several times slower; the promise is about a release build.
const SLOWER: u32 = if cfg!(debug_assertions) { 4 } else { 1 };
const CACHE: u64 = 64 << 20;

/// Publishes snapshots that share the map of one image of 1 TiB.
fn fill(store: &Path, count: u64) {
    let catalog = open_catalog(store);
    let template = catalog
        .state()
        .resolve("base@latest")
        .expect("the base")
        .manifest
        .clone();
    for number in 0..count {
        let mut manifest = template.clone();
        manifest.id = SnapshotId::random();
        manifest.resource = format!("machine-{:02}", number % 100);
        let labels = Labels {
            name: Some(format!("day-{number}")),
            ..Labels::default()
        };
        catalog.create(manifest, labels).expect("published");
    }
}

/// Returns a scratch directory in memory where there is one: every entry is synced.
fn scratch_in_memory() -> Scratch {
    Scratch::new_in(Path::new("/dev/shm"))
}

/// Makes a store with one snapshot of a sparse image of 1 TiB.
fn make_base(scratch: &Scratch, store: &Path) {
    let image = scratch.join("tera.img");
    let file = File::create(&image).expect("an image");
    file.set_len(1 << 40).expect("1 TiB");
    for place in 0..64_u64 {
        file.write_all_at(&[place as u8 + 1; 65_536], place << 34)
            .expect("write");
    }
    tintype_ok(store, &["init"]);
    tintype_ok(
        store,
        &["create", "--resource", "base", &image.to_string_lossy()],
    );
}

#[test]
fn ten_thousand_snapshots_of_a_terabyte() {
    needs!("fuse");
    let count = number_from_env("TINTYPE_TEST_SNAPSHOTS", 10_000, 10_000);
    let scratch = scratch_in_memory();
    let store = scratch.join("store");
    make_base(&scratch, &store);
    let started = Instant::now();
    fill(&store, count);
    measured!(
        "publishing {count} snapshots one by one: {:.2?}",
        started.elapsed()
    );

    let listing = tintype(&store, &["list", "--json"]).expect_ok("list");
    measured!(
        "list of {count} snapshots: {:.0?}, {} MiB",
        listing.elapsed,
        listing.max_rss_bytes >> 20
    );
    assert!(listing.stdout.matches("day-").count() as u64 >= count);
    assert!(
        listing.elapsed < Duration::from_secs(2) * SLOWER,
        "{:?}",
        listing.elapsed
    );

    let options = MountOptions {
        args: vec![format!("--cache-size={CACHE}")],
    };
    let mount = Mount::start(&store, &scratch.join("mnt"), &options);
    measured!(
        "mount of {count} snapshots ready after {:.0?}",
        mount.ready_after
    );
    assert!(
        mount.ready_after < Duration::from_secs(1) * SLOWER,
        "{:?}",
        mount.ready_after
    );
    let fixture = Fixture {
        mount: Some(mount),
        store,
        scratch,
    };
    let counted =
        fixture.shell("find $M/snapshots -mindepth 2 -maxdepth 2 -type d -printf x | wc -c");
    let counted = counted.expect_ok("find");
    measured!(
        "find over {count} snapshot directories: {:.2?}",
        counted.elapsed
    );
    assert_eq!(counted.stdout.trim(), (count + 1).to_string());
    fixture.shell_ok(
        "for n in 00 42 99; do stat $M/snapshots/machine-$n/latest/disk.img >/dev/null
         dd if=$M/snapshots/machine-$n/latest/disk.img bs=64k skip=$((1 << 18)) count=1 status=none |
            cmp - <(head -c 65536 /dev/zero | tr '\\0' '\\002'); done",
    );
    let peak = vm_hwm_bytes(fixture.mount.as_ref().expect("mounted").pid());
    measured!("peak memory of that mount: {} MiB", peak >> 20);
    // Every entry of the catalog may take 1 KiB, every node that the kernel holds 96 bytes.
    let bound = CACHE + (96 << 20) + count * 1024 + 4 * count * 96;
    assert!(
        peak < bound,
        "{} MiB, bound {} MiB",
        peak >> 20,
        bound >> 20
    );
}
