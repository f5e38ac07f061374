//! Copies of metadata, data and superblock: where one is damaged the other is read.

use crate::content;
use crate::oracle::nasty::{Scale, fill};
use crate::support::{Random, Scratch, is_able, say, umount};
use crate::walk::{Tree, compare, our_tree};
use crate::{make, mount, open};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tintype::base::{ByteLen, ByteOffset, ReadAt};
use tintype::filesystem::{
    BlockCache, ErrorKind, ExtentPlace, FileSystem, Name, NodeId, OpenOptions,
};

const SCALE: Scale = Scale {
    large_directory: 700,
    hard_links: 50,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 3000,
};

const NODE_LEN: usize = 16_384;
const SECTOR_LEN: usize = 4096;

/// Makes an image with two copies of everything.
fn image(test: &str, csum: &str) -> Option<(Scratch, Vec<u8>)> {
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return None;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "600M", &format!("-d dup -m dup --csum {csum}"));
    mount(&image, &point, "loop,noatime").expect("mounted");
    fill(&point, SCALE);
    content::fill(&point);
    umount(&point);
    let bytes = std::fs::read(&image).expect("an image");
    Some((scratch, bytes))
}

fn tree_of(bytes: &[u8]) -> tintype::filesystem::Result<Tree> {
    our_tree(&open(Arc::new(bytes.to_vec()))?)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Places of blocks of trees, by address and generation.
fn tree_blocks(bytes: &[u8]) -> BTreeMap<(u64, u64), Vec<usize>> {
    let fsid = &bytes[65_536 + 32..65_536 + 48];
    let mut found: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for start in (0..bytes.len() - NODE_LEN).step_by(SECTOR_LEN) {
        let block = &bytes[start..];
        let is_superblock = &block[64..72] == b"_BHRfS_M";
        if &block[32..48] == fsid && !is_superblock {
            let key = (number(block, 48), number(block, 80));
            found.entry(key).or_default().push(start);
        }
    }
    found
}

/// Places of equal sectors that are neither empty nor in the list.
fn twin_sectors(bytes: &[u8], blocks: &BTreeMap<(u64, u64), Vec<usize>>) -> Vec<[usize; 2]> {
    let in_trees: std::collections::BTreeSet<usize> = blocks
        .values()
        .flatten()
        .flat_map(|start| (*start..start + NODE_LEN).step_by(SECTOR_LEN))
        .collect();
    let mut found: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, sector) in bytes.chunks_exact(SECTOR_LEN).enumerate() {
        let start = index * SECTOR_LEN;
        let is_superblock = &sector[64..72] == b"_BHRfS_M";
        if sector.iter().any(|byte| *byte != 0) && !in_trees.contains(&start) && !is_superblock {
            found
                .entry(*blake3::hash(sector).as_bytes())
                .or_default()
                .push(start);
        }
    }
    let twins = found
        .into_values()
        .filter_map(|places| places.try_into().ok());
    twins.collect()
}

fn check(test: &str, csum: &str) {
    let Some((_scratch, good)) = image(test, csum) else {
        return;
    };
    let before = tree_of(&good).expect("read");
    let blocks = tree_blocks(&good);
    let sectors = twin_sectors(&good, &blocks);
    let mut random = Random::new(99);
    let mut bad = good.clone();
    let (mut metadata, mut data) = (0, 0);
    for places in blocks.values().filter(|places| places.len() == 2) {
        let place = places[random.below(2) as usize];
        match random.below(3) {
            0 => bad[place..place + NODE_LEN].fill(0),
            1 => bad[place + random.below(NODE_LEN as u64) as usize] ^= 0x10,
            _ => bad[place + 100] ^= 1,
        }
        metadata += 1;
    }
    for places in &sectors {
        let place = places[random.below(2) as usize];
        bad[place + random.below(SECTOR_LEN as u64) as usize] ^= 0x80;
        data += 1;
    }
    assert!(
        metadata > 20 && data > 500,
        "{metadata} blocks, {data} sectors"
    );
    let after = tree_of(&bad).expect("read from the other copy");
    compare(test, &before, &after);
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {} entries read right with one copy damaged of \
         {metadata} blocks of trees and {data} sectors of data",
        after.len()
    ));
}

#[test]
fn one_damaged_copy_costs_nothing() {
    check("one_damaged_copy_costs_nothing", "crc32c");
}

#[test]
fn one_damaged_copy_costs_nothing_with_long_checksums() {
    check(
        "one_damaged_copy_costs_nothing_with_long_checksums",
        "sha256",
    );
}

