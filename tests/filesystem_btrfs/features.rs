//! Clean file systems of many feature sets, filled with the nasty tree.

use crate::oracle::nasty::fill;
use crate::sets;
use crate::support::{Scratch, is_able, run, say, shell, umount};
use crate::walk::{compare, our_tree};
use crate::{compare_with_kernel, content, make, mount, open_file};
use std::ops::ControlFlow;
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem, Name};

/// Makes, fills, and compares.
fn check(test: &str) {
    let set = sets::named(test);
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl", "fallocate"]) {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.join("image");
    let point = scratch.join("mount");
    make(&image, "1G", set.mkfs);
    if !set.tune.is_empty() {
        let line = format!("{} '{}'", set.tune, image.display());
        if let Err(why) = run("sh", &["-ec".as_ref(), line.as_ref()]) {
            say(&format!("SKIPPED TEST: filesystem_btrfs::{test}: {why}"));
            return;
        }
    }
    let options = |rest: &str| ["loop,noatime", rest].join(if rest.is_empty() { "" } else { "," });
    if let Err(why) = mount(&image, &point, &options(set.mount)) {
        say(&format!(
            "SKIPPED TEST: filesystem_btrfs::{test}: the kernel refuses: {why}"
        ));
        return;
    }
    fill(&point, set.scale);
    content::fill(&point);
    let space = kernel_space(&point);
    umount(&point);
    let count = compare_with_kernel(test, &image, &point, &options("ro"));
    let fs = open_file(&image).expect("opened");
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    let features = fs.summary().features.join(" ");
    assert!(features.contains(set.feature), "{features}");
    check_space(&fs, &space);
    check_allocation(&fs, &image);
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {count} entries equal to the kernel's, features \
         {features}"
    ));
}

/// What `df` says of a mounted file system: all blocks, free ones, available ones.
fn kernel_space(point: &Path) -> Vec<u64> {
    shell(&format!("sync -f '{}'", point.display()));
    let args = [
        "-f".as_ref(),
        "-c".as_ref(),
        "%b %f %a".as_ref(),
        point.as_os_str(),
    ];
    let output = run("stat", &args).expect("stat");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers = text
        .split_whitespace()
        .map(|word| word.parse().expect("a number"));
    numbers.collect()
}

/// Compares the numbers of `df`: the kernel's own reserve differs a little.
fn check_space(fs: &dyn FileSystem, kernel: &[u64]) {
    let usage = fs.statfs().expect("counted");
    let ours = [
        usage.block_count,
        usage.free_block_count,
        usage.available_block_count,
    ];
    let is_near = |(ours, kernel): (u64, u64)| ours.abs_diff(kernel) <= usage.block_count / 50;
    let pairs = ours.into_iter().zip(kernel.iter().copied());
    assert!(
        ours[0] == kernel[0] && pairs.into_iter().all(is_near),
        "{ours:?}, kernel {kernel:?}"
    );
}

/// Throws the free ranges away and lets `btrfs check` look at what is left.
fn check_allocation(fs: &dyn FileSystem, image: &Path) {
    let mut used = Vec::new();
    fs.allocated_ranges(&mut |range| {
        used.push(range);
        ControlFlow::Continue(())
    })
    .expect("free space");
    let copy = image.with_extension("used");
    let source = std::fs::read(image).expect("an image");
    let target = std::fs::File::create(&copy).expect("a file");
    target.set_len(source.len() as u64).expect("a length");
    let mut last = 0;
    for range in &used {
        assert!(
            range.start >= last && range.end > range.start,
            "{range:?} after {last}"
        );
        last = range.end;
        let bytes = &source[range.start as usize..range.end as usize];
        std::os::unix::fs::FileExt::write_all_at(&target, bytes, range.start).expect("written");
    }
    drop(source);
    let args = ["check", "--readonly", "--check-data-csum"].map(AsRef::as_ref);
    run("btrfs", &[&args[..], &[copy.as_os_str()]].concat()).expect("in order");
    let before = our_tree(fs).expect("read");
    let after = our_tree(&open_file(&copy).expect("opened")).expect("read");
    compare("without free ranges", &before, &after);
}

#[test]
fn defaults() {
    check("defaults");
}

#[test]
fn mixed_groups_and_small_nodes() {
    check("mixed_groups_and_small_nodes");
}

#[test]
fn xxhash_and_small_nodes() {
    check("xxhash_and_small_nodes");
}

