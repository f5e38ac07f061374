//! Damage of one kind each: an error of the place that is damaged, a copy that is read
//! instead, or something that is said.

use crate::driver::{Mounted, fill, make};
use crate::mft::Volume;
use crate::support::reader::{content, extents, find, kind, names, node, open};
use crate::support::{Rng, Scratch, needs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tintype::base::ReadAt;
use tintype::filesystem::{Consistency, ErrorKind, FileSystem, FileType, NodeId, Result};

const DATA: u32 = 0x80;

/// A small volume with a tree on it.
fn volume(scratch: &Scratch) -> (PathBuf, Volume) {
    let image = make(scratch, "12M", "");
    let script = "damage.py $ROOT";
    fill(scratch, &image, "compression", script);
    let bytes = std::fs::read(&image).expect("an image");
    (image, Volume::new(bytes))
}

fn opened(volume: &Volume) -> Result<Arc<dyn FileSystem>> {
    open(Arc::new(volume.bytes.clone()))
}

fn inode(volume: &Volume, path: &str) -> u64 {
    node(&*opened(volume).expect("opened"), path).inode
}

fn reason(fs: &dyn FileSystem) -> &'static str {
    match fs.summary().consistency {
        Consistency::Dirty { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn is_said(fs: &dyn FileSystem, what: &str) -> bool {
    fs.summary()
        .warnings
        .iter()
        .any(|warning| warning.contains(what))
}

#[test]
fn a_damaged_boot_sector_is_replaced_by_its_copy_and_said() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, whole) = volume(&scratch);
    assert!(opened(&whole).unwrap().summary().warnings.is_empty());
    // All of it; its name; the place of the MFT; the length of a cluster.
    for damaged in [0..512, 3..11, 0x30..0x38, 13..14] {
        let mut volume = Volume::new(whole.bytes.clone());
        volume.bytes[damaged.clone()].fill(0);
        let fs = opened(&volume).unwrap_or_else(|error| panic!("{damaged:?}: {error}"));
        assert!(is_said(&*fs, "copy at the end"), "{damaged:?}");
        assert_eq!(
            content(&*fs, node(&*fs, "folder/file 7")).unwrap(),
            b"content 7"
        );
        let free = fs.allocated_ranges(&mut |_| std::ops::ControlFlow::Continue(()));
        assert_eq!(kind(free), ErrorKind::Unsupported);
    }
    let mut volume = Volume::new(whole.bytes.clone());
    let end = volume.bytes.len();
    volume.bytes[..512].fill(0);
    volume.bytes[end - 512..].fill(0);
    assert!(opened(&volume).is_err());
}

#[test]
fn a_damaged_mft_is_replaced_by_its_mirror_and_said() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, mut volume) = volume(&scratch);
    let record = volume.record(0);
    volume.bytes[record.start + 510] ^= 1;
    let fs = opened(&volume).expect("opened");
    assert!(is_said(&*fs, "$MFTMirr"));
    assert_eq!(
        content(&*fs, node(&*fs, "folder/file 7")).unwrap(),
        b"content 7"
    );
    let mirror = volume.mirror;
    volume.bytes[mirror + 510] ^= 1;
    assert_eq!(
        opened(&volume).err().expect("refused").kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_volume_that_was_not_unmounted_is_dirty() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, whole) = volume(&scratch);
    let mut dirty = Volume::new(whole.bytes.clone());
    let flags = dirty.value(3, 0x70, "").start + 10;
    dirty.bytes[flags] |= 1;
    let fs = opened(&dirty).unwrap();
    assert!(reason(&*fs).contains("dirty"), "{}", reason(&*fs));
    assert_eq!(
        content(&*fs, node(&*fs, "folder/file 7")).unwrap(),
        b"content 7"
    );

    // A restart page of a log that is in use, as Windows leaves it when it dies.
    let mut logged = Volume::new(whole.bytes.clone());
    let log = logged.first_run(2, DATA, "");
    let page = &mut logged.bytes[log..log + 4096];
    page.fill(0);
    page[..8].copy_from_slice(b"RSTR\x1e\0\x09\0");
    page[0x11] = 0x10;
    page[0x18] = 0x40;
    let fs = opened(&logged).unwrap();
    assert!(reason(&*fs).contains("$LogFile"), "{}", reason(&*fs));
    logged.bytes[log + 0x4E] = 2;
    assert_eq!(
        opened(&logged).unwrap().summary().consistency,
        Consistency::Clean
    );

    // A hibernated Windows.
    let mut asleep = Volume::new(whole.bytes.clone());
    let data = asleep.value(inode(&whole, "hiberfil.sys"), DATA, "");
    asleep.bytes[data.start..data.start + 4].copy_from_slice(b"HIBR");
    let fs = opened(&asleep).unwrap();
    assert!(reason(&*fs).contains("hibernated"), "{}", reason(&*fs));
    let free = fs.allocated_ranges(&mut |_| std::ops::ControlFlow::Continue(()));
    assert_eq!(kind(free), ErrorKind::Unsupported);
}

