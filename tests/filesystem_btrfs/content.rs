//! What the nasty tree of all file systems does not have: compressible content, whole
//! and changed in places, and clones of extents.

use crate::support::{Random, shell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Text that compresses to about a third, never the same.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        let word = random.below(2000);
        bytes.extend(format!("{word:x} ").bytes());
        if word.is_multiple_of(97) {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.truncate(len);
    bytes
}

/// Fills a directory `text` below `root`, and leaves everything on disk.
pub fn fill(root: &Path) {
    let path = root.join("text");
    std::fs::create_dir(&path).expect("a directory");
    for len in [
        1,
        60,
        500,
        2000,
        4000,
        4096,
        4097,
        10_000,
        131_072,
        131_073,
        1 << 20,
    ] {
        std::fs::write(path.join(format!("{len} bytes")), text(len as u64, len)).expect("written");
    }
    std::fs::write(path.join("zeros"), vec![0; 300_000]).expect("written");
    let changed = File::create(path.join("changed")).expect("a file");
    changed.write_all_at(&text(1, 2 << 20), 0).expect("written");
    changed.sync_all().expect("synced");
    // Parts of compressed extents stay in use.
    for (number, offset) in [5000_u64, 131_072, 200_000, 786_433, 1_500_000]
        .iter()
        .enumerate()
    {
        let bytes = text(number as u64 + 50, 3000 * (number + 1));
        changed.write_all_at(&bytes, *offset).expect("written");
        changed.sync_all().expect("synced");
    }
    let line = format!(
        "cd '{}'; cp --reflink=always changed cloned; fallocate -p -o 40960 -l 81920 cloned; \
         truncate -s 1000001 cloned; cp --reflink=always '1048576 bytes' shared; \
         printf tail >> shared; chattr +c zeros; \
         touch plain; chattr +C plain; cat changed > plain; \
         setfattr -n btrfs.compression -v zstd '60 bytes'; \
         fallocate -l 200000 '500 bytes'; sync -f .",
        path.display()
    );
    shell(&line);
    // An inline extent that grew out of the item.
    let grown = File::create(path.join("grown")).expect("a file");
    grown.write_all_at(b"inline", 0).expect("written");
    grown.sync_all().expect("synced");
    grown.set_len(9000).expect("a length");
    grown.write_all_at(b"far", 500_000).expect("written");
}
