//! Volumes and directories made by hand: what no driver writes, and what would take
//! gigabytes to write.

use crate::build::{Exfat, Stream, empty, empty_exfat, exfat_set, number, reseal_boot, short};
use crate::image::Pages;
use crate::support::reader::{content, find, names, open};
use crate::support::{measured, needs};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::{
    BlockCache, CodePage, Consistency, ExtentPlace, FileExtent, FileSystem, NodeId, OpenOptions,
    SpaceUsage,
};

/// The longest file of FAT32 in clusters of 512 bytes, which lie backwards: the longest
/// chain that there can be, without two that follow each other. Behind the table every
/// sector is its number, over and over.
struct LongChain {
    front: Vec<u8>,
    data_sector: u32,
    cluster_count: u32,
}

const FILE_CLUSTERS: u32 = 1 << 23;

impl LongChain {
    fn new() -> Self {
        let cluster_count = FILE_CLUSTERS + 1000;
        let fat_sectors = (cluster_count + 2).div_ceil(128);
        let data_sector = 32 + fat_sectors;
        let mut front = vec![0; 32 * 512];
        front[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
        front[11..17].copy_from_slice(&[0, 2, 1, 32, 0, 1]);
        front[21] = 0xF8;
        front[32..36].copy_from_slice(&(data_sector + cluster_count).to_le_bytes());
        front[36..40].copy_from_slice(&fat_sectors.to_le_bytes());
        front[44] = 2;
        front[82..90].copy_from_slice(b"FAT32   ");
        // Two entries without a cluster, the root, and the last cluster of the file.
        for value in [0x0FFF_FFF8_u32, 0x0FFF_FFFF, 0x0FFF_FFFF, 0x0FFF_FFFF] {
            front.extend(value.to_le_bytes());
        }
        for cluster in 4..3 + FILE_CLUSTERS {
            front.extend((cluster - 1).to_le_bytes());
        }
        let root = data_sector as usize * 512;
        front.resize(root, 0);
        front.extend(short(b"LONG       ", 0x20, 2 + FILE_CLUSTERS, u32::MAX));
        front.resize(root + 512, 0);
        Self {
            front,
            data_sector,
            cluster_count,
        }
    }
}

impl ReadAt for LongChain {
    fn len(&self) -> u64 {
        u64::from(self.data_sector + self.cluster_count) * 512
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        let end = offset as usize + target.len();
        if let Some(front) = self.front.get(offset as usize..end) {
            target.copy_from_slice(front);
            return Ok(());
        }
        for (place, byte) in (offset..).zip(target) {
            *byte = (place / 512).to_le_bytes()[(place % 4) as usize];
        }
        Ok(())
    }
}

#[test]
fn a_look_into_a_long_fragmented_file_does_not_start_at_its_beginning() {
    let disk = LongChain::new();
    let last_sector = disk.data_sector + FILE_CLUSTERS;
    let fs = open(Arc::new(disk)).expect("opened");
    let node = find(&*fs, "LONG").unwrap().expect("the file");
    let mut buffer = [0; 4];
    let start = Instant::now();
    fs.read_at(node, u64::from(u32::MAX) - 8, &mut buffer)
        .unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    for step in 0..2000_u64 {
        let index = step * 4_194_301 % u64::from(FILE_CLUSTERS);
        fs.read_at(node, index * 512, &mut buffer).unwrap();
        let sector = last_sector - index as u32;
        assert_eq!(buffer, sector.to_le_bytes(), "{index}");
    }
    let random = start.elapsed() / 2000;
    // From the beginning it would be a thousand times as much.
    assert!(random < Duration::from_millis(2), "{random:?} for a look");
    let start = Instant::now();
    let mut count = 0_u32;
    fs.extents(node, 0, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(count, FILE_CLUSTERS);
    measured!(
        "filesystem_fat::long_chain: 8,388,608 clusters: end {first:?}, random look {random:?}, \
         all extents {:?}",
        start.elapsed()
    );
}

#[test]
fn the_active_table_of_fat32_counts() {
    needs!("mkfs.fat", "mcopy");
    let base = Arc::new(empty(
        "truncate -s 40M $IMAGE; mkfs.fat -F 32 -s 1 $IMAGE
         seq 4000 >$IMAGE.txt; mcopy -i $IMAGE $IMAGE.txt ::NUMBERS",
    ));
    let expected = content_of(&Pages::over(&base), "NUMBERS");
    let fat_len = number(&base, 36, 4) * 512;
    let mut image = Pages::over(&base);
    // The first table is wiped.
    image.write(32 * 512 + 12, &vec![0; 4096]);
    assert!(
        find(&*open(Arc::new(image.clone())).unwrap(), "NUMBERS")
            .unwrap()
            .is_some()
    );
    let fs = open(Arc::new(image.clone())).unwrap();
    let node = find(&*fs, "NUMBERS").unwrap().unwrap();
    assert!(content(&*fs, node).is_err());
    image.write(40, &[0x81]);
    assert!(fat_len > 4096);
    assert_eq!(content_of(&image, "NUMBERS"), expected);
}

fn content_of(image: &Pages, path: &str) -> Vec<u8> {
    let fs = open(Arc::new(image.clone())).expect("opened");
    let node = find(&*fs, path).unwrap().expect(path);
    content(&*fs, node).expect("content")
}

/// A FAT without a type in it is known, and what only looks like one is not.
#[test]
fn a_volume_without_a_name_is_known_by_its_numbers() {
    needs!("mkfs.fat", "mkfs.exfat");
    let format = |image: &[u8]| {
        let image: Arc<dyn ReadAt> = Arc::new(image.to_vec());
        tintype::filesystem::probe(&image)
            .unwrap()
            .map(|found| found.format)
    };
    let good = empty("mkfs.fat -C -F 12 $IMAGE 1440");
    assert_eq!(format(&good), Some("fat"));
    let mut bare = good.clone();
    bare[36..62].fill(0);
    assert_eq!(format(&bare), Some("fat"));
    // Neither a jump nor the signature.
    let mut none = bare.clone();
    none[0] = 0;
    none[510] = 0;
    assert_eq!(format(&none), None);
    // No table where it should be.
    let mut none = bare.clone();
    none[512..515].fill(0);
    assert_eq!(format(&none), None);
    // A master boot record: code and a signature.
    let mut boot_record = vec![0x90; 1 << 20];
    boot_record[..3].copy_from_slice(&[0xEB, 0x63, 0x90]);
    boot_record[446..512].fill(0);
    boot_record[510..512].copy_from_slice(&[0x55, 0xAA]);
    assert_eq!(format(&boot_record), None);
    // A stronger magic number behind an old boot sector.
    let mut ext = good.clone();
    ext[1080..1082].copy_from_slice(&[0x53, 0xEF]);
    assert_eq!(format(&ext), Some("ext"));
    let mut ntfs = bare;
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    assert_eq!(format(&ntfs), Some("ntfs"));
    let exfat = empty("truncate -s 8M $IMAGE; mkfs.exfat $IMAGE");
    assert_eq!(format(&exfat), Some("exfat"));
}

/// The number of free clusters that is stored is not believed where counting is quick.
#[test]
fn free_space_is_counted() {
    needs!("mkfs.fat");
    let mut image = empty("truncate -s 40M $IMAGE; mkfs.fat -F 32 -s 1 $IMAGE");
    let usage = |image: &[u8]| open(Arc::new(image.to_vec())).unwrap().statfs().unwrap();
    let before: SpaceUsage = usage(&image);
    assert_eq!(before.free_block_count, before.block_count - 1);
    image[512 + 488] ^= 0x55;
    assert_eq!(usage(&image), before);
}

/// What is stored may be old, of a volume that is in use most of all.
#[test]
fn free_space_of_a_large_fat32_is_counted() {
    let mut disk = LongChain::new();
    for (place, value) in [(0, 0x4161_5252_u32), (484, 0x6141_7272), (488, 7)] {
        disk.front[512 + place..][..4].copy_from_slice(&value.to_le_bytes());
    }
    let usage = open(Arc::new(disk)).expect("opened").statfs().unwrap();
    assert_eq!(usage.free_block_count, 999);
}

fn extents_of(fs: &dyn FileSystem, node: NodeId) -> Vec<FileExtent> {
    let mut extents = vec![];
    fs.extents(node, 0, &mut |extent| {
        extents.push(extent);
        ControlFlow::Continue(())
    })
    .expect("extents");
    extents
}

#[test]
fn what_is_behind_the_valid_length_is_zeros() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let mut exfat = Exfat::new(&base);
    exfat.image.write(exfat.place_of(100), &[7; 12_288]);
    let stream = Stream {
        is_contiguous: true,
        first: 100,
        len: 10_000,
        valid_len: 5000,
    };
    exfat.add(&exfat_set("valid", 0x20, &stream));
    let fs = exfat.open();
    let node = find(&*fs, "VALID").unwrap().expect("found in another case");
    let expected = [vec![7; 5000], vec![0; 5000]].concat();
    assert!(content(&*fs, node).unwrap() == expected);
    let mut part = [9; 100];
    assert_eq!(fs.read_at(node, 4990, &mut part).unwrap(), 100);
    assert_eq!(part[..], [vec![7; 10], vec![0; 90]].concat());
    let place = ExtentPlace::Image {
        offset: exfat.place_of(100),
    };
    let extent = FileExtent {
        offset: 0,
        len: 5000,
        place,
    };
    assert_eq!(extents_of(&*fs, node), [extent]);
}

/// 5 GiB of an exFAT of 8 GiB, of which 1 MiB is written.
#[test]
fn a_file_above_4_gib_is_read_behind_its_beginning() {
    needs!("mkfs.exfat");
    let base = Arc::new(empty(
        "truncate -s 8G $IMAGE; mkfs.exfat -c 32M $IMAGE; truncate -s 140M $IMAGE",
    ));
    let mut exfat = Exfat::new(&base);
    // What is cut off are zeros.
    exfat.image = {
        let mut image = Pages::new(8 << 30);
        for (number, piece) in base.chunks(4096).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                image.write(number as u64 * 4096, piece);
            }
        }
        image
    };
    for (name, valid_len) in [("whole", 5 << 30), ("sparse", 1 << 20)] {
        let stream = Stream {
            is_contiguous: true,
            first: 20,
            len: 5 << 30,
            valid_len,
        };
        exfat.add(&exfat_set(name, 0x20, &stream));
    }
    let place = exfat.place_of(20);
    exfat.image.write(place + (1 << 20) - 3, b"abcdef");
    exfat.image.write(place + (5 << 30) - 3, b"end");
    let fs = exfat.open();
    let (whole, sparse) = (
        find(&*fs, "whole").unwrap().unwrap(),
        find(&*fs, "sparse").unwrap().unwrap(),
    );
    let read = |node, offset| {
        let mut bytes = [1; 6];
        let count = fs.read_at(node, offset, &mut bytes).unwrap();
        bytes[..count].to_vec()
    };
    assert_eq!(read(whole, (1 << 20) - 3), b"abcdef");
    assert_eq!(read(sparse, (1 << 20) - 3), b"abc\0\0\0");
    assert_eq!(read(whole, (5 << 30) - 3), b"end");
    assert_eq!(read(sparse, (5 << 30) - 3), b"\0\0\0");
    assert_eq!(fs.metadata(whole).unwrap().size, 5 << 30);
    assert_eq!(extents_of(&*fs, sparse)[0].len, 1 << 20);
    assert_eq!(
        extents_of(&*fs, whole)
            .iter()
            .map(|extent| extent.len)
            .sum::<u64>(),
        5 << 30
    );
}