#[test]
fn half_written_records_and_blocks_are_errors_of_their_place() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, mut volume) = volume(&scratch);
    let record = volume.record(inode(&volume, "folder/file 7"));
    let many = inode(&volume, "many");
    let blocks = volume.first_run(many, 0xA0, "$I30");
    volume.bytes[record.start + 510] ^= 1;
    volume.bytes[blocks + 4096 + 510] ^= 1;
    let fs = opened(&volume).unwrap();
    assert_eq!(kind(find(&*fs, "folder/file 7")), ErrorKind::Corrupt);
    assert_eq!(
        content(&*fs, node(&*fs, "folder/file 8")).unwrap(),
        b"content 8"
    );
    let (found, result) = names(&*fs, NodeId::new(many));
    assert!(found.len() > 10 && found.len() < 300, "{}", found.len());
    assert_eq!(kind(result), ErrorKind::Corrupt);
}

#[test]
fn a_name_whose_file_is_another_one_now_is_an_error() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, mut volume) = volume(&scratch);
    let record = volume.record(inode(&volume, "folder/file 7"));
    volume.bytes[record.start + 0x10] ^= 0x10;
    let fs = opened(&volume).unwrap();
    assert_eq!(kind(find(&*fs, "folder/file 7")), ErrorKind::Corrupt);
}

#[test]
fn encrypted_files_and_unknown_compression_are_unsupported() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, whole) = volume(&scratch);
    for (path, flags) in [
        ("dense", [0, 0x40]),
        ("folder/file 7", [0, 0x40]),
        ("compressed/text", [2, 0]),
    ] {
        let mut volume = Volume::new(whole.bytes.clone());
        let data = volume.attribute(inode(&whole, path), DATA, "");
        volume.bytes[data.start + 0xC..data.start + 0xE].copy_from_slice(&flags);
        let fs = opened(&volume).unwrap();
        let file = node(&*fs, path);
        assert_eq!(kind(content(&*fs, file)), ErrorKind::Unsupported, "{path}");
        assert_eq!(
            kind(extents(&*fs, file).1),
            ErrorKind::Unsupported,
            "{path}"
        );
        assert_eq!(fs.metadata(file).unwrap().file_type, FileType::Regular);
    }
}

#[test]
fn what_was_not_written_is_zeros() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, mut volume) = volume(&scratch);
    let file = inode(&volume, "dense");
    let before = content(&*opened(&volume).unwrap(), NodeId::new(file)).unwrap();
    let data = volume.attribute(file, DATA, "").start;
    volume.bytes[data + 0x38..data + 0x40].copy_from_slice(&100_001_u64.to_le_bytes());
    let fs = opened(&volume).unwrap();
    let found = content(&*fs, NodeId::new(file)).unwrap();
    assert_eq!(found[..100_001], before[..100_001]);
    assert!(found.len() == before.len() && found[100_001..].iter().all(|byte| *byte == 0));
    assert_eq!(extents(&*fs, NodeId::new(file)).0, 100_001);
}

