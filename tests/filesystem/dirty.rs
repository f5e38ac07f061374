//! Images taken while they are written, compared with what the kernel recovers.
//!
//! The image is a file of an XFS with reflinks, so that a clone of it is atomic: the
//! state of a disk whose power failed. `TINTYPE_TEST_LONG=1` takes 30 of each set, not 3.

use crate::image::{self, Mount};
use crate::nasty::{noise, set_xattr};
use crate::record::{assert_same, of_kernel, of_reader};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tintype::filesystem::Consistency;

const SETS: [(&str, &[&str]); 5] = [
    ("v3-64bit", &["-t", "ext4"]),
    (
        "no-checksums",
        &["-t", "ext4", "-O", "^metadata_csum,^64bit"],
    ),
    ("ext3-1k", &["-t", "ext3", "-b", "1024"]),
    (
        "small-journal",
        &["-t", "ext4", "-J", "size=4", "-b", "1024"],
    ),
    ("orphan-file", &["-t", "ext4", "-O", "orphan_file"]),
];

/// Changes the tree at `root` at random until told to stop.
pub fn churn(root: &Path, stop: &AtomicBool) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let random = u64::from_le_bytes(noise(number, 8).try_into().unwrap());
        let folder = root.join(format!("d{}", random % 7));
        let path = folder.join(format!("f{}", (random >> 8) % 200));
        let _ = fs::create_dir(&folder);
        let len = ((random >> 20) % 30_000) as usize;
        // Any of these may fail; that is a part of it.
        let _ = match (random >> 40) % 12 {
            0 => fs::remove_file(&path),
            1 => fs::remove_dir_all(&folder),
            2 => fs::rename(&path, root.join(format!("moved-{}", random % 50))),
            3 => fs::hard_link(&path, root.join(format!("link-{number}"))),
            4 => std::os::unix::fs::symlink(
                "s".repeat(len % 300 + 1),
                folder.join(format!("s{number}")),
            ),
            5 => {
                set_xattr(&path, "user.churn", &noise(number, len % 800));
                Ok(())
            }
            6 => fs::File::open(&path).and_then(|file| file.sync_all()),
            7 => fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(len as u64)),
            // Data that looks like a header of the journal.
            8 => fs::write(&path, [0xC0, 0x3B, 0x39, 0x98].repeat(len / 4)),
            _ => fs::write(&path, noise(number, len)),
        };
    }
}

fn take(folder: &Path, name: &str, arguments: &[&str], count: usize) -> (usize, usize) {
    let path = folder.join(name);
    image::make(&path, 192 << 20, arguments);
    // What is lost with the power differs with delayed allocation; all of it is right.
    let mount = Mount::new(&path, "commit=1").unwrap();
    let stop = AtomicBool::new(false);
    let (mut entries, mut replayed) = (0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| churn(&mount.path, &stop));
        for number in 0..count {
            std::thread::sleep(Duration::from_millis(700 + 377 * (number as u64 % 5)));
            let copies =
                ["ours", "kernel"].map(|kind| folder.join(format!("{name}-{number}-{kind}")));
            let [ours, kernel] = copies.each_ref().map(|copy| copy.to_str().unwrap());
            image::run("cp", &["--reflink=always", path.to_str().unwrap(), ours]);
            image::run("cp", &["--reflink=always", ours, kernel]);
            // Not read-only: the loop device would be that too, and recovery writes.
            let result = std::panic::catch_unwind(|| {
                let reader = image::open(&copies[0]);
                let is_replayed = reader.summary().consistency == Consistency::Replayed;
                assert!(is_replayed, "{:?}", reader.summary().consistency);
                let found = of_reader(&*reader).unwrap();
                let mount = Mount::new(&copies[1], "rw,noatime").unwrap();
                assert_same(&format!("{name} {number}"), &of_kernel(&mount.path), &found)
            });
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            entries += result.unwrap();
            replayed += 1;
            copies
                .iter()
                .for_each(|copy| fs::remove_file(copy).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    (replayed, entries)
}

#[test]
fn a_replay_shows_what_the_kernel_recovers() {
    if !image::can_mount() {
        return;
    }
    let count = if std::env::var_os("TINTYPE_TEST_LONG").is_some() {
        30
    } else {
        3
    };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("host");
    fs::File::create(&disk).unwrap().set_len(2 << 30).unwrap();
    image::run(
        "mkfs.xfs",
        &["-q", "-m", "reflink=1", disk.to_str().unwrap()],
    );
    let host = Mount::new(&disk, "noatime").unwrap();
    let wanted = std::env::var("TINTYPE_SET").unwrap_or_default();
    for (name, arguments) in SETS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted == *name)
    {
        let (replayed, entries) = take(&host.path, name, arguments, count);
        println!("{name}: {replayed} dirty images, {entries} entries agree with the kernel");
    }
}
