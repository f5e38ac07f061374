//! Damaged metadata: an error or data, soon, and never a panic.
//!
//! Images without checksums stand for damage with repaired checksums: all code behind
//! the checks is reached. `TINTYPE_TEST_LONG=1` makes 10,000 corruptions a run, not 300.

use crate::image;
use crate::nasty;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tintype::base::ReadAt;
use tintype::filesystem::{
    BlockCache, DirCursor, ExtentPlace, FileSystem, NodeId, OpenOptions, SpaceUsage,
};

const SETS: [(&str, &[&str]); 5] = [
    ("csum", &["-t", "ext4"]),
    ("no-csum", &["-t", "ext4", "-O", "^metadata_csum,^64bit"]),
    (
        "inline-no-csum",
        &[
            "-t",
            "ext4",
            "-O",
            "inline_data,ea_inode,^metadata_csum",
            "-I",
            "512",
        ],
    ),
    ("ext2", &["-t", "ext2", "-b", "1024"]),
    (
        "bigalloc",
        &["-t", "ext4", "-O", "bigalloc,^metadata_csum", "-C", "16384"],
    ),
];

/// What one walk may take; it is about 100 times what a whole image takes.
const WALK_TIME_MAX: Duration = Duration::from_secs(10);

/// Entries, extents and bytes that a walk looks at.
const STEP_COUNT_MAX: usize = 20_000;

struct Patched {
    base: Arc<Vec<u8>>,
    patches: Vec<(u64, u8)>,
}

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        self.base.as_slice().len() as u64
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        self.base.read_exact_at(offset, target)?;
        for (place, byte) in &self.patches {
            let inside = place.checked_sub(offset).map(|inside| inside as usize);
            if let Some(found) = inside.and_then(|inside| target.get_mut(inside)) {
                *found = *byte;
            }
        }
        Ok(())
    }
}

/// Looks at everything that can be reached; returns how many nodes that is.
fn walk(fs: &dyn FileSystem) -> usize {
    let mut seen = BTreeSet::new();
    let mut open = vec![fs.root()];
    let mut buffer = vec![0; 64 << 10];
    let mut left = STEP_COUNT_MAX;
    while let Some(node) = open.pop() {
        if !seen.insert(node) || left == 0 {
            continue;
        }
        left -= 1;
        walk_node(fs, node, &mut buffer, &mut left);
        let _ = fs.read_dir(node, DirCursor::START, &mut |entry| {
            let _ = fs
                .lookup(node, entry.name)
                .map(|_| left = left.saturating_sub(1));
            open.push(entry.node);
            if open.len() > STEP_COUNT_MAX || left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }
    let _: Result<SpaceUsage, _> = fs.statfs();
    let _ = fs.allocated_ranges(&mut |_| ControlFlow::Continue(()));
    seen.len()
}

fn walk_node(fs: &dyn FileSystem, node: NodeId, buffer: &mut [u8], left: &mut usize) {
    let size = fs.metadata(node).map_or(0, |metadata| metadata.size);
    let _ = fs.read_link(node);
    for name in fs.xattr_names(node).unwrap_or_default() {
        let _ = fs.xattr(node, &name);
    }
    for offset in [0, size / 2, size.saturating_sub(4096), u64::MAX - 10] {
        let _ = fs.read_at(node, offset, buffer);
    }
    let _ = fs.extents(node, 0, &mut |extent| {
        assert!(extent.len > 0);
        *left = left.saturating_sub(1);
        if *left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
}

fn open(image: Patched) -> Option<Arc<dyn FileSystem>> {
    let options = OpenOptions::new(BlockCache::new(4 << 20));
    tintype::filesystem::open(Arc::new(image), &options).ok()
}

/// Returns the places of all bytes in blocks that hold something and no file content.
fn metadata_blocks(base: &Arc<Vec<u8>>) -> Vec<u64> {
    let fs = open(Patched {
        base: Arc::clone(base),
        patches: vec![],
    })
    .unwrap();
    let mut content = BTreeSet::new();
    let mut open = vec![fs.root()];
    while let Some(node) = open.pop() {
        let _ = fs.extents(node, 0, &mut |extent| {
            if let ExtentPlace::Image { offset } = extent.place {
                content.extend((offset / 1024)..((offset + extent.len) / 1024));
            }
            ControlFlow::Continue(())
        });
        let _ = fs.read_dir(node, DirCursor::START, &mut |entry| {
            open.push(entry.node);
            ControlFlow::Continue(())
        });
    }
    let blocks = base.chunks(1024).zip(0_u64..);
    let used = blocks.filter(|(block, _)| block.iter().any(|byte| *byte != 0));
    used.map(|(_, number)| number)
        .filter(|number| !content.contains(number))
        .collect()
}

fn mutate(name: &str, path: &Path, count: u64) {
    let base = Arc::new(std::fs::read(path).unwrap());
    let blocks = metadata_blocks(&base);
    let (mut opened, mut nodes, mut slowest) = (0, 0, Duration::ZERO);
    for seed in 0..count {
        let random = nasty::noise(seed, 8 * 40);
        let mut numbers = random
            .chunks_exact(8)
            .map(|part| u64::from_le_bytes(part.try_into().unwrap()));
        let mut next = || numbers.next().unwrap();
        let mut patches = vec![];
        for _ in 0..=(next() % 4) {
            let block = blocks[(next() % blocks.len() as u64) as usize];
            // Small structures are full at the front.
            let start = block * 1024 + next() % 1024;
            let extreme = [0, 0xFF, 0x7F, 0x80, 1][(next() % 5) as usize];
            for step in 0..[1, 1, 2, 4, 8][(next() % 5) as usize] {
                let byte = if seed % 2 == 0 {
                    extreme
                } else {
                    (seed >> 1) as u8 ^ step as u8 ^ base[start as usize]
                };
                patches.push((start + step, byte));
            }
        }
        let begin = Instant::now();
        if let Some(fs) = open(Patched {
            base: Arc::clone(&base),
            patches,
        }) {
            opened += 1;
            nodes += walk(&*fs);
        }
        let taken = begin.elapsed();
        assert!(taken < WALK_TIME_MAX, "{name}: seed {seed} took {taken:?}");
        slowest = slowest.max(taken);
    }
    println!(
        "{name}: {count} corruptions in {} KiB of metadata, {opened} opened, {nodes} nodes, slowest {slowest:?}",
        blocks.len()
    );
}

#[test]
fn damage_is_an_error_or_data_and_never_a_panic() {
    let count = if std::env::var_os("TINTYPE_TEST_LONG").is_some() {
        10_000
    } else {
        300
    };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    if !image::can_mount() {
        return;
    }
    nasty::fill(&source, &nasty::SMALL);
    // Blocks of 1 KiB have no room for these.
    for name in [
        "symlink-4000",
        "symlink-4095",
        "symlink-1023",
        "xattrs/value-900",
        "xattrs/value-1900",
        "xattrs/value-3500",
    ] {
        let _ = std::fs::remove_file(source.join(name));
    }
    for (name, arguments) in SETS {
        let path = folder.path().join(name);
        let all = [
            arguments,
            &["-N", "1024", "-J", "size=4"][..if name == "ext2" { 2 } else { 4 }],
            &["-d", source.to_str().unwrap()],
        ]
        .concat();
        image::make(&path, 48 << 20, &all);
        mutate(name, &path, count);
    }
}
