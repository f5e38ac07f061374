//! Damaged metadata with right checksums: every walk ends, in an error or in data.

use crate::nasty::{Scale, fill};
use crate::open;
use crate::oracle::hostile::{Mutated, PAGE_LEN, TIME_MAX, read_everything};
use crate::support::{Random, Scratch, is_able, mount, number, say, shell, umount};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::FileSystem;

fn mutation_count() -> u64 {
    let is_long = std::env::var_os("TINTYPE_TEST_LONG").is_some();
    number("TINTYPE_XFS_MUTATIONS", if is_long { 10_000 } else { 300 })
}

/// Where the checksum of a structure is and how long the structure is, by its magic.
fn checksum_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let magic: [u8; 4] = bytes[..4].try_into().ok()?;
    Some(match &magic {
        b"XFSB" => (224, 512),
        b"XAGF" => (216, 512),
        b"XAGI" => (312, 512),
        b"XAFL" => (32, 512),
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (52, PAGE_LEN),
        b"BMA3" => (64, PAGE_LEN),
        b"XDB3" | b"XDD3" | b"XDF3" => (4, PAGE_LEN),
        b"XSLM" | b"XARM" => (12, PAGE_LEN),
        [b'I', b'N', ..] => (100, 512),
        _ => match bytes[8..10] {
            [0x3D, 0xF1 | 0xFF] | [0x3E | 0x3B, 0xBE | 0xEE] => (12, PAGE_LEN),
            _ => return None,
        },
    })
}

/// Places of structures: every page that begins with a known magic number, and every
/// sector of inodes and of headers of groups.
fn structures(image: &[u8]) -> Vec<(u64, usize, usize)> {
    let mut found = Vec::new();
    for (index, page) in image.chunks_exact(PAGE_LEN).enumerate() {
        let start = (index * PAGE_LEN) as u64;
        for sector in 0..PAGE_LEN / 512 {
            let at = sector * 512;
            match checksum_of(&page[at..]) {
                Some((crc, 512)) => found.push((start + at as u64, crc, 512)),
                Some((crc, len)) if sector == 0 => found.push((start, crc, len)),
                _ => {}
            }
        }
    }
    found
}

/// Changes a few bytes of one structure and makes its checksum right again.
fn mutate(image: &mut Mutated, place: (u64, usize, usize), random: &mut Random) {
    let (start, crc, len) = place;
    let page = image.page(start / PAGE_LEN as u64);
    let inside = (start % PAGE_LEN as u64) as usize;
    let bytes = &mut page[inside..inside + len];
    for _ in 0..=random.below(4) {
        // Mostly in the beginning, where the numbers are.
        let limit = [64, 256, len as u64][random.below(3) as usize].min(len as u64 - 8);
        let at = random.below(limit) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at..at + 2].fill([0, 0xFF][random.below(2) as usize]),
            _ => bytes[at..at + 4].copy_from_slice(&(random.below(300) as u32).to_be_bytes()),
        }
    }
    bytes[crc..crc + 4].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Makes a small file system with a bit of everything; dirty on request.
fn base_image(scratch: &Scratch, is_dirty: bool) -> Vec<u8> {
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    shell(&format!(
        "truncate -s 300M '{0}'; mkfs.xfs -q -f -m rmapbt=1 '{0}'",
        image.display()
    ));
    mount(&image, &point, "loop").expect("mounted");
    let scale = Scale {
        large_directory: 2000,
        hard_links: 10,
        has_reflink: true,
        has_bigtime: true,
        xattr_len_max: 65_536,
    };
    fill(&point, scale);
    if is_dirty {
        shell(&format!("sync -f '{}'", point.display()));
        let bytes = std::fs::read(&image).expect("an image");
        umount(&point);
        return bytes;
    }
    umount(&point);
    std::fs::read(&image).expect("an image")
}

