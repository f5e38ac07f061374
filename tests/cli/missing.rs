//! What belongs to the files of an image and is not shown: it is told, and a copy of all is
//! no success.

use super::browse::{MIB, disk};
use super::support::Fixture;
use super::trees::{bash, ext4_of};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Commands that are asked for everything below a path.
fn of_all(path: &str) -> [Vec<String>; 5] {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    [
        words(&format!("cp -a --no-owner --image x.img {path} out")),
        words(&format!("tar --image x.img {path}")),
        words(&format!("ls -R --image x.img {path}")),
        words(&format!("tree --image x.img {path}")),
        words(&format!("--json ls -R --image x.img {path}")),
    ]
}

#[track_caller]
fn check(fixture: &Fixture, path: &str, code: i32, words: &[&str]) {
    for command in of_all(path) {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        drop(fs::remove_dir_all(fixture.path("out")));
        let answer = fixture.run(&command);
        assert_eq!(answer.code, code, "{command:?}: {}", answer.err);
        for word in words {
            let count = answer.err.matches(word).count();
            assert_eq!(count, 1, "{command:?}: {word:?} in {}", answer.err);
        }
        if words.is_empty() {
            assert!(!answer.err.contains("warning"), "{}", answer.err);
        }
    }
}

fn with_table(fixture: &Fixture, table: &str) {
    let tree = fixture.path("tree");
    for folder in ["etc", "home/ann", "srv", "swap", "nas", "usb"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    fs::write(tree.join("etc/fstab"), table).unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 8 * MIB, &["-L", "root"]);
}

/// Makes the disk as x.img, with other bytes at a place of it.
fn disk_with(fixture: &Fixture, bytes: &[u8], offset: u64) {
    disk(fixture);
    let path = fixture.path("x.img");
    fs::rename(fixture.path("disk.img"), &path).unwrap();
    let image = File::options().write(true).open(path).unwrap();
    image.write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_mount_point_without_its_files_is_told() {
    let fixture = Fixture::new();
    disk_with(&fixture, &[], 0);
    let told = "x.img: UUID=0000-ABCD on /boot/efi is not shown: not found";
    check(&fixture, "/", 8, &[told, "1 problem"]);
    check(&fixture, "/boot", 8, &[told, "1 problem"]);
    check(&fixture, "/srv", 0, &[]);
    check(&fixture, "/etc", 0, &[]);
    // Told, and no failure where not everything was asked for.
    let listed = fixture.run(&["ls", "--image", "x.img"]);
    assert_eq!(listed.code, 0);
    assert!(listed.err.contains(told), "{}", listed.err);
    let words = ["cat", "--image", "x.img", "/boot/efi/a", "/boot/efi/b"];
    let absent = fixture.run(&words);
    absent.refused(3, &[told]);
    assert_eq!(absent.err.matches(told).count(), 1);
}

/// What comes from elsewhere, or is mounted by hand, is no loss; of another disk it is told.
#[test]
fn what_is_not_of_the_disk_is_no_failure() {
    let fixture = Fixture::new();
    let table = "LABEL=root / ext4\n/dev/sda9 none swap sw\ntmpfs /tmp tmpfs\n\
                 nas:/x /nas nfs\nLABEL=stick /usb ext4 noauto\n/home /srv none bind\n";
    with_table(&fixture, table);
    check(&fixture, "/", 0, &[]);
    let table = "LABEL=root / ext4\n/dev/sdb1 /srv ext4\nUUID=1-2 /home ext4\n";
    fs::remove_dir_all(fixture.path("tree")).unwrap();
    with_table(&fixture, table);
    let told = [
        "/dev/sdb1 on /srv is not shown",
        "UUID=1-2 on /home is not shown",
    ];
    check(&fixture, "/", 0, &told);
    check(&fixture, "/home/ann", 0, &told[1..]);
}

#[test]
fn a_damaged_file_system_that_should_be_there_is_damage() {
    let fixture = Fixture::new();
    // The superblock of the data stays recognisable.
    disk_with(&fixture, &[0xFF; 32], 10 * MIB + 1024);
    let inspected = fixture.run(&["inspect", "--image", "x.img"]).text();
    assert!(
        inspected.contains("not placed  LABEL=data on /srv"),
        "{inspected}"
    );
    check(&fixture, "/srv", 4, &["LABEL=data on /srv is not shown"]);
    check(
        &fixture,
        "/",
        4,
        &["2 problems", "LABEL=data on /srv is not shown"],
    );
}

/// A root that is encrypted, and a home that is not: the home was copied as /, with code 0.
#[test]
fn a_root_that_is_not_read_is_missed() {
    let fixture = Fixture::new();
    disk_with(&fixture, &vec![0; 8 * MIB as usize], 2 * MIB);
    let told = "the root may be in partition 1, which is not read";
    check(&fixture, "/", 8, &[told, "1 problem"]);
    let one = fixture.run(&["cat", "--image", "x.img", "/served"]);
    assert_eq!(
        (one.text().as_str(), one.err.contains(told)),
        ("served", true)
    );
    let alone = fixture.run(&["tar", "--image", "x.img", "--partition", "3"]);
    assert_eq!((alone.code, alone.err.as_str()), (0, ""));
}

#[test]
fn a_file_system_that_was_not_left_in_order_is_told() {
    let fixture = Fixture::new();
    with_table(&fixture, "LABEL=root / ext4\n");
    let line = "debugfs -w -R 'set_super_value state 2' x.img 2>/dev/null";
    bash(&fixture.path("."), line);
    let told = "x.img: it was not left in order: ";
    check(&fixture, "/etc", 0, &[told]);
    check(&fixture, "/", 0, &[told]);
}
