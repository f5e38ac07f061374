//! Damage of exFAT, of one kind each: the damaged place is an error, everything else is
//! read.

use crate::build::{Exfat, Stream, empty_exfat, exfat_set, number, seal};
use crate::support::needs;
use crate::support::reader::{content, extents, find, kind, names, node};
use std::sync::Arc;
use tintype::filesystem::{Consistency, ErrorKind, FileSystem};

/// An exFAT with files of three clusters from 100 and 110 on: one in a chain, one not.
fn exfat(base: &Arc<Vec<u8>>) -> (Exfat, u64, u64) {
    let mut exfat = Exfat::new(base);
    for cluster in 100..120 {
        exfat
            .image
            .write(exfat.place_of(cluster), &[cluster as u8; 4096]);
    }
    exfat.link(100, 101);
    exfat.link(101, 102);
    exfat.link(102, u32::MAX);
    let stream = |is_contiguous, first| Stream {
        is_contiguous,
        first,
        len: 12_000,
        valid_len: 12_000,
    };
    let chained = exfat.add(&exfat_set("in a chain", 0x20, &stream(false, 100)));
    let contiguous = exfat.add(&exfat_set("contiguous", 0x20, &stream(true, 110)));
    (exfat, chained, contiguous)
}

fn is_read(fs: &dyn FileSystem, path: &str, first: u8) {
    let content = content(fs, node(fs, path)).expect(path);
    assert_eq!(content.len(), 12_000);
    for (piece, number) in content.chunks(4096).zip(first..) {
        assert!(piece.iter().all(|byte| *byte == number), "{path}");
    }
}

#[test]
fn chains_of_exfat_are_bounded_too() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let (whole, _, _) = exfat(&base);
    is_read(&*whole.open(), "in a chain", 100);
    is_read(&*whole.open(), "contiguous", 110);
    for bad in [100, 101, 0, 1, 0xFFFF_FFF7, 5_000_000, u32::MAX] {
        let (mut exfat, _, _) = exfat(&base);
        exfat.link(101, bad);
        let fs = exfat.open();
        let file = node(&*fs, "in a chain");
        assert_eq!(kind(content(&*fs, file)), ErrorKind::Corrupt, "{bad}");
        let mut front = [0; 4096];
        assert_eq!(fs.read_at(file, 0, &mut front).unwrap(), 4096);
        is_read(&*fs, "contiguous", 110);
    }
}

#[test]
fn a_contiguous_file_that_leaves_the_volume() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let (mut exfat, _, _) = exfat(&base);
    let count = number(&base, 92, 4) as u32;
    let stream = Stream {
        is_contiguous: true,
        first: count + 1,
        len: 1 << 40,
        valid_len: 1 << 40,
    };
    exfat.add(&exfat_set("too long", 0x20, &stream));
    let fs = exfat.open();
    let file = node(&*fs, "too long");
    assert_eq!(fs.read_at(file, 0, &mut [0; 4096]).unwrap(), 4096);
    assert_eq!(
        kind(fs.read_at(file, 4096, &mut [0; 1])),
        ErrorKind::Corrupt
    );
    assert_eq!(kind(extents(&*fs, file).1), ErrorKind::Corrupt);
    is_read(&*fs, "in a chain", 100);
}

#[test]
fn a_set_with_a_wrong_checksum_is_listed_and_an_error() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    // A time, a length, and a letter of the name.
    for place in [9, 32 + 24, 64 + 2] {
        let (mut exfat, chained, _) = exfat(&base);
        let byte = exfat.image.bytes(chained + place, 1)[0];
        exfat.image.write(chained + place, &[byte ^ 1]);
        let fs = exfat.open();
        let (found, result) = names(&*fs, fs.root());
        result.unwrap();
        assert_eq!(found.len(), 2);
        let file = node(&*fs, &found[0]);
        assert_eq!(kind(fs.metadata(file)), ErrorKind::Corrupt);
        assert_eq!(kind(fs.read_at(file, 0, &mut [0])), ErrorKind::Corrupt);
        is_read(&*fs, "contiguous", 110);
    }
}