#[test]
fn damage_is_an_answer() {
    let test = "damage_is_an_answer";
    if !is_able(test, &["mkfs.xfs", "setfacl"]) {
        return;
    }
    let rounds = mutation_count();
    let seed = number("TINTYPE_XFS_SEED", 1);
    let scratch = Scratch::new();
    let base = Arc::new(base_image(&scratch, false));
    let places = structures(&base);
    assert!(places.len() > 1000, "{} structures", places.len());
    let (mut refused, mut damaged, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let mut random = Random::new(seed * 1_000_003 + round);
        let mut image = Mutated::new(&base);
        for _ in 0..=random.below(6) {
            let chosen = match random.below(8) {
                // The superblock and the headers of the first group.
                0 => random.below(4) as usize,
                _ => random.below(places.len() as u64) as usize,
            };
            mutate(&mut image, places[chosen], &mut random);
        }
        let start = Instant::now();
        match open(Arc::new(image)) {
            Ok(fs) => damaged += usize::from(read_everything(&fs) > 0),
            Err(_) => refused += 1,
        }
        let elapsed = start.elapsed();
        assert!(elapsed < TIME_MAX, "seed {seed} round {round}: {elapsed:?}");
        slowest = slowest.max(elapsed);
    }
    say(&format!(
        "MEASURED: filesystem_xfs::{test}: {rounds} mutations of {} structures: {refused} \
         refused, {damaged} with errors, slowest {slowest:?} (seed {seed})",
        places.len()
    ));
}

/// Finds the log: its first record's header, at 4 KiB.
fn log_range(image: &[u8]) -> (usize, usize) {
    let number = |at: usize, len: usize| {
        image[at..at + len]
            .iter()
            .fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let (start, ag_blocks, ag_log) = (number(48, 8), number(84, 4), image[124]);
    let block = (start >> ag_log) * ag_blocks + (start & ((1 << ag_log) - 1));
    let len = number(96, 4) as usize * PAGE_LEN;
    (block as usize * PAGE_LEN, len)
}

/// Changes a byte of a record, in its header or its data, and makes its checksum right.
fn damage_record(image: &mut Mutated, start: usize, random: &mut Random) {
    let mut header = vec![0; 512];
    image
        .read_exact_at(start as u64, &mut header)
        .expect("inside");
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("a word"));
    let (len, size) = (number(12) as usize, number(320) as usize);
    // One header; the ring does not turn inside.
    if size > 32_768 || len > 32_768 {
        return;
    }
    let mut record = vec![0; 512 + len];
    if image.read_exact_at(start as u64, &mut record).is_err() {
        return;
    }
    for _ in 0..=random.below(3) {
        let limit = match random.below(3) {
            0 => 44,
            1 => 512 + len.min(200) as u64,
            _ => 512 + len as u64,
        };
        let at = random.below(limit) as usize;
        record[at] = random.next() as u8;
    }
    record[32..36].fill(0);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..328]), &record[512..]);
    record[32..36].copy_from_slice(&crc.to_le_bytes());
    for (index, chunk) in record.chunks_exact(512).enumerate() {
        let at = start + index * 512;
        let page = image.page((at / PAGE_LEN) as u64);
        page[at % PAGE_LEN..at % PAGE_LEN + 512].copy_from_slice(chunk);
    }
}

#[test]
fn a_damaged_log_is_an_answer() {
    let test = "a_damaged_log_is_an_answer";
    if !is_able(test, &["mkfs.xfs", "setfacl"]) {
        return;
    }
    let rounds = mutation_count() / 6;
    let seed = number("TINTYPE_XFS_SEED", 1);
    let scratch = Scratch::new();
    let base = Arc::new(base_image(&scratch, true));
    let (log_start, log_len) = log_range(&base);
    let records: Vec<usize> = (log_start..log_start + log_len)
        .step_by(512)
        .filter(|at| base[*at..*at + 4] == [0xFE, 0xED, 0xBA, 0xBE])
        .collect();
    assert!(records.len() > 10, "{} records", records.len());
    let mut slowest = Duration::ZERO;
    let mut states = BTreeMap::new();
    for round in 0..rounds {
        let mut random = Random::new(seed * 1_000_003 + round);
        let mut image = Mutated::new(&base);
        for _ in 0..=random.below(3) {
            let chosen = records[random.below(records.len() as u64) as usize];
            damage_record(&mut image, chosen, &mut random);
        }
        let start = Instant::now();
        let state = match open(Arc::new(image)) {
            Ok(fs) => {
                read_everything(&fs);
                format!("{:?}", fs.summary().consistency)
            }
            Err(error) => format!("{:?}", error.kind()),
        };
        *states.entry(state).or_insert(0) += 1;
        let elapsed = start.elapsed();
        assert!(elapsed < TIME_MAX, "seed {seed} round {round}: {elapsed:?}");
        slowest = slowest.max(elapsed);
    }
    say(&format!(
        "MEASURED: filesystem_xfs::{test}: {rounds} damaged logs: {states:?}, slowest \
         {slowest:?} (seed {seed})"
    ));
}
