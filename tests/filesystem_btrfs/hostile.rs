//! Damaged metadata with right checksums: every walk ends, in an error or in data.

use crate::oracle::hostile::{Mutated, PAGE_LEN, TIME_MAX, read_everything};
use crate::oracle::nasty::{Scale, fill};
use crate::support::{Random, Scratch, is_able, number, say, shell, umount};
use crate::{content, make, mount, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::FileSystem;

const SUPERBLOCK: u64 = 65_536;
const SUPERBLOCK_LEN: usize = 4096;
const HEADER_LEN: usize = 101;

/// Makes a small file system with a bit of everything; with a log on request.
fn base_image(scratch: &Scratch, node_len: usize, has_log: bool) -> Vec<u8> {
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    // One copy: damage must not be healed by the other.
    make(
        &image,
        "200M",
        &format!("-m single -d single -n {node_len}"),
    );
    mount(&image, &point, "loop,noatime,commit=300,compress=zstd").expect("mounted");
    let scale = Scale {
        large_directory: 700,
        hard_links: 10,
        has_reflink: true,
        has_bigtime: true,
        xattr_len_max: 1000,
    };
    fill(&point, scale);
    content::fill(&point);
    shell(&format!(
        "cd '{0}'; btrfs -q subvolume create sub; cp names/* sub; \
         btrfs -q subvolume snapshot sub snap; rm -r snap/n*; sync -f .",
        point.display()
    ));
    if has_log {
        shell(&format!(
            "cd '{0}'; for i in 1 2 3 4 5 6 7 8 9; do echo $i > sub/new-$i; \
             setfattr -n user.a -v $i sub/new-$i; ln sub/new-$i sub/link-$i; \
             sync -d sub/new-$i; sync sub/new-$i; done; rm sub/new-1; mv sub/new-2 dir-5; \
             head -c 300000 dense > text/10000\\ bytes; mkdir sub/made; touch sub/made/in; \
             sync text/10000\\ bytes sub dir-5 sub/made dir-40",
            point.display()
        ));
    }
    let bytes = std::fs::read(&image).expect("an image");
    umount(&point);
    if has_log {
        return bytes;
    }
    std::fs::read(&image).expect("an image")
}

/// Places of the blocks of trees.
fn blocks(image: &[u8], node_len: usize) -> Vec<u64> {
    let superblock = &image[SUPERBLOCK as usize..];
    let fsid = &superblock[32..48];
    let mut newest: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for start in (0..image.len() - node_len).step_by(PAGE_LEN) {
        let block = &image[start..];
        if &block[32..48] != fsid || &block[64..72] == b"_BHRfS_M" {
            continue;
        }
        let number = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
        let entry = newest.entry(number(48)).or_default();
        *entry = (*entry).max((number(80), start as u64));
    }
    newest.into_values().map(|(_, start)| start).collect()
}

fn interesting(random: &mut Random) -> u64 {
    let values = [
        0,
        1,
        5,
        6,
        255,
        256,
        257,
        4096,
        65_536,
        1 << 31,
        1 << 63,
        u64::MAX,
    ];
    values[random.below(values.len() as u64) as usize]
}

/// Changes a few bytes of a structure and makes its checksum right again.
fn mutate(image: &mut Mutated, start: u64, len: usize, random: &mut Random) {
    let mut bytes = vec![0; len];
    image.read_exact_at(start, &mut bytes).expect("inside");
    let count = u64::from(u32::from_le_bytes(
        bytes[96..100].try_into().expect("4 bytes"),
    ));
    let is_node = start != SUPERBLOCK;
    let entries_len = (count * 25).clamp(1, len as u64 - 200);
    for _ in 0..=random.below(4) {
        let at = match random.below(8) {
            0 => 48 + random.below(HEADER_LEN as u64 - 48),
            1..=3 if is_node => HEADER_LEN as u64 + random.below(entries_len),
            // Data lies at the end.
            4..=6 if is_node => len as u64 - 9 - random.below(len as u64 / 2),
            _ => 48 + random.below(len as u64 - 57),
        } as usize;
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at..at + 8].copy_from_slice(&interesting(random).to_le_bytes()),
            3 => bytes[at..at + 2].copy_from_slice(&(random.below(600) as u16).to_le_bytes()),
            _ => bytes[at..at + 4].fill([0, 0xFF][random.below(2) as usize]),
        }
    }
    let sum = crc32c::crc32c(&bytes[32..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    for (index, chunk) in bytes.chunks_exact(PAGE_LEN).enumerate() {
        image
            .page(start / PAGE_LEN as u64 + index as u64)
            .copy_from_slice(chunk);
    }
}

fn check(test: &str, node_len: usize, has_log: bool) {
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return;
    }
    let rounds = number("TINTYPE_BTRFS_MUTATIONS", 300) / 3;
    let seed = number("TINTYPE_BTRFS_SEED", 1);
    let scratch = Scratch::new();
    let base = Arc::new(base_image(&scratch, node_len, has_log));
    let places = blocks(&base, node_len);
    assert!(places.len() > 30, "{} blocks", places.len());
    let (mut refused, mut damaged, mut slowest) = (0, 0, Duration::ZERO);
    let mut states = BTreeMap::new();
    for round in 0..rounds {
        let mut random = Random::new(seed * 1_000_003 + round);
        let mut image = Mutated::new(&base);
        for _ in 0..=random.below(6) {
            match random.below(12) {
                0 => mutate(&mut image, SUPERBLOCK, SUPERBLOCK_LEN, &mut random),
                _ => {
                    let place = places[random.below(places.len() as u64) as usize];
                    mutate(&mut image, place, node_len, &mut random);
                }
            }
        }
        let start = Instant::now();
        match open(Arc::new(image)) {
            Ok(fs) => {
                damaged += usize::from(read_everything(&fs) > 0);
                *states
                    .entry(format!("{:?}", fs.summary().consistency))
                    .or_insert(0) += 1;
            }
            Err(_) => refused += 1,
        }
        let elapsed = start.elapsed();
        assert!(elapsed < TIME_MAX, "seed {seed} round {round}: {elapsed:?}");
        slowest = slowest.max(elapsed);
    }
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {rounds} mutations of {} blocks: {refused} refused, \
         {damaged} with errors, {states:?}, slowest {slowest:?} (seed {seed})",
        places.len()
    ));
}

#[test]
fn damage_is_an_answer() {
    check("damage_is_an_answer", 4096, false);
}

#[test]
fn damage_of_large_nodes_is_an_answer() {
    check("damage_of_large_nodes_is_an_answer", 16_384, false);
}

#[test]
fn damage_with_a_log_is_an_answer() {
    check("damage_with_a_log_is_an_answer", 4096, true);
}
