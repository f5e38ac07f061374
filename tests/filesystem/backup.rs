//! A file system whose first superblock, and the group descriptors behind it, were written
//! over: a backup shows all of it, as the kernel shows it before the accident.

use crate::dirty::churn;
use crate::image::{self, Mount};
use crate::record::{assert_same, of_kernel, of_reader};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tintype::filesystem::{Consistency, probe};

/// Features and the length in MiB: each has a second group.
const SETS: [(&str, u64, &[&str]); 6] = [
    ("ext4", 200, &["-t", "ext4"]),
    ("ext4-1k", 64, &["-t", "ext4", "-b", "1024"]),
    (
        "meta-bg",
        64,
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    ),
    (
        "sparse-super2",
        64,
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "sparse_super2,^resize_inode",
        ],
    ),
    (
        "no-checksums",
        64,
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"],
    ),
    ("ext2", 64, &["-t", "ext2", "-b", "1024"]),
];

/// Writes over the first superblock and over the descriptors.
fn overwrite(image: &Path, set: &str) {
    let file = fs::OpenOptions::new().write(true).open(image).unwrap();
    let end = match set {
        "ext4" => 8192,
        _ => 3072,
    };
    file.write_all_at(&vec![0xA5; end - 512], 512).unwrap();
}

fn check(name: &str, kernel: &Path, ours: &Path) {
    // Not read-only: recovery writes.
    let mount = Mount::new(kernel, "rw,noatime").unwrap();
    let expected = of_kernel(&mount.path);
    drop(mount);
    overwrite(ours, name);
    let opened = image::open(ours);
    let summary = opened.summary();
    let Consistency::Dirty { reason } = summary.consistency else {
        panic!("{name}: {:?}", summary.consistency);
    };
    assert!(reason.contains("a backup was read"), "{reason}");
    let warnings = summary.warnings.join("\n");
    assert!(warnings.contains("group 1 was read"), "{name}: {warnings}");
    let found = of_reader(&*opened).unwrap();
    let entries = assert_same(name, &expected, &found);
    assert!(entries > 3, "{name}: {entries}");
    println!("{name}: {entries} entries by a backup of the superblock");
}

#[test]
fn a_backup_shows_what_was_there() {
    if !image::can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, mib, arguments) in SETS {
        let path = folder.path().join(name);
        image::make(&path, mib << 20, arguments);
        let mount = Mount::new(&path, "noatime").unwrap();
        let stop = AtomicBool::new(false);
        let copy = |kind: &str| {
            let copy = folder.path().join(format!("{name}-{kind}"));
            image::run("cp", &[path.to_str().unwrap(), copy.to_str().unwrap()]);
            copy
        };
        std::thread::scope(|scope| {
            scope.spawn(|| churn(&mount.path, &stop));
            std::thread::sleep(Duration::from_millis(900));
            stop.store(true, Ordering::Relaxed);
        });
        if !name.starts_with("ext2") {
            // Forced to disk and not unmounted: it is in the journal.
            image::run("sync", &["-f", mount.path.to_str().unwrap()]);
            let live = copy("live");
            let ours = folder.path().join(format!("{name}-ours"));
            fs::copy(&live, &ours).unwrap();
            check(name, &live, &ours);
        }
        drop(mount);
        check(name, &copy("kernel"), &copy("ours"));
    }
}

/// The same where nothing but a backup tells what it is.
#[test]
fn a_backup_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    image::make(&path, 64 << 20, &["-t", "ext4", "-b", "1024"]);
    overwrite(&path, "");
    let recognised = |path: &Path| probe(&crate::reader::FileImage::open(path)).unwrap();
    assert_eq!(recognised(&path).unwrap().format, "ext");
    // Of another group: it was moved, and is none.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[9], 8193 * 1024 + 0x5A).unwrap();
    for group in [3, 5, 7] {
        let place = (1 + 8192 * group) * 1024 + 0x38;
        file.write_all_at(&[0, 0], place).unwrap();
    }
    assert_eq!(recognised(&path), None);
}
