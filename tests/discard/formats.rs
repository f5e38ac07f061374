//! Each format, made, filled and checked by its own tools: files with a mark in them are
//! deleted between others that stay.

use super::support::{Scratch, measured, needs};
use super::{Pair, run};

/// Files that stay and files that go, in turn.
const FILL: &str = r#"
mkdir -p $W/keep
head -c 3000000 /dev/urandom >$W/keep/large
mkdir -p $R/keep
cp $W/keep/large $R/keep/large
for number in $(seq 60); do
    head -c $((number * 1700)) /dev/urandom >$W/keep/$number
    cp $W/keep/$number $R/keep/$number
    { yes $MARK || true; } | head -c 400000 >$R/gone-$number
done
sync -f $R
rm $R/gone-*
sync -f $R
"#;

/// Compares what stays in a mount of the restored image.
const COMPARE: &str = "diff -r $W/keep $R/keep";

/// How a format is made and checked; `$I` is the image, `$R` the place of a mount.
struct Format {
    name: &'static str,
    make: &'static str,
    mount: &'static str,
    unmount: &'static str,
    check: &'static str,
}

const EXT_CHECK: &str = "e2fsck -fn $I >&2";
const LOOP: &str = "mount -o loop $I $R";
const UMOUNT: &str = "umount $R";

const fn ext(name: &'static str, make: &'static str) -> Format {
    Format {
        name,
        make,
        mount: LOOP,
        unmount: UMOUNT,
        check: EXT_CHECK,
    }
}

const fn xfs(name: &'static str, make: &'static str) -> Format {
    Format {
        name,
        make,
        mount: LOOP,
        unmount: UMOUNT,
        check: "xfs_repair -n $I >&2",
    }
}

const fn btrfs(name: &'static str, make: &'static str) -> Format {
    let check = "btrfs check --readonly --check-data-csum $I >&2";
    Format {
        name,
        make,
        mount: LOOP,
        unmount: UMOUNT,
        check,
    }
}

const FORMATS: [Format; 13] = [
    ext("ext4", "truncate -s 200M $I; mke2fs -q -F -t ext4 $I"),
    ext(
        "ext4-1k",
        "truncate -s 200M $I; mke2fs -q -F -t ext4 -b 1024 $I",
    ),
    ext(
        "ext4-uninit",
        "truncate -s 400M $I; mke2fs -q -F -t ext4 -O ^64bit,^metadata_csum,uninit_bg $I",
    ),
    ext(
        "ext4-bigalloc",
        "truncate -s 200M $I; mke2fs -q -F -t ext4 -O bigalloc -C 16384 $I",
    ),
    ext(
        "ext4-lazy",
        "truncate -s 600M $I; mke2fs -q -F -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 $I",
    ),
    ext(
        "ext4-no-journal",
        "truncate -s 200M $I; mke2fs -q -F -t ext4 -O ^has_journal $I",
    ),
    ext("ext3", "truncate -s 200M $I; mke2fs -q -F -t ext3 $I"),
    ext("ext2", "truncate -s 200M $I; mke2fs -q -F -t ext2 $I"),
    xfs("xfs", "truncate -s 400M $I; mkfs.xfs -q $I"),
    xfs(
        "xfs-rmap",
        "truncate -s 400M $I; mkfs.xfs -q -m rmapbt=1,reflink=1 -b size=1024 $I",
    ),
    btrfs("btrfs", "truncate -s 400M $I; mkfs.btrfs -q $I"),
    btrfs(
        "btrfs-copies",
        "truncate -s 400M $I; mkfs.btrfs -q -m single -d dup -n 4096 $I",
    ),
    btrfs(
        "btrfs-mixed",
        "truncate -s 400M $I; mkfs.btrfs -q --mixed $I",
    ),
];

const NTFS: Format = Format {
    name: "ntfs",
    make: "truncate -s 100M $I; mkntfs -F -Q $I >/dev/null 2>&1",
    mount: "timeout 60 ntfs-3g $I $R",
    unmount: UMOUNT,
    check: "timeout 60 ntfsfix -n $I >&2",
};

const EXFAT: Format = Format {
    name: "exfat",
    make: "truncate -s 100M $I; mkfs.exfat $I >/dev/null",
    mount: "D=$(losetup --show -f $I); timeout 60 mount.exfat-fuse $D $R >/dev/null",
    unmount: "umount $R; losetup -d $D",
    check: "fsck.exfat -n $I >&2",
};

