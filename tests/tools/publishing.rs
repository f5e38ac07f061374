//! Two processes that publish at the same instant lose nothing and number every entry
//! once: they race for each place in the log.

use super::support::{
    Fixture, Scratch, measured, number_from_env, open_catalog, spawn_shell, tintype_ok,
};
use super::support::{needs, sparse_image, wait_until};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};
use tintype::base::SnapshotId;
use tintype::snapshot::Labels;

/// Set for the child processes: the store, a mark, and how many snapshots to publish.
const CHILD: &str = "TINTYPE_TEST_PUBLISHER";

/// The child's part; does nothing when the test suite runs it.
#[test]
fn publisher_child() {
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    let [store, mark, count] = task.split('\n').collect::<Vec<_>>()[..] else {
        panic!("malformed task");
    };
    let catalog = open_catalog(store.as_ref());
    let template = catalog
        .state()
        .resolve("base@latest")
        .expect("the base")
        .manifest
        .clone();
    let ready = format!("{store}.ready-{mark}");
    std::fs::write(&ready, "").expect("a mark");
    let go = format!("{store}.go");
    assert!(wait_until(Duration::from_secs(30), || {
        std::path::Path::new(&go).exists()
    }));
    for number in 0..count.parse::<u32>().expect("a number") {
        let mut manifest = template.clone();
        manifest.id = SnapshotId::random();
        manifest.resource = "race".to_owned();
        let labels = Labels {
            name: Some(format!("{mark}-{number}")),
            ..Labels::default()
        };
        catalog.create(manifest, labels).expect("published");
    }
}

#[test]
fn a_thousand_at_once_lose_nothing() {
    let count = number_from_env("TINTYPE_TEST_PUBLISH", 1000, 10_000) / 2;
    let scratch = Scratch::new();
    let store = scratch.join("store");
    sparse_image(&scratch.join("img.raw"));
    let source = scratch.join("img.raw");
    tintype_ok(&store, &["init"]);
    tintype_ok(
        &store,
        &["create", "--resource", "base", &source.to_string_lossy()],
    );
    let first = open_catalog(&store).state().sequence();

    let mut children: Vec<_> = ["left", "right"]
        .iter()
        .map(|mark| {
            Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", "publishing::publisher_child", "--test-threads=1"])
                .env(CHILD, format!("{}\n{mark}\n{count}", store.display()))
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("a child starts")
        })
        .collect();
    let ready = |mark: &str| scratch.join(&format!("store.ready-{mark}")).exists();
    assert!(wait_until(Duration::from_secs(30), || ready("left") && ready("right")));
    let started = Instant::now();
    std::fs::write(scratch.join("store.go"), "").expect("go");
    for child in &mut children {
        let ended = wait_until(Duration::from_secs(300), || {
            matches!(child.try_wait(), Ok(Some(_)))
        });
        if !ended {
            let _ = child.kill();
        }
        assert!(ended && child.wait().is_ok_and(|status| status.success()));
    }
    measured!(
        "{} publications of two processes: {:.2?}",
        2 * count,
        started.elapsed()
    );

    let catalog = open_catalog(&store);
    let state = catalog.state();
    let race = state.of_resource("race");
    let names: BTreeSet<String> = race.iter().filter_map(|s| s.labels.name.clone()).collect();
    let expected: BTreeSet<String> = (0..count)
        .flat_map(|number| [format!("left-{number}"), format!("right-{number}")])
        .collect();
    assert_eq!(names, expected);
    assert_eq!(race.len() as u64, 2 * count);
    let numbers: BTreeSet<u64> = race.iter().map(|snapshot| snapshot.sequence).collect();
    assert_eq!(
        numbers.len() as u64,
        2 * count,
        "each entry has its own number"
    );
    assert_eq!(numbers.first(), Some(&(first + 1)));
    assert_eq!(state.sequence(), first + 2 * count, "no number is left out");
}

#[test]
fn two_command_lines_and_two_copies_at_once() {
    needs!("fuse");
    let fixture = Fixture::new();
    let create = fixture.point().join("create");
    let variables: &[(&str, &OsStr)] = &[
        ("W", fixture.scratch.path().as_os_str()),
        ("S", fixture.store.as_os_str()),
        ("C", create.as_os_str()),
    ];
    let mut children: Vec<_> = [
        "for n in $(seq 8); do $TINTYPE --store $S create --resource a --name l$n $W/img.raw; done",
        "for n in $(seq 8); do $TINTYPE --store $S create --resource a --name r$n $W/dense.raw; done",
        "for n in $(seq 8); do cp $W/img.raw $C/a@m$n; done",
        "for n in $(seq 8); do cp $W/dense.raw $C/a@n$n; done",
    ]
    .iter()
    .map(|script| spawn_shell(script, variables))
    .collect();
    for child in &mut children {
        assert!(wait_until(Duration::from_secs(100), || matches!(
            child.try_wait(),
            Ok(Some(_))
        )));
        assert!(
            child.wait().is_ok_and(|status| status.success()),
            "one of them failed"
        );
    }
    fixture.expect_count("a", 32);
    for n in 1..=8 {
        fixture.shell_ok(&format!(
            "cmp $IMG $M/snapshots/a/l{n}/disk.img; cmp $DENSE $M/snapshots/a/r{n}/disk.img
             cmp $IMG $M/snapshots/a/m{n}/disk.img; cmp $DENSE $M/snapshots/a/n{n}/disk.img"
        ));
    }
}
