//! `tintype cp`: what comes out is what the kernel's own mount shows, and nothing is
//! written where it should not be.

use super::support::{Fixture, can_use_loop_devices, names};
use super::trees::{
    ALL, Expected, Mounted, assert_same_tree, bash, damage_pack, ext4_of, has_tools, nasty_image,
};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_copied_tree_is_the_one_that_the_kernel_shows() {
    if !can_use_loop_devices("cp -a") || !has_tools("cp -a", &["rsync", "mke2fs", "mkfs.xfs"]) {
        return;
    }
    for kind in ["ext4", "xfs"] {
        let fixture = Fixture::new();
        let image = nasty_image(&fixture, kind);
        let name = image.to_str().unwrap();
        let mounted = Mounted::new(&image, "ro");
        let expected = Expected::of(&mounted.path, ALL);
        let answer = fixture.run(&["cp", "-a", "--image", name, "/", "out"]);
        assert_eq!(answer.code, 0, "{}", answer.err);
        assert!(answer.err.contains("copied "), "{}", answer.err);
        expected.assert_same(&fixture.path("out"));
        fs::remove_dir_all(fixture.path("out")).unwrap();
        // The same from a store, into a directory that is there, and part by part.
        fixture.run(&["create", "--resource", "web", name]).text();
        fs::create_dir(fixture.path("there")).unwrap();
        fixture.run(&["cp", "-a", "web:/", "there"]).text();
        expected.assert_same(&fixture.path("there"));
        fixture
            .run(&["cp", "-a", "web@latest:/xattrs/", "web:links", "."])
            .text();
        assert_same_tree(&mounted.path.join("xattrs"), &fixture.path("xattrs"), ALL);
        assert_same_tree(&mounted.path.join("links"), &fixture.path("links"), ALL);
    }
}

#[test]
fn zeros_become_holes_when_asked_for() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("tree")).unwrap();
    let mut bytes = vec![0; 9 << 20];
    bytes[5 << 20] = 1;
    // Written, so that the image has no hole in it.
    fs::write(fixture.path("tree/zeros"), &bytes).unwrap();
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 32 << 20, &[]);
    fixture
        .run(&["cp", "--sparse", "--image", "x.img", "zeros", "sparse"])
        .text();
    assert_eq!(fs::read(fixture.path("sparse")).unwrap(), bytes);
    let allocated = fs::metadata(fixture.path("sparse")).unwrap().blocks() * 512;
    assert!(allocated <= 16 << 10, "{allocated}");
}

