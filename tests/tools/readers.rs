//! Reading back: the bytes, the holes, and the tools that people read images with.

use super::support::{Fixture, allocated_bytes, data_ranges, expected_ranges, needs};
use std::path::PathBuf;

/// A mount with the images as snapshots `img` and `dense`.
fn two_snapshots() -> (Fixture, PathBuf, PathBuf) {
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/img; cp $DENSE $C/dense");
    let img = fixture.expect_count("img", 1).remove(0).join("disk.img");
    let dense = fixture.expect_count("dense", 1).remove(0).join("disk.img");
    (fixture, img, dense)
}

#[test]
fn holes_are_the_aligned_zero_blocks() {
    needs!("fuse");
    let (fixture, img, dense) = two_snapshots();
    for (snapshot, original) in [(&img, "img.raw"), (&dense, "dense.raw")] {
        let bytes = std::fs::read(fixture.scratch.join(original)).expect("read");
        let file = std::fs::File::open(snapshot).expect("open");
        assert_eq!(data_ranges(&file), expected_ranges(&bytes), "{original}");
        let data: u64 = expected_ranges(&bytes)
            .iter()
            .map(|r| r.end - r.start)
            .sum();
        assert!(
            allocated_bytes(snapshot).abs_diff(data) <= 4096,
            "st_blocks of {original}"
        );
    }
}

#[test]
fn checksums_and_every_offset() {
    needs!("fuse");
    let (fixture, img, dense) = two_snapshots();
    fixture.shell_ok(&format!(
        "cmp $IMG {0}; cmp {0} $IMG; cmp $DENSE {1}",
        img.display(),
        dense.display()
    ));
    // Odd offsets and lengths, each end of chunks, and beyond the end.
    for (bs, skip, count) in [
        (1, 65_535, 3),
        (4097, 3, 50),
        (100_003, 7, 20),
        (7, 2_396_745, 20),
    ] {
        fixture.shell_ok(&format!(
            "cmp <(dd if=$DENSE bs={bs} skip={skip} count={count} status=none) \
                 <(dd if={} bs={bs} skip={skip} count={count} status=none)",
            dense.display()
        ));
    }
}

#[test]
fn direct_reads() {
    needs!("fuse");
    let (fixture, img, _) = two_snapshots();
    fixture.shell_ok(&format!(
        "dd if={} bs=1M iflag=direct status=none | cmp - $IMG",
        img.display()
    ));
}

#[test]
fn fio_verifies_its_own_pattern() {
    needs!("fuse", "fio");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "fio --name=w --filename=$W/fio.img --size=32M --bs=4k --rw=randwrite --verify=crc32c \
             --do_verify=0 --verify_state_save=0 --randseed=5 --output=/dev/null
         cp $W/fio.img $C/a",
    );
    let found = fixture.expect_count("a", 1);
    fixture.shell_ok(&format!(
        "fio --name=r --filename={} --readonly --size=32M --bs=4k --rw=randread --verify=crc32c \
             --randseed=5 --verify_state_load=0 --verify_state_save=0 --output=$W/fio.log || {{ cat $W/fio.log >&2; exit 1; }}",
        found[0].join("disk.img").display()
    ));
}

#[test]
fn qemu_img_compares_equal() {
    needs!("fuse", "qemu-img");
    let (fixture, img, dense) = two_snapshots();
    fixture.shell_ok(&format!(
        "qemu-img compare -f raw -F raw $IMG {}",
        img.display()
    ));
    fixture.shell_ok(&format!(
        "qemu-img compare -f raw -F raw $DENSE {}",
        dense.display()
    ));
}

#[test]
fn copies_keep_the_holes() {
    needs!("fuse", "tar", "rsync");
    let (fixture, img, _) = two_snapshots();
    let image = img.display();
    let dir = img.parent().expect("a directory").display();
    for (name, script) in [
        ("cp", format!("cp --sparse=auto {image} $W/out")),
        (
            "tar",
            format!("tar -C {dir} -cSf - disk.img | tar -C $W -xf -; mv $W/disk.img $W/out"),
        ),
        ("rsync", format!("rsync -S {image} $W/out")),
    ] {
        fixture.shell_ok(&format!("rm -f $W/out; {script}; cmp $IMG $W/out"));
        let used = allocated_bytes(&fixture.scratch.join("out"));
        assert!(used <= (16 << 20) + 65_536, "{name} wrote {used} bytes");
    }
}

#[test]
fn restore_gives_the_image_and_its_holes() {
    needs!("fuse");
    let (fixture, ..) = two_snapshots();
    for (resource, original, data) in [
        ("img", "img.raw", 16_u64 << 20),
        ("dense", "dense.raw", (12 << 20) + 4096),
    ] {
        let out = fixture.scratch.join("restored");
        let _ = std::fs::remove_file(&out);
        let snapshot = format!("{resource}@latest");
        super::support::tintype_ok(
            &fixture.store,
            &["restore", &snapshot, &out.to_string_lossy()],
        );
        fixture.shell_ok(&format!("cmp $W/{original} $W/restored"));
        assert!(
            allocated_bytes(&out) <= data + 65_536,
            "{resource}: {}",
            allocated_bytes(&out)
        );
        fixture.shell_ok(&format!(
            "$TINTYPE --store $S restore {snapshot} - | cmp - $W/{original}"
        ));
    }
}

#[test]
fn links_and_directories_are_what_they_say() {
    needs!("fuse");
    let (fixture, ..) = two_snapshots();
    fixture.shell_ok(
        "[ \"$(ls $M | sort | xargs)\" = 'by-id by-tag create snapshots' ]
         cmp $IMG $M/snapshots/img/latest/disk.img
         ID=$(ls $M/by-id | head -1); [ -e $M/by-id/$ID/disk.img ]
         [ $(ls $M/by-id | wc -l) = 2 ]
         python3 -m json.tool < $M/snapshots/img/latest/snapshot.json > /dev/null
         [ $(stat -c %a $M/create) = 700 ]; [ $(stat -c %a $M/snapshots/img/latest/disk.img) = 400 ]
         [ $(stat -c %s $M/snapshots/img/latest/disk.img) = 25165824 ]
         find $M > /dev/null; stat -f $M > /dev/null",
    );
}

#[test]
fn inode_numbers_are_the_same_at_every_mount() {
    needs!("fuse");
    let (mut fixture, ..) = two_snapshots();
    let script = "cd $M && find snapshots by-id -printf '%p %i\n' | sort";
    let before = fixture.shell_ok(script);
    fixture.remount(&Default::default());
    assert_eq!(fixture.shell_ok(script), before);
    let mut inodes: Vec<&str> = before
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(
        inodes.len(),
        before.lines().count(),
        "each node has its own:\n{before}"
    );
}
