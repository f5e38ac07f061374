//! The log of single operations: after a commit something is done and forced to disk by
//! `fsync`, then the power fails. What Tintype shows is what the kernel recovers.

use crate::dirty::recovered;
use crate::support::{Scratch, is_able, say, shell, umount};
use crate::walk::{compare, our_tree};
use crate::{make, mount, open_file};
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem};

/// What is there at the last commit.
const BEFORE: &str = "mkdir a b a/sub; for i in $(seq 40); do echo $i > a/f$i; done; \
    head -c 200000 /dev/urandom > a/data; head -c 100 /dev/urandom > a/inline; \
    fallocate -l 300000 a/prealloc; \
    for i in 1 2 3 4 5; do setfattr -n user.n$i -v $i a/f1; done; \
    ln a/f2 a/f2-link; ln a/f3 b/f3-link; mkdir a/dir; touch a/dir/x a/dir/y; \
    mknod a/null c 1 3; mkfifo a/fifo; ln -s target a/symlink; \
    for i in $(seq 90); do ln a/f4 b/$(printf 'long-name-%0200d' $i); done";

/// Names of cases, and what is done after the commit.
const CASES: [(&str, &str); 26] = [
    ("new file", "echo new > a/new; sync a/new"),
    (
        "new files of a directory",
        "for i in 1 2 3; do echo $i > a/n$i; done; sync a/n1 a",
    ),
    (
        "new directory",
        "mkdir a/m; touch a/m/in; sync a/m/in; sync a/m",
    ),
    (
        "deep",
        "mkdir -p a/1/2/3; echo deep > a/1/2/3/file; sync a/1/2/3/file",
    ),
    (
        "overwrite",
        "head -c 50000 /dev/urandom | dd of=a/data bs=1000 seek=30 conv=notrunc \
        status=none; sync a/data",
    ),
    (
        "append",
        "head -c 70000 /dev/urandom >> a/data; echo tail >> a/inline; sync a/data a/inline",
    ),
    (
        "truncate",
        "truncate -s 100001 a/data; truncate -s 50 a/inline; sync a/data a/inline",
    ),
    (
        "shrink and grow",
        "truncate -s 5000 a/data; truncate -s 150000 a/data; sync a/data",
    ),
    (
        "punch",
        "fallocate -p -o 20480 -l 65536 a/data; sync a/data",
    ),
    (
        "prealloc",
        "head -c 9000 /dev/urandom | dd of=a/prealloc bs=4096 seek=5 conv=notrunc \
        status=none; fallocate -n -o 300000 -l 100000 a/prealloc; sync a/prealloc",
    ),
    (
        "attributes",
        "setfattr -x user.n2 a/f1; setfattr -n user.n3 -v changed a/f1; \
        setfattr -n user.new -v $(printf '%0900d' 7) a/f1; sync a/f1",
    ),
    (
        "attributes of a directory",
        "setfattr -n user.d -v d a; setfacl -d -m u:9:r a; sync a",
    ),
    (
        "mode and owner",
        "chmod 700 a/f5; chown 12:34 a/f5; touch -d 2001-02-03 a/f5; sync a/f5",
    ),
    ("unlink", "rm a/f6 a/f7 a/f8; sync a"),
    (
        "unlink one of two",
        "rm a/f2-link; sync a/f2; rm b/f3-link; sync b",
    ),
    (
        "unlink and make anew",
        "rm a/f9; echo other > a/f9; sync a/f9",
    ),
    ("link", "ln a/f10 a/link; ln a/f11 b/link; sync a/f10 a/f11"),
    (
        "many links",
        "for i in $(seq 5); do ln a/f4 b/$(printf 'more-%0200d' $i); done; sync a/f4",
    ),
    ("fewer links", "rm b/long*1; sync a/f4 b"),
    (
        "rename",
        "mv a/f12 a/renamed; sync a/renamed; mv a/f13 b/f13; sync b/f13",
    ),
    ("rename over", "mv a/f14 a/f15; sync a/f15; sync a"),
    (
        "exchange",
        "mv a/f16 a/t; mv a/f17 a/f16; mv a/t a/f17; sync a/f16 a/f17 a",
    ),
    ("remove a directory", "rm -r a/dir; sync a"),
    (
        "special files",
        "mkfifo a/fifo2; mknod a/block b 8 1; ln -s else a/link2; sync a",
    ),
    (
        "entries of a directory alone",
        "ln a/f18 a/x1; ln a/f19 a/x2; rm a/f20; sync a",
    ),
    (
        "several times",
        "for i in 1 2 3 4 5; do echo $i >> a/f21; sync a/f21; mv a/f21 a/f21b; \
        mv a/f21b a/f21; echo $i > a/again$i; sync a/again$i; done; rm a/again2; sync a/again3",
    ),
];

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
        &["mkfs.btrfs", "btrfs", "setfattr", "setfacl", "fallocate"],
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
