//! Volumes filled through exfat-fuse, and what it then shows. It does not count links
//! and does not tell when a file was made.

use crate::driver::{ExfatFuse, filler};
use crate::listing::{Entry, Listing, assert_same, of_reader, parse};
use crate::support::reader::{FileImage, open};
use crate::support::{Scratch, measured, needs, number_from_env, shell_ok};
use crate::vfat::check_allocated;
use tintype::filesystem::{Consistency, FileSystem};

/// Removes what exfat-fuse does not tell, after checking it by itself.
pub fn reduce(listing: &Listing) -> Listing {
    let directories: Vec<&[u8]> = listing
        .iter()
        .filter(|(_, entry)| entry.mode.starts_with('d'))
        .map(|(path, _)| parent_of(path))
        .collect();
    let mut reduced = Listing::new();
    for (path, entry) in listing {
        let inner = directories.iter().filter(|parent| *parent == path);
        // The root is counted as its own child.
        let own = usize::from(path.is_empty());
        let expected = match entry.mode.starts_with('d') {
            true => 2 + inner.count() - own,
            false => 1,
        };
        assert_eq!(entry.link_count, expected as u64, "{}", path.escape_ascii());
        reduced.insert(path.clone(), without(entry));
    }
    reduced
}

fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or(b"", |slash| &path[..slash])
}

/// Without what exfat-fuse does not tell.
pub fn without(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.link_count = 1;
    entry.times[3] = (0, 0);
    entry
}

/// All space is another thing to exfat-fuse: the whole volume, with what is in front of
/// the clusters. Linux tells the clusters, and so do we.
fn check_free_space(scratch: &Scratch, fs: &dyn FileSystem) {
    let text = std::fs::read_to_string(scratch.join("out.space")).expect("a line");
    let words: Vec<&str> = text.split_whitespace().collect();
    let usage = fs.statfs().expect("counted");
    let ours = [
        u64::from(usage.fs_block_len).to_string(),
        usage.free_block_count.to_string(),
    ];
    assert_eq!([words[0], words[2]], [&*ours[0], &*ours[1]], "space");
    assert!(usage.block_count > usage.free_block_count);
}

fn check(test: &str, make: &str, entries: usize) {
    let scratch = Scratch::new();
    let image = scratch.join("image");
    let variables = [("IMAGE", image.as_os_str())];
    shell_ok(&format!("{make} >/dev/null"), &variables);
    let mounted = ExfatFuse::new(&scratch, &image, "umask=022");
    let fill = format!(
        "python3 $FILLER $ROOT exfat {entries}; printf 'x%.0s' $(seq 100) >$ROOT/names/more"
    );
    shell_ok(
        &fill,
        &[
            ("FILLER", filler().as_os_str()),
            ("ROOT", mounted.root.as_os_str()),
        ],
    );
    drop(mounted);
    let mounted = ExfatFuse::new(&scratch, &image, "umask=022,ro");
    mounted.list(&scratch);
    drop(mounted);
    shell_ok("fsck.exfat -n $IMAGE", &variables);

    let theirs = parse(&scratch.join("out"));
    let fs = open(FileImage::open(&image)).expect("opened");
    assert_eq!(fs.summary().format, "exfat");
    assert_eq!(fs.summary().label, "L\u{e4}bel".as_bytes());
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    let ours = of_reader(&*fs, &image);
    // exfat-fuse counts a 29 February 2100, which there is not: what it writes for later
    // days is a day off on the disk.
    let is_kept = |path: &[u8]| !path.starts_with(b"times/t4354819198");
    let bare = theirs
        .iter()
        .filter(|(path, _)| is_kept(path.as_ref()))
        .map(|(path, entry)| (path.clone(), without(entry)));
    let mut seen = reduce(&ours);
    seen.retain(|path, _| is_kept(path.as_ref()));
    assert_same(test, &bare.collect(), &seen);
    check_free_space(&scratch, &*fs);
    check_allocated(&*fs, &image, &ours);
    measured!(
        "filesystem_fat::{test}: {} entries equal to exfat-fuse",
        theirs.len()
    );
}

#[test]
fn exfat_small_clusters() {
    needs!("root", "fuse", "mkfs.exfat", "mount.exfat-fuse", "python3");
    let make = "truncate -s 64M $IMAGE; LC_ALL=C.UTF-8 mkfs.exfat -c 512 -L L\u{e4}bel $IMAGE";
    check("exfat_small_clusters", make, 500);
}

#[test]
fn exfat_clusters_of_4_kib() {
    needs!("root", "fuse", "mkfs.exfat", "mount.exfat-fuse", "python3");
    let make = "truncate -s 300M $IMAGE; LC_ALL=C.UTF-8 mkfs.exfat -c 4K -L L\u{e4}bel $IMAGE";
    let entries = number_from_env("TINTYPE_FAT_ENTRIES", 3000, 20_000);
    check("exfat_clusters_of_4_kib", make, entries as usize);
}

#[test]
fn exfat_clusters_of_1_mib() {
    needs!("root", "fuse", "mkfs.exfat", "mount.exfat-fuse", "python3");
    let make = "truncate -s 4G $IMAGE; LC_ALL=C.UTF-8 mkfs.exfat -c 1M -L L\u{e4}bel $IMAGE";
    check("exfat_clusters_of_1_mib", make, 300);
}
