//! Signals: no snapshot, no temporary file and no lease stays behind.

use super::support::{Fixture, names};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .unwrap()
            .success()
    );
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn spawn(fixture: &Fixture, words: &[&str], stdin: Stdio) -> Child {
    let mut command = fixture.signalled(words);
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end, which must come soon, and returns the exit code.
fn end(child: Child) -> (i32, String) {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        start.elapsed()
    );
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn assert_clean(fixture: &Fixture) {
    assert_eq!(
        fixture.run(&["list", "--json"]).json(),
        serde_json::json!([])
    );
    assert!(fixture.leases().is_empty(), "{:?}", fixture.leases());
    let packs = fixture.store().join("packs");
    let odd: Vec<_> = names(&packs)
        .into_iter()
        .flat_map(|shard| names(&packs.join(shard)))
        .filter(|name| name.len() != 32)
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert!(names(&fixture.store().join("tmp")).is_empty());
}

/// An image that takes a while: long, but cheap to make.
fn long_image(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut piece = vec![0_u8; 1 << 20];
    for round in 0_u32..384 {
        for (place, block) in (0_u32..).zip(piece.chunks_exact_mut(64)) {
            let random = (place ^ round << 16).wrapping_mul(2_654_435_761);
            block[..4].copy_from_slice(&random.to_le_bytes());
        }
        file.write_all(&piece).unwrap();
    }
}

#[test]
fn an_ingest_from_a_pipe_that_waits_is_interrupted() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let fixture = Fixture::with_store();
        let words = ["create", "--resource", "x", "-"];
        let mut child = spawn(&fixture, &words, Stdio::piped());
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![7; 3 << 20]).unwrap();
        wait_until("the lease", || !fixture.leases().is_empty());
        send(signal, &child);
        let (ended, message) = end(child);
        assert_eq!(ended, code, "{message}");
        assert!(message.contains("interrupted"), "{message}");
        drop(input);
        assert_clean(&fixture);
    }
}

#[test]
fn an_ingest_of_a_file_is_interrupted() {
    // A fast machine may have stored everything before the signal is there.
    for _ in 0..10 {
        let fixture = Fixture::with_store();
        long_image(&fixture.path("long.img"));
        let mut child = spawn(&fixture, &["create", "long.img"], Stdio::null());
        wait_until("the lease", || {
            !fixture.leases().is_empty() || child.try_wait().unwrap().is_some()
        });
        std::thread::sleep(Duration::from_millis(20));
        if child.try_wait().unwrap().is_none() {
            send("-INT", &child);
        }
        let (code, message) = end(child);
        if code == 130 {
            assert_clean(&fixture);
            return;
        }
        assert_eq!(code, 0, "{message}");
    }
    panic!("every ingest ended before its signal");
}

#[test]
fn a_restore_is_interrupted_and_leaves_no_file() {
    let fixture = Fixture::with_store();
    long_image(&fixture.path("long.img"));
    fixture.run(&["create", "long.img"]).text();
    let part = || {
        names(&fixture.path("."))
            .into_iter()
            .any(|name| name.ends_with(".part"))
    };
    // A fast machine may have written everything before the signal is there.
    for _ in 0..20 {
        let mut child = spawn(&fixture, &["restore", "long", "out.img"], Stdio::null());
        wait_until("the temporary file", || {
            part() || child.try_wait().unwrap().is_some()
        });
        if child.try_wait().unwrap().is_none() {
            send("-TERM", &child);
        }
        let (code, message) = end(child);
        assert!(!part());
        let whole = fixture.path("out.img");
        if code == 143 {
            assert!(!whole.exists(), "{message}");
            return;
        }
        assert_eq!(code, 0, "{message}");
        assert_eq!(whole.metadata().unwrap().len(), 384 << 20);
        std::fs::remove_file(whole).unwrap();
    }
    panic!("every restore ended before its signal");
}

#[test]
fn a_restore_to_a_pipe_that_nobody_reads_is_interrupted() {
    let fixture = Fixture::with_store();
    fixture.image("x.img", 1 << 20, &[(0, 1 << 20)], 1);
    fixture.run(&["create", "x.img"]).text();
    let mut child = spawn(&fixture, &["restore", "x", "-"], Stdio::null());
    let output = child.stdout.take();
    std::thread::sleep(Duration::from_millis(300));
    send("-INT", &child);
    let (code, message) = end(child);
    assert_eq!(code, 130, "{message}");
    drop(output);
}

/// `nohup` and `trap '' HUP` have it ignored, for a shell that ends meanwhile.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let fixture = Fixture::with_store();
    let program = fixture.command(&[]).get_program().to_owned();
    let line = "trap '' HUP; exec \"$0\" create --resource x -";
    let mut child = Command::new("sh")
        .args(["-c", line])
        .arg(program)
        .env("TINTYPE_STORE", fixture.store())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![7; 3 << 20]).unwrap();
    wait_until("the lease", || !fixture.leases().is_empty());
    send("-HUP", &child);
    std::thread::sleep(Duration::from_millis(200));
    input.write_all(&[8; 100]).unwrap();
    drop(input);
    let (code, message) = end(child);
    assert_eq!(code, 0, "{message}");
    assert_eq!(
        fixture.run(&["restore", "x", "-"]).out.len(),
        (3 << 20) + 100
    );
}
