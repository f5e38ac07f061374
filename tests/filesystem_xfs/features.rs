//! Clean file systems of many feature sets, filled with the nasty tree.

use crate::nasty::{Scale, fill};
use crate::open_file;
use crate::support::{Scratch, is_able, mount, run, say, shell, umount};
use crate::walk::{compare, kernel_tree, our_tree};
use std::ops::ControlFlow;
use std::path::Path;
use tintype::filesystem::{Consistency, FileSystem};

const SMALL: Scale = Scale {
    large_directory: 3000,
    hard_links: 500,
    has_reflink: false,
    has_bigtime: true,
    xattr_len_max: 65_536,
};

const LARGE: Scale = Scale {
    large_directory: 20_000,
    hard_links: 5000,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 65_536,
};

/// Makes, fills, and compares.
fn check(test: &str, options: &str, scale: Scale) {
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
    fill(&point, scale);
    umount(&point);
    mount(&image, &point, "loop,noatime,ro").expect("mounted again");
    let kernel = kernel_tree(&point);
    let (kernel_free, kernel_all) = kernel_blocks(&point);
    umount(&point);

    let fs = open_file(&image).expect("opened");
    assert_eq!(fs.summary().consistency, Consistency::Clean);
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    let ours = our_tree(&fs).expect("read");
    compare(test, &kernel, &ours);
    let usage = fs.statfs().expect("counted");
    assert_eq!(usage.block_count, kernel_all);
    // The kernel keeps some of the free blocks for itself.
    let difference = usage.free_block_count.abs_diff(kernel_free);
    assert!(
        difference <= kernel_all / 20,
        "{} {kernel_free}",
        usage.free_block_count
    );
    check_allocation(&fs, &image);
    say(&format!(
        "MEASURED: filesystem_xfs::{test}: {} entries equal to the kernel's, features {}",
        kernel.len(),
        fs.summary().features.join(" ")
    ));
}

fn kernel_blocks(point: &Path) -> (u64, u64) {
    let output = run(
        "stat",
        &[
            "-f".as_ref(),
            "-c".as_ref(),
            "%f %b".as_ref(),
            point.as_os_str(),
        ],
    );
    let text = String::from_utf8(output.expect("stat").stdout).expect("numbers");
    let mut numbers = text
        .split_whitespace()
        .map(|word| word.parse().expect("a number"));
    (numbers.next().expect("free"), numbers.next().expect("all"))
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
    check("defaults", "", LARGE);
}

#[test]
fn small_blocks_with_rmapbt() {
    check(
        "small_blocks_with_rmapbt",
        "-b size=1024 -m rmapbt=1",
        SMALL,
    );
}

#[test]
fn large_directory_blocks() {
    check("large_directory_blocks", "-n size=65536", LARGE);
}

#[test]
fn scattered_directory_blocks() {
    let scale = Scale {
        has_reflink: true,
        ..SMALL
    };
    check(
        "scattered_directory_blocks",
        "-b size=1024 -n size=16384 -i size=512",
        scale,
    );
}

#[test]
fn old_features() {
    let scale = Scale {
        has_bigtime: false,
        ..SMALL
    };
    let options = "-m reflink=0,bigtime=0,finobt=0,inobtcount=0 -i sparse=0";
    check("old_features", options, scale);
}

#[test]
fn large_counts_and_inodes() {
    check("large_counts_and_inodes", "-i nrext64=1,size=1024", LARGE);
}

#[test]
fn large_sectors_and_inodes() {
    check(
        "large_sectors_and_inodes",
        "-s size=4096 -i size=2048,nrext64=1 -m rmapbt=1",
        SMALL,
    );
}

#[test]
fn many_groups_and_a_striped_log() {
    let options = "-d agcount=12,su=64k,sw=4 -l su=262144,size=64m";
    check("many_groups_and_a_striped_log", options, SMALL);
}

#[test]
fn blocks_of_16_kib() {
    check("blocks_of_16_kib", "-b size=16384", SMALL);
}

#[test]
fn blocks_of_64_kib() {
    check("blocks_of_64_kib", "-b size=65536", SMALL);
}