/// A crate that was tried gives wrong bytes of compressed files without an error. Damage
/// inside a stream that still is one cannot be told from content, as there is no checksum;
/// then it is what ntfs-3g reads. It is never something else.
#[test]
fn damaged_compressed_content_is_what_ntfs_3g_reads_or_an_error() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (image, whole) = volume(&scratch);
    let file = inode(&whole, "compressed/text");
    let right = content(&*opened(&whole).unwrap(), NodeId::new(file)).unwrap();
    assert!(right.starts_with(b"line 0 of text\n"));
    let start = whole.first_run(file, DATA, "");
    let mut rng = Rng::new(5);
    let (mut refused, mut equal, mut changed) = (0, 0, 0);
    for round in 0..12 {
        let mut volume = Volume::new(whole.bytes.clone());
        for _ in 0..=rng.below(3) {
            let place = match rng.below(3) {
                0 => start + rng.below(2) as usize,
                _ => start + rng.below(6000) as usize,
            };
            volume.bytes[place] ^= 1 << rng.below(8);
        }
        std::fs::write(&image, &volume.bytes).expect("an image");
        let mounted = Mounted::new(&scratch, &image, "ro");
        let theirs = std::fs::read(mounted.root.join("compressed/text"));
        drop(mounted);
        match content(&*opened(&volume).unwrap(), NodeId::new(file)) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "round {round}");
                refused += 1;
            }
            Ok(ours) if ours == right => equal += 1,
            Ok(ours) => {
                assert!(theirs.is_ok_and(|theirs| theirs == ours), "round {round}");
                changed += 1;
            }
        }
    }
    assert!(
        refused > 0,
        "{refused} refused, {equal} equal, {changed} changed"
    );
}

/// `SEEK_DATA` passed over a unit whose clusters lie behind its hole, and `cp` made zeros of
/// it without an error.
#[test]
fn a_unit_with_its_hole_in_front_is_no_hole() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, mut volume) = volume(&scratch);
    let file = inode(&volume, "compressed/text");
    let attribute = volume.attribute(file, DATA, "");
    let list =
        attribute.start + crate::mft::number(&volume.bytes[attribute.start + 0x20..], 2) as usize;
    let header = volume.bytes[list];
    let len = 1 + usize::from(header & 15) + usize::from(header >> 4);
    // Clusters and the hole behind them change their places.
    let stored = volume.bytes[list..list + len].to_vec();
    let hole = volume.bytes[list + len..list + len + 2].to_vec();
    assert_eq!(hole[0], 1, "a hole of one byte");
    volume.bytes[list..list + 2].copy_from_slice(&hole);
    volume.bytes[list + 2..list + 2 + len].copy_from_slice(&stored);
    let fs = opened(&volume).unwrap();
    let mut first = None;
    let result = fs.extents(NodeId::new(file), 0, &mut |extent| {
        first = first.or(Some(extent.offset));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((first, result.is_ok()), (Some(0), true));
    assert_eq!(kind(content(&*fs, NodeId::new(file))), ErrorKind::Corrupt);
}

/// Free space that could not be counted was none, for as long as the volume was open.
#[test]
fn a_bitmap_of_the_mft_that_cannot_be_read_is_an_error() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, volume) = volume(&scratch);
    let bad = volume.first_run(0, 0xB0, "") as u64;
    let image = Arc::new(FailingAt {
        bytes: volume.bytes,
        bad,
        is_bad: true.into(),
    });
    let fs = open(Arc::<FailingAt>::clone(&image)).unwrap();
    assert_eq!(kind(fs.statfs()), ErrorKind::Io);
    image.is_bad.store(false, Ordering::Relaxed);
    assert!(fs.statfs().unwrap().free_node_count > 0);
}

/// An image with a byte that cannot be read for a while.
struct FailingAt {
    bytes: Vec<u8>,
    bad: u64,
    is_bad: AtomicBool,
}

