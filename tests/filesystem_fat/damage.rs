//! Damage of FAT, of one kind each: the damaged place is an error, everything else is
//! read.

use crate::build::{empty, long, number, root_of, short};
use crate::image::Pages;
use crate::support::needs;
use crate::support::reader::{content, extents, find, kind, names, node, open};
use std::ops::ControlFlow;
use std::sync::Arc;
use tintype::filesystem::{Consistency, ErrorKind, FileSystem, Name, NodeId};

const CLUSTER: usize = 2048;

/// A FAT16 of clusters of 2 KiB with three files of ten clusters from 10, 20 and 30 on,
/// a directory at 40 with one of them in it, and an empty one.
struct Fat16 {
    image: Pages,
    table: u64,
    root: u64,
}

impl Fat16 {
    fn new() -> Self {
        let base = Arc::new(empty("truncate -s 20M $IMAGE; mkfs.fat -F 16 -s 4 $IMAGE"));
        let mut fat = Self {
            image: Pages::over(&base),
            table: number(&base, 14, 2) * 512,
            root: root_of(&base),
        };
        let size = 10 * CLUSTER as u32;
        for (index, (name, first)) in [(b"FIRST   BIN", 10), (b"SECOND  BIN", 20)]
            .into_iter()
            .enumerate()
        {
            fat.root_slot(index, &short(name, 0x20, first, size));
        }
        fat.root_slot(2, &short(b"DIR        ", 0x10, 40, 0));
        fat.root_slot(3, &short(b"EMPTY      ", 0x10, 0, 0));
        let inner = fat.place_of(40);
        fat.image.write(inner, &short(b".          ", 0x10, 40, 0));
        fat.image
            .write(inner + 32, &short(b"..         ", 0x10, 0, 0));
        fat.image
            .write(inner + 64, &short(b"INNER   BIN", 0x20, 30, size));
        fat.link(40, 0xFFFF);
        for cluster in 10..40_u16 {
            let next = if cluster % 10 == 9 {
                0xFFFF
            } else {
                cluster + 1
            };
            fat.link(cluster, next);
            let place = fat.place_of(cluster);
            fat.image.write(place, &[cluster as u8; CLUSTER]);
        }
        fat
    }

    fn root_slot(&mut self, index: usize, slot: &[u8; 32]) {
        self.image.write(self.root + index as u64 * 32, slot);
    }

    fn place_of(&self, cluster: u16) -> u64 {
        // The root has 512 entries.
        self.root + 512 * 32 + (u64::from(cluster) - 2) * CLUSTER as u64
    }

    fn link(&mut self, cluster: u16, next: u16) {
        self.image
            .write(self.table + u64::from(cluster) * 2, &next.to_le_bytes());
    }

    fn open(&self) -> Arc<dyn FileSystem> {
        open(Arc::new(self.image.clone())).expect("opened")
    }
}

/// Everything but `FIRST.BIN` is there.
fn others_are_read(fs: &dyn FileSystem) {
    for (path, first) in [("SECOND.BIN", 20), ("DIR/INNER.BIN", 30)] {
        let content = content(fs, node(fs, path)).expect(path);
        assert_eq!(content.len(), 10 * CLUSTER);
        for (piece, number) in content.chunks(CLUSTER).zip(first..) {
            assert!(piece.iter().all(|byte| *byte == number), "{path}");
        }
    }
}

/// The first four clusters are read, and what is behind is an error.
fn only_the_front_is_read(fat: &Fat16) {
    let fs = fat.open();
    let file = node(&*fs, "FIRST.BIN");
    let mut front = vec![0; 4 * CLUSTER];
    assert_eq!(fs.read_at(file, 0, &mut front).unwrap(), front.len());
    assert!(front[3 * CLUSTER..].iter().all(|byte| *byte == 13));
    let behind = 5 * CLUSTER as u64;
    assert_eq!(
        kind(fs.read_at(file, behind, &mut front)),
        ErrorKind::Corrupt
    );
    assert_eq!(kind(content(&*fs, file)), ErrorKind::Corrupt);
    let (len, result) = extents(&*fs, file);
    assert_eq!(kind(result), ErrorKind::Corrupt);
    assert_eq!(len, 4 * CLUSTER as u64);
    assert_eq!(fs.metadata(file).unwrap().size, 10 * CLUSTER as u64);
    others_are_read(&*fs);
}

#[test]
fn a_whole_volume_is_read() {
    needs!("mkfs.fat");
    let fat = Fat16::new();
    let fs = fat.open();
    others_are_read(&*fs);
    let (found, result) = names(&*fs, fs.root());
    result.unwrap();
    assert_eq!(found, ["FIRST.BIN", "SECOND.BIN", "DIR", "EMPTY"]);
    let (found, result) = names(&*fs, node(&*fs, "EMPTY"));
    assert!(found.is_empty() && result.is_ok());
    assert_eq!(names(&*fs, node(&*fs, "dir")).0, ["INNER.BIN"]);
}

