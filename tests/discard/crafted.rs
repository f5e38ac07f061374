//! Images that claim a block twice, and images that cannot be relied on: all of it is kept.

use super::support::{Scratch, needs};
use super::{Pair, run};

/// An ext4 with a deleted file, of `$1` bytes in `$2`.
const MAKE: &str = r#"
make() {
    rm -f $2; truncate -s $1 $2; mke2fs -q -F -t ext4 ${3:-} $2
    { yes $MARK || true; } | head -c 20000000 >$W/gone
    debugfs -w -R "write $W/gone gone" $2 >/dev/null 2>&1
    debugfs -w -R "rm gone" $2 >/dev/null 2>&1
    e2fsck -fn $2 >/dev/null 2>&1
    grep -aq $MARK $2
}
put() { dd of=$W/image bs=1M oflag=seek_bytes conv=notrunc status=none seek=$1; }
# Entries of an MBR: type, first sector, sectors.
mbr() {
    python3 - "$@" <<'END'
import struct, sys
entries = [list(map(int, entry.split(","))) for entry in sys.argv[2:]]
with open(sys.argv[1], "r+b") as file:
    for number, (kind, first, count) in enumerate(entries):
        file.seek(446 + 16 * number)
        file.write(struct.pack("<B3sB3sII", 0, b"", kind, b"", first, count))
    file.seek(510)
    file.write(b"\x55\xaa")
END
}
"#;

fn pair(script: &str) -> Pair {
    let scratch = Scratch::new();
    run(&scratch, &format!("{MAKE}\n{script}"));
    Pair::new(scratch)
}

/// The fixtures of this file do discard where nothing is wrong with them.
#[test]
fn an_ordinary_partition_loses_its_free_blocks() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        "make 60M $W/part; truncate -s 64M $W/image; put 1048576 <$W/part
         mbr $W/image 131,2048,122880",
    );
    assert!(pair.left_out().len() > 4000, "{}", pair.said);
}

#[test]
fn partitions_that_overlap_are_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        "make 60M $W/part; truncate -s 64M $W/image; put 1048576 <$W/part
         mbr $W/image 131,2048,122880 131,90000,2000",
    );
    pair.expect_all_kept("overlaps");
}

/// Of three partitions only those that overlap are kept.
#[test]
fn a_partition_beside_two_that_overlap_is_not_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        "make 60M $W/part; truncate -s 130M $W/image; put 1048576 <$W/part
         put 63963136 <$W/part
         mbr $W/image 131,2048,122880 131,124928,122880 131,240000,4000",
    );
    let kept: Vec<bool> = pair.said["free_space"]
        .as_array()
        .expect("volumes")
        .iter()
        .map(|volume| volume["kept"].is_string())
        .collect();
    assert_eq!(kept, [false, true, true], "{}", pair.said);
    let left_out = pair.left_out();
    assert!(left_out.len() > 4000);
    assert!(left_out.iter().all(|block| block * 4096 < 62 << 20));
}

#[test]
fn a_file_system_over_a_chain_of_logical_partitions_is_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        r#"make 60M $W/part; truncate -s 64M $W/image; put 1048576 <$W/part
         mbr $W/image 131,2048,122880 5,100000,20000
         truncate -s 512 $W/link; mbr $W/link 131,63,1000; put 51200000 <$W/link"#,
    );
    pair.expect_all_kept("overlaps");
}

#[test]
fn a_whole_disk_that_is_a_file_system_too_is_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair("make 60M $W/image; mbr $W/image 131,2048,100000");
    pair.expect_all_kept("the whole image looks like ext too");
}

#[test]
fn two_partition_tables_are_kept() {
    needs!("mke2fs", "debugfs", "sgdisk");
    let pair = pair(
        "make 60M $W/part; truncate -s 64M $W/image; put 1048576 <$W/part
         sgdisk -n 1:2048:124927 -h 1:EE $W/image >/dev/null",
    );
    pair.expect_all_kept("two partition tables");
}

#[test]
fn members_of_a_raid_are_kept() {
    needs!("mke2fs", "debugfs");
    // The superblock of version 1.0 lies at the end, behind what may be the file system.
    let pair = pair(
        r"make 60M $W/image; truncate -s 61M $W/image
         printf '\xfc\x4e\x2b\xa9\x01\0\0\0' | put $((61 * 1048576 - 8192))",
    );
    pair.expect_all_kept("mdraid");
}

#[test]
fn what_hashes_stand_for_is_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        r"make 60M $W/image; truncate -s 61M $W/image
         printf 'verity\0\0\1\0\0\0' | put $((60 * 1048576))",
    );
    pair.expect_all_kept("verity");
}

#[test]
fn a_hibernated_machine_is_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair(
        "make 60M $W/part; truncate -s 70M $W/image; put 1048576 <$W/part
         mbr $W/image 131,2048,122880 130,124928,8000
         printf S1SUSPEND | put $((124928 * 512 + 4086))",
    );
    pair.expect_all_kept("hibernated");
}

#[test]
fn what_is_behind_the_file_system_is_kept() {
    needs!("mke2fs", "debugfs");
    let pair = pair("make 60M $W/image; head -c 3000000 /dev/urandom >>$W/image");
    let left_out = pair.left_out();
    assert!(left_out.len() > 4000);
    assert!(left_out.iter().all(|block| block * 4096 < 60 << 20));
}

#[test]
fn an_ext4_that_saw_errors_or_lies_about_its_bitmaps_is_kept() {
    needs!("mke2fs", "debugfs");
    for (options, spoil, words) in [
        ("", "ssv state 3", "seen errors"),
        ("", "feature shared_blocks", "unknown features"),
        // Bits that a file lost, told by the counter of its group.
        (
            "-O^metadata_csum,^uninit_bg",
            "freeb 9000 8",
            "as many free blocks",
        ),
        // A bitmap of blocks without a table that lies in its group.
        (
            "-O^metadata_csum,^uninit_bg",
            "freeb 500 1",
            "bitmaps and tables",
        ),
    ] {
        let pair = pair(&format!(
            "make 60M $W/image {options}
             debugfs -w -R \"write $W/gone again\" $W/image >/dev/null 2>&1
             debugfs -w -R '{spoil}' $W/image >/dev/null 2>&1"
        ));
        pair.expect_all_kept(words);
    }
}

#[test]
fn an_ntfs_with_shadow_copies_is_kept() {
    needs!("mkntfs");
    let pair = pair(
        r"truncate -s 60M $W/image; mkntfs -F -Q $W/image >/dev/null 2>&1
         head -c 4000000 /dev/urandom | put 50000000
         printf '\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52' | put 7680",
    );
    pair.expect_all_kept("shadow copies");
}

#[test]
fn a_fat_whose_tables_differ_is_kept() {
    needs!("mkfs.fat");
    let pair = pair(
        r"truncate -s 60M $W/image; mkfs.fat -F 32 -s 1 $W/image >/dev/null
         head -c 4000000 /dev/urandom | put 50000000
         printf '\xff\xff\xff\x0f' | put $((32 * 512 + 4000))",
    );
    pair.expect_all_kept("part of a FAT");
}
