//! `tintype tar`: GNU tar, bsdtar and Python take the archive apart.

use super::support::{Fixture, can_use_loop_devices};
use super::trees::{
    Compare, Mounted, assert_same_tree, bash, damage_pack, ext4_of, has_tools, nasty_image,
};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn gnu_tar_makes_of_the_archive_what_the_kernel_shows() {
    let needed = ["rsync", "mke2fs", "mkfs.xfs", "tar"];
    if !can_use_loop_devices("tar") || !has_tools("tar", &needed) {
        return;
    }
    for kind in ["ext4", "xfs"] {
        let fixture = Fixture::new();
        let image = nasty_image(&fixture, kind);
        let mounted = Mounted::new(&image, "ro");
        let line = format!(
            "mkdir out; \"$TINTYPE\" tar --image {kind}.img / 2>warnings | \
             tar x -p --xattrs --xattrs-include='*' --acls --numeric-owner -C out"
        );
        bash(&fixture.path("."), &line);
        let compare = Compare {
            access_times: false,
            sockets: false,
            holes: true,
        };
        assert_same_tree(&mounted.path, &fixture.path("out"), compare);
        let warnings = fs::read_to_string(fixture.path("warnings")).unwrap();
        assert!(warnings.contains("sockets left out"), "{warnings}");
        let blocks = fs::metadata(fixture.path("out/sparse")).unwrap().blocks();
        assert!(blocks < 200, "{blocks}");
    }
}

/// A tree without what needs root.
fn plain_image(fixture: &Fixture) {
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    let long = "long/".repeat(40);
    bash(
        &tree,
        &format!(
            "mkdir -p top/{long}; cd top; echo deep > {long}file; echo x > x; ln x y; \
             ln -s {long}file link; touch -d @1234567890.123456789 x; \
             truncate -s 5G sparse; printf end | dd of=sparse bs=1 seek=4000000000 \
             conv=notrunc status=none; touch \"$(printf 'bad\\xff')\" \
             \"$(printf 'na\\xc3\\xafve')\"; head -c 300000 /dev/urandom > random; : > empty"
        ),
    );
    ext4_of(&tree, &fixture.path("x.img"), 64 << 20, &[]);
}

#[test]
fn other_programs_take_the_archive_too() {
    if !has_tools("tar by others", &["bsdtar", "python3", "tar"]) {
        return;
    }
    let fixture = Fixture::new();
    plain_image(&fixture);
    let folder = fixture.path(".");
    bash(
        &folder,
        "\"$TINTYPE\" tar --image x.img top > x.tar; mkdir gnu bsd",
    );
    assert_eq!(
        fs::metadata(fixture.path("x.tar")).unwrap().len() % 10_240,
        0
    );
    assert!(fs::metadata(fixture.path("x.tar")).unwrap().len() < 1 << 20);
    let said = bash(&folder, "tar xf x.tar -C gnu 2>&1");
    // Once, for the one name that is no UTF-8.
    let expected = "tar: Ignoring unknown extended header keyword 'hdrcharset'\n";
    assert_eq!(said, expected);
    let said = bash(&folder, "LC_ALL=C.UTF-8 bsdtar -xpf x.tar -C bsd 2>&1");
    assert_eq!(said, "");
    for name in ["gnu", "bsd"] {
        bash(
            &folder,
            &format!("diff -r --no-dereference tree/top {name}/top"),
        );
        let (left, right) = (format!("{name}/top/x"), format!("{name}/top/y"));
        let inode = |path: &str| fs::metadata(fixture.path(path)).unwrap().ino();
        assert_eq!(inode(&left), inode(&right));
        assert!(
            fs::metadata(fixture.path(&format!("{name}/top/sparse")))
                .unwrap()
                .blocks()
                < 64
        );
    }
    let script = "import tarfile, sys\n\
                  t = tarfile.open('x.tar')\n\
                  m = {i.name: i for i in t.getmembers()}\n\
                  s = m['top/sparse']\n\
                  print(len(m), s.size, s.issparse(), m['top/x'].type, m['top/link'].issym())\n\
                  print(len(t.extractfile('top/random').read()))\n\
                  print([n for n in m if n.endswith('/file')][0].count('long/'))\n";
    fs::write(fixture.path("look.py"), script).unwrap();
    let text = bash(&folder, "python3 look.py");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(" 5368709120 True b'0' True"), "{text}");
    assert_eq!(&lines[1..], ["300000", "40"]);
}

#[test]
fn one_file_and_a_reader_that_has_seen_enough() {
    let fixture = Fixture::new();
    plain_image(&fixture);
    let folder = fixture.path(".");
    let text = bash(
        &folder,
        "\"$TINTYPE\" tar --image x.img top/x | tar tv --full-time --utc",
    );
    assert!(
        text.contains("2009-02-13 23:31:30.123456789 x") || text.contains("2009-02-13 23:31:30"),
        "{text}"
    );
    // `head` closes the pipe: half an archive is none.
    bash(
        &folder,
        "set +o pipefail; \"$TINTYPE\" tar --image x.img / 2>err | head -c 100 >/dev/null; \
         test \"${PIPESTATUS[0]}\" = 1; grep -q 'standard output' err",
    );
}

/// One damaged chunk cost the whole 1 MiB that is read at a time.
#[test]
fn what_cannot_be_read_is_zeros_and_no_more() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    let large = super::nasty::noise(1, 24 << 20);
    fs::write(tree.join("large"), &large).unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 64 << 20, &[]);
    fixture.run(&["create", "x.img"]).text();
    damage_pack(&fixture);
    let answer = fixture.run(&["tar", "x:/large"]);
    answer.refused(4, &["large", "damaged"]);
    fs::write(fixture.path("x.tar"), &answer.out).unwrap();
    bash(&fixture.path("."), "mkdir out; tar xf x.tar -C out");
    let found = fs::read(fixture.path("out/large")).unwrap();
    assert_eq!(found.len(), large.len());
    let blocks = found.chunks(4096).zip(large.chunks(4096));
    let different: Vec<_> = blocks.filter(|(found, large)| found != large).collect();
    assert!((1..=32).contains(&different.len()), "{}", different.len());
    assert!(different.iter().all(|(found, _)| *found == [0; 4096]));
}

/// Each entry has the path of its directory while it is copied: thousands of directories
/// with long names, and many entries in the last one, took 5 GB.
#[test]
fn directories_with_paths_without_end_are_left_out() {
    if !has_tools("tar of long paths", &["debugfs"]) {
        return;
    }
    let fixture = Fixture::new();
    let here = fixture.path(".");
    let name = "n".repeat(255);
    let commands = format!("mkdir {name}\ncd {name}\n").repeat(140);
    fs::write(fixture.path("commands"), commands).unwrap();
    bash(&here, "mkdir tree; echo z > tree/z");
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 16 << 20, &[]);
    bash(&here, "debugfs -w -f commands x.img");
    let words = ["paths of more than 32,768 bytes", "1 problem, told above"];
    let answer = fixture.run(&["tar", "--image", "x.img", "/"]);
    answer.refused(8, &words);
    fs::write(fixture.path("x.tar"), &answer.out).unwrap();
    let count = bash(
        &here,
        "tar tf x.tar | grep -c nnn; tar tf x.tar | grep -c 'z$'",
    );
    assert_eq!(count, "128\n1\n");
    let answer = fixture.run(&["cp", "-r", "--image", "x.img", "/", "out"]);
    answer.refused(8, &words);
    assert_eq!(fs::read(fixture.path("out/z")).unwrap(), b"z\n");
}