impl ReadAt for FailingAt {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        let end = offset + target.len() as u64;
        if self.is_bad.load(Ordering::Relaxed) && (offset..end).contains(&self.bad) {
            return Err(std::io::Error::other("a bad sector"));
        }
        self.bytes.read_exact_at(offset, target)
    }
}

/// A crate that was tried panics on an entry of an index that is longer than its node.
#[test]
fn crafted_indexes_are_errors_and_loops_end() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, whole) = volume(&scratch);
    let many = inode(&whole, "many");
    let root = whole.value(many, 0x90, "$I30").start;
    let block = whole.first_run(many, 0xA0, "$I30");
    let first = block + 0x18 + crate::mft::number(&whole.bytes[block + 0x18..], 4) as usize;
    let cases: [(usize, &[u8]); 10] = [
        (root + 0x10, &[0xFF; 4]),
        (root + 0x14, &[0xFF; 4]),
        (root + 0x20 + 8, &[0xF8, 0xFF]),
        (root + 0x20 + 8, &[0, 0]),
        (first + 10, &[0xFF, 0xFF]),
        (first + 8, &[0xF8, 0xFF]),
        (first + 8, &[3, 0]),
        (first + 0x50, &[0xFF]),
        (block + 0x10, &[7]),
        (root + 8, &[1, 2, 3, 4]),
    ];
    for (number, (place, bytes)) in cases.into_iter().enumerate() {
        let mut volume = Volume::new(whole.bytes.clone());
        volume.bytes[place..place + bytes.len()].copy_from_slice(bytes);
        let fs = opened(&volume).unwrap();
        let (_, result) = names(&*fs, NodeId::new(many));
        let looked_up = find(&*fs, "many/entry 0");
        let is_damage = result.is_err() || looked_up.is_err();
        assert!(is_damage, "case {number}: {result:?} {looked_up:?}");
    }
    // Every entry of the first block has the block itself below it.
    let mut volume = Volume::new(whole.bytes.clone());
    let mut at = first;
    loop {
        let len = crate::mft::number(&volume.bytes[at + 8..], 2) as usize;
        let is_last = volume.bytes[at + 12] & 2 != 0;
        volume.bytes[at + 12] |= 1;
        volume.bytes[at + len - 8..at + len].fill(0);
        if is_last {
            break;
        }
        at += len;
    }
    crate::mft::reseal(&mut volume.bytes[block..block + 4096]);
    let fs = opened(&volume).unwrap();
    let _ = names(&*fs, NodeId::new(many));
    for number in 0..300 {
        let _ = find(&*fs, &format!("many/entry {number}x"));
    }
}

#[test]
fn short_names_do_not_count_as_links_and_are_found() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, volume) = volume(&scratch);
    let fs = opened(&volume).unwrap();
    let file = node(&*fs, "folder/a name with a short one.text");
    assert_eq!(fs.metadata(file).unwrap().link_count, 1);
    assert_eq!(find(&*fs, "folder/ANAMEW~1.TEX").unwrap(), Some(file));
    let (listed, _) = names(&*fs, node(&*fs, "folder"));
    assert!(!listed.iter().any(|name| name.contains('~')), "{listed:?}");
    assert_eq!(find(&*fs, "FOLDER").unwrap(), None);
}

#[test]
fn files_of_the_volume_are_hidden() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let (_, volume) = volume(&scratch);
    let fs = opened(&volume).unwrap();
    assert_eq!(find(&*fs, "$MFT").unwrap(), None);
    assert_eq!(find(&*fs, "$Extend").unwrap(), None);
    for number in [0, 1, 6, 11, 15] {
        assert_eq!(kind(fs.metadata(NodeId::new(number))), ErrorKind::NotFound);
    }
    let (listed, result) = names(&*fs, fs.root());
    result.unwrap();
    assert!(
        listed.iter().all(|name| !name.starts_with('$')),
        "{listed:?}"
    );
}
