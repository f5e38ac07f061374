//! Peak memory stays under the cache budget plus a constant, whatever is done.

use super::support::{
    Fixture, MountOptions, Rng, measured, needs, number_from_env, random_file, tintype,
    vm_hwm_bytes,
};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

const CACHE: u64 = 64 << 20;
/// What the issue allows beside the cache.
const BESIDE_THE_CACHE: u64 = 96 << 20;

#[test]
fn ingest_and_random_reads_stay_within_the_budget() {
    needs!("fuse");
    let mib = number_from_env("TINTYPE_TEST_MEMORY_MIB", 384, 4096);
    let reads = number_from_env("TINTYPE_TEST_READS", 100_000, 1_000_000);
    let options = MountOptions {
        args: vec![format!("--cache-size={CACHE}")],
    };
    let fixture = Fixture::with(&options);
    let big = fixture.scratch.join("big");
    random_file(&big, mib << 20, 11);
    let source = big.to_string_lossy().into_owned();

    // What the kernel tells of a process includes what it was forked from: this one, in
    // which other tests hold much for a moment. It is never less than the truth.
    let mut ingest = u64::MAX;
    for attempt in 0..6 {
        let store = fixture.scratch.join(&format!("store-{attempt}"));
        let create = ["create", "--resource", "cli", &source];
        let finished = tintype(&store, &create);
        ingest = ingest.min(finished.expect_ok("create").max_rss_bytes);
        std::fs::remove_dir_all(&store).expect("removed");
        if ingest < CACHE + BESIDE_THE_CACHE {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(10));
    }
    measured!("peak memory of ingesting {mib} MiB: {} MiB", ingest >> 20);
    assert!(ingest < CACHE + BESIDE_THE_CACHE, "{} MiB", ingest >> 20);

    let pid = fixture.mount.as_ref().expect("mounted").pid();
    fixture.shell_ok("cp $W/big $C/mounted");
    fixture.expect_count("mounted", 1);
    let writing = vm_hwm_bytes(pid);
    measured!(
        "peak memory of the mount after a copy of {mib} MiB: {} MiB",
        writing >> 20
    );
    assert!(writing < CACHE + BESIDE_THE_CACHE, "{} MiB", writing >> 20);

    random_reads(&fixture, &big, reads);
    let reading = vm_hwm_bytes(pid);
    measured!(
        "peak memory of the mount after {reads} random reads: {} MiB",
        reading >> 20
    );
    assert!(reading < CACHE + BESIDE_THE_CACHE, "{} MiB", reading >> 20);
}

/// Reads random blocks and checks each against the original.
fn random_reads(fixture: &Fixture, original: &std::path::Path, count: u64) {
    let image = fixture.snapshots("mounted").remove(0).join("disk.img");
    let (image, original) = (
        File::open(image).expect("open"),
        File::open(original).expect("open"),
    );
    let block_count = original.metadata().expect("stat").len() / 4096;
    let mut rng = Rng::new(21);
    let mut buffers = ([0; 4096], [0; 4096]);
    for number in 0..count {
        if number % 5000 == 0 {
            // Out of the kernel's cache, so that the mount has to answer again.
            drop_cache(&image);
        }
        let offset = rng.below(block_count) * 4096;
        image.read_exact_at(&mut buffers.0, offset).expect("read");
        original
            .read_exact_at(&mut buffers.1, offset)
            .expect("read");
        assert!(buffers.0 == buffers.1, "block at {offset} differs");
    }
}

#[expect(unsafe_code, reason = "std has no fadvise")]
fn drop_cache(file: &File) {
    // SAFETY: an advice on an open descriptor; no memory is involved.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM);
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
    }
}
