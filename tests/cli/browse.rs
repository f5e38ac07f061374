//! `ls`, `tree`, `stat`, `cat` and `inspect`: what is in an image, in a store or not.

use super::support::{Answer, Fixture, answer};
use super::trees::{bash, ext4_of, tool};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

pub const MIB: u64 = 1 << 20;

fn sample(fixture: &Fixture) {
    let tree = fixture.path("tree");
    fs::create_dir_all(tree.join("etc/inner")).unwrap();
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::write(
        tree.join("etc/os-release"),
        "ID=debian\nPRETTY_NAME=\"Debian 12\"\n",
    )
    .unwrap();
    fs::write(tree.join("etc/inner/file"), "inner\n").unwrap();
    fs::write(tree.join("etc/.hidden"), "hidden").unwrap();
    symlink("inner/file", tree.join("etc/link")).unwrap();
    let odd = OsString::from_vec(b"odd\xff\nname".to_vec());
    fs::write(tree.join(odd), "odd").unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(b"x", 3 * MIB).unwrap();
    sparse.set_len(10 * MIB).unwrap();
    bash(
        &tree,
        "setfattr -n user.color -v green etc/os-release; chmod 2750 empty",
    );
    ext4_of(&tree, &fixture.path("x.img"), 32 * MIB, &["-L", "sample"]);
}

