//! What tools do with a name right after they closed it, and how long it stays.

use super::support::{Fixture, needs};

#[test]
fn attributes_can_be_set_right_after_the_close() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a; chmod 600 $C/a; touch -d 2020-01-01 $C/a");
    if super::support::is_root() {
        fixture.shell_ok("chown 1000:1000 $C/a");
    }
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
    fixture.shell_ok("[ -e $C/a ]; [ $(stat -c %s $C/a) = $(stat -c %s $IMG) ]");
}

#[test]
fn extended_attributes_can_be_set_right_after_the_close() {
    needs!("fuse", "setfattr");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a; setfattr -n user.origin -v test $C/a");
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

#[test]
fn the_snapshot_shows_at_once() {
    needs!("fuse");
    let fixture = Fixture::new();
    for round in 0..10 {
        let listing = fixture.shell_ok(&format!("cp $IMG $C/r{round} && ls $M/snapshots/r{round}"));
        assert_eq!(
            listing.lines().count(),
            2,
            "round {round}: latest and one more: {listing}"
        );
    }
}

#[test]
fn removing_a_published_name_keeps_the_snapshot() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a; rm $C/a; [ ! -e $C/a ]");
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

#[test]
fn removing_a_draft_removes_it() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a.part; rm $C/a.part; [ -z \"$(ls -A $C)\" ]");
    fixture.expect_count("a", 0);
    let listed = super::support::tintype_ok(&fixture.store, &["drafts", "list"]);
    assert!(!listed.contains("a.part"), "{listed}");
}

#[test]
fn a_second_write_within_the_time_replaces() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("dd if=$IMG of=$C/a bs=1M count=4 status=none");
    fixture.expect_count("a", 1);
    fixture.shell_ok("dd if=$DENSE of=$C/a bs=1M count=2 seek=3 conv=notrunc status=none");
    fixture.shell_ok(
        "dd if=$IMG of=$W/expected bs=1M count=4 status=none
         dd if=$DENSE of=$W/expected bs=1M count=2 seek=3 conv=notrunc status=none",
    );
    fixture.expect_one("a", &fixture.scratch.join("expected"));
}

#[test]
fn a_truncation_of_a_published_name_replaces_or_is_refused() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    fixture.expect_count("a", 1);
    // It either changes nothing that is listed or replaces; a listed snapshot is whole.
    let _ = fixture.shell("truncate -s 4M $C/a");
    let found = fixture.expect_count("a", 1);
    let len = std::fs::metadata(found[0].join("disk.img"))
        .expect("stat")
        .len();
    assert!(len == 24 << 20 || len == 4 << 20, "{len}");
    fixture.shell_ok("cmp -n 4194304 $IMG $M/snapshots/a/latest/disk.img");
}

#[test]
fn everything_else_is_read_only() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    fixture.expect_count("a", 1);
    for script in [
        "touch $M/x",
        "mkdir $M/snapshots/b",
        "touch $M/snapshots/a/x",
        "rm -f $M/snapshots/a/latest/disk.img",
        "rmdir $M/create",
        "mv $M/snapshots/a $M/snapshots/b",
        "truncate -s 1 $M/snapshots/a/latest/disk.img",
    ] {
        let finished = fixture.shell(script);
        assert!(!finished.ok(), "{script} must fail");
        assert!(
            finished.stderr.contains("Read-only file system")
                || finished.stderr.contains("Operation not permitted")
                || finished.stderr.contains("Permission denied"),
            "{script}: {}",
            finished.stderr
        );
    }
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}