#[test]
fn a_set_that_is_none_is_passed_over() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    // The stream is missing, is deleted, the name is too short, has no letters.
    for (place, byte) in [(32, 0xC1), (32, 0x40), (1, 1), (32 + 3, 0), (64, 0x41)] {
        let (mut exfat, chained, _) = exfat(&base);
        exfat.image.write(chained + place, &[byte]);
        let mut set = exfat.image.bytes(chained, 96);
        seal(&mut set);
        exfat.image.write(chained, &set);
        let fs = exfat.open();
        let (found, result) = names(&*fs, fs.root());
        assert_eq!(found, ["contiguous"], "{place}");
        assert_eq!(kind(result), ErrorKind::Corrupt);
        is_read(&*fs, "contiguous", 110);
        assert!(find(&*fs, "in a chain").unwrap().is_none());
    }
}

#[test]
fn entries_that_are_not_known() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let stream = Stream {
        is_contiguous: true,
        first: 110,
        len: 12_000,
        valid_len: 12_000,
    };
    let (mut exfat, _, _) = exfat(&base);
    for (name, kind) in [("benign", 0xE0), ("critical", 0xC5)] {
        let mut set = exfat_set(name, 0x20, &stream);
        set.extend([0; 32]);
        set[96] = kind;
        set[1] += 1;
        seal(&mut set);
        exfat.add(&set);
    }
    // A primary one that may be ignored, and one that may not: neither is a file.
    exfat.add(&[0xA9; 32]);
    exfat.add(&[0x89; 32]);
    exfat.add(&exfat_set("behind", 0x20, &stream));
    let fs = exfat.open();
    is_read(&*fs, "benign", 110);
    is_read(&*fs, "behind", 110);
    let critical = node(&*fs, "critical");
    assert_eq!(kind(fs.metadata(critical)), ErrorKind::Unsupported);
}

#[test]
fn lengths_that_cannot_be() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    for (attributes, len, valid_len) in [
        (0x20, u64::MAX, 0),
        (0x20, 10, 11),
        (0x10, (256 << 20) + 4096, (256 << 20) + 4096),
    ] {
        let (mut exfat, _, _) = exfat(&base);
        let stream = Stream {
            is_contiguous: true,
            first: 110,
            len,
            valid_len,
        };
        exfat.add(&exfat_set("bad", attributes, &stream));
        let fs = exfat.open();
        let bad = node(&*fs, "bad");
        let result = fs.metadata(bad).and_then(|_| names(&*fs, bad).1);
        assert_eq!(kind(result), ErrorKind::Corrupt, "{len}");
        is_read(&*fs, "contiguous", 110);
    }
}

#[test]
fn a_volume_is_read_without_what_only_it_needs() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let (whole, _, _) = exfat(&base);
    let entry = |number: u64| whole.root + number * 32;
    let (label, bitmap, upcase) = (entry(0), entry(1), entry(2));
    assert_eq!(whole.image.bytes(bitmap, 1), [0x81]);
    assert_eq!(whole.image.bytes(upcase, 1), [0x82]);
    assert!(whole.image.bytes(label, 1)[0] & 0x7F == 3);
    // Another checksum, another length, no table; each is a warning.
    for (place, byte) in [(upcase + 4, 0x55), (upcase + 27, 0x55), (upcase, 0x02)] {
        let (mut exfat, _, _) = exfat(&base);
        exfat.image.write(place, &[byte]);
        let fs = exfat.open();
        assert_eq!(fs.summary().warnings.len(), 1, "{place}");
        is_read(&*fs, "IN A chain", 100);
        assert!(fs.statfs().is_ok());
    }
    let (mut exfat, _, _) = exfat(&base);
    exfat.image.write(bitmap, &[0x01]);
    let fs = exfat.open();
    assert_eq!(kind(fs.statfs()), ErrorKind::Corrupt);
    is_read(&*fs, "in a chain", 100);
}

#[test]
fn a_dirty_or_damaged_boot_region_is_told() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    for (place, byte) in [(106, 2), (106, 4), (100, 0x55), (3000, 0x55)] {
        let (mut exfat, _, _) = exfat(&base);
        exfat.image.write(place, &[byte]);
        let fs = exfat.open();
        let state = fs.summary().consistency;
        assert!(
            matches!(state, Consistency::Dirty { .. }),
            "{place}: {state:?}"
        );
        is_read(&*fs, "in a chain", 100);
    }
}