#[test]
fn sha256_and_large_nodes() {
    check("sha256_and_large_nodes");
}

#[test]
fn blake2_and_the_features_of_long_ago() {
    check("blake2_and_the_features_of_long_ago");
}

#[test]
fn compressed_by_zlib() {
    check("compressed_by_zlib");
}

#[test]
fn compressed_by_lzo() {
    check("compressed_by_lzo");
}

#[test]
fn compressed_by_zstd() {
    check("compressed_by_zstd");
}

#[test]
fn two_copies_of_everything() {
    check("two_copies_of_everything");
}

#[test]
fn stripes_on_one_device() {
    check("stripes_on_one_device");
}

#[test]
fn a_tree_of_block_groups() {
    check("a_tree_of_block_groups");
}

#[test]
fn an_identity_of_its_own() {
    check("an_identity_of_its_own");
}

/// Sectors that the kernel does not mount here: filled by mkfs, compared with the source.
#[test]
fn large_sectors() {
    let test = "large_sectors";
    if !is_able(test, &["mkfs.btrfs", "setfattr"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, source) = (scratch.join("image"), scratch.join("source"));
    std::fs::create_dir(&source).expect("a directory");
    for len in [0, 10, 3000, 5000, 20_000, 70_000, 3 << 20] {
        let path = source.join(format!("{len} bytes"));
        std::fs::write(path, content::text(len as u64, len)).expect("written");
    }
    shell(&format!(
        "cd '{0}'; mkdir -p a/b; ln -s '../3000 bytes' a/link; ln '10 bytes' a/b/same",
        source.display()
    ));
    for sector_len in [16_384, 65_536] {
        let options = format!("-s {sector_len} -n 65536 --rootdir '{}'", source.display());
        make(&image, "512M", &options);
        let fs = open_file(&image).expect("opened");
        assert_eq!(fs.summary().fs_block_len, sector_len);
        let kept = |tree: crate::walk::Tree| -> crate::walk::Tree {
            let is_kept = |line: &&str| {
                ["mode=", "owner=", "size=", "mtime=", "target=", "content="]
                    .iter()
                    .any(|name| line.starts_with(name))
            };
            // mkfs copies whole seconds.
            let whole = |line: &str| match line.starts_with("mtime=") {
                true => line.split('.').next().unwrap_or_default().to_owned(),
                false => line.to_owned(),
            };
            let kept = |text: String| {
                let lines = text.lines().filter(is_kept).map(whole);
                lines.collect::<Vec<_>>().join("\n")
            };
            // The size of a directory is a matter of the format.
            let is_other = |text: &String| !text.starts_with("mode=4");
            let lines = tree.into_iter().filter(|(_, text)| is_other(text));
            lines.map(|(path, text)| (path, kept(text))).collect()
        };
        let theirs = kept(crate::walk::kernel_tree(&source));
        let ours = kept(our_tree(&fs).expect("read"));
        assert!(ours.len() >= 9, "{} files", ours.len());
        compare(test, &theirs, &ours);
        std::fs::remove_file(&image).expect("removed");
    }
}

/// Names that are in one item, too: the order there is that in which they were set.
#[test]
fn attributes_come_in_the_order_of_the_kernel() {
    let test = "attributes_come_in_the_order_of_the_kernel";
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfattr", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "200M", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    shell(&format!(
        "cd '{0}'; touch file; for i in $(seq 100); do setfattr -n user.$i -v $i file; done; \
         for i in qjymgft oalgjxa astolhx guzmtnl; do setfattr -n user.$i -v 1 file; done; \
         for i in oalgjxa user; do setfattr -n trusted.$i -v 1 file; done; \
         setfattr -n user.qjymgft -v 2 file; setfacl -m u:7:r file; chattr +c file",
        point.display()
    ));
    let path = std::ffi::CString::new(format!("{}/file", point.display())).expect("no NUL");
    let mut names = vec![0_u8; 1 << 16];
    // SAFETY: the buffer has the length that is given.
    let len = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(len).expect("names"));
    umount(&point);
    let fs = open_file(&image).expect("opened");
    let name = Name::new(b"file").expect("a name");
    let node = fs.lookup(fs.root(), name).expect("read").expect("there");
    let mut ours = fs.xattr_names(node).expect("read").join(&0);
    ours.push(0);
    assert_eq!(
        ours.escape_ascii().to_string(),
        names.escape_ascii().to_string()
    );
}
