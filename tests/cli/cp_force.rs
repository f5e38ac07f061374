//! `tintype cp --force`: what is there goes only when something whole takes its place,
//! and what takes it is what the image has under that name.

use super::support::{Fixture, can_use_loop_devices, names};
use super::trees::{Mounted, bash, ext4_of, has_tools};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Files with several names were filled in place, so that links could be made to them at
/// once: one that was damaged took the good ones with it.
#[test]
fn good_files_with_several_names_outlive_a_damaged_one() {
    if !has_tools("cp --force of damaged links", &["debugfs"]) {
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.path("tree/dir")).unwrap();
    let here = fixture.path(".");
    bash(
        &here,
        "cd tree; head -c 50000 /dev/urandom > a; ln a b; ln a dir/c; ln a new; \
         ln -s a link",
    );
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 16 << 20, &[]);
    bash(
        &here,
        "cp x.img bad.img; debugfs -w -R 'sif a block[0] 0' bad.img",
    );
    bash(
        &here,
        "mkdir -p out/dir; echo 1 > out/a; echo 2 > out/b; echo 3 > out/dir/c",
    );
    let cp =
        |image: &str| fixture.run_line(&format!("cp -a --no-owner --force --image {image} / out"));
    let shown = || {
        bash(
            &here,
            "cd out; cat a b dir/c; find . -type f | LC_ALL=C sort | xargs",
        )
    };
    cp("bad.img").refused(4, &["bad.img:/"]);
    assert_eq!(shown(), "1\n2\n3\n./a ./b ./dir/c\n");
    // The whole one replaces them all, and once more.
    for _ in 0..2 {
        cp("x.img").text();
        bash(&here, "diff -r --no-dereference tree out -x lost+found");
        let links = bash(&here, "cd out; stat -c '%h' a b dir/c new link | xargs");
        assert_eq!(links, "4 4 4 4 1\n");
        let left = bash(&here, "find out -name '.tintype*'");
        assert_eq!(left, "");
    }
    cp("bad.img").refused(4, &["bad.img:/"]);
    bash(&here, "diff -r --no-dereference tree out -x lost+found");
}

/// The file in the way of a device was removed before it was known that only root makes
/// devices.
#[test]
fn what_is_in_the_way_of_a_device_stays_if_there_can_be_none() {
    if !can_use_loop_devices("cp --force of devices") || !has_tools("cp --force", &["setpriv"]) {
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("tree")).unwrap();
    let here = fixture.path(".");
    bash(
        &here,
        "cd tree; mknod null c 1 3; ln null zero; ln -s to link; mkfifo pipe",
    );
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 16 << 20, &[]);
    bash(
        &here,
        "mkdir out; for name in null zero link pipe; do echo precious > out/$name; done; \
         chown -R 65534:65534 out; chmod 755 .; cp \"$TINTYPE\" tintype",
    );
    let code = bash(
        &here,
        "setpriv --reuid 65534 --regid 65534 --clear-groups ./tintype cp -a --no-owner --force \
         --image x.img / out 2>err && echo 0 || echo $?",
    );
    let text = fs::read_to_string(fixture.path("err")).unwrap();
    assert_eq!(code, "6\n", "{text}");
    assert!(
        text.contains("devices not made (that takes root): 2"),
        "{text}"
    );
    assert_eq!(bash(&here, "cat out/null out/zero"), "precious\nprecious\n");
    assert_eq!(
        bash(&here, "readlink out/link; stat -c %F out/pipe"),
        "to\nfifo\n"
    );
    fixture.run_line("cp -a --force --image x.img / out").text();
    let devices = bash(&here, "stat -c '%F %t:%T %h' out/null out/zero | sort -u");
    assert_eq!(devices, "character special file 1:3 2\n");
    let mut left = names(&fixture.path("out"));
    left.sort_unstable();
    assert_eq!(left, ["link", "lost+found", "null", "pipe", "zero"]);
}

/// The first name of a file was remembered as a path. Another source replaced what is
/// there, and a further name became a link to that.
#[test]
fn a_name_is_not_linked_to_what_another_source_put_there() {
    let fixture = Fixture::new();
    let here = fixture.path(".");
    bash(
        &here,
        "mkdir -p a/x a/y b/x out; echo AAA > a/x/f; ln a/x/f a/y/g; ln a/x/f a/y/h; \
         echo BBB > b/x/f",
    );
    for name in ["a", "b"] {
        let image = format!("{name}.img");
        ext4_of(&fixture.path(name), &fixture.path(&image), 16 << 20, &[]);
        fixture.run(&["create", "--resource", name, &image]).text();
    }
    fixture
        .run_line("cp -a --no-owner --force a:/x b:/x a:/y out")
        .text();
    assert_eq!(
        bash(&here, "cat out/x/f out/y/g out/y/h"),
        "BBB\nAAA\nAAA\n"
    );
    let inode = |name: &str| fs::metadata(fixture.path(name)).unwrap().ino();
    assert_eq!(inode("out/y/g"), inode("out/y/h"));
    // The one that was replaced comes again.
    fixture
        .run_line("cp -a --no-owner --force a:/x b:/x a:/x out")
        .text();
    assert_eq!(bash(&here, "cat out/x/f"), "AAA\n");
}

/// btrfs as it was made before 2012 has room for a few long names of one file in a
/// directory: the next one is a copy, to which others are linked.
#[test]
fn a_file_has_more_names_than_the_target_takes() {
    let test = "cp of more links than btrfs takes";
    if !can_use_loop_devices(test) || !has_tools(test, &["mkfs.btrfs"]) {
        return;
    }
    let fixture = Fixture::new();
    let here = fixture.path(".");
    bash(
        &here,
        "mkdir tree; cd tree; name=$(printf 'n%.0s' {1..200}); head -c 20000 /dev/urandom > $name; \
         for i in {1..59}; do ln $name $name-$i; done",
    );
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 16 << 20, &[]);
    bash(
        &here,
        "truncate -s 200M b.img; mkfs.btrfs -q -s 4096 -n 4096 -O ^extref b.img",
    );
    let target = Mounted::new(&fixture.path("b.img"), "rw");
    for _ in 0..2 {
        fixture
            .run_line("cp -a --force --image x.img / b.mnt")
            .text();
        bash(&here, "diff -r -x lost+found tree b.mnt");
        let counts = bash(
            &target.path,
            "stat -c '%i %h' n* | sort -u | cut -d' ' -f2 | xargs",
        );
        assert_eq!(counts, "18 18 18 6\n");
        assert_eq!(bash(&target.path, "ls -A | grep -c tintype || true"), "0\n");
    }
}
