//! Whole trees on volumes of each kind, compared entry by entry with ntfs-3g.

use crate::driver::{Mounted, fill, make};
use crate::listing::{Listing, assert_same, of_mount, of_reader};
use crate::support::reader::{FileImage, open};
use crate::support::{Scratch, measured, needs, shell_ok};
use std::ops::ControlFlow;
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem, SpaceUsage};

/// Compares everything, and what `statfs` tells; returns what ntfs-3g shows.
fn compare(scratch: &Scratch, what: &str, image: &Path) -> Listing {
    let mounted = Mounted::new(scratch, image, "ro");
    let mut theirs = of_mount(&mounted.root);
    let space = shell_ok(
        "stat -f -c '%s %b %f' $ROOT",
        &[("ROOT", mounted.root.as_os_str())],
    );
    drop(mounted);
    let fs = open(FileImage::open(image)).expect("opened");
    let mut ours = of_reader(&*fs, image);
    let early = &ours[&b"times/1"[..]];
    assert_eq!(early["modified"], "-2145916800.987654300");
    assert_eq!(early["accessed"], "-2145916800.123456700");
    assert_eq!(ours[&b"links/dangling"[..]]["target"], "no/such/file");
    settle(&mut theirs, &mut ours);
    assert_same(what, &theirs, &ours);
    let usage = fs.statfs().expect("space");
    let found = [
        usage.fs_block_len.into(),
        usage.block_count,
        usage.free_block_count,
    ];
    assert_eq!(
        space.trim(),
        found.map(|number: u64| number.to_string()).join(" ")
    );
    expect_allocated(&*fs, &usage);
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    assert_eq!(fs.summary().label, b"a label");
    let bytes: u64 = ours
        .values()
        .filter_map(|entry| entry.get("size")?.parse::<u64>().ok())
        .sum();
    measured!(
        "filesystem_ntfs::trees {what}: {} entries, {} MiB of content, equal to ntfs-3g",
        theirs.len(),
        bytes >> 20
    );
    theirs
}

/// Takes away where we mean to differ; `links` of these are tests of their own.
fn settle(theirs: &mut Listing, ours: &mut Listing) {
    for (path, keys) in [
        // It counts the short name, and shows links that lead nowhere as an error text.
        (&b"links/with a short name.text"[..], &["links"][..]),
        (b"links/dangling", &["target"]),
        // Its fractions of seconds before 1970 are negative.
        (b"times/0", &["modified", "accessed"]),
        (b"times/1", &["modified", "accessed"]),
        (b"times/2", &["modified", "accessed"]),
    ] {
        for listing in [&mut *theirs, &mut *ours] {
            if let Some(entry) = listing.get_mut(path) {
                keys.iter().for_each(|key| drop(entry.remove(*key)));
            }
        }
    }
}

fn expect_allocated(fs: &dyn FileSystem, usage: &SpaceUsage) {
    let (mut end, mut sum) = (0, 0);
    fs.allocated_ranges(&mut |range| {
        assert!(range.start > end || end == 0, "{range:?} touches {end}");
        (end, sum) = (range.end, sum + range.end - range.start);
        ControlFlow::Continue(())
    })
    .expect("ranges");
    let bytes = |clusters: u64| clusters * u64::from(usage.fs_block_len);
    let used = bytes(usage.block_count - usage.free_block_count);
    // What does not make a cluster, and the copy of the boot sector.
    let rest = fs.summary().len - bytes(usage.block_count);
    assert_eq!(end, fs.summary().len);
    assert_eq!(sum, used + rest, "of {}", fs.summary().len);
}

fn tree(what: &str, len: &str, options: &str, is_compressing: bool) {
    let scratch = Scratch::new();
    let image = make(&scratch, len, options);
    fill(&scratch, &image, "compression", "fill.py $ROOT tree");
    if is_compressing {
        fill(&scratch, &image, "compression", "fill.py $ROOT compressed");
    }
    fill(&scratch, &image, "special_files=wsl", "fill.py $ROOT wsl");
    let theirs = compare(&scratch, what, &image);
    assert!(theirs.len() > 3600, "{}", theirs.len());
}

#[test]
fn clusters_of_512_bytes() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("clusters of 512 bytes", "400M", "-c 512", true);
}

#[test]
fn clusters_of_1_kib() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("clusters of 1 KiB", "400M", "-c 1024", true);
}

#[test]
fn clusters_of_4_kib() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("clusters of 4 KiB", "400M", "-c 4096", true);
}

#[test]
fn clusters_of_64_kib() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("clusters of 64 KiB", "1G", "-c 65536", false);
}

#[test]
fn clusters_of_2_mib() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("clusters of 2 MiB", "12G", "-c 2097152", false);
}

#[test]
fn records_of_4_kib() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    tree("records of 4 KiB", "400M", "-s 4096 -c 4096", true);
}