/// With two tables, as TexFAT has them, the flag says which table and bitmap count.
#[test]
fn the_second_table_and_bitmap_of_texfat_count() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let mut exfat = Exfat::new(&base);
    // A bitmap of its own: all clusters in use.
    let mut entry = exfat.image.bytes(exfat.root + 32, 32);
    assert_eq!(entry[0], 0x81);
    entry[1] = 1;
    entry[20..24].copy_from_slice(&200_u32.to_le_bytes());
    let bitmap = exfat.place_of(200);
    exfat.image.write(bitmap, &[0xFF; 4096]);
    exfat.link(200, u32::MAX);
    exfat.add(&entry);
    let before = exfat.open().statfs().unwrap();
    assert!(before.free_block_count > before.block_count / 2);
    exfat.image.write(110, &[2]);
    exfat.image.write(106, &[1]);
    // The second table is a copy; there is room for it behind the first.
    let fat_len = number(&base, 84, 4) * 512;
    assert!(
        exfat.fat + 2 * fat_len <= exfat.heap,
        "room for a second table"
    );
    let table = exfat.image.bytes(exfat.fat, fat_len as usize);
    exfat.image.write(exfat.fat + fat_len, &table);
    reseal_boot(&mut exfat.image);
    let fs = exfat.open();
    assert_eq!(fs.statfs().unwrap().free_block_count, 0);
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert!(names(&*fs, fs.root()).1.is_ok());
}

