//! Damage: of the store, of a file system, of a partition table. It is an error of the
//! place that is damaged and of nothing else.

use super::machine::Browsed;
use super::support::{Mount, MountOptions, Scratch, needs, shell};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes `$W/image` by a script.
fn image(scratch: &Scratch, script: &str) -> PathBuf {
    let variables: &[(&str, &OsStr)] = &[("W", scratch.path().as_os_str())];
    let _ = shell(script, variables).expect_ok(script);
    scratch.join("image")
}

/// A bare ext4 with 40 files of random bytes and a directory.
const EXT4: &str = r#"
mkdir -p $W/tree/below
for number in $(seq 10 49); do head -c 500000 /dev/urandom >$W/tree/$number; done
seq 100 >$W/tree/below/file
seq 100 >$W/tree/fine
mke2fs -q -F -t ext4 -b 4096 -I 256 -d $W/tree $W/image 64M >&2
"#;

/// Changes one byte in the middle of the largest pack.
fn damage_a_chunk(store: &Path) {
    let mut packs = vec![];
    for folder in fs::read_dir(store.join("packs")).expect("packs") {
        for pack in fs::read_dir(folder.expect("a folder").path()).expect("a folder") {
            packs.push(pack.expect("a pack").path());
        }
    }
    let len = |path: &PathBuf| fs::metadata(path).expect("a pack").len();
    let largest = packs.iter().max_by_key(|path| len(path)).expect("a pack");
    let mut content = fs::read(largest).expect("a pack");
    let middle = content.len() / 2;
    content[middle] ^= 0xFF;
    fs::remove_file(largest).expect("removed");
    fs::write(largest, content).expect("written");
}

#[test]
fn a_damaged_chunk_is_an_error_of_one_file() {
    needs!("root", "fuse", "mke2fs");
    let made = Scratch::new();
    let image = image(&made, EXT4);
    let mut browsed = Browsed::new(&image, &MountOptions::default());
    browsed.mount = None;
    damage_a_chunk(&browsed.store);
    let point = browsed.scratch.join("mnt");
    browsed.mount = Some(Mount::start(
        &browsed.store,
        &point,
        &MountOptions::default(),
    ));
    let mut failed = vec![];
    for number in 10..50 {
        let name = number.to_string();
        match fs::read(browsed.path("files").join(&name)) {
            Ok(bytes) => {
                let expected = fs::read(made.join("tree").join(&name)).expect("the original");
                assert!(bytes == expected, "{name} differs");
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}");
                failed.push(name);
            }
        }
    }
    assert!((1..=2).contains(&failed.len()), "{failed:?}");
    let log = browsed.mount.as_ref().expect("it is mounted").log();
    let told = log.lines().filter(|line| line.contains("cannot be read"));
    assert!((1..=2).contains(&told.count()), "{log}");
}

#[test]
fn a_damaged_directory_is_an_error_of_itself() {
    needs!("root", "fuse", "mke2fs", "debugfs");
    let made = Scratch::new();
    let damage = r#"
        place() { debugfs -R "$1" $W/image 2>/dev/null; }
        # A directory whose block is nonsense, and an inode that is.
        block=$(place 'blocks /below' | tr -d ' \n')
        head -c 4096 /dev/urandom | dd of=$W/image bs=4096 seek=$block conv=notrunc status=none
        inode=$(place 'imap /20' | sed -n 's/.*located at block \([0-9]*\), offset \(0x[0-9a-f]*\).*/\1 \2/p')
        set -- $inode
        head -c 100 /dev/urandom | dd of=$W/image bs=1 seek=$(($1 * 4096 + $2)) conv=notrunc status=none
    "#;
    let image = image(&made, &format!("{EXT4}{damage}"));
    let browsed = Browsed::new(&image, &MountOptions::default());
    let error = |name: &str| {
        let path = browsed.path("files").join(name);
        fs::metadata(&path)
            .and_then(|found| {
                if found.is_dir() {
                    fs::read_dir(&path)?.try_for_each(|entry| entry.map(drop))
                } else {
                    fs::read(&path).map(drop)
                }
            })
            .err()
            .and_then(|error| error.raw_os_error())
    };
    assert_eq!(error("below"), Some(libc::EUCLEAN));
    assert_eq!(error("20"), Some(libc::EUCLEAN));
    assert_eq!(error("fine"), None);
    // A listing loses no name.
    let names = fs::read_dir(browsed.path("files")).expect("files/").count();
    assert_eq!(names, 40 + 3);
    for _ in 0..3 {
        assert_eq!(error("below"), Some(libc::EUCLEAN));
    }
    let log = browsed.mount.as_ref().expect("it is mounted").log();
    let told = log.lines().filter(|line| line.contains("is damaged:"));
    assert_eq!(told.count(), 2, "{log}");
}

#[test]
fn a_file_system_that_cannot_be_opened_is_told() {
    needs!("root", "fuse", "mke2fs");
    let made = Scratch::new();
    // The first superblock says what no file system has: blocks of 2^40 bytes.
    let damage =
        "printf '\\036' | dd of=$W/image bs=1 seek=$((1024 + 24)) conv=notrunc status=none";
    let image = image(&made, &format!("{EXT4}{damage}"));
    let mut browsed = Browsed::new(&image, &MountOptions::default());
    let files = browsed.path("files");
    assert!(fs::metadata(&files).expect("it is there").is_dir());
    let error = fs::read_dir(&files).expect_err("nothing can be listed");
    let json = browsed.json();
    let filesystem = &json["filesystem"];
    assert_eq!(filesystem["browsable"], false);
    assert!(filesystem["reason"].is_string(), "{json}");
    assert_eq!(error.raw_os_error(), Some(libc::EUCLEAN), "{filesystem}");
    assert!(browsed.mount.as_mut().expect("it is mounted").is_alive());
    let first = fs::read(browsed.path("disk.img")).expect("the image is whole");
    assert!(first == fs::read(image).expect("the image"));
}
