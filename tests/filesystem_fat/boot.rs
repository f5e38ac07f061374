//! Boot sectors with numbers that no tool writes: Linux mounts them or does not, and finds
//! so many clusters in them.

use crate::build::{empty, number};
use crate::driver;
use crate::support::{Rng, Scratch, measured, needs, number_from_env};
use std::sync::Arc;
use tintype::filesystem::{BlockCache, FileSystem, OpenOptions, fat};

/// Fields of the boot sector: place, length, and what is likely to make a difference.
const FIELDS: [(usize, usize, &[u32]); 12] = [
    (11, 2, &[512, 1024, 2048, 4096, 8192, 256, 0, 513]),
    (13, 1, &[1, 2, 4, 8, 16, 32, 64, 128, 0, 3, 255]),
    (14, 2, &[0, 1, 2, 32, 100]),
    (16, 1, &[0, 1, 2, 3, 4, 255]),
    (17, 2, &[0, 16, 32, 112, 128, 512, 500, 2048, 8]),
    (19, 2, &[0, 40_000, 20_000, 8000, 65_535]),
    (21, 1, &[0xF0, 0xF1, 0xF7, 0xF8, 0xF9, 0xFF, 0]),
    (22, 2, &[0, 1, 2, 12, 13, 40, 160]),
    (32, 4, &[0, 40_000, 70_000, 400_000, u32::MAX]),
    (36, 4, &[0, 1, 2, 20, 400]),
    (40, 2, &[0, 0x80, 0x81, 0x82, 0x8F]),
    (48, 2, &[0, 1, 2, 0xFFFF]),
];

/// Returns boot sectors with one to three fields changed.
fn sectors(base: &[u8], count: usize, rng: &mut Rng) -> Vec<[u8; 512]> {
    let one = |rng: &mut Rng| {
        let mut sector: [u8; 512] = base[..512].try_into().unwrap();
        for _ in 0..=rng.below(3) {
            let (place, len, values) = FIELDS[rng.below(FIELDS.len() as u64) as usize];
            let value = match rng.below(5) {
                0 => rng.next() as u32 >> rng.below(32),
                _ => values[rng.below(values.len() as u64) as usize],
            };
            sector[place..place + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        sector
    };
    (0..count).map(|_| one(rng)).collect()
}

/// Mounts the image with each boot sector in turn.
const MOUNT_EACH: &str = r#"
import os, subprocess
root, out = os.environ["ROOT"], open(os.environ["OUT"] + ".boot", "w")
sectors = open(os.environ["OUT"] + ".sectors", "rb").read()
for place in range(0, len(sectors), 512):
    with open("/dev/ubda", "r+b", buffering=0) as disk:
        disk.write(sectors[place:place + 512])
        os.fsync(disk)
    mount = ["mount", "-t", "vfat", "-o", os.environ["OPTIONS"] + ",ro", "/dev/ubda", root]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        out.write("-\n")
        continue
    try:
        told = os.statvfs(root)
        out.write(f"{told.f_bsize} {told.f_blocks}\n")
    except OSError:
        out.write("?\n")
    subprocess.run(["umount", root], check=True)
"#;

/// What we tell, `?` where the table cannot be read to its end; `None` if the volume has
/// no room for its tables, which Linux takes for one of 2^32 sectors and more.
fn told(image: &[u8], sector: &[u8; 512]) -> Option<String> {
    let mut image = image.to_vec();
    image[..512].copy_from_slice(sector);
    // The copy of FAT32, which would be read in place of one that cannot be.
    image[6 * 512..][..512].fill(0);
    let options = OpenOptions::new(BlockCache::new(1 << 20));
    match fat::open(Arc::new(image), &options) {
        Ok(fs) => Some(match fs.statfs() {
            Ok(usage) => format!("{} {}", usage.fs_block_len, usage.block_count),
            Err(_) => "?".to_owned(),
        }),
        Err(error) if error.to_string().starts_with("number of sectors") => None,
        Err(_) => Some("-".to_owned()),
    }
}

/// Tells whether the chain of the root directory, of one cluster, ends where the table
/// should be. Linux mounts nothing else; here the rest of it is read.
fn has_root(image: &[u8], sector: &[u8; 512]) -> bool {
    if number(sector, 22, 2) != 0 {
        return true;
    }
    let place = number(sector, 14, 2) * number(sector, 11, 2) + 8;
    let entry = image
        .get(place as usize..)
        .map_or(0, |rest| number(rest, 0, 4));
    entry & 0x0FFF_FFFF >= 0x0FFF_FFF7
}

fn check(test: &str, make: &str) {
    let image = empty(make);
    let count = number_from_env("TINTYPE_FAT_BOOT_SECTORS", 60, 2000) as usize;
    let seed = number_from_env("TINTYPE_FAT_SEED", 1, 1);
    let sectors = sectors(&image, count, &mut Rng::new(seed));
    let scratch = Scratch::new();
    let (path, script) = (scratch.join("image"), scratch.join("mount.py"));
    std::fs::write(&path, &image).unwrap();
    std::fs::write(&script, MOUNT_EACH).unwrap();
    std::fs::write(scratch.join("out.sectors"), sectors.concat()).unwrap();
    let run = format!("python3 {}", script.display());
    driver::vfat(&scratch, &path, "utf8,tz=UTC", &run);
    let theirs = std::fs::read_to_string(scratch.join("out.boot")).expect("lines");
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), sectors.len());
    let (mut mounted, mut differing) = (0, 0);
    for (sector, their) in sectors.iter().zip(&theirs) {
        mounted += usize::from(*their != "-");
        let Some(our) = told(&image, sector) else {
            continue;
        };
        if our != *their && has_root(&image, sector) {
            differing += 1;
            eprintln!("{our} is {their} to Linux: {:?}", &sector[..64]);
        }
    }
    assert_eq!(differing, 0, "{test}, seed {seed}");
    assert!(mounted > 10 && mounted < count, "{mounted}");
    measured!("filesystem_fat::{test}: {count} boot sectors, {mounted} mounted, as Linux does");
}

#[test]
fn boot_sectors_of_fat16_changed_at_random() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 20M $IMAGE; mkfs.fat -F 16 -s 4 $IMAGE";
    check("boot_sectors_fat16", make);
}

#[test]
fn boot_sectors_of_fat32_changed_at_random() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 36M $IMAGE; mkfs.fat -F 32 -s 1 $IMAGE";
    check("boot_sectors_fat32", make);
}