/// Counts what is read.
struct Counting {
    image: Pages,
    read_len: AtomicU64,
}

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        self.read_len
            .fetch_add(target.len() as u64, Ordering::Relaxed);
        self.image.read_exact_at(offset, target)
    }
}

/// The links of a directory are counted by reading all of it, but not at every look; of
/// two with the same clusters only once, and of two that end at different places twice.
#[test]
fn the_links_of_a_large_directory_of_exfat_are_counted_once() {
    needs!("mkfs.exfat");
    const LEN: u64 = 1 << 20;
    let base = empty_exfat();
    let mut exfat = Exfat::new(&base);
    let inner = |name| {
        let stream = Stream {
            is_contiguous: true,
            first: 0,
            len: 0,
            valid_len: 0,
        };
        exfat_set(name, 0x10, &stream)
    };
    let place = exfat.place_of(100);
    // Deleted entries between a directory at the front and one at the end.
    exfat.image.write(place, &[5; LEN as usize]);
    exfat.image.write(place, &inner("front"));
    exfat.image.write(place + LEN - 96, &inner("end"));
    let directory = |name, len| {
        let stream = Stream {
            is_contiguous: true,
            first: 100,
            len,
            valid_len: len,
        };
        exfat_set(name, 0x10, &stream)
    };
    exfat.add(&directory("one", LEN));
    exfat.add(&directory("same", LEN));
    exfat.add(&directory("half", LEN / 2));
    let image = Arc::new(Counting {
        image: exfat.image,
        read_len: AtomicU64::new(0),
    });
    let options = OpenOptions::new(BlockCache::new(0));
    let fs = tintype::filesystem::open(Arc::clone(&image) as Arc<dyn ReadAt>, &options).unwrap();
    let links = |path| {
        let node = find(&*fs, path).unwrap().expect(path);
        let before = image.read_len.load(Ordering::Relaxed);
        let metadata = fs.metadata(node).unwrap();
        let read = image.read_len.load(Ordering::Relaxed) - before;
        (metadata.size, metadata.link_count, read >= LEN / 2)
    };
    assert_eq!(links("one"), (LEN, 4, true));
    assert_eq!(links("one"), (LEN, 4, false));
    assert_eq!(links("same"), (LEN, 4, false));
    assert_eq!(links("half"), (LEN / 2, 3, true));
    assert_eq!(links("half"), (LEN / 2, 3, false));
    assert_eq!(links("one"), (LEN, 4, false));
    let root = fs.metadata(fs.root()).unwrap();
    assert_eq!((root.size, root.link_count), (exfat.cluster_len, 5));
}