#[test]
fn a_chain_that_is_a_loop() {
    needs!("mkfs.fat");
    for (last, first) in [(13, 13), (19, 10), (19, 15), (14, 12)] {
        let mut fat = Fat16::new();
        fat.link(last, first);
        let mut slot = short(b"FIRST   BIN", 0x20, 10, u32::MAX);
        fat.root_slot(0, &slot);
        let fs = fat.open();
        let file = node(&*fs, "FIRST.BIN");
        let mut byte = [0];
        let result = fs.read_at(file, u64::from(u32::MAX) - 1, &mut byte);
        assert_eq!(kind(result), ErrorKind::Corrupt, "{last} to {first}");
        let (len, result) = extents(&*fs, file);
        assert_eq!(kind(result), ErrorKind::Corrupt);
        assert!(len <= 64 * CLUSTER as u64, "{len}");
        others_are_read(&*fs);
        // A directory that is one ends too.
        slot[11] = 0x10;
        fat.root_slot(0, &slot);
        let fs = fat.open();
        let directory = node(&*fs, "FIRST.BIN");
        let _ = names(&*fs, directory);
        assert!(fs.metadata(directory).is_ok());
        others_are_read(&*fs);
    }
}

#[test]
fn a_chain_that_leaves_the_volume() {
    needs!("mkfs.fat");
    for bad in [1, 0xFFF0, 10_300] {
        let mut fat = Fat16::new();
        fat.link(13, bad);
        only_the_front_is_read(&fat);
    }
}

#[test]
fn a_chain_into_a_free_cluster_or_a_bad_one() {
    needs!("mkfs.fat");
    for bad in [0, 0xFFF7] {
        let mut fat = Fat16::new();
        fat.link(13, bad);
        only_the_front_is_read(&fat);
    }
}

#[test]
fn a_chain_that_is_too_short() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    fat.link(13, 0xFFFF);
    only_the_front_is_read(&fat);
}

#[test]
fn a_chain_that_is_too_long_is_only_space() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    fat.root_slot(0, &short(b"FIRST   BIN", 0x20, 10, 3 * CLUSTER as u32 - 7));
    let fs = fat.open();
    let file = node(&*fs, "FIRST.BIN");
    assert_eq!(content(&*fs, file).unwrap().len(), 3 * CLUSTER - 7);
    let (len, result) = extents(&*fs, file);
    result.unwrap();
    assert_eq!(len, 3 * CLUSTER as u64 - 7);
}

#[test]
fn files_without_clusters() {
    needs!("mkfs.fat");
    for (first, size, is_good) in [
        (0, 0, true),
        (0, 5, false),
        (1, 5, false),
        (60_000, 5, false),
    ] {
        let mut fat = Fat16::new();
        fat.root_slot(0, &short(b"FIRST   BIN", 0x20, first, size));
        let fs = fat.open();
        let file = node(&*fs, "FIRST.BIN");
        let result = content(&*fs, file);
        assert_eq!(result.is_ok(), is_good, "{first} {size}");
        assert_eq!(extents(&*fs, file).1.is_ok(), is_good);
        others_are_read(&*fs);
    }
}

#[test]
fn two_files_with_the_same_clusters_are_both_read() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    fat.link(14, 25);
    let fs = fat.open();
    let file = content(&*fs, node(&*fs, "FIRST.BIN")).unwrap();
    assert_eq!(file.len(), 10 * CLUSTER);
    assert!(
        file[5 * CLUSTER..6 * CLUSTER]
            .iter()
            .all(|byte| *byte == 25)
    );
    others_are_read(&*fs);
}

#[test]
fn a_directory_that_holds_itself_is_the_same_node() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    let place = fat.place_of(40);
    fat.image
        .write(place + 96, &short(b"AGAIN      ", 0x10, 40, 0));
    let fs = fat.open();
    let again = node(&*fs, "DIR/AGAIN");
    assert_eq!(node(&*fs, "DIR/AGAIN/AGAIN/AGAIN"), again);
    assert_eq!(
        node(&*fs, "DIR/INNER.BIN"),
        node(&*fs, "DIR/AGAIN/INNER.BIN")
    );
}

#[test]
fn a_directory_of_more_entries_than_there_can_be() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    // 65,536 slots are 1,024 clusters.
    for cluster in 100..1200_u16 {
        fat.link(cluster, cluster + 1);
        let place = fat.place_of(cluster);
        fat.image
            .write(place, &short(b"\xE5NUSED     ", 0x20, 0, 0).repeat(64));
    }
    fat.link(1200, 0xFFFF);
    let inner = fat.place_of(1130);
    fat.image.write(inner, &short(b"BEYOND     ", 0x20, 0, 0));
    let inside = fat.place_of(1100);
    fat.image.write(inside, &short(b"INSIDE     ", 0x20, 0, 0));
    fat.root_slot(0, &short(b"LARGE      ", 0x10, 100, 0));
    let fs = fat.open();
    let directory = node(&*fs, "LARGE");
    let (found, result) = names(&*fs, directory);
    assert_eq!(found, ["INSIDE"]);
    assert_eq!(kind(result), ErrorKind::Corrupt);
    assert!(find(&*fs, "LARGE/inside").unwrap().is_some());
    assert_eq!(fs.metadata(directory).unwrap().size, 2 << 20);
    // As long as one can be it is no error.
    fat.link(1123, 0xFFFF);
    let fs = fat.open();
    assert!(names(&*fs, node(&*fs, "LARGE")).1.is_ok());
}