fn lines(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8(answer.out.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn files_are_listed_from_a_file_and_from_a_store() {
    let fixture = Fixture::new();
    sample(&fixture);
    fixture
        .run(&["create", "--resource", "web", "--name", "10:30", "x.img"])
        .text();
    let from_file = fixture.run(&["ls", "--image", "x.img"]).text();
    assert_eq!(
        from_file,
        "empty\netc\nlost+found\nodd\\xff\\nname\nsparse\n"
    );
    for place in [
        "web",
        "web:",
        "web:/",
        "web@latest:.",
        "web@10:30",
        "web@10:30:/",
    ] {
        assert_eq!(fixture.run(&["ls", place]).text(), from_file, "{place}");
    }
    let etc = fixture.run(&["ls", "web@10:30:/etc"]).text();
    assert_eq!(etc, "inner\nlink\nos-release\n");
    assert_eq!(
        fixture.run(&["ls", "-a", "web:etc//./"]).text(),
        ".hidden\ninner\nlink\nos-release\n"
    );
    assert_eq!(fixture.run(&["ls", "-d", "web:etc"]).text(), "/etc\n");
    assert_eq!(
        fixture
            .run(&["ls", "web:etc", "web:sparse", "web:empty"])
            .text(),
        "/sparse\n\n/etc:\ninner\nlink\nos-release\n\n/empty:\n"
    );
    assert_eq!(
        fixture.run(&["ls", "-R", "web:etc"]).text(),
        "/etc:\ninner\nlink\nos-release\n\n/etc/inner:\nfile\n"
    );
    let long = fixture.run(&["ls", "-l", "web:/etc"]).text();
    let owner = fs::metadata(fixture.path("tree")).unwrap();
    let (user, group) = (owner.uid(), owner.gid());
    assert!(
        long.starts_with(&format!("drwxr-xr-x 2 {user} {group} ")),
        "{long}"
    );
    assert!(long.contains(" link -> inner/file\n"), "{long}");
    let bits = fixture.run(&["ls", "-ld", "web:empty"]).text();
    assert!(bits.starts_with("drwxr-s---"), "{bits}");
}

#[test]
fn json_loses_nothing() {
    let fixture = Fixture::new();
    sample(&fixture);
    let all = lines(&fixture.run(&["--json", "ls", "-Ra", "--image", "x.img"]));
    let find = |path: &str| all.iter().find(|file| file["path"] == path).unwrap();
    let odd = find("/odd\u{fffd}\nname");
    assert_eq!(odd["path_hex"], "2f6f6464ff0a6e616d65");
    assert_eq!(find("/sparse").get("path_hex"), None);
    assert_eq!(find("/sparse")["size"], 10 * MIB);
    assert!(find("/sparse")["allocated_len_bytes"].as_u64().unwrap() < 64 << 10);
    assert_eq!(find("/etc/link")["target"], "inner/file");
    assert_eq!(find("/etc/link")["type"], "symlink");
    assert_eq!(find("/empty")["mode"], "2750");
    assert_eq!(find("/etc/inner/file")["link_count"], 1);
    let modified = fs::metadata(fixture.path("tree/etc/inner/file"))
        .unwrap()
        .mtime();
    let found = find("/etc/inner/file")["modified_at"].as_str().unwrap();
    let time: tintype::base::Timestamp = found.parse().unwrap();
    assert_eq!(time.nanoseconds() / 1_000_000_000, modified);
    // The tree has the same files, each directory before what is in it.
    let mut drawn = lines(&fixture.run(&["--json", "tree", "-a", "--image", "x.img"]));
    let mut all = all.clone();
    let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
    assert_eq!(path(&drawn[0]), "/empty");
    assert_eq!(path(&drawn[2]), "/etc/.hidden");
    drawn.sort_by_key(path);
    all.sort_by_key(path);
    assert_eq!(drawn, all);
}

#[test]
fn a_tree_is_drawn() {
    let fixture = Fixture::new();
    sample(&fixture);
    let text = fixture.run(&["tree", "--image", "x.img", "/etc"]).text();
    let expected = "/etc\n\
                    \u{251c}\u{2500}\u{2500} inner\n\
                    \u{2502}   \u{2514}\u{2500}\u{2500} file\n\
                    \u{251c}\u{2500}\u{2500} link -> inner/file\n\
                    \u{2514}\u{2500}\u{2500} os-release\n\
                    \n1 directories, 3 files\n";
    assert_eq!(text, expected);
    let top = fixture.run(&["tree", "-L", "1", "--image", "x.img"]).text();
    assert!(top.contains("sparse") && !top.contains("inner"), "{top}");
}

#[test]
fn stat_tells_everything() {
    let fixture = Fixture::new();
    sample(&fixture);
    let text = fixture
        .run(&["stat", "--image", "x.img", "/etc/os-release", "sparse"])
        .text();
    for words in [
        "file         x.img:/etc/os-release",
        "attribute    user.color = \"green\"",
        "file system  ext4",
        "size         10.0 MiB (10485760 bytes)",
        "extents      1, 4.0 KiB of data",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let json = lines(&fixture.run(&["--json", "stat", "--image", "x.img", "etc/os-release"]));
    let line = "debugfs -R 'stat /etc/os-release' x.img 2>/dev/null | head -1";
    let inode = json[0]["inode"].to_string();
    let debugfs = bash(&fixture.path("."), line);
    assert!(
        debugfs.starts_with(&format!("Inode: {inode} ")),
        "{inode} {debugfs}"
    );
    assert_eq!(json[0]["attributes"][0]["value_hex"], "677265656e");
    let link = fixture
        .run(&["stat", "--image", "x.img", "/etc/link"])
        .text();
    assert!(link.contains("target       inner/file"), "{link}");
    let followed = fixture
        .run(&["stat", "-L", "--image", "x.img", "/etc/link"])
        .text();
    assert!(followed.contains("size         6 B"), "{followed}");
}

#[test]
fn cat_prints_files_by_any_name() {
    let fixture = Fixture::new();
    sample(&fixture);
    fixture
        .run(&["create", "--resource", "web", "x.img"])
        .text();
    let printed = fixture
        .run(&["cat", "web:/etc/link", "web:etc/.hidden"])
        .text();
    assert_eq!(printed, "inner\nhidden");
    let mut command = fixture.command(&["cat"]);
    command.arg(OsStr::from_bytes(b"web:/odd\xff\nname"));
    assert_eq!(answer(&mut command).text(), "odd");
    let sparse = fixture.run(&["cat", "--image", "x.img", "sparse"]);
    assert_eq!(sparse.out, fs::read(fixture.path("tree/sparse")).unwrap());
    fixture
        .run(&["cat", "web:/etc"])
        .refused(1, &["found a directory"]);
    let several = fixture.run(&["cat", "web:/none", "web:/etc/link"]);
    several.refused(3, &["web@", "/none", "1 problem"]);
    assert_eq!(several.out, b"inner\n");
    fixture
        .run(&["cat", "nobody:/x"])
        .refused(3, &["no snapshot \"nobody\""]);
    fixture
        .run(&["cat", "--image", "none.img", "/x"])
        .refused(3, &["none.img"]);
}

/// A disk with an MBR: something encrypted, a root with a table, and a volume of data.
pub fn disk(fixture: &Fixture) {
    let (root, data) = (fixture.path("root"), fixture.path("data"));
    for folder in ["etc", "srv", "boot"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::create_dir_all(&data).unwrap();
    let table = "LABEL=root / ext4 defaults 0 1\nLABEL=data /srv ext4 defaults 0 2\n\
                 UUID=0000-ABCD /boot/efi vfat defaults 0 2\n";
    fs::write(root.join("etc/fstab"), table).unwrap();
    fs::write(
        root.join("etc/os-release"),
        "ID=debian\nPRETTY_NAME=\"Debian 12\"\n",
    )
    .unwrap();
    fs::write(data.join("served"), "served").unwrap();
    ext4_of(&root, &fixture.path("root.img"), 8 * MIB, &["-L", "root"]);
    ext4_of(&data, &fixture.path("data.img"), 8 * MIB, &["-L", "data"]);
    let mut bytes = vec![0; 2 * MIB as usize];
    for (number, (start, count)) in [(1, 1), (2, 8), (10, 8)].into_iter().enumerate() {
        let entry = &mut bytes[446 + 16 * number..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&(start * 2048_u32).to_le_bytes());
        entry[12..16].copy_from_slice(&(count * 2048_u32).to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[MIB as usize..][..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    bytes.extend(fs::read(fixture.path("root.img")).unwrap());
    bytes.extend(fs::read(fixture.path("data.img")).unwrap());
    fs::write(fixture.path("disk.img"), bytes).unwrap();
}

#[test]
fn a_disk_is_shown_as_its_machine_sees_it_and_by_partition() {
    let fixture = Fixture::new();
    disk(&fixture);
    let ls = |words: &[&str]| fixture.run(&[&["ls", "--image", "disk.img"], words].concat());
    assert_eq!(ls(&["/srv"]).text(), "lost+found\nserved\n");
    assert_eq!(ls(&["--partition", "2", "/srv"]).text(), "");
    assert_eq!(ls(&["--partition", "3"]).text(), "lost+found\nserved\n");
    ls(&["--partition", "1"]).refused(8, &["partition 1", "luks"]);
    ls(&["--partition", "9"]).refused(3, &["no partition \"9\"", "1, 2, 3"]);
    let text = fixture.run(&["inspect", "./disk.img"]).text();
    for words in [
        "partitions  mbr",
        "system      Debian 12",
        "luks",
        "not shown",
        "clean",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(
        text.contains("not placed  UUID=0000-ABCD on /boot/efi: not found"),
        "{text}"
    );
    let root = text.lines().find(|line| line.starts_with("2 ")).unwrap();
    assert!(root.contains("ext4") && root.ends_with('/'), "{root}");
    fixture
        .run(&["create", "--resource", "m", "disk.img"])
        .text();
    let json = fixture.run(&["--json", "inspect", "m"]).json();
    assert_eq!(json["image_len_bytes"], 18 * MIB);
    assert_eq!(json["partitions"][2]["filesystem"]["label"], "data");
    assert_eq!(json["partitions"][0]["filesystem"]["browsable"], false);
    assert_eq!(json["operating_system"]["id"], "debian");
    assert_eq!(json["mounts"][1]["path"], "/srv");
    fixture
        .run(&["inspect", "disk.img"])
        .refused(3, &["./disk.img"]);
    let copied = fixture.run(&["cp", "-a", "--no-owner", "m:/", "out"]);
    // What should be on /boot/efi may be in the partition that is encrypted.
    copied.refused(8, &["0000-ABCD on /boot/efi is not shown", "1 problem"]);
    assert_eq!(fs::read(fixture.path("out/srv/served")).unwrap(), b"served");
}

#[test]
fn an_image_without_files_says_why() {
    let fixture = Fixture::new();
    let mut bytes = vec![0; MIB as usize];
    bytes[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    fs::write(fixture.path("x.img"), bytes).unwrap();
    for command in ["ls", "tree", "tar"] {
        let answer = fixture.run(&[command, "--image", "x.img"]);
        answer.refused(8, &["no files to show", "luks"]);
    }
    let text = fixture.run(&["inspect", "--image", "x.img"]).text();
    assert!(text.contains("luks"), "{text}");
    fixture.run(&["ls"]).refused(2, &["SNAPSHOT"]);
}

#[test]
fn a_damaged_directory_costs_itself() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    for folder in ["a", "b", "c"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
        fs::write(tree.join(folder).join("file"), folder).unwrap();
    }
    ext4_of(&tree, &fixture.path("x.img"), 16 * MIB, &[]);
    let line = "debugfs -R 'blocks /b' x.img 2>/dev/null";
    let block: u64 = bash(&fixture.path("."), line).trim().parse().unwrap();
    let length = bash(
        &fixture.path("."),
        "dumpe2fs -h x.img 2>/dev/null | sed -n 's/^Block size: *//p'",
    );
    let place = block * length.trim().parse::<u64>().unwrap();
    let image = File::options()
        .write(true)
        .open(fixture.path("x.img"))
        .unwrap();
    image.write_all_at(&[0xAA; 40], place + 20).unwrap();
    let listed = fixture.run(&["ls", "-R", "--image", "x.img"]);
    listed.refused(4, &["x.img:/b: ", "1 problem", "the rest was listed"]);
    let text = String::from_utf8(listed.out).unwrap();
    assert!(
        text.contains("/a:\nfile\n") && text.contains("/c:\nfile\n"),
        "{text}"
    );
    let copied = fixture.run(&["cp", "-r", "--image", "x.img", "/", "out"]);
    copied.refused(4, &["x.img:/b: "]);
    assert_eq!(fs::read(fixture.path("out/c/file")).unwrap(), b"c");
    let drawn = fixture.run(&["--json", "tree", "--image", "x.img"]);
    drawn.refused(4, &["\"kind\":\"damaged\""]);
}

/// Directories below level 4,096 were passed over by `tree`, and paths of a megabyte were
/// kept for every file of a directory.
#[test]
fn what_lies_too_deep_is_told() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("empty")).unwrap();
    let options = ["-N", "16384"];
    ext4_of(
        &fixture.path("empty"),
        &fixture.path("x.img"),
        64 * MIB,
        &options,
    );
    let name = "n".repeat(250);
    let mut script = "mkdir d\ncd d\n".repeat(4100);
    script.push_str("cd /\nmkdir long\ncd long\n");
    script.push_str(&format!("mkdir {name}\ncd {name}\n").repeat(140));
    fs::write(fixture.path("script"), script).unwrap();
    bash(
        &fixture.path("."),
        "debugfs -w -f script x.img >/dev/null 2>&1",
    );
    for words in [&["ls", "-R"][..], &["tree"], &["--json", "tree"]] {
        let deep = fixture.run(&[words, &["--image", "x.img", "/d"]].concat());
        deep.refused(4, &["d/d: directory tree", "1 problem"]);
        let long = fixture.run(&[words, &["--image", "x.img", "/long"]].concat());
        long.refused(8, &["32,768 bytes", "1 problem"]);
        let paths = long.out.windows(name.len() + 1);
        assert!(paths.filter(|window| window.starts_with(b"nnn")).count() > 100);
    }
    let words = ["tree", "-L", "3", "--image", "x.img", "/d"];
    assert_eq!(fixture.run(&words).text().lines().count(), 6);
}

/// Names that are printed alike were taken for one, and the first snapshot was shown twice.
#[test]
fn snapshots_whose_names_look_alike_are_two() {
    let fixture = Fixture::with_store();
    let mut ids = vec![];
    for (resource, content) in [("r\nx", "one"), ("r\\nx", "two")] {
        let tree = fixture.path(content);
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("f"), content).unwrap();
        ext4_of(&tree, &fixture.path("x.img"), 8 * MIB, &[]);
        let words = [
            "--json",
            "create",
            "--name",
            "n",
            "--resource",
            resource,
            "x.img",
        ];
        let made = fixture.run(&words).json();
        ids.push(format!("{}:/f", made["id"].as_str().unwrap()));
    }
    assert_eq!(fixture.run(&["cat", &ids[0], &ids[1]]).text(), "onetwo");
}

#[test]
fn a_directory_inside_itself_ends() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/file"), "file").unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 16 * MIB, &[]);
    bash(
        &fixture.path("."),
        "debugfs -w -R 'ln /a /a/b/loop' x.img 2>/dev/null",
    );
    for words in [&["ls", "-R"][..], &["tree"], &["tar"]] {
        let answer = fixture.run(&[words, &["--image", "x.img"]].concat());
        answer.refused(4, &["x.img:/a/b/loop: directory tree"]);
        assert!(answer.out.len() < 20_480);
    }
    let copied = fixture.run(&["cp", "-r", "--image", "x.img", "/", "out"]);
    copied.refused(4, &["x.img:/a/b/loop: directory tree"]);
    assert_eq!(fs::read(fixture.path("out/a/b/file")).unwrap(), b"file");
    assert!(!fixture.path("out/a/b/loop").exists());
}

/// What is damaged is not what is unknown.
#[test]
fn an_image_whose_only_file_system_is_damaged_ends_as_damaged() {
    let fixture = Fixture::new();
    let path = fixture.path("x.img");
    File::create(&path).unwrap().set_len(320 << 20).unwrap();
    let made = tool("mkfs.xfs", &["-q".as_ref(), path.as_os_str()]);
    assert!(made.status.success(), "{made:?}");
    // The label, under the checksum.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 108).unwrap();
    for words in [["ls", "--image"], ["tar", "--image"]] {
        let answer = fixture.run(&[&words[..], &["x.img"]].concat());
        answer.refused(4, &["x.img", "sb_crc"]);
    }
    let text = fixture.run(&["inspect", "--image", "x.img"]);
    assert!(!text.text().contains(" 0 B"), "{text:?}");
}
