//! Clean file systems of many feature sets, filled with the nasty tree.

use crate::nasty::fill;
use crate::open_file;
use crate::sets;
use crate::support::{Scratch, is_able, mount, run, say, shell, umount};
use crate::walk::{compare, kernel_tree, our_tree};
use std::ops::ControlFlow;
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem};

/// Makes, fills, and compares.
fn check(test: &str) {
    let set = sets::named(test);
    let options = set.mkfs;
    if !is_able(test, &["mkfs.xfs", "setfacl", "fallocate"]) {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.join("image");
    let point = scratch.join("mount");
    shell(&format!(
        "truncate -s 1G '{0}'; mkfs.xfs -q -f {options} '{0}'",
        image.display()
    ));
    if let Err(why) = mount(&image, &point, "loop,noatime") {
        say(&format!(
            "SKIPPED TEST: filesystem_xfs::{test}: the kernel refuses: {why}"
        ));
        return;
    }
    fill(&point, set.scale);
    umount(&point);
    mount(&image, &point, "loop,noatime,ro").expect("mounted again");
    let kernel = kernel_tree(&point);
    let kernel_usage = kernel_usage(&point);
    umount(&point);

    let fs = open_file(&image).expect("opened");
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    let ours = our_tree(&fs).expect("read");
    compare(test, &kernel, &ours);
    let usage = fs.statfs().expect("counted");
    let counts = [
        u64::from(usage.fs_block_len),
        usage.block_count,
        usage.free_block_count,
        usage.available_block_count,
        usage.node_count,
        usage.free_node_count,
    ];
    assert_eq!(counts[..], kernel_usage);
    check_allocation(&fs, &image);
    say(&format!(
        "MEASURED: filesystem_xfs::{test}: {} entries equal to the kernel's, features {}",
        kernel.len(),
        fs.summary().features.join(" ")
    ));
}

/// What `stat -f` says of the kernel's mount: length of a block, blocks, free ones,
/// available ones, inodes, free ones.
fn kernel_usage(point: &Path) -> Vec<u64> {
    let args = ["-f", "-c", "%S %b %f %a %c %d"].map(AsRef::as_ref);
    let output = run("stat", &[&args[..], &[point.as_os_str()]].concat());
    let text = String::from_utf8(output.expect("stat").stdout).expect("numbers");
    let numbers = text
        .split_whitespace()
        .map(|word| word.parse().expect("a number"));
    numbers.collect()
}

/// Throws the free blocks away and lets xfs_repair look at what is left.
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
    for range in &used {
        let bytes = &source[range.start as usize..range.end as usize];
        std::os::unix::fs::FileExt::write_all_at(&target, bytes, range.start).expect("written");
    }
    drop(source);
    run(
        "xfs_repair",
        &["-n".as_ref(), "-f".as_ref(), copy.as_os_str()],
    )
    .expect("in order");
    let before = our_tree(fs).expect("read");
    let after = our_tree(&open_file(&copy).expect("opened")).expect("read");
    compare("without free blocks", &before, &after);
}

#[test]
fn defaults() {
    check("defaults");
}

#[test]
fn small_blocks_with_rmapbt() {
    check("small_blocks_with_rmapbt");
}

#[test]
fn large_directory_blocks() {
    check("large_directory_blocks");
}

#[test]
fn scattered_directory_blocks() {
    check("scattered_directory_blocks");
}

#[test]
fn old_features() {
    check("old_features");
}

#[test]
fn large_counts_and_inodes() {
    check("large_counts_and_inodes");
}

#[test]
fn large_sectors_and_inodes() {
    check("large_sectors_and_inodes");
}

#[test]
fn many_groups_and_a_striped_log() {
    check("many_groups_and_a_striped_log");
}

#[test]
fn blocks_of_16_kib() {
    check("blocks_of_16_kib");
}

#[test]
fn blocks_of_64_kib() {
    check("blocks_of_64_kib");
}