/// Linux never changes the percentage that a volume stores: one that it filled says 0.
#[test]
fn free_space_of_a_large_exfat_is_counted() {
    needs!("mkfs.exfat");
    const CLUSTERS: u32 = 70_000_003;
    const FAT_SECTORS: u32 = (CLUSTERS + 2).div_ceil(128);
    let base = empty_exfat();
    let bitmap_len = u64::from(CLUSTERS.div_ceil(8));
    let bitmap_clusters = bitmap_len.div_ceil(4096) as u32;
    let (fat, heap) = (64 * 512, (64 + u64::from(FAT_SECTORS)) * 512);
    let mut image = Pages::new(heap + (u64::from(bitmap_clusters) + 10) * 4096);
    image.write(0, &base[..12 * 512]);
    image.write(72, &(1_u64 << 40).to_le_bytes());
    for (place, value) in [
        (80, 64),
        (84, FAT_SECTORS),
        (88, 64 + FAT_SECTORS),
        (92, CLUSTERS),
        (96, 2),
    ] {
        image.write(place, &value.to_le_bytes());
    }
    image.write(112, &[0]);
    reseal_boot(&mut image);
    // The root directory in cluster 2, the bitmap in those behind it.
    let mut table = vec![0, 0, u32::MAX];
    table.extend(4..3 + bitmap_clusters);
    table.push(u32::MAX);
    let table: Vec<u8> = table.iter().flat_map(|next| next.to_le_bytes()).collect();
    image.write(fat, &table);
    let mut entry = [0; 32];
    entry[0] = 0x81;
    entry[20] = 3;
    entry[24..].copy_from_slice(&bitmap_len.to_le_bytes());
    image.write(heap, &entry);
    let bitmap = heap + 4096;
    image.write(bitmap + 70_000, &[0b0110_0001, 0xFF]);
    // Three clusters, and five bits of none.
    image.write(bitmap + bitmap_len - 1, &[0b1111_1010]);
    let usage = open(Arc::new(image)).expect("opened").statfs().unwrap();
    assert_eq!(usage.block_count, u64::from(CLUSTERS));
    assert_eq!(usage.free_block_count, u64::from(CLUSTERS) - 3 - 8 - 1);
}

