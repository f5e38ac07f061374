//! Metadata changed at random: an error or data, soon, and never a panic. Checksums of
//! exFAT are made right again half of the time.

use crate::build::{Exfat, Stream, empty, empty_exfat, exfat_set, reseal_boot, seal};
use crate::image::Pages;
use crate::support::reader::open;
use crate::support::{Rng, measured, needs, number_from_env};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::{DirCursor, ExtentPlace, FileSystem, FileType, Metadata, NodeId};

/// Nodes, entries and extents that a walk looks at, and the time it may take.
const STEP_COUNT_MAX: usize = 20_000;
const WALK_TIME_MAX: Duration = Duration::from_secs(10);

const SECTOR_LEN: usize = 512;

/// Looks at everything that can be reached; returns the nodes and the errors.
fn walk(fs: &dyn FileSystem) -> (usize, usize) {
    let (mut seen, mut pending) = (BTreeSet::new(), vec![fs.root()]);
    let (mut left, mut errors) = (STEP_COUNT_MAX, 0);
    let mut buffer = vec![0; 16 << 10];
    while let Some(node) = pending.pop() {
        if !seen.insert(node) || left == 0 {
            continue;
        }
        left -= 1;
        errors += walk_node(fs, node, &mut buffer, &mut left);
        let is_directory = |metadata: Metadata| metadata.file_type == FileType::Directory;
        if !fs.metadata(node).is_ok_and(is_directory) {
            continue;
        }
        let listed = fs.read_dir(node, DirCursor::START, &mut |entry| {
            left = left.saturating_sub(1);
            if pending.len() < 40 {
                assert!(entry.next > DirCursor::START);
                errors += usize::from(fs.lookup(node, entry.name).is_err());
            }
            pending.push(entry.node);
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        errors += usize::from(listed.is_err());
    }
    errors += usize::from(fs.statfs().is_err());
    let mut end = 0;
    let _ = fs.allocated_ranges(&mut |range| {
        assert!(range.start >= end && range.end > range.start, "{range:?}");
        end = range.end;
        ControlFlow::Continue(())
    });
    (seen.len(), errors)
}

fn walk_node(fs: &dyn FileSystem, node: NodeId, buffer: &mut [u8], left: &mut usize) -> usize {
    let Ok(metadata) = fs.metadata(node) else {
        return 1;
    };
    if metadata.file_type != FileType::Regular {
        return 0;
    }
    let size = metadata.size;
    let mut errors = 0;
    for offset in [0, size / 2, size.saturating_sub(4096), u64::MAX - 10] {
        match fs.read_at(node, offset, buffer) {
            Ok(count) => {
                let expected = size.saturating_sub(offset).min(buffer.len() as u64);
                assert_eq!(count as u64, expected);
            }
            Err(_) => errors += 1,
        }
    }
    let mut end = 0;
    let listed = fs.extents(node, 0, &mut |extent| {
        assert!(extent.len > 0 && extent.offset >= end, "{extent:?}");
        end = extent.offset + extent.len;
        *left = left.saturating_sub(1);
        match *left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    errors + usize::from(listed.is_err())
}

/// Returns the sectors that hold something and no content of files.
fn metadata_sectors(base: &Arc<Vec<u8>>) -> Vec<u64> {
    let fs = open(Arc::new(Pages::over(base))).expect("opened");
    let (mut content, mut pending) = (BTreeSet::new(), vec![fs.root()]);
    while let Some(node) = pending.pop() {
        let _ = fs.extents(node, 0, &mut |extent| {
            if let ExtentPlace::Image { offset } = extent.place {
                let end = (offset + extent.len).div_ceil(SECTOR_LEN as u64);
                content.extend(offset / SECTOR_LEN as u64..end);
            }
            ControlFlow::Continue(())
        });
        let _ = fs.read_dir(node, DirCursor::START, &mut |entry| {
            pending.push(entry.node);
            ControlFlow::Continue(())
        });
    }
    let sectors = base.chunks(SECTOR_LEN).zip(0_u64..);
    sectors
        .filter(|(sector, number)| {
            sector.iter().any(|byte| *byte != 0) && !content.contains(number)
        })
        .map(|(_, number)| number)
        .collect()
}

/// Changes a few bytes: where an entry or a number begins more often than elsewhere.
fn change(image: &mut Pages, place: u64, rng: &mut Rng) {
    let len = [1, 1, 2, 4, 8][rng.below(5) as usize];
    let aligned = place / len * len;
    let value = match rng.below(4) {
        0 => [0, 1, 2, 0x7F, 0x80, 0xE5, 0xFF, u64::MAX][rng.below(8) as usize],
        1 => rng.below(300),
        2 => rng.next(),
        _ => {
            let byte = image.bytes(place, 1)[0];
            image.write(place, &[byte ^ 1 << rng.below(8)]);
            return;
        }
    };
    let len = (len as usize).min((image.len() - aligned) as usize);
    image.write(aligned, &value.to_le_bytes()[..len]);
}

fn mutate(name: &str, base: Vec<u8>, repair: fn(&mut Pages, u64)) {
    let count = number_from_env("TINTYPE_FAT_MUTATIONS", 300, 10_000);
    let seed = number_from_env("TINTYPE_FAT_SEED", 1, 1);
    let base = Arc::new(base);
    let sectors = metadata_sectors(&base);
    let (mut opened, mut nodes, mut errors, mut slowest) = (0, 0, 0, Duration::ZERO);
    for round in 0..count {
        let mut rng = Rng::new(seed * 1_000_003 + round);
        let mut image = Pages::over(&base);
        let mut places = vec![];
        for _ in 0..=rng.below(4) {
            let sector = match rng.below(6) {
                0 => 0,
                _ => sectors[rng.below(sectors.len() as u64) as usize],
            };
            let place = sector * SECTOR_LEN as u64 + rng.below(SECTOR_LEN as u64);
            change(&mut image, place, &mut rng);
            places.push(place);
        }
        if round % 2 == 0 {
            places.iter().for_each(|place| repair(&mut image, *place));
        }
        let start = Instant::now();
        if let Ok(fs) = open(Arc::new(image)) {
            let (seen, wrong) = walk(&*fs);
            opened += 1;
            nodes += seen;
            errors += usize::from(wrong > 0);
        }
        let taken = start.elapsed();
        assert!(
            taken < WALK_TIME_MAX,
            "{name}: seed {seed} round {round} took {taken:?}"
        );
        slowest = slowest.max(taken);
    }
    assert!(
        opened > 0 && errors > 0,
        "{name}: {opened} opened, {errors} with errors"
    );
    measured!(
        "filesystem_fat::hostile {name}: {count} corruptions of {} sectors, {opened} opened, \
         {errors} with errors, {nodes} nodes, slowest {slowest:?} (seed {seed})",
        sectors.len()
    );
}

/// Makes a volume and puts a small tree on it.
fn filled(make: &str) -> Vec<u8> {
    empty(&format!(
        "export LC_ALL=C.UTF-8 MTOOLS_SKIP_CHECK=1
         {make}
         T=$(mktemp -d); cd $T; mkdir -p sub/deeper many
         for n in $(seq 40); do echo $n >many/file-number-$n.text; done
         seq 3000 >numbers; seq 900 >sub/deeper/bottom; : >nothing; echo x >'a longer name'
         mcopy -s -m -i $IMAGE * ::
         mdel -i $IMAGE ::numbers; mcopy -i $IMAGE numbers ::in-the-gap; rm -r $T"
    ))
}

#[test]
fn damaged_fat12_is_an_answer() {
    needs!("mkfs.fat", "mcopy");
    mutate("fat12", filled("mkfs.fat -C -F 12 $IMAGE 1440"), |_, _| {});
}

#[test]
fn damaged_fat16_is_an_answer() {
    needs!("mkfs.fat", "mcopy");
    let make = "truncate -s 5M $IMAGE; mkfs.fat -F 16 -s 1 $IMAGE";
    mutate("fat16", filled(make), |_, _| {});
}

#[test]
fn damaged_fat32_is_an_answer() {
    needs!("mkfs.fat", "mcopy");
    let make = "truncate -s 36M $IMAGE; mkfs.fat -F 32 -s 1 $IMAGE";
    mutate("fat32", filled(make), |_, _| {});
}

/// Makes the checksum of the boot region, or of the set of entries at a place, right.
fn repair_exfat(image: &mut Pages, place: u64) {
    if place < 12 * 512 {
        return reseal_boot(image);
    }
    let mut start = place / 32 * 32;
    for _ in 0..20 {
        let first = image.bytes(start, 2);
        let end = start + (u64::from(first[1]) + 1) * 32;
        if first[0] == 0x85 && end <= image.len() {
            let mut set = image.bytes(start, (end - start) as usize);
            seal(&mut set);
            image.write(start, &set);
            return;
        }
        start -= 32;
    }
}

#[test]
fn damaged_exfat_is_an_answer() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let mut exfat = Exfat::new(&base);
    for (number, name) in ["one", "two with a long name", "three", "four"]
        .iter()
        .enumerate()
    {
        for (is_contiguous, attributes) in [(true, 0x20), (false, 0x20), (false, 0x10)] {
            let first = 100 + number as u32 * 30 + u32::from(is_contiguous) * 10 + attributes;
            let stream = Stream {
                is_contiguous,
                first,
                len: 8192,
                valid_len: if attributes == 0x10 { 8192 } else { 6000 },
            };
            exfat.link(first, first + 1);
            exfat.link(first + 1, u32::MAX);
            exfat.add(&exfat_set(
                &format!("{name}{first}"),
                attributes as u16,
                &stream,
            ));
            if attributes == 0x10 {
                let inner = Stream {
                    is_contiguous: true,
                    first: first + 500,
                    len: 5000,
                    valid_len: 5000,
                };
                let set = exfat_set("inside", 0x20, &inner);
                exfat.image.write(exfat.place_of(first), &set.repeat(40));
            }
        }
    }
    let bytes = exfat.image.bytes(0, exfat.image.len() as usize);
    mutate("exfat", bytes, repair_exfat);
}
