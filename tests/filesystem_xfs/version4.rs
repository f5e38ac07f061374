//! Version 4, which many kernels do not mount: filled by mkfs from a prototype, and
//! compared with that.

use crate::open_file;
use crate::support::{Scratch, is_able, shell};
use crate::walk::{data_ranges, entries};
use std::collections::BTreeMap;
use std::fmt::Write;
use tintype::filesystem::{Consistency, DeviceNumber, FileSystem, FileType, Name, NodeId};

/// Looks a path up from the root.
fn find(fs: &dyn FileSystem, path: &str) -> NodeId {
    path.split('/')
        .filter(|part| !part.is_empty())
        .fold(fs.root(), |node, part| {
            let name = Name::new(part.as_bytes()).expect("a name");
            let found = fs.lookup(node, name).expect("read");
            found.unwrap_or_else(|| panic!("no {part} of {path}"))
        })
}

/// Entries of the directories, so that all forms are there.
const COUNTS: [usize; 5] = [0, 3, 30, 100, 1500];

/// Bytes of the long symlink.
const TARGET_LEN: usize = 900;

fn content_bytes() -> Vec<u8> {
    (0..700_001_u32).map(|index| (index % 251) as u8).collect()
}

/// What mkfs is told to make.
fn prototype(content: &str) -> String {
    let mut prototype = String::from("/\n0 0\nd--755 0 0\n");
    let target = "t".repeat(TARGET_LEN);
    for line in [
        format!("file ---640 1000 2000 {}", content),
        "suid -u-711 0 0 /dev/null".to_owned(),
        "null c--666 0 0 1 3".to_owned(),
        "disk b--660 0 6 200 70000".to_owned(),
        "pipe p--600 5 6".to_owned(),
        "short l--777 0 0 target".to_owned(),
        format!("long l--777 0 0 {target}"),
    ] {
        writeln!(prototype, "{line}").expect("text");
    }
    for count in COUNTS {
        writeln!(prototype, "d{count} d--750 7 8").expect("text");
        for index in 0..count {
            writeln!(
                prototype,
                "a-name-of-some-length-{index} ---600 0 0 /dev/null"
            )
            .expect("text");
        }
        writeln!(prototype, "$").expect("text");
    }
    writeln!(prototype, "$").expect("text");
    prototype
}

fn check(test: &str, options: &str) {
    if !is_able(test, &["mkfs.xfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, content) = (scratch.join("image"), scratch.join("content"));
    let bytes = content_bytes();
    std::fs::write(&content, &bytes).expect("written");
    let prototype = prototype(&content.display().to_string());
    std::fs::write(scratch.join("prototype"), prototype).expect("written");
    shell(&format!(
        "truncate -s 400M '{0}'; mkfs.xfs -q -f -m crc=0 {options} -p '{1}' '{0}' 2>/dev/null",
        image.display(),
        scratch.join("prototype").display()
    ));

    let fs = open_file(&image).expect("opened");
    check_files(&fs, &bytes);
    check_directories(&fs);
}

fn check_files(fs: &dyn FileSystem, bytes: &[u8]) {
    let target = "t".repeat(TARGET_LEN);
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    let file = find(fs, "file");
    let stat = fs.metadata(file).expect("read");
    assert_eq!(
        (stat.permissions, stat.user, stat.group),
        (0o640, 1000, 2000)
    );
    let mut read = vec![0; bytes.len() + 10];
    assert_eq!(fs.read_at(file, 0, &mut read).expect("read"), bytes.len());
    assert!(read[..bytes.len()] == *bytes);
    assert_eq!(
        data_ranges(fs, file, stat.size).expect("read"),
        [(0, 700_001)]
    );
    let device = fs.metadata(find(fs, "disk")).expect("read");
    assert_eq!(device.file_type, FileType::BlockDevice);
    assert_eq!(
        device.device,
        Some(DeviceNumber {
            major: 200,
            minor: 70_000
        })
    );
    assert_eq!(
        fs.metadata(find(fs, "suid")).expect("read").permissions,
        0o4711
    );
    assert_eq!(
        fs.metadata(find(fs, "pipe")).expect("read").file_type,
        FileType::Fifo
    );
    assert_eq!(fs.read_link(find(fs, "short")).expect("read"), b"target");
    assert_eq!(
        fs.read_link(find(fs, "long")).expect("read"),
        target.as_bytes()
    );
}

fn check_directories(fs: &dyn FileSystem) {
    for count in COUNTS {
        let directory = find(fs, &format!("d{count}"));
        let found = entries(fs, directory).expect("read");
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|(name, node, _)| (name, node))
            .collect();
        assert_eq!(found.len(), count);
        for index in 0..count {
            let name = format!("a-name-of-some-length-{index}");
            let looked_up = fs.lookup(directory, Name::new(name.as_bytes()).expect("a name"));
            assert_eq!(
                looked_up.expect("read"),
                found.get(name.as_bytes()).copied()
            );
        }
    }
    let mut last = 0;
    fs.allocated_ranges(&mut |range| {
        assert!(range.start >= last && range.end > range.start);
        last = range.end;
        std::ops::ControlFlow::Continue(())
    })
    .expect("free space");
    assert!(fs.statfs().expect("counted").free_block_count > 0);
}

#[test]
fn version_4() {
    check("version_4", "");
}

#[test]
fn version_4_with_blocks_of_512_bytes() {
    check("version_4_with_blocks_of_512_bytes", "-b size=512");
}

#[test]
fn version_4_without_types_in_directories() {
    check(
        "version_4_without_types_in_directories",
        "-n ftype=0 -i size=256",
    );
}

#[test]
fn version_4_with_folded_names() {
    check(
        "version_4_with_folded_names",
        "-n version=ci,size=8192 -b size=2048",
    );
}