#[test]
fn two_damaged_copies_are_an_error_of_that_place() {
    let test = "two_damaged_copies_are_an_error_of_that_place";
    let Some((_scratch, mut bytes)) = image(test, "xxhash") else {
        return;
    };
    // The second sector of a file that nobody else has.
    let needle = &content::text(10_000, 10_000)[4096..8192];
    let mut count = 0;
    for start in (0..bytes.len()).step_by(SECTOR_LEN) {
        if &bytes[start..start + SECTOR_LEN] == needle {
            bytes[start + 77] ^= 1;
            count += 1;
        }
    }
    assert_eq!(count, 2);
    let fs = open(Arc::new(bytes)).expect("opened");
    let text = fs
        .lookup(fs.root(), Name::new(b"text").expect("a name"))
        .expect("read");
    let node = |name: &str| {
        let name = Name::new(name.as_bytes()).expect("a name");
        fs.lookup(text.expect("there"), name)
            .expect("read")
            .expect("there")
    };
    let mut buffer = vec![0; 10_000];
    let error = fs
        .read_at(node("10000 bytes"), 0, &mut buffer)
        .expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        fs.read_at(node("10000 bytes"), 4095, &mut buffer[..2])
            .is_err()
    );
    assert_eq!(
        fs.read_at(node("10000 bytes"), 0, &mut buffer[..4096])
            .expect("good"),
        4096
    );
    assert_eq!(
        fs.read_at(node("10000 bytes"), 8192, &mut buffer)
            .expect("good"),
        1808
    );
    assert_eq!(
        fs.read_at(node("4097 bytes"), 0, &mut buffer)
            .expect("good"),
        4097
    );
}

#[test]
fn a_copy_of_the_superblock_is_enough() {
    let test = "a_copy_of_the_superblock_is_enough";
    let Some((_scratch, mut bytes)) = image(test, "crc32c") else {
        return;
    };
    let before = tree_of(&bytes).expect("read");
    bytes[65_536..65_536 + SECTOR_LEN].fill(0);
    let options = OpenOptions::new(BlockCache::new(8 << 20));
    let fs = tintype::filesystem::open(Arc::new(bytes.clone()), &options).expect("opened");
    let warnings = fs.summary().warnings.join("; ");
    assert!(warnings.contains("copy at byte 67108864"), "{warnings}");
    compare(test, &before, &our_tree(&*fs).expect("read"));
    bytes[(64 << 20) + 200] ^= 1;
    assert!(open(Arc::new(bytes)).is_err());
}

/// Checksums that are not asked for are not read either.
#[test]
fn damaged_checksums_cost_only_their_own_data() {
    let test = "damaged_checksums_cost_only_their_own_data";
    if !is_able(test, &["mkfs.btrfs", "btrfs"]) {
        return;
    }
    const SUMS_IN_NODE_MAX: usize = SECTOR_LEN / 4;
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "200M", "-m single -d single -n 4096");
    mount(&image, &point, "loop,noatime").expect("mounted");
    let content = content::text(5, 24 << 20);
    std::fs::write(point.join("file"), &content).expect("written");
    umount(&point);
    let bytes = std::fs::read(&image).expect("an image");
    let fsid = &bytes[65_536 + 32..65_536 + 48];
    let is_leaf_of_checksums = |start: &usize| {
        let block = &bytes[*start..];
        &block[32..48] == fsid && number(block, 88) == 7 && block[100] == 0
    };
    let starts = (1 << 20..bytes.len()).step_by(SECTOR_LEN);
    let mut damaged = 0;
    for start in starts.filter(is_leaf_of_checksums) {
        let mut bad = bytes.clone();
        bad[start + 200] ^= 1;
        let fs = open(Arc::new(bad)).expect("opened");
        let name = Name::new(b"file").expect("a name");
        let node = fs.lookup(fs.root(), name).expect("read").expect("there");
        let mut sector = vec![0; SECTOR_LEN];
        let is_lost = |offset: &u64| fs.read_at(node, *offset, &mut sector).is_err();
        let offsets = (0..content.len() as u64).step_by(SECTOR_LEN);
        let lost = offsets.filter(is_lost).count();
        let item_len = |index: usize| {
            let at = start + 101 + index * 25 + 21;
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize
        };
        let count = number(&bytes[start..], 96) as u32 as usize;
        let sums: usize = (0..count).map(item_len).sum::<usize>() / 4;
        assert!(sums <= SUMS_IN_NODE_MAX, "{sums} checksums");
        // Blocks of earlier transactions are in no tree any more.
        assert!(lost == 0 || lost == sums, "{lost} of {sums} sectors");
        damaged += usize::from(lost > 0);
    }
    assert!(damaged >= 5, "{damaged} leaves");
}

/// An image that counts reads, and has sectors of 512 bytes that cannot be read.
struct Medium {
    bytes: Vec<u8>,
    unreadable: Vec<u64>,
    reads: AtomicU64,
}