fn small_image(fixture: &Fixture) {
    let tree = fixture.path("tree");
    fs::create_dir_all(tree.join("dir/inner")).unwrap();
    fs::write(tree.join("dir/file"), "content").unwrap();
    fs::write(tree.join("dir/inner/deep"), "deep").unwrap();
    fs::write(tree.join("dir/tool"), "#!").unwrap();
    fs::set_permissions(tree.join("dir/tool"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("file", tree.join("dir/link")).unwrap();
    symlink("dir", tree.join("way")).unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 16 << 20, &[]);
}

#[test]
fn names_are_chosen_as_cp_does() {
    let fixture = Fixture::new();
    small_image(&fixture);
    let cp = |words: &[&str]| fixture.run(&[&["cp", "--image", "x.img"], words].concat());
    let read = |name: &str| fs::read_to_string(fixture.path(name)).unwrap();
    cp(&["dir/file", "new"]).text();
    assert_eq!(read("new"), "content");
    fs::create_dir(fixture.path("into")).unwrap();
    // Links on the way and at the end are followed inside the image.
    cp(&["/way/link", "into"]).text();
    assert_eq!(read("into/link"), "content");
    assert!(
        !fs::symlink_metadata(fixture.path("into/link"))
            .unwrap()
            .is_symlink()
    );
    let metadata = fs::metadata(fixture.path("into/link")).unwrap();
    let original = fs::metadata(fixture.path("tree/dir/file")).unwrap();
    assert_eq!(metadata.mtime(), original.mtime());
    cp(&["dir/tool", "tool"]).text();
    let mode = fs::metadata(fixture.path("tool")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o751, "setuid goes with its owner only");
    cp(&["dir", "out"]).refused(2, &["is a directory", "-a"]);
    cp(&["-r", "dir", "out"]).text();
    assert_eq!(read("out/inner/deep"), "deep");
    assert_eq!(
        fs::read_link(fixture.path("out/link")).unwrap(),
        Path::new("file")
    );
    cp(&["-r", "dir", "way", "into"]).text();
    assert_eq!(read("into/dir/inner/deep"), "deep");
    assert_eq!(
        fs::read_link(fixture.path("into/way")).unwrap(),
        Path::new("dir")
    );
    cp(&["dir/file", "dir/tool", "new"]).refused(2, &["not a directory"]);
    cp(&["dir/file", "missing/"]).refused(3, &["missing"]);
    cp(&["-r", "dir", "new"]).refused(7, &["not a directory"]);
    cp(&["dir/nothing", "x"]).refused(3, &["x.img:/dir/nothing", "nothing"]);
    assert!(!fixture.path("x").exists());
    let json = fixture
        .run(&["--json", "cp", "-r", "--image", "x.img", "dir", "json"])
        .json();
    assert_eq!(json["file_count"], 3);
    assert_eq!(json["directory_count"], 2);
    assert_eq!(json["other_count"], 1);
}

#[test]
fn names_of_one_file_in_several_sources_stay_names_of_one_file() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    bash(
        &tree,
        "mkdir -p a/deep b; echo x > a/deep/first; ln a/deep/first a/second; \
         ln a/second b/third; ln a/second top; mkfifo a/pipe; ln a/pipe b/pipe; \
         head -c 9M /dev/zero | tr '\\0' y > b/large; ln b/large large; echo z > b/alone",
    );
    ext4_of(&tree, &fixture.path("x.img"), 64 << 20, &[]);
    // The groups of names of one file, as they are below a folder.
    let groups = |name: &str| {
        bash(
            &fixture.path(name),
            "find . ! -type d -printf '%i %n %s %P\\n' | sort -k 4 | \
             awk '{ if (!($1 in seen)) seen[$1] = $4; print seen[$1], $2, $3, $4 }'",
        )
    };
    let here = fixture.path(".");
    bash(
        &here,
        "mkdir expected; cp -a tree/a tree/b tree/top tree/large expected",
    );
    fs::create_dir(fixture.path("out")).unwrap();
    let cp = |words: &[&str]| fixture.run(&[&["cp", "-a", "--no-owner"], words].concat());
    let sources = ["--image", "x.img", "a", "/b", "top", "large"];
    cp(&[&sources[..], &["out"]].concat()).text();
    assert_eq!(groups("out"), groups("expected"));
    assert!(groups("out").contains("a/deep/first 4 2 top\n"));
    assert_eq!(
        fs::read(fixture.path("out/large")).unwrap(),
        fs::read(tree.join("large")).unwrap()
    );
    // Once more: everything is in the way, or is replaced by the same.
    let again = cp(&[&sources[..], &["out"]].concat());
    assert!(
        again.code != 0 && again.err.contains("a file is in the way"),
        "{}",
        again.err
    );
    assert_eq!(groups("out"), groups("expected"));
    cp(&[&["--force"], &sources[..], &["out"]].concat()).text();
    assert_eq!(groups("out"), groups("expected"));
    // A source that comes twice does not lose what it has.
    fs::create_dir(fixture.path("twice")).unwrap();
    cp(&[
        "--force", "--image", "x.img", "a", "a", "b", "top", "large", "twice",
    ])
    .text();
    assert_eq!(groups("twice"), groups("expected"));
    // The root of the image goes into the folder itself.
    fs::create_dir(fixture.path("all")).unwrap();
    cp(&["--force", "--image", "x.img", "/", "b", "all"]).text();
    assert_eq!(groups("all"), groups("tree"));
    // Two images have nothing to do with each other.
    for name in ["one", "two"] {
        fixture.run(&["create", "--resource", name, "x.img"]).text();
    }
    fs::create_dir(fixture.path("both")).unwrap();
    cp(&["one:top", "two:a", "one:b", "both"]).text();
    let inode = |name: &str| fs::metadata(fixture.path(name)).unwrap().ino();
    assert_eq!(inode("both/top"), inode("both/b/third"));
    assert_eq!(inode("both/a/second"), inode("both/a/deep/first"));
    assert_ne!(inode("both/top"), inode("both/a/second"));
}

