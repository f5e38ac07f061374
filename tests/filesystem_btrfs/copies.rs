//! Copies of metadata, data and superblock: where one is damaged the other is read.

use crate::content;
use crate::oracle::nasty::{Scale, fill};
use crate::support::{Random, Scratch, is_able, say, umount};
use crate::walk::{Tree, compare, our_tree};
use crate::{make, mount, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use tintype::filesystem::{BlockCache, ErrorKind, FileSystem, Name, OpenOptions};

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
