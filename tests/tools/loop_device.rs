//! Loop devices over drafts and over snapshots: the kernel itself writes and reads.

use super::support::{Fixture, needs};

#[test]
fn a_file_system_made_on_a_draft() {
    needs!("fuse", "root", "mkfs.ext4", "losetup");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "truncate -s 64M $C/a
         L=$(losetup --show -f $C/a)
         trap 'umount $W/lm 2>/dev/null || true; losetup -d $L 2>/dev/null || true' EXIT
         mkfs.ext4 -q $L; mkdir -p $W/lm; mount $L $W/lm
         mkdir $W/lm/sub; cp $DENSE $W/lm/sub/dense; head -c 1M $IMG > $W/lm/part
         sync -f $W/lm; umount $W/lm
         blockdev --flushbufs $L; cat $L > $W/expected
         losetup -d $L; trap - EXIT",
    );
    fixture.expect_one("a", &fixture.scratch.join("expected"));
    mounted_read_only(
        &fixture,
        "a",
        "cmp $DENSE $W/lm/sub/dense; head -c 1M $IMG | cmp - $W/lm/part",
    );
}

#[test]
fn the_kernel_mounts_a_snapshot_and_finds_the_same_tree() {
    needs!("fuse", "root", "mke2fs", "losetup", "rsync");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "mkdir $W/tree; cp -a /etc $W/tree/etc 2>/dev/null || true
         cp -a /usr/share/zoneinfo $W/tree/ 2>/dev/null || cp -a /usr/share/doc/a* $W/tree/
         truncate -s 256M $W/fs.img; mke2fs -q -F -t ext4 -d $W/tree $W/fs.img
         cp $W/fs.img $C/a",
    );
    fixture.expect_one("a", &fixture.scratch.join("fs.img"));
    mounted_read_only(
        &fixture,
        "a",
        "rmdir $W/lm/lost+found 2>/dev/null || true
         D=$(rsync -nrlptgoDHc --itemize-changes --delete --exclude=/lost+found $W/tree/ $W/lm/ |
            { grep -vFx '.d..t...... ./' || true; })   # mke2fs gives the root its own time
         [ -z \"$D\" ] || { echo \"$D\" | head -20 >&2; exit 1; }",
    );
}

/// Mounts the latest snapshot of a resource by a read-only loop device, runs a script.
#[track_caller]
fn mounted_read_only(fixture: &Fixture, resource: &str, script: &str) {
    fixture.shell_ok(&format!(
        "L=$(losetup -r --show -f $M/snapshots/{resource}/latest/disk.img)
         trap 'umount $W/lm 2>/dev/null || true; losetup -d $L 2>/dev/null || true' EXIT
         mkdir -p $W/lm; mount -o ro,noload $L $W/lm
         {script}"
    ));
}