impl ReadAt for Medium {
    fn len(&self) -> ByteLen {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = offset + target.len() as u64;
        let is_in = |start: &u64| offset < start + 512 && *start < end;
        if self.unreadable.iter().any(is_in) {
            return Err(io::Error::other("a bad sector"));
        }
        self.bytes.read_exact_at(offset, target)
    }
}

#[test]
fn a_wrong_copy_of_a_block_is_read_once() {
    let test = "a_wrong_copy_of_a_block_is_read_once";
    let Some((_scratch, mut bytes)) = image(test, "crc32c") else {
        return;
    };
    for places in tree_blocks(&bytes).values() {
        bytes[places[0] + 1000] ^= 1;
    }
    let medium = Arc::new(Medium {
        bytes,
        unreadable: vec![],
        reads: AtomicU64::new(0),
    });
    let options = OpenOptions::new(BlockCache::new(64 << 20));
    let image: Arc<dyn ReadAt> = Arc::clone(&medium) as _;
    let fs = tintype::filesystem::open(image, &options).expect("opened");
    let names = || crate::walk::entries(&*fs, fs.root()).expect("read").len();
    let count = names();
    let before = medium.reads.load(Ordering::Relaxed);
    assert!(count > 10 && before > 4, "{count} names, {before} reads");
    for _ in 0..3 {
        assert_eq!(names(), count);
    }
    assert_eq!(medium.reads.load(Ordering::Relaxed), before);
}

/// One copy has a sector that cannot be read, the other one a wrong sector beside it.
#[test]
fn each_sector_is_read_from_the_copy_that_has_it() {
    let test = "each_sector_is_read_from_the_copy_that_has_it";
    let Some((_scratch, mut bytes)) = image(test, "crc32c") else {
        return;
    };
    let content = content::text(10_000, 10_000);
    let is_there = |start: &usize| bytes[*start..*start + 4096] == content[4096..8192];
    let starts = (0..bytes.len()).step_by(SECTOR_LEN);
    let places: Vec<usize> = starts.filter(is_there).collect();
    let [first, second] = places[..] else {
        panic!("{places:?}");
    };
    bytes[second + 77] ^= 1;
    let unreadable = (first - SECTOR_LEN) as u64;
    let fs = open(Arc::new(Medium {
        bytes,
        unreadable: vec![unreadable],
        reads: AtomicU64::new(0),
    }))
    .expect("opened");
    let node = in_text(&fs, "10000 bytes");
    let mut buffer = vec![0; 10_000];
    assert_eq!(fs.read_at(node, 0, &mut buffer).expect("read"), 10_000);
    assert!(buffer == content);
}

fn in_text(fs: &dyn FileSystem, name: &str) -> NodeId {
    let look = |directory, name: &str| {
        let name = Name::new(name.as_bytes()).expect("a name");
        fs.lookup(directory, name).expect("read").expect("there")
    };
    look(look(fs.root(), "text"), name)
}

/// Without checksums there is no wrong sector, but each copy may have an unreadable one.
#[test]
fn each_sector_without_checksums_is_read_from_the_copy_that_has_it() {
    let test = "each_sector_without_checksums_is_read_from_the_copy_that_has_it";
    let Some((_scratch, bytes)) = image(test, "crc32c") else {
        return;
    };
    let good = open(Arc::new(bytes.clone())).expect("opened");
    let node = in_text(&good, "plain");
    let mut content = vec![0; 4 * SECTOR_LEN];
    good.read_at(node, 0, &mut content).expect("read");
    let mut first = None;
    good.extents(node, 0, &mut |extent| {
        first = Some(extent.place);
        ControlFlow::Break(())
    })
    .expect("read");
    let Some(ExtentPlace::Image { offset: first }) = first else {
        panic!("{first:?}");
    };
    // The third sector is bad in this copy, the second one everywhere else.
    let second = &content[SECTOR_LEN..2 * SECTOR_LEN];
    let starts = (0..bytes.len()).step_by(SECTOR_LEN);
    let is_elsewhere = |start: &usize| {
        bytes[*start..*start + SECTOR_LEN] == *second && *start as u64 != first + SECTOR_LEN as u64
    };
    let mut bad: Vec<u64> = starts
        .filter(is_elsewhere)
        .map(|start| start as u64)
        .collect();
    assert!(!bad.is_empty());
    bad.push(first + 2 * SECTOR_LEN as u64);
    let fs = open(Arc::new(Medium {
        unreadable: bad,
        bytes,
        reads: AtomicU64::new(0),
    }))
    .expect("opened");
    let mut buffer = vec![0; content.len()];
    let count = fs.read_at(node, 0, &mut buffer).expect("read");
    assert_eq!(count, content.len());
    assert!(buffer == content);
}