fn check(format: &Format) {
    let Format {
        name,
        make,
        mount,
        unmount,
        check,
    } = format;
    let scratch = Scratch::new();
    run(
        &scratch,
        &format!(
            "I=$W/image; R=$W/mnt; mkdir $R; {make}; {mount}
             trap 'umount -l $R 2>/dev/null || true' EXIT; {FILL} {unmount}"
        ),
    );
    let pair = Pair::new(scratch);
    verify(&pair, name, check);
    pair.shell_ok(&format!(
        "I=$W/less; R=$W/mnt; {mount}
         trap 'umount -l $R 2>/dev/null || true' EXIT; {COMPARE}; {unmount}"
    ));
}

/// What holds for every format: its own check finds nothing, the mark is gone, and what is
/// said is what was done.
#[track_caller]
fn verify(pair: &Pair, name: &str, check: &str) {
    pair.shell_ok(&format!("I=$W/less; {check}"));
    let count = |file: &str| -> u64 {
        let script = format!("{{ grep -ao $MARK $W/{file} || true; }} | wc -l");
        pair.shell_ok(&script).parse().expect("a number")
    };
    let (before, after) = (count("image"), count("less"));
    assert!(before > 500_000, "{name}: {before} marks in the image");
    // Blocks of the image that a file still has a part of stay as they are.
    assert!(
        after * 50 < before,
        "{name}: {after} of {before} marks are left"
    );
    let left_out = pair.left_out().len() as u64 * 4096;
    assert!(left_out > 20_000_000, "{name}: {left_out}");
    let said = pair.discarded_len();
    assert!(said >= left_out, "{name}: {said} said, {left_out} done");
    let volume = &pair.said["free_space"][0];
    assert!(volume["kept"].is_null(), "{name}: {volume}");
    assert!(
        volume["free_len_bytes"].as_u64() >= Some(said),
        "{name}: {volume}"
    );
    measured!("{name}: {said} bytes left out, {after} of {before} marks left");
}

#[test]
fn ext_is_whole_without_its_free_blocks() {
    needs!("root", "mke2fs", "e2fsck");
    FORMATS
        .iter()
        .filter(|format| format.name.starts_with("ext"))
        .for_each(check);
}

#[test]
fn xfs_is_whole_without_its_free_blocks() {
    needs!("root", "mkfs.xfs", "xfs_repair");
    FORMATS
        .iter()
        .filter(|format| format.name.starts_with("xfs"))
        .for_each(check);
}

#[test]
fn btrfs_is_whole_without_its_free_blocks() {
    needs!("root", "mkfs.btrfs", "btrfs");
    FORMATS
        .iter()
        .filter(|format| format.name.starts_with("btrfs"))
        .for_each(check);
}

#[test]
fn ntfs_is_whole_without_its_free_blocks() {
    needs!("root", "fuse", "mkntfs", "ntfs-3g", "ntfsfix");
    check(&NTFS);
}

#[test]
fn exfat_is_whole_without_its_free_blocks() {
    needs!(
        "root",
        "fuse",
        "mkfs.exfat",
        "mount.exfat-fuse",
        "fsck.exfat"
    );
    check(&EXFAT);
}

#[test]
fn fat_is_whole_without_its_free_blocks() {
    needs!("mkfs.fat", "mcopy", "mdel", "fsck.fat");
    for (name, options) in [("fat32", "-F 32"), ("fat16", "-F 16 -s 8")] {
        let scratch = Scratch::new();
        run(
            &scratch,
            &format!(
                r#"I=$W/image; truncate -s 120M $I; mkfs.fat {options} $I >/dev/null
                mkdir $W/keep; head -c 3000000 /dev/urandom >$W/keep/large
                mcopy -i $I $W/keep/large ::large
                for number in $(seq 60); do
                    head -c $((number * 1700)) /dev/urandom >$W/keep/$number
                    mcopy -i $I $W/keep/$number ::$number
                    {{ yes $MARK || true; }} | head -c 400000 >$W/gone
                    mcopy -i $I $W/gone ::gone-$number
                done
                mdel -i $I '::gone-*'"#
            ),
        );
        let pair = Pair::new(scratch);
        verify(&pair, name, "fsck.fat -n $I >&2");
        pair.shell_ok("mkdir $W/out; mcopy -n -i $W/less '::*' $W/out; diff -r $W/keep $W/out");
    }
}
