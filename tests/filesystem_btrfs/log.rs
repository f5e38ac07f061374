//! The log of single operations: after a commit something is done and forced to disk by
//! `fsync`, then the power fails. What Tintype shows is what the kernel recovers.

use crate::dirty::recovered;
use crate::log_cases::{BEFORE, CASES};
use crate::support::{Scratch, is_able, say, shell, umount};
use crate::walk::{compare, our_tree};
use crate::{make, mount, open_file};
use std::path::Path;
use std::time::{Duration, Instant};
use tintype::filesystem::{Consistency, FileSystem};

fn check(scratch: &Scratch, mkfs: &str, mount_options: &str, case: (&str, &str)) -> bool {
    let (name, line) = case;
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    let crashed = scratch.join("crashed");
    make(&image, "150M", mkfs);
    let options = format!("loop,commit=300{mount_options}");
    mount(&image, &point, &options).expect("mounted");
    shell(&format!("cd '{0}'; {BEFORE}; sync -f .", point.display()));
    shell(&format!("cd '{0}'; {line}", point.display()));
    shell(&format!(
        "cp --sparse=always '{}' '{}'",
        image.display(),
        crashed.display()
    ));
    umount(&point);
    std::fs::remove_file(&image).expect("removed");
    let has_log = compare_recovered(name, &crashed, &point);
    std::fs::remove_file(&crashed).expect("removed");
    has_log
}

fn compare_recovered(name: &str, crashed: &Path, point: &Path) -> bool {
    let fs = open_file(crashed).expect("opened");
    let consistency = fs.summary().consistency;
    assert!(
        !matches!(consistency, Consistency::Dirty { .. }),
        "{name}: {consistency:?}"
    );
    let mut ours = our_tree(&fs).expect("read");
    drop(fs);
    let kernel = recovered(crashed, point, &mut ours).expect("recovered");
    compare(name, &kernel, &ours);
    consistency == Consistency::Replayed
}

fn all(test: &str, mkfs: &str, mount_options: &str) {
    if !is_able(
        test,
        &[
            "mkfs.btrfs",
            "btrfs",
            "setfattr",
            "setfacl",
            "fallocate",
            "xfs_io",
        ],
    ) {
        return;
    }
    let scratch = Scratch::new();
    let wanted = std::env::var("TINTYPE_BTRFS_CASE").unwrap_or_default();
    let cases: Vec<_> = CASES
        .iter()
        .filter(|(name, _)| name.contains(&wanted))
        .collect();
    let replayed: Vec<&str> = cases
        .iter()
        .filter(|case| check(&scratch, mkfs, mount_options, ***case))
        .map(|(name, _)| *name)
        .collect();
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {} of {} cases had a log, all equal to the \
         kernel's recovery",
        replayed.len(),
        cases.len()
    ));
    // Some of them make the kernel commit instead.
    assert!(replayed.len() * 3 >= cases.len() * 2, "{replayed:?}");
}

#[test]
fn each_operation_is_recovered() {
    all("each_operation_is_recovered", "", "");
}

#[test]
fn each_operation_is_recovered_with_old_features_and_compression() {
    let test = "each_operation_is_recovered_with_old_features_and_compression";
    all(test, "-n 4096 -O ^no-holes", ",compress-force=zlib");
}

/// The log has all names of the inode again: each is looked for in both items.
#[test]
fn a_log_of_many_links_is_recovered_in_time() {
    let test = "a_log_of_many_links_is_recovered_in_time";
    if !is_able(test, &["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    let copy = scratch.join("crashed");
    let link = |name: &str| {
        std::fs::hard_link(point.join("f"), point.join(name)).expect("a link");
    };
    make(&image, "300M", "-n 65536");
    mount(&image, &point, "loop,commit=300").expect("mounted");
    std::fs::write(point.join("f"), "content").expect("written");
    for number in 0..3900 {
        link(&number.to_string());
    }
    shell(&format!("sync -f '{}'", point.display()));
    link("new");
    let file = std::fs::File::open(point.join("f")).expect("a file");
    file.sync_all().expect("synced");
    drop(file);
    let (from, to) = (image.display(), copy.display());
    shell(&format!("cp --sparse=always '{from}' '{to}'"));
    umount(&point);
    let start = Instant::now();
    let fs = open_file(&copy).expect("opened");
    let elapsed = start.elapsed();
    assert_eq!(fs.summary().consistency, Consistency::Replayed);
    drop(fs);
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: 3,902 names of one inode replayed in {elapsed:?}"
    ));
    assert!(compare_recovered(test, &copy, &point));
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}
