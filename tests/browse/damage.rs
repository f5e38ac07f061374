//! Damage: of the store, of a file system, of a partition table. It is an error of the
//! place that is damaged and of nothing else.

use super::machine::Browsed;
use super::support::{Mount, MountOptions, Scratch, needs, shell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
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
    damage_chunks(store, 1);
}

/// Changes so many bytes of the largest pack, evenly spread.
fn damage_chunks(store: &Path, count: usize) {
    let mut packs = vec![];
    for folder in fs::read_dir(store.join("packs")).expect("packs") {
        for pack in fs::read_dir(folder.expect("a folder").path()).expect("a folder") {
            packs.push(pack.expect("a pack").path());
        }
    }
    let len = |path: &PathBuf| fs::metadata(path).expect("a pack").len();
    let largest = packs.iter().max_by_key(|path| len(path)).expect("a pack");
    let mut content = fs::read(largest).expect("a pack");
    for number in 0..count {
        let place = content.len() * (2 * number + 1) / (2 * count);
        content[place] ^= 0xFF;
    }
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

/// A disk full of noise: a partition that begins on a block of 4 KiB, and one that does
/// not.
const NOISE: &str = r#"
head -c 40M /dev/urandom >$W/image
sgdisk -a 1 -n 1:2048:+8M -n 2:20001:+8M $W/image >&2
"#;

/// What a direct reader gets at `offset`: how much, or EIO.
fn read_direct(file: &File, offset: u64, target: &mut [u8]) -> Option<usize> {
    match file.read_at(target, offset) {
        Ok(count) => Some(count),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "at {offset}");
            None
        }
    }
}

fn open_direct(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_DIRECT);
    options.open(path).expect("it opens")
}

/// Returns the blocks of a file that cannot be read, joined.
fn damaged_ranges(file: &File, len: u64) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = vec![];
    for offset in (0..len).step_by(4096) {
        if read_direct(file, offset, &mut [0; 4096]).is_some() {
            continue;
        }
        match found.last_mut().filter(|last| last.end == offset) {
            Some(last) => last.end += 4096,
            None => found.push(offset..offset + 4096),
        }
    }
    found
}

/// Reads a partition that begins at `start` of the image, in requests of `step` bytes;
/// returns how many of them met the damage.
fn check_direct(file: &File, start: u64, bytes: &[u8], damage: &[Range<u64>], step: u64) -> usize {
    let len = bytes.len() as u64;
    let mut met = 0;
    for offset in (0..len).step_by(step as usize) {
        let mut target = vec![0; step as usize];
        let here = start + offset;
        let next = damage.iter().find(|range| range.end > here);
        let whole = next.map_or(u64::MAX, |range| range.start.saturating_sub(here));
        let expected = whole.min(step).min(len - offset) as usize;
        met += usize::from(whole < step);
        let found = read_direct(file, offset, &mut target);
        assert_eq!(found.unwrap_or(0), expected, "at {offset} of {start}");
        assert_eq!(found.is_none(), expected == 0);
        assert!(target[..expected] == bytes[offset as usize..][..expected]);
        if let Some(range) = next.filter(|_| whole < step) {
            let at = range.start.max(here) - start;
            assert_eq!(
                read_direct(file, at, &mut target),
                None,
                "at the damage {at}"
            );
        }
    }
    met
}

#[test]
fn a_direct_reader_of_a_partition_gets_what_lies_before_the_damage() {
    needs!("root", "fuse", "sgdisk");
    let made = Scratch::new();
    let image = image(&made, NOISE);
    let bytes = fs::read(&image).expect("the image");
    let mut browsed = Browsed::new(&image, &MountOptions::default());
    browsed.mount = None;
    damage_chunks(&browsed.store, 20);
    let point = browsed.scratch.join("mnt");
    browsed.mount = Some(Mount::start(
        &browsed.store,
        &point,
        &MountOptions::default(),
    ));
    let whole = open_direct(&browsed.path("disk.img"));
    let damage = damaged_ranges(&whole, bytes.len() as u64);
    assert!((15..=20).contains(&damage.len()), "{damage:?}");
    for (number, sector) in [(1, 2048), (2, 20_001)] {
        let path = browsed.path(&format!("partitions/{number}/disk.img"));
        let start = sector * 512_usize;
        let bytes = &bytes[start..start + (8 << 20)];
        let file = open_direct(&path);
        for step in [4096, 65_536, 300_032, 1 << 20] {
            let met = check_direct(&file, start as u64, bytes, &damage, step);
            assert!(met >= 3, "{met} requests of {step} met damage");
        }
        check_buffered(&path, bytes);
    }
    let log = browsed.mount.as_ref().expect("it is mounted").log();
    let told = log.lines().filter(|line| line.contains("cannot be read"));
    // Each chunk once in ten seconds.
    assert!(told.count() <= 3 * damage.len(), "{log}");
}

/// Reads everything with buffers: right, or an error, and never the end of the file.
fn check_buffered(path: &Path, bytes: &[u8]) {
    let file = File::open(path).expect("it opens");
    let mut failed = 0;
    for (index, part) in bytes.chunks(128 << 10).enumerate() {
        let offset = (index * (128 << 10)) as u64;
        let mut target = vec![0; part.len()];
        match file.read_at(&mut target, offset) {
            Ok(count) => {
                assert!(count > 0, "the end of the file at {offset}");
                assert!(target[..count] == part[..count], "at {offset}");
                if count < part.len() {
                    let again = file.read_at(&mut target, offset + count as u64);
                    assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EIO));
                    failed += 1;
                }
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "at {offset}");
                failed += 1;
            }
        }
    }
    assert!((3..bytes.len() / (128 << 10)).contains(&failed), "{failed}");
    let copied = std::io::copy(
        &mut File::open(path).expect("it opens"),
        &mut std::io::sink(),
    );
    assert_eq!(copied.unwrap_err().raw_os_error(), Some(libc::EIO));
}