#[test]
fn a_name_that_no_file_can_have_is_passed_over() {
    needs!("mkfs.fat");
    let mut fat = Fat16::new();
    fat.root_slot(0, &short(b"A/B     TXT", 0x20, 0, 0));
    let fs = fat.open();
    let (found, result) = names(&*fs, fs.root());
    assert_eq!(found, ["SECOND.BIN", "DIR", "EMPTY"]);
    assert_eq!(kind(result), ErrorKind::Corrupt);
    others_are_read(&*fs);
    // With a long one like that the short one counts.
    let units: Vec<u16> = "a/b".encode_utf16().collect();
    let set = long(&units, b"SHORT   TXT");
    fat.root_slot(0, &set[0]);
    fat.root_slot(1, &short(b"SHORT   TXT", 0x20, 0, 0));
    assert_eq!(
        names(&*fat.open(), NodeId::new(1)).0,
        ["SHORT.TXT", "DIR", "EMPTY"]
    );
}

#[test]
fn numbers_that_were_not_given_are_errors() {
    needs!("mkfs.fat");
    let fat = Fat16::new();
    let fs = fat.open();
    let slot = |offset: u64| NodeId::new(offset / 32);
    for (what, forged) in [
        ("boot sector", NodeId::new(0)),
        ("table", slot(fat.table + 64)),
        ("free slot of the root", slot(fat.root + 4 * 32)),
        ("dots", slot(fat.place_of(40))),
        ("free cluster", slot(fat.place_of(200))),
        ("behind the volume", slot(1 << 40)),
        ("the last number", NodeId::new(u64::MAX)),
        (
            "a subvolume",
            NodeId {
                subvolume: 1,
                inode: 1,
            },
        ),
    ] {
        assert_eq!(kind(fs.metadata(forged)), ErrorKind::NotFound, "{what}");
        let name = Name::new(b"x").unwrap();
        assert_eq!(kind(fs.lookup(forged, name)), ErrorKind::NotFound, "{what}");
    }
    let file = node(&*fs, "FIRST.BIN");
    assert_eq!(kind(fs.read_link(file)), ErrorKind::WrongType);
    assert_eq!(kind(names(&*fs, file).1), ErrorKind::WrongType);
    assert_eq!(
        kind(fs.read_at(fs.root(), 0, &mut [0])),
        ErrorKind::WrongType
    );
}

#[test]
fn a_volume_that_was_not_unmounted_says_so() {
    needs!("mkfs.fat");
    let clean = Fat16::new();
    assert_eq!(clean.open().summary().consistency, Consistency::Clean);
    for (place, value) in [(37, 1), (clean.table + 3, 0x7F), (clean.table + 3, 0xBF)] {
        let mut fat = Fat16::new();
        fat.image.write(place, &[value]);
        let fs = fat.open();
        let state = fs.summary().consistency;
        assert!(
            matches!(state, Consistency::Dirty { .. }),
            "{place}: {state:?}"
        );
        let result = fs.allocated_ranges(&mut |_| ControlFlow::Continue(()));
        assert_eq!(kind(result), ErrorKind::Unsupported);
        others_are_read(&*fs);
    }
}

#[test]
fn a_damaged_boot_sector_of_fat32_is_replaced_by_its_copy_and_said() {
    needs!("mkfs.fat", "mcopy");
    let script = "truncate -s 300M $IMAGE; mkfs.fat -F 32 -n COPIED $IMAGE >/dev/null
        seq 9999 >$IMAGE.tmp; mcopy -i $IMAGE $IMAGE.tmp ::numbers; rm $IMAGE.tmp";
    let base = Arc::new(empty(script));
    let numbers = |image: &Pages| {
        let fs = open(Arc::new(image.clone())).expect("opened");
        let content = content(&*fs, node(&*fs, "numbers")).expect("content");
        (fs, content)
    };
    let (_, expected) = numbers(&Pages::over(&base));
    for damage in [[0; 512], [0x5A; 512]] {
        let mut image = Pages::over(&base);
        image.write(0, &damage);
        let (fs, found) = numbers(&image);
        assert!(found == expected && !found.is_empty());
        let summary = fs.summary();
        assert_eq!(summary.label, b"COPIED");
        assert_eq!(
            summary.warnings,
            ["the boot sector is damaged; its copy was read"]
        );
        assert!(matches!(summary.consistency, Consistency::Dirty { .. }));
        let result = fs.allocated_ranges(&mut |_| ControlFlow::Continue(()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
        // A copy of another place is none.
        image.write(6 * 512 + 50, &[7, 0]);
        assert_eq!(
            kind(open(Arc::new(image)).map(drop)),
            ErrorKind::Unsupported
        );
    }
}