/// 255 units of UTF-16 are up to 765 bytes; Linux tells 1,530 for both formats.
#[test]
fn the_longest_name_of_exfat_is_in_bytes() {
    needs!("mkfs.exfat");
    let base = empty_exfat();
    let mut exfat = Exfat::new(&base);
    let name = "\u{4E2D}".repeat(255);
    let stream = Stream {
        is_contiguous: true,
        first: 0,
        len: 0,
        valid_len: 0,
    };
    exfat.add(&exfat_set(&name, 0x20, &stream));
    let fs = exfat.open();
    assert_eq!(names(&*fs, fs.root()).0, [&*name]);
    assert!(find(&*fs, &name).unwrap().is_some());
    assert_eq!(fs.statfs().unwrap().name_len_max, 1530);
}

/// The label of the boot sector is in the code page of short names, as that of the root
/// directory is.
#[test]
fn a_label_is_in_the_code_page_that_was_asked_for() {
    needs!("mkfs.fat");
    let mut image = empty("mkfs.fat -C -F 12 $IMAGE 1440");
    image[43..54].copy_from_slice(b"\x84\x88\x91\x8A       ");
    let label = |code_page| {
        let mut options = OpenOptions::new(BlockCache::new(1 << 20));
        options.substitutes.code_page = code_page;
        let fs = tintype::filesystem::open(Arc::new(image.clone()), &options).unwrap();
        String::from_utf8(fs.summary().label.clone()).unwrap()
    };
    assert_eq!(label(CodePage::Cyrillic), "\u{414}\u{418}\u{421}\u{41A}");
    assert_eq!(label(CodePage::UnitedStates), "\u{E4}\u{EA}\u{E6}\u{E8}");
}
