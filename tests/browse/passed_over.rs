//! A damaged place in a large directory: the names behind it are listed, and can be
//! opened; and whoever lists is told, however many pieces the listing takes.

use super::machine::Browsed;
use super::support::{MountOptions, Scratch, needs, shell, tintype};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

const COUNT: usize = 3000;

/// Fills `$W/tree/dir`, whose directory takes many requests.
const TREE: &str = "mkdir -p $W/tree/dir $W/mnt
    for number in $(seq 1001 4000); do echo $number >$W/tree/dir/file-$number; done\n";

/// Mounts the image by `$MOUNT` and copies the tree.
const FILL: &str = "
    fill() { cp -r $W/tree/dir $W/mnt/; timeout 60 umount $W/mnt; }\n";

fn name() -> Vec<u8> {
    b"file-1500".to_vec()
}

fn name_of_windows() -> Vec<u8> {
    name().into_iter().flat_map(|byte| [byte, 0]).collect()
}

/// Returns where `bytes` come in `image`.
fn places(image: &[u8], bytes: &[u8]) -> Vec<usize> {
    let windows = image.windows(bytes.len()).enumerate();
    windows
        .filter(|(_, window)| *window == bytes)
        .map(|(place, _)| place)
        .collect()
}

/// Makes the image by a script, damages it, and compares what is shown with what is said.
fn check(format: &str, make: &str, damage: fn(&mut [u8]), lost_max: usize) {
    let made = Scratch::new();
    let script = format!("{TREE}{FILL}{make}");
    let variables: &[(&str, &OsStr)] = &[("W", made.path().as_os_str())];
    let _ = shell(&script, variables).expect_ok(&script);
    let image = made.join("image");
    let mut bytes = fs::read(&image).expect("an image");
    damage(&mut bytes);
    fs::write(&image, &bytes).expect("written");

    let browsed = Browsed::new(&image, &MountOptions::default());
    let mut names = BTreeSet::new();
    let mut failed = None;
    for entry in fs::read_dir(browsed.path("files/dir")).expect("dir/") {
        match entry {
            Ok(entry) => assert!(names.insert(entry.file_name()), "listed twice"),
            Err(error) => failed = Some(error.raw_os_error()),
        }
    }
    let lost = COUNT - names.len();
    assert!((1..=lost_max).contains(&lost), "{format}: {lost} are lost");
    assert_eq!(failed, Some(Some(libc::EUCLEAN)), "{format}");
    for name in &names {
        let path = browsed.path("files/dir").join(name);
        let content = fs::read(path).unwrap_or_else(|error| panic!("{format} {name:?}: {error}"));
        let number = name.to_str().expect("text").trim_start_matches("file-");
        assert_eq!(content, format!("{number}\n").as_bytes(), "{format}");
    }

    // Programs that copy all of it end with an error.
    let (from, to) = (browsed.path("files"), made.join("copy"));
    let variables: &[(&str, &OsStr)] = &[("FROM", from.as_os_str()), ("TO", to.as_os_str())];
    for command in ["cp -r $FROM $TO", "rsync -a $FROM/ $TO", "tar cf $TO $FROM"] {
        let ran = shell(&format!("rm -rf $TO; {command}"), variables);
        assert!(!ran.ok(), "{format}: {command}: {}", ran.stderr);
    }
    let out = made.join("out");
    let words = [
        "cp",
        "-r",
        "--image",
        path_text(&image),
        "/dir",
        path_text(&out),
    ];
    let ran = tintype(Path::new("/nonexistent"), &words);
    assert!(!ran.ok(), "{format}: {}", ran.stdout);
    let copied = fs::read_dir(&out).expect("copied").count();
    assert_eq!(copied, names.len(), "{format}: {}", ran.stderr);
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Changes every place of the name: in the directory, and in a log that is not read.
fn change_names(image: &mut [u8]) {
    for place in places(image, &name()) {
        image[place] ^= 0x55;
    }
}

#[test]
fn of_an_ext4() {
    needs!("root", "fuse", "mke2fs", "rsync");
    let make = "mke2fs -q -F -t ext4 -b 4096 -I 256 -d $W/tree $W/image 64M >&2";
    check("ext4", make, change_names, 400);
}

#[test]
fn of_an_xfs() {
    needs!("root", "fuse", "mkfs.xfs", "rsync");
    let make = "truncate -s 320M $W/image; mkfs.xfs -q $W/image
        timeout 60 mount -o loop $W/image $W/mnt; fill";
    check("XFS", make, change_names, 400);
}

#[test]
fn of_a_btrfs() {
    needs!("root", "fuse", "mkfs.btrfs", "rsync");
    let make = "truncate -s 256M $W/image; mkfs.btrfs -q -m single -n 4096 $W/image
        timeout 60 mount -o loop $W/image $W/mnt; fill";
    // A byte of the block that has it by number, among its neighbours: key type 96.
    let damage = |image: &mut [u8]| {
        let mut changed = 0;
        for place in places(image, &name()) {
            let block = &mut image[place / 4096 * 4096..][..4096];
            let count = usize::from(u16::from_le_bytes([block[96], block[97]]));
            let kind = |index: usize| block[101 + 25 * index + 8];
            if block[100] == 0 && kind(0) == 96 && kind(count - 1) == 96 {
                block[4000] ^= 1;
                changed += 1;
            }
        }
        assert!(changed > 0);
    };
    check("btrfs", make, damage, 100);
}

#[test]
fn of_an_ntfs() {
    needs!("root", "fuse", "mkntfs", "ntfs-3g", "rsync");
    let make = "truncate -s 64M $W/image; mkntfs -qQF $W/image >&2
        timeout 60 ntfs-3g $W/image $W/mnt; fill";
    // The magic of the block of names that it is in.
    let damage = |image: &mut [u8]| {
        let mut changed = 0;
        for place in places(image, &name_of_windows()) {
            let block = &mut image[place / 4096 * 4096..][..4];
            if block == b"INDX" {
                block.copy_from_slice(b"indx");
                changed += 1;
            }
        }
        // Behind the entries of another block there may be what was there before.
        assert!((1..=3).contains(&changed), "{changed} blocks of names");
    };
    check("NTFS", make, damage, 180);
}

#[test]
fn of_an_exfat() {
    needs!("root", "fuse", "mkfs.exfat", "mount.exfat-fuse", "rsync");
    let make = "truncate -s 64M $W/image; mkfs.exfat $W/image >&2
        device=$(losetup -f --show $W/image); timeout 60 mount.exfat-fuse $device $W/mnt >&2
        fill; losetup -d $device";
    // An entry of the name that is not in use.
    let damage = |image: &mut [u8]| {
        for place in places(image, &name_of_windows()) {
            image[place - 2] = 0x41;
        }
    };
    check("exFAT", make, damage, 1);
}
