//! The disk of the store is full: the writer hears it, nothing is published, what was
//! there can still be read, and all goes on once there is space.

use super::support::{Fixture, Mount, Scratch, dense_image, needs, random_file, sparse_image};
use super::support::{tintype, tintype_ok};

/// A store on a file system of its own with `mib` MiB, and a mount of it.
fn small_store(mib: u32) -> Fixture {
    let scratch = Scratch::new();
    let disk = scratch.dir("disk");
    let option = format!("size={mib}m,mode=700");
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
        .arg(&disk)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "a tmpfs can be mounted"
    );
    let store = disk.join("store");
    tintype_ok(&store, &["init"]);
    sparse_image(&scratch.join("img.raw"));
    dense_image(&scratch.join("dense.raw"));
    random_file(&scratch.join("big"), (u64::from(mib) * 4) << 20, 99);
    let mount = Some(Mount::start(
        &store,
        &scratch.join("mnt"),
        &Default::default(),
    ));
    Fixture {
        mount,
        store,
        scratch,
    }
}

#[test]
fn the_writer_hears_it_and_the_mount_lives_on() {
    needs!("fuse", "root");
    let mut fixture = small_store(128);
    fixture.shell_ok("cp $IMG $C/kept");
    fixture.expect_one("kept", &fixture.scratch.join("img.raw"));
    for writer in [
        "cp $W/big $C/a",
        "dd if=$W/big of=$C/a bs=1M status=none",
        "cat $W/big > $C/a",
    ] {
        let finished = fixture.shell(writer);
        assert!(!finished.ok(), "{writer} must fail");
        assert!(
            finished.stderr.contains("No space left on device"),
            "{writer} must say why: {}",
            finished.stderr
        );
        fixture.expect_count("a", 0);
        fixture.expect_one("kept", &fixture.scratch.join("img.raw"));
        // Removing the draft frees its space.
        fixture.shell_ok("rm -f $C/a");
    }
    assert!(
        fixture.mount.as_mut().is_some_and(Mount::is_alive),
        "the mount lives"
    );
    fixture.shell_ok("cp $DENSE $C/after");
    fixture.expect_one("after", &fixture.scratch.join("dense.raw"));
    assert_eq!(fixture.resources(), ["after", "kept"]);
    fixture.remount(&Default::default());
    fixture.expect_one("kept", &fixture.scratch.join("img.raw"));
    fixture.expect_one("after", &fixture.scratch.join("dense.raw"));
}

#[test]
fn the_command_line_reports_it_and_lists_nothing() {
    needs!("fuse", "root");
    let fixture = small_store(96);
    let big = fixture.scratch.join("big");
    let finished = tintype(
        &fixture.store,
        &["create", "--resource", "a", &big.to_string_lossy()],
    );
    assert!(!finished.ok(), "create must fail: {}", finished.stdout);
    assert!(
        finished.stderr.to_lowercase().contains("no space"),
        "the message says why: {}",
        finished.stderr
    );
    fixture.expect_count("a", 0);
    let listed = tintype_ok(&fixture.store, &["list"]);
    assert!(!listed.contains("a@"), "{listed}");
}
