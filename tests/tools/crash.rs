//! kill -9 at random moments: what is listed afterwards is whole, what was reported as
//! done is listed. `scripts/crash` runs this for hours.

use super::support::{
    Fixture, Mount, Rng, Scratch, expect_content, measured, needs, number_from_env, open_catalog,
    random_file, say, tintype_ok, wait_until,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Blocks of 4 KiB in the image that changes from round to round.
const BLOCK_COUNT: u64 = 4096;

fn rounds() -> u64 {
    number_from_env("TINTYPE_CRASH_ROUNDS", 12, 300)
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.map_or(1, |time| time.as_nanos() as u64);
    let seed = number_from_env("TINTYPE_CRASH_SEED", fresh, fresh);
    say(&format!("crash: TINTYPE_CRASH_SEED={seed}"));
    seed
}

/// Changes some blocks and keeps the new state as `r<round>` for the comparison.
fn next_state(scratch: &Scratch, rng: &mut Rng, round: u64) -> PathBuf {
    let image = scratch.join("image");
    if round == 0 {
        random_file(&image, BLOCK_COUNT * 4096, 5);
    }
    let file = File::options().write(true).open(&image).expect("open");
    let mut block = [0; 4096];
    for _ in 0..rng.below(600) {
        rng.fill(&mut block);
        if rng.below(8) == 0 {
            block.fill(0);
        }
        file.write_all_at(&block, rng.below(BLOCK_COUNT) * 4096)
            .expect("write");
    }
    let state = scratch.join(&format!("r{round}"));
    std::fs::copy(&image, &state).expect("copy");
    state
}

/// Opens the store and compares all that is listed; every name in `done` must be.
fn check(store: &Path, scratch: &Scratch, done: &[u64]) -> usize {
    let catalog = open_catalog(store);
    let state = catalog.state();
    let mut names = Vec::new();
    for snapshot in state.snapshots() {
        let name = snapshot.labels.name.clone().expect("all are named");
        expect_content(&catalog, snapshot, &scratch.join(&name));
        names.push(name);
    }
    for round in done {
        assert!(
            names.contains(&format!("r{round}")),
            "r{round} was done but is not in {names:?}"
        );
    }
    let before = names.len();
    names.sort();
    names.dedup();
    assert_eq!(before, names.len(), "no round is listed twice: {names:?}");
    before
}

fn killed_after(child: &mut Child, delay: Duration) -> bool {
    if !ended_within(child, delay) {
        let _ = child.kill();
    }
    child.wait().is_ok_and(|status| status.success())
}

fn ended_within(child: &mut Child, delay: Duration) -> bool {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    false
}

#[test]
fn a_killed_ingest_leaves_the_old_state_or_the_new() {
    let scratch = Scratch::new();
    let store = scratch.join("store");
    tintype_ok(&store, &["init"]);
    let mut rng = Rng::new(seed());
    let (mut done, mut usual) = (Vec::new(), Duration::from_millis(300));
    for round in 0..rounds() {
        let image = next_state(&scratch, &mut rng, round);
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tintype"))
            .env_remove("TINTYPE_STORE")
            .arg("--store")
            .arg(&store)
            .args(["create", "--resource", "a", "--name", &format!("r{round}")])
            .arg(&image)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Every fifth may finish; the others die somewhere in the usual time.
        let part = if round % 5 == 0 {
            5000
        } else {
            rng.below(1100)
        };
        let delay = usual.mul_f64(part as f64 / 1000.0);
        if killed_after(&mut child, delay.max(Duration::from_millis(1))) {
            usual = started.elapsed();
            done.push(round);
        }
        check(&store, &scratch, &done);
    }
    let kept = check(&store, &scratch, &done);
    measured!(
        "crash: {} rounds of killed ingests, {} done, {kept} listed",
        rounds(),
        done.len()
    );
    assert!(!done.is_empty(), "none could finish");
}

#[test]
fn a_killed_mount_leaves_the_old_state_or_the_new() {
    needs!("fuse");
    let scratch = Scratch::new();
    let store = scratch.join("store");
    tintype_ok(&store, &["init"]);
    let mut rng = Rng::new(seed() ^ 0xF00D);
    let (mut done, mut usual) = (Vec::new(), Duration::from_millis(100));
    for round in 0..rounds() {
        let image = next_state(&scratch, &mut rng, round);
        let mount = Mount::start(&store, &scratch.join("mnt"), &Default::default());
        let target = scratch.join("mnt/create").join(format!("a@r{round}"));
        let mut child = Command::new("cp")
            .arg(&image)
            .arg(&target)
            .stderr(Stdio::null())
            .spawn()
            .expect("cp starts");
        let started = Instant::now();
        // Every fifth may finish, and the moment after it is as good as any.
        let part = if round % 5 == 0 {
            5000
        } else {
            rng.below(1300)
        };
        let copied = ended_within(&mut child, usual.mul_f64(part as f64 / 1000.0));
        if round % 5 == 0 {
            usual = started.elapsed();
        }
        mount.kill();
        let status = child.wait().expect("cp ends when the mount does");
        if copied && status.success() {
            done.push(round);
        }
    }
    // What a killed mount has promised at a FLUSH, the next one publishes.
    let mount = Mount::start(&store, &scratch.join("mnt"), &Default::default());
    let fixture = Fixture {
        mount: Some(mount),
        store,
        scratch,
    };
    fixture.shell_ok("ls -R $M > /dev/null");
    wait_until(Duration::from_secs(5), || {
        fixture.snapshots("a").len() >= done.len()
    });
    let kept = check(&fixture.store, &fixture.scratch, &done);
    measured!(
        "crash: {} rounds of killed mounts, {} done, {kept} listed",
        rounds(),
        done.len()
    );
}
