//! Nothing waits long: listings beside slow writers, readers beside slow closes, and
//! changes by others show within a second.

use super::support::{Fixture, measured, needs, random_file, spawn_shell};
use super::support::{kill_group, tintype, tintype_ok, wait_until};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

#[test]
fn a_listing_beside_a_writer_that_pauses() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $DENSE $C/old");
    fixture.expect_count("old", 1);
    let create = fixture.point().join("create");
    let variables: &[(&str, &OsStr)] = &[
        ("W", fixture.scratch.path().as_os_str()),
        ("C", create.as_os_str()),
    ];
    let mut child = spawn_shell(
        "( cat $W/dense.raw; sleep 5; cat $W/img.raw ) > $C/x",
        variables,
    );
    let mut longest = Duration::ZERO;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let started = Instant::now();
        std::fs::read_dir(fixture.point().join("snapshots"))
            .expect("snapshots/")
            .count();
        let _ = std::fs::metadata(fixture.point().join("snapshots/x"));
        let _ = std::fs::metadata(fixture.point().join("snapshots/old/latest/disk.img"));
        longest = longest.max(started.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.wait();
    measured!("longest look at snapshots/ beside a slow writer: {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    fixture.shell_ok("cat $DENSE $IMG > $W/expected");
    fixture.expect_one("x", &fixture.scratch.join("expected"));
}

#[test]
fn slow_closes_do_not_delay_a_reader() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $DENSE $C/old");
    let old = fixture
        .expect_count("old", 1)
        .remove(0)
        .join("snapshot.json");
    random_file(&fixture.scratch.join("big"), 48 << 20, 3);
    let create = fixture.point().join("create");
    let variables: &[(&str, &OsStr)] = &[
        ("W", fixture.scratch.path().as_os_str()),
        ("C", create.as_os_str()),
    ];
    let mut children: Vec<_> = (0..8)
        .map(|n| spawn_shell(&format!("cp $W/big $C/n{n}"), variables))
        .collect();
    let mut longest = Duration::ZERO;
    let finished = wait_until(Duration::from_secs(110), || {
        let started = Instant::now();
        let _ = std::fs::read(&old).expect("snapshot.json");
        longest = longest.max(started.elapsed());
        children
            .iter_mut()
            .all(|child| matches!(child.try_wait(), Ok(Some(_))))
    });
    for child in &children {
        if !finished {
            kill_group(child.id());
        }
    }
    assert!(finished, "eight copies of 48 MiB take longer than 110 s");
    measured!("longest read of a small file beside eight copies: {longest:?}");
    // Two cores are shared with eight writers: a moment, not the time of a close.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    for n in 0..8 {
        fixture.expect_one(&format!("n{n}"), &fixture.scratch.join("big"));
    }
}

#[test]
fn changes_of_another_process_show_within_a_second() {
    needs!("fuse");
    let fixture = Fixture::new();
    let img = fixture.scratch.join("img.raw");
    let shows = |what: &str, name: &str, present: bool| {
        let path = fixture.point().join("snapshots").join(name);
        let started = Instant::now();
        let seen = wait_until(Duration::from_secs(5), || path.exists() == present);
        assert!(
            seen,
            "{what}: {name} is not {}",
            if present { "there" } else { "gone" }
        );
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{what}: {:?}",
            started.elapsed()
        );
    };
    // Names that the kernel has cached as absent, too.
    assert!(!fixture.point().join("snapshots/web/one").exists());
    let source = img.to_string_lossy();
    tintype_ok(
        &fixture.store,
        &["create", "--resource", "web", "--name", "one", &source],
    );
    shows("create", "web/one/disk.img", true);
    fixture.shell_ok("cmp $IMG $M/snapshots/web/one/disk.img");
    tintype_ok(&fixture.store, &["rename", "web@one", "two"]);
    shows("rename", "web/two/disk.img", true);
    shows("rename", "web/one", false);
    tintype_ok(&fixture.store, &["delete", "web@two"]);
    shows("delete", "web/two", false);
}

#[test]
fn a_mount_point_inside_the_store_is_refused() {
    needs!("fuse");
    let fixture = Fixture::new();
    let inside = fixture.store.join("mnt");
    std::fs::create_dir_all(&inside).expect("a directory");
    let finished = tintype(&fixture.store, &["mount", &inside.to_string_lossy()]);
    assert!(!finished.ok(), "it must refuse: {}", finished.stdout);
    fixture.shell_ok("! mountpoint -q $S/mnt");
}

#[test]
fn a_second_mount_does_not_harm_the_first() {
    needs!("fuse");
    let fixture = Fixture::new();
    let second = super::support::Mount::start(
        &fixture.store,
        &fixture.scratch.join("second"),
        &Default::default(),
    );
    fixture.shell_ok(
        "( cat $IMG > $C/a ) & first=$!
         ( cat $DENSE > $W/second/create/a ) & second=$!
         wait $first; wait $second",
    );
    let found = fixture.expect_count("a", 2);
    let lens: Vec<u64> = found
        .iter()
        .map(|dir| std::fs::metadata(dir.join("disk.img")).expect("stat").len())
        .collect();
    assert!(
        lens.contains(&(24 << 20)) && lens.contains(&((16 << 20) + 400)),
        "{lens:?}"
    );
    drop(second);
}

#[test]
fn a_read_only_mount_has_no_create() {
    needs!("fuse");
    let fixture = Fixture::with(&super::support::MountOptions {
        args: vec!["--read-only".into()],
    });
    fixture.shell_ok("[ ! -e $C ]; ls $M/snapshots");
}
