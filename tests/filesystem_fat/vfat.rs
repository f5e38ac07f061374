//! Volumes of every type, filled by Linux's vfat with a nasty tree, and what it then
//! shows.

use crate::driver;
use crate::listing::{assert_same, of_reader, parse};
use crate::support::reader::{FileImage, open};
use crate::support::{Scratch, measured, needs, number_from_env, shell_ok};
use std::ops::ControlFlow;
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem};

/// Makes a volume, fills it, and compares.
fn check(test: &str, make: &str, format: &str, entries: usize) {
    let scratch = Scratch::new();
    let image = scratch.join("image");
    shell_ok(
        &format!("{make} >/dev/null"),
        &[("IMAGE", image.as_os_str())],
    );
    driver::fill_vfat(&scratch, &image, entries);
    compare(test, &scratch, &image, format);
}

fn compare(test: &str, scratch: &Scratch, image: &Path, format: &str) {
    let theirs = parse(&scratch.join("out"));
    let fs = open(FileImage::open(image)).expect("opened");
    let summary = fs.summary();
    assert_eq!(summary.format, format);
    assert_eq!(summary.consistency, Consistency::Clean);
    assert_eq!(summary.warnings, Vec::<String>::new());
    assert_eq!(summary.label, b"A LABEL");
    assert_eq!(summary.uuid.as_deref(), Some("1234-ABCD"));
    let ours = of_reader(&*fs, image);
    assert_same(test, &theirs, &ours);
    check_space(scratch, &*fs);
    check_allocated(&*fs, image, &theirs);
    measured!(
        "filesystem_fat::{test}: {} entries of {format} equal to Linux's vfat",
        theirs.len()
    );
}

fn check_space(scratch: &Scratch, fs: &dyn FileSystem) {
    let text = std::fs::read_to_string(scratch.join("out.space")).expect("a line");
    let usage = fs.statfs().expect("counted");
    let ours = format!(
        "{} {} {}",
        usage.fs_block_len, usage.block_count, usage.free_block_count
    );
    assert_eq!(ours, text.trim(), "space");
}

/// Throws away what is not allocated, and looks again.
pub fn check_allocated(fs: &dyn FileSystem, image: &Path, expected: &crate::listing::Listing) {
    let copy = image.with_extension("used");
    let (source, target) = (
        FileImage::open(image),
        std::fs::File::create(&copy).unwrap(),
    );
    target.set_len(source.len()).unwrap();
    let mut used = 0;
    if fs.summary().format == "fat12" {
        let result = fs.allocated_ranges(&mut |_| ControlFlow::Continue(()));
        let error = result.expect_err("nothing tells whether it was unmounted");
        assert!(error.to_string().contains("unmounted"), "{error}");
        return;
    }
    fs.allocated_ranges(&mut |range| {
        let mut offset = range.start;
        while offset < range.end {
            let mut piece = vec![0; (range.end - offset).min(1 << 20) as usize];
            source.read_exact_at(offset, &mut piece).expect("inside");
            if piece.iter().any(|byte| *byte != 0) {
                std::os::unix::fs::FileExt::write_all_at(&target, &piece, offset).unwrap();
            }
            offset += piece.len() as u64;
        }
        used += range.end - range.start;
        ControlFlow::Continue(())
    })
    .expect("ranges");
    assert!(used < source.len(), "{used} of {}", source.len());
    let again = open(FileImage::open(&copy)).expect("opened");
    assert_same(
        "without free clusters",
        expected,
        &of_reader(&*again, &copy),
    );
    std::fs::remove_file(&copy).unwrap();
}

#[test]
fn fat12_floppy() {
    needs!("linux.uml", "mkfs.fat", "python3");
    // Without a full root directory there is room for 224 entries in it.
    let make = "mkfs.fat -C -F 12 -n 'A LABEL' -i 1234ABCD $IMAGE 2880";
    check("fat12_floppy", make, "fat12", 100);
}

#[test]
fn fat12_large_clusters() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 120M $IMAGE; mkfs.fat -F 12 -s 64 -n 'A LABEL' -i 1234ABCD $IMAGE";
    check("fat12_large_clusters", make, "fat12", 300);
}

#[test]
fn fat16() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 64M $IMAGE; mkfs.fat -F 16 -r 1024 -n 'A LABEL' -i 1234ABCD $IMAGE";
    check("fat16", make, "fat16", 700);
}

#[test]
fn fat16_small_clusters_and_three_tables() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 30M $IMAGE; mkfs.fat -F 16 -s 1 -f 3 -n 'A LABEL' -i 1234ABCD $IMAGE";
    check("fat16_small_clusters", make, "fat16", 300);
}

#[test]
fn fat32() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 300M $IMAGE; mkfs.fat -F 32 -s 1 -n 'A LABEL' -i 1234ABCD $IMAGE";
    // Linux looks through the whole directory for each name that it adds.
    let entries = number_from_env("TINTYPE_FAT_ENTRIES", 3000, 20_000);
    check("fat32", make, "fat32", entries as usize);
}

#[test]
fn fat32_sectors_of_4096() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 1G $IMAGE; mkfs.fat -F 32 -S 4096 -s 1 -n 'A LABEL' -i 1234ABCD $IMAGE";
    check("fat32_sectors_of_4096", make, "fat32", 300);
}

#[test]
fn fat32_clusters_of_64_kib() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let make = "truncate -s 8G $IMAGE; mkfs.fat -F 32 -s 128 -n 'A LABEL' -i 1234ABCD $IMAGE";
    check("fat32_clusters_of_64_kib", make, "fat32", 300);
}