#[test]
fn nothing_is_replaced_unless_forced_and_links_lead_nowhere() {
    let fixture = Fixture::new();
    small_image(&fixture);
    let cp = |words: &[&str]| {
        fixture.run(&[&["cp", "-a", "--no-owner", "--image", "x.img"], words].concat())
    };
    // What lies outside, and what is put in the way.
    fs::create_dir_all(fixture.path("outside")).unwrap();
    fs::write(fixture.path("outside/precious"), "precious").unwrap();
    fs::create_dir_all(fixture.path("out/dir")).unwrap();
    symlink("../../outside", fixture.path("out/dir/inner")).unwrap();
    symlink("../../outside/precious", fixture.path("out/dir/file")).unwrap();
    let check_outside = || {
        assert_eq!(names(&fixture.path("outside")), ["precious"]);
        assert_eq!(
            fs::read(fixture.path("outside/precious")).unwrap(),
            b"precious"
        );
    };
    let answer = cp(&["dir", "out"]);
    answer.refused(
        7,
        &["dir/inner: something that is no directory is in the way"],
    );
    answer.refused(7, &["dir/file: a file is in the way", "2 problems"]);
    check_outside();
    assert_eq!(fs::read(fixture.path("out/dir/tool")).unwrap(), b"#!");
    // Forced: the link is replaced, and what it leads to is not touched.
    cp(&["--force", "dir", "out"]).refused(7, &["dir/inner"]);
    check_outside();
    assert!(
        !fs::symlink_metadata(fixture.path("out/dir/file"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(fixture.path("out/dir/file")).unwrap(), b"content");
    // A directory is never replaced by a file.
    fs::create_dir_all(fixture.path("again/dir/file/x")).unwrap();
    cp(&["--force", "dir", "again"]).refused(7, &["dir/file: a directory is in the way"]);
    let left: Vec<_> = names(&fixture.path("out/dir"))
        .into_iter()
        .filter(|name| name.contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_ordinary_user_is_told_what_could_not_be_set() {
    if !can_use_loop_devices("cp -a of a user") || !has_tools("cp -a of a user", &["setpriv"]) {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    bash(
        &tree,
        "echo x > file; chmod 6755 file; mknod null c 1 3; mkfifo pipe",
    );
    bash(
        &tree,
        "echo y > other; ln other linked; chmod 444 other; setfattr -n user.a -v b other",
    );
    ext4_of(&tree, &fixture.path("x.img"), 16 << 20, &[]);
    bash(
        &fixture.path("."),
        "chmod 755 .; mkdir mine; chown 65534:65534 mine; cp \"$TINTYPE\" tintype",
    );
    let run = |words: &str| {
        let line = format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups ./tintype cp -a {words} \
             --image x.img / mine/out 2>err && echo 0 || echo $?"
        );
        let code = bash(&fixture.path("."), &line);
        let text = fs::read_to_string(fixture.path("err")).unwrap();
        (code.trim().parse::<i32>().unwrap(), text)
    };
    let (code, text) = run("");
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("warning: owners not set"), "{text}");
    assert!(
        text.contains("devices not made (that takes root): 1, first of x.img:/null"),
        "{text}"
    );
    let metadata = fs::metadata(fixture.path("mine/out/file")).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (65534, 0o755));
    let attribute = bash(
        &fixture.path("mine/out"),
        "getfattr --only-values -n user.a linked",
    );
    assert_eq!(attribute, "b", "set before the file became read-only");
    assert_eq!(
        fs::metadata(fixture.path("mine/out/other"))
            .unwrap()
            .nlink(),
        2
    );
    assert!(fixture.path("mine/out/pipe").exists());
    bash(&fixture.path("mine"), "rm -r out");
    let (code, text) = run("--no-owner");
    assert_eq!(code, 6, "the device is still not there: {text}");
    assert!(!text.contains("owners"), "{text}");
}

#[test]
fn damage_costs_the_file_that_it_is_in() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir_all(&tree).unwrap();
    let large = super::nasty::noise(1, 24 << 20);
    fs::write(tree.join("large"), &large).unwrap();
    fs::hard_link(tree.join("large"), tree.join("large-too")).unwrap();
    for number in 0..20 {
        fs::write(tree.join(format!("small-{number}")), format!("{number}")).unwrap();
    }
    ext4_of(&tree, &fixture.path("x.img"), 64 << 20, &[]);
    fixture.run(&["create", "x.img"]).text();
    damage_pack(&fixture);
    let cp =
        |words: &[&str]| fixture.run(&[&["cp", "-a", "--no-owner", "x:/", "out"], words].concat());
    let answer = cp(&[]);
    answer.refused(4, &["damaged", "the rest was copied"]);
    let left = names(&fixture.path("out"));
    assert_eq!(
        left.iter()
            .filter(|name| name.starts_with("small-"))
            .count(),
        20
    );
    assert!(
        !left.iter().any(|name| name.starts_with("large")),
        "{left:?}"
    );
    fs::remove_dir_all(fixture.path("out")).unwrap();
    cp(&["--keep-damaged"]).refused(4, &["large", "damaged"]);
    let kept = fs::read(fixture.path("out/large")).unwrap();
    assert_eq!(kept.len(), large.len());
    let different: Vec<usize> = kept
        .chunks(4096)
        .zip(large.chunks(4096))
        .enumerate()
        .filter(|(_, (kept, large))| kept != large)
        .map(|(block, _)| block)
        .collect();
    assert!((1..=32).contains(&different.len()), "{different:?}");
    assert!(
        different
            .iter()
            .all(|block| kept[block * 4096..][..4096] == [0; 4096])
    );
    assert_eq!(
        fs::metadata(fixture.path("out/large-too")).unwrap().nlink(),
        2
    );
    // One file alone: nothing half stays behind; what is whole comes.
    fixture
        .run(&["cp", "x:/large", "alone"])
        .refused(4, &["damaged"]);
    assert!(!fixture.path("alone").exists());
    let printed = fixture.run(&["cat", "x:/large", "x:/small-7"]);
    printed.refused(4, &["large"]);
    assert!(printed.out.ends_with(b"7") && printed.out.len() > 1 << 20);
}

#[test]
fn a_copy_is_interrupted_and_leaves_no_half_file() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir_all(&tree).unwrap();
    let piece = super::nasty::noise(1, 1 << 20);
    let file = File::create(tree.join("long")).unwrap();
    for number in 0..400 {
        file.write_all_at(&piece, number << 20).unwrap();
    }
    ext4_of(
        &tree,
        &fixture.path("x.img"),
        480 << 20,
        &["-O", "^has_journal"],
    );
    fs::remove_dir_all(&tree).unwrap();
    let copied = fixture.path("copy");
    let is_whole = || {
        let found = fs::read(&copied).unwrap();
        found.len() == 400 << 20 && found.chunks(1 << 20).all(|part| part == piece)
    };
    // A fast machine may have copied everything before the signal is there.
    let mut attempts = 0;
    for words in [&["-a", "--no-owner"][..], &[]] {
        let mut code = None;
        while code != Some(130) {
            attempts += 1;
            assert!(attempts < 20, "every copy ended before its signal");
            let mut child = fixture
                .signalled(&["cp", "--image", "x.img"])
                .args(words)
                .args(["/long", "copy"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let start = Instant::now();
            let is_there = || fs::metadata(&copied).is_ok_and(|found| found.blocks() > 0);
            while !is_there() && child.try_wait().unwrap().is_none() {
                assert!(start.elapsed() < Duration::from_secs(20), "no file came");
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().unwrap().is_none() {
                let id = child.id().to_string();
                let sent = Command::new("kill").args(["-INT", &id]).status();
                assert!(sent.unwrap().success());
            }
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            code = output.status.code();
            let is_interrupted = code == Some(130) && text.contains("interrupted");
            assert!(is_interrupted || code == Some(0), "{text}");
            // The signal may come when the last byte was copied; then the file is whole.
            assert!(is_interrupted || copied.exists());
            if copied.exists() {
                assert!(is_whole());
                fs::remove_file(&copied).unwrap();
            }
        }
    }
}

#[test]
fn a_full_disk_stops_the_copy_and_leaves_no_half_file() {
    if !can_use_loop_devices("cp to a full disk") {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("large"), super::nasty::noise(1, 12 << 20)).unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 32 << 20, &[]);
    fs::create_dir(fixture.path("full")).unwrap();
    bash(&fixture.path("."), "mount -t tmpfs -o size=4M none full");
    let answer = fixture.run(&["cp", "-a", "--image", "x.img", "/large", "full"]);
    let left = names(&fixture.path("full"));
    let of_tree = fixture.run(&["cp", "-a", "--image", "x.img", "/", "full"]);
    bash(&fixture.path("."), "umount full");
    answer.refused(5, &["x.img:/large: writing the file", "No space"]);
    of_tree.refused(5, &["x.img:/: writing the file large: No space"]);
    assert!(left.is_empty(), "{left:?}");
}
