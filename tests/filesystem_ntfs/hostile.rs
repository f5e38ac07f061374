//! Metadata changed at random, half of the time with update sequences made right again:
//! an error or data, soon, and never a panic.

use crate::driver::{fill, make};
use crate::mft::{Volume, reseal};
use crate::oracle::hostile::{Mutated, PAGE_LEN, read_everything};
use crate::support::reader::open;
use crate::support::{Rng, Scratch, measured, needs, number_from_env};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::{ErrorKind, FileSystem};

const TIME_MAX: Duration = Duration::from_secs(10);

/// Where structures lie, and how long they are.
fn structures(volume: &Volume) -> Vec<(usize, usize)> {
    let mut found = vec![];
    for start in (0..volume.bytes.len() - 4096).step_by(512) {
        let len = match &volume.bytes[start..start + 4] {
            b"FILE" => volume.record_len,
            b"INDX" => 4096,
            _ => continue,
        };
        if start + len <= volume.bytes.len() {
            found.push((start, len));
        }
    }
    found
}

fn interesting(rng: &mut Rng) -> u64 {
    let numbers = [
        0,
        1,
        2,
        3,
        8,
        0x10,
        0x18,
        0x80,
        0x400,
        0xFFFF,
        0x1_0000,
        0x1000_0000,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        1 << 40,
        1 << 62,
        1 << 63,
        u64::MAX,
    ];
    numbers[rng.below(numbers.len() as u64) as usize]
}

fn change(bytes: &mut [u8], rng: &mut Rng) {
    let len = [1, 1, 2, 4, 8][rng.below(5) as usize];
    // Headers and attributes lie in front.
    let limit = if rng.below(3) == 0 {
        bytes.len()
    } else {
        bytes.len().min(420)
    };
    let at = rng.below((limit - 8) as u64) as usize / len * len;
    let value = match rng.below(5) {
        0 => interesting(rng),
        1 => rng.below(300),
        2 => rng.next(),
        3 => {
            bytes[at] ^= 1 << rng.below(8);
            return;
        }
        _ => u64::from(bytes[at])
            .wrapping_add(rng.below(9))
            .wrapping_sub(4),
    };
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

fn write(image: &mut Mutated, start: usize, bytes: &[u8]) {
    for (place, byte) in (start..).zip(bytes) {
        image.page((place / PAGE_LEN) as u64)[place % PAGE_LEN] = *byte;
    }
}

/// What `read_everything` does not ask for.
fn look_further(fs: &dyn FileSystem) {
    let mut end = 0;
    let _ = fs.allocated_ranges(&mut |range| {
        assert!(range.start >= end && range.end > range.start, "{range:?}");
        end = range.end;
        ControlFlow::Continue(())
    });
}

fn mutate(name: &str, volume: &Volume) {
    let count = number_from_env("TINTYPE_NTFS_MUTATIONS", 300, 10_000);
    let seed = number_from_env("TINTYPE_NTFS_SEED", 1, 1);
    let structures = structures(volume);
    let base = Arc::new(volume.bytes.clone());
    let (mut opened, mut with_errors, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..count {
        let mut rng = Rng::new(seed * 1_000_003 + round);
        let mut image = Mutated::new(&base);
        for _ in 0..=rng.below(4) {
            let (start, len) = match rng.below(40) {
                0 => (0, 512),
                1 => (rng.below(base.len() - 4096) as usize, 4096),
                _ => structures[rng.below(structures.len() as u64) as usize],
            };
            let mut bytes = vec![0; len];
            image
                .read_exact_at(start as u64, &mut bytes)
                .expect("inside");
            change(&mut bytes, &mut rng);
            if round % 2 == 0 {
                reseal(&mut bytes);
            }
            write(&mut image, start, &bytes);
        }
        let begin = Instant::now();
        match open(Arc::new(image)) {
            Ok(fs) => {
                let errors = read_everything(&*fs);
                look_further(&*fs);
                opened += 1;
                with_errors += usize::from(errors > 0);
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Io, "{error}"),
        }
        let taken = begin.elapsed();
        assert!(
            taken < TIME_MAX,
            "{name}: seed {seed} round {round} took {taken:?}"
        );
        slowest = slowest.max(taken);
    }
    assert!(
        opened > 0 && with_errors > 0,
        "{opened} opened, {with_errors} with errors"
    );
    measured!(
        "filesystem_ntfs::hostile {name}: {count} corruptions of {} structures, {opened} opened, \
         {with_errors} with errors, slowest {slowest:?} (seed {seed})",
        structures.len()
    );
}

fn filled(options: &str) -> Volume {
    let scratch = Scratch::new();
    let image = make(&scratch, "12M", options);
    fill(&scratch, &image, "compression", "damage.py $ROOT");
    Volume::new(std::fs::read(&image).expect("an image"))
}

#[test]
fn damaged_volumes_are_an_answer() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    mutate("4 KiB clusters", &filled("-c 4096"));
}

#[test]
fn damaged_volumes_of_small_clusters_are_an_answer() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    mutate("512-byte clusters", &filled("-c 512"));
}

#[test]
fn damaged_volumes_of_large_records_are_an_answer() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    mutate("4 KiB records", &filled("-s 4096 -c 4096"));
}
