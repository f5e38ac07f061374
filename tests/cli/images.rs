//! Images in and out: files, streams, holes, comparing, copying, figures.

use super::support::{Fixture, can_use_loop_devices, names};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const MIB: usize = 1 << 20;

#[test]
fn restore_gives_every_byte_back_and_stays_sparse() {
    let fixture = Fixture::new();
    let data = [(0, 100), (5 * MIB + 4096, 3 * MIB), (40 * MIB, 1)];
    let content = fixture.image("web.img", 64 * MIB + 1234, &data, 1);
    fixture.run(&["create", "web.img"]).text();
    let text = fixture.run(&["restore", "web", "out.img"]).text();
    assert!(text.starts_with("restored web@"), "{text}");
    assert_eq!(fs::read(fixture.path("out.img")).unwrap(), content);
    let metadata = fs::metadata(fixture.path("out.img")).unwrap();
    assert!(
        metadata.blocks() * 512 < 4 << 20,
        "{} blocks",
        metadata.blocks()
    );
    assert_eq!(
        metadata.mode() & 0o777,
        0o600,
        "an image is for its owner only"
    );
    let left: Vec<_> = names(&fixture.path("."))
        .into_iter()
        .filter(|name| name.contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn restore_replaces_only_when_forced() {
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    fs::write(fixture.path("out.img"), "precious").unwrap();
    fixture
        .run(&["restore", "web", "out.img"])
        .refused(7, &["exists", "--force"]);
    assert_eq!(fs::read(fixture.path("out.img")).unwrap(), b"precious");
    let json = fixture
        .run(&["--json", "restore", "--force", "web", "out.img"])
        .json();
    assert_eq!(json["image_len_bytes"], 1 << 20);
    assert_eq!(
        fs::metadata(fixture.path("out.img")).unwrap().len(),
        1 << 20
    );
    fixture
        .run(&["restore", "web", "."])
        .refused(2, &["neither a regular file"]);
    fixture
        .run(&["restore", "web", "no/such/folder.img"])
        .refused(3, &["folder.img"]);
}

/// The whole image was written before the link was seen.
#[test]
fn restore_refuses_a_link_that_leads_nowhere_at_once() {
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    std::os::unix::fs::symlink("nowhere", fixture.path("out.img")).unwrap();
    for force in [&[][..], &["--force"]] {
        fixture
            .run(&[&["restore", "web", "out.img"], force].concat())
            .refused(7, &["out.img is a symbolic link to nowhere"]);
    }
    assert!(!fixture.path("nowhere").exists());
}

#[test]
fn streams_in_and_out() {
    let fixture = Fixture::new();
    let content = fixture.image("x.img", 3 * MIB + 77, &[(MIB, MIB / 2), (3 * MIB, 77)], 3);
    let answer = fixture.run_with(&["create", "--resource", "s", "-"], &content);
    assert!(answer.text().starts_with("s@"));
    assert_eq!(fixture.run(&["restore", "s", "-"]).out, content);
    let empty = fixture
        .run_with(&["--json", "create", "--resource", "e", "-"], &[])
        .json();
    assert_eq!(empty["image_len_bytes"], 0);
    assert_eq!(fixture.run(&["restore", "e", "-"]).out, b"");
    // A file on standard input is a stream as well.
    let mut command = fixture.command(&["--json", "create", "--resource", "f", "-"]);
    command.stdin(File::open(fixture.path("x.img")).unwrap());
    let json = super::support::answer(&mut command).json();
    assert_eq!(json["image_len_bytes"], content.len());
}

#[test]
fn the_time_can_be_given() {
    let fixture = Fixture::with_store();
    fixture.image("x.img", 4096, &[], 1);
    let words = [
        "--json",
        "create",
        "--time",
        "2001-02-03T04:05:06Z",
        "x.img",
    ];
    let json = fixture.run(&words).json();
    assert_eq!(json["created_at"], "2001-02-03T04:05:06Z");
    assert_eq!(json["path_name"], "2001-02-03T04-05-06Z");
}

#[test]
fn a_source_that_changes_is_warned_about() {
    let fixture = Fixture::with_store();
    fixture.image("x.img", 16 * MIB, &[(0, 16 * MIB)], 1);
    let is_over = Arc::new(AtomicBool::new(false));
    let (path, seen) = (fixture.path("x.img"), Arc::clone(&is_over));
    let toucher = std::thread::spawn(move || {
        let file = File::options().write(true).open(path).unwrap();
        while !seen.load(Ordering::Relaxed) {
            file.set_modified(SystemTime::now()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let answer = fixture.run(&["create", "x.img"]);
    is_over.store(true, Ordering::Relaxed);
    toucher.join().unwrap();
    answer.text();
    assert!(
        answer
            .err
            .contains("warning: the source changed while it was read"),
        "{answer:?}"
    );
    let warnings = fixture.run(&["--json", "show", "x"]).json()["warnings"].clone();
    assert_eq!(
        warnings,
        serde_json::json!(["the source changed while it was read"])
    );
    assert!(fixture.run(&["list"]).text().contains("(!)"));
}

#[test]
fn diff_blocks_prints_ranges() {
    let fixture = Fixture::with_store();
    fixture.image("a.img", 8 * MIB, &[(0, MIB)], 1);
    let mut content = fs::read(fixture.path("a.img")).unwrap();
    fixture
        .run(&["create", "--resource", "r", "--name", "a", "a.img"])
        .text();
    content[5 * 4096 + 7] ^= 1;
    content[4 * MIB] = 9;
    fs::write(fixture.path("b.img"), &content).unwrap();
    fixture
        .run(&["create", "--resource", "r", "--name", "b", "b.img"])
        .text();
    let text = fixture.run(&["diff-blocks", "r@a", "r@b"]).text();
    assert_eq!(text, format!("{} 4096\n{} 4096\n", 5 * 4096, 4 * MIB));
    assert_eq!(fixture.run(&["diff-blocks", "r@a", "r@a"]).text(), "");
    let json = fixture.run(&["diff-blocks", "--json", "r@b", "r@a"]).json();
    assert_eq!(json["range_count"], 2);
    assert_eq!(json["changed_len_bytes"], 8192);
    assert_eq!(
        json["ranges"][0],
        serde_json::json!({"offset": 20480, "len_bytes": 4096})
    );
    let same = fixture.run(&["diff-blocks", "--json", "r@a", "r@a"]).json();
    assert_eq!(same["ranges"], serde_json::json!([]));
}

#[test]
fn copy_takes_only_what_is_missing() {
    let fixture = Fixture::with_store();
    let content = fixture.image("a.img", 4 * MIB, &[(0, 2 * MIB)], 1);
    fixture
        .run(&[
            "create",
            "--resource",
            "r",
            "--name",
            "a",
            "--tag",
            "t",
            "a.img",
        ])
        .text();
    fixture.image("b.img", 4 * MIB, &[(0, 2 * MIB), (3 * MIB, 4096)], 1);
    fixture
        .run(&["create", "--resource", "r", "--name", "b", "b.img"])
        .text();
    fixture
        .run(&["copy", "r@a", "--to", "other"])
        .refused(3, &["tintype init"]);
    fixture.run(&["init", "other"]).text();
    let first = fixture
        .run(&["--json", "copy", "r@a", "--to", "other"])
        .json();
    let second = fixture
        .run(&["--json", "copy", "r@b", "--to", "other"])
        .json();
    assert!(first["added_len_bytes"].as_u64().unwrap() > 2 << 20);
    assert!(
        second["added_len_bytes"].as_u64().unwrap() < 64 << 10,
        "{second}"
    );
    assert_eq!(first["tags"], serde_json::json!(["t"]));
    assert_eq!(
        fixture
            .run(&["--store", "other", "restore", "r@a", "-"])
            .out,
        content
    );
    let this = fixture.store().display().to_string();
    fixture
        .run(&["copy", "r@a", "--to", &this])
        .refused(2, &["same store"]);
}

#[test]
fn stats_count_what_is_shared_and_what_is_not() {
    let fixture = Fixture::with_store();
    let empty = fixture.run(&["--json", "stats"]).json();
    assert_eq!(empty["snapshot_count"], 0);
    assert_eq!(empty["ratio"], serde_json::Value::Null);
    fixture.image("a.img", 4 * MIB, &[(0, 2 * MIB)], 1);
    fixture
        .run(&["create", "--resource", "r", "--name", "a", "a.img"])
        .text();
    fixture
        .run(&["create", "--resource", "r", "--name", "b", "a.img"])
        .text();
    fixture.image("c.img", 4 * MIB, &[(0, MIB)], 99);
    fixture.run(&["create", "--resource", "c", "c.img"]).text();
    let stats = fixture.run(&["--json", "stats"]).json();
    assert_eq!(stats["snapshot_count"], 3);
    assert_eq!(stats["image_len_bytes"], 12 * MIB);
    assert_eq!(stats["allocated_len_bytes"], 5 * MIB);
    assert_eq!(stats["unique_len_bytes"], 3 * MIB);
    let own: Vec<_> = stats["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot["exclusive_len_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(own, [0, 0, MIB as u64]);
    let ratio = stats["ratio"].as_f64().unwrap();
    assert!((1.5..1.7).contains(&ratio), "{ratio}");
    assert!(fixture.run(&["stats"]).text().contains("OWN STORED"));
    assert_eq!(
        fixture
            .run(&["--json", "stats", "--quick"])
            .json()
            .get("unique_len_bytes"),
        None
    );
}

#[test]
fn damage_has_its_own_exit_code() {
    let fixture = Fixture::with_store();
    fixture.image("a.img", MIB, &[(0, MIB)], 1);
    fixture.run(&["create", "a.img"]).text();
    let packs = fixture.store().join("packs");
    for shard in names(&packs) {
        for pack in names(&packs.join(&shard)) {
            let path = packs.join(&shard).join(pack);
            let mut bytes = fs::read(&path).unwrap();
            if bytes.len() > MIB {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xff;
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                    .unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    fixture
        .run(&["restore", "a", "out.img"])
        .refused(4, &["damaged"]);
    assert!(!fixture.path("out.img").exists());
    assert!(
        !names(&fixture.path("."))
            .iter()
            .any(|name| name.contains(".part"))
    );
}

/// A loop device that is detached at the end.
struct Loop {
    path: String,
}

impl Loop {
    fn new(file: &std::path::Path) -> Self {
        let output = Command::new("losetup")
            .args(["-f", "--show"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Self {
            path: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["-d", &self.path]).status());
    }
}

#[test]
fn a_block_device_is_read_and_restored_with_zeros_where_they_belong() {
    if !can_use_loop_devices("restore to a block device") {
        return;
    }
    let fixture = Fixture::with_store();
    let content = fixture.image("web.img", 8 * MIB, &[(MIB, MIB), (5 * MIB, 9000)], 1);
    fixture.run(&["create", "web.img"]).text();
    fs::write(fixture.path("disk"), vec![0xee; 12 * MIB]).unwrap();
    let disk = Loop::new(&fixture.path("disk"));
    fixture.run(&["restore", "web", &disk.path]).text();
    let json = fixture
        .run(&["--json", "create", "--resource", "dev", &disk.path])
        .json();
    assert_eq!(json["image_len_bytes"], 12 * MIB);
    assert_eq!(json["warnings"], serde_json::json!([]));
    let back = fixture.run(&["restore", "dev", "-"]).out;
    assert!(
        back[..8 * MIB] == content,
        "the image differs on the device"
    );
    assert!(
        back[8 * MIB..].iter().all(|byte| *byte == 0xee),
        "what lies behind was touched"
    );

    fs::write(fixture.path("small"), vec![0; 4 * MIB]).unwrap();
    let small = Loop::new(&fixture.path("small"));
    fixture
        .run(&["restore", "web", &small.path])
        .refused(7, &["holds 4.0 MiB"]);
}

#[test]
fn a_mounted_device_is_refused_as_a_target_and_warned_about_as_a_source() {
    if !can_use_loop_devices("a mounted block device") {
        return;
    }
    let fixture = Fixture::with_store();
    fixture.image("disk.img", 16 * MIB, &[], 1);
    let disk = Loop::new(&fixture.path("disk.img"));
    let made = Command::new("mkfs.ext4").args(["-q", &disk.path]).status();
    if !made.is_ok_and(|status| status.success()) {
        super::saying::say_skipped("cli: a mounted block device", "no mkfs.ext4");
        return;
    }
    let place = fixture.path("mnt");
    fs::create_dir(&place).unwrap();
    assert!(
        Command::new("mount")
            .arg(&disk.path)
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    let device = fixture.run(&["create", "--resource", "d", &disk.path]);
    let behind = fixture.run(&["create", "disk.img"]);
    fixture.snapshot("web", "one", 1);
    let refused = fixture.run(&["restore", "web", &disk.path]);
    assert!(
        Command::new("umount")
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    for answer in [&device, &behind] {
        answer.text();
        assert!(
            answer.err.contains("mounted read-write at"),
            "{}",
            answer.err
        );
    }
    refused.refused(7, &["mounted at", "unmount it first"]);
    let after = fixture.run(&["create", "disk.img"]);
    assert!(!after.err.contains("warning"), "{}", after.err);
}

/// An ext superblock of 100 MiB in an image of 3 MiB.
#[test]
fn an_image_that_was_cut_short_is_warned_about() {
    let fixture = Fixture::with_store();
    let mut content = fixture.image("x.img", 3 * MIB, &[(2 * MIB, MIB)], 1);
    content[1024 + 4..1024 + 8].copy_from_slice(&25_600_u32.to_le_bytes());
    content[1024 + 24] = 2;
    content[1024 + 0x38..1024 + 0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
    std::fs::write(fixture.path("x.img"), &content).unwrap();
    let stream = ["create", "--resource", "s", "-"];
    for (answer, resource) in [
        (fixture.run(&["create", "x.img"]), "x"),
        (fixture.run_with(&stream, &content), "s"),
    ] {
        answer.text();
        assert!(
            answer.err.contains("warning: suspect: the ext file system"),
            "{answer:?}"
        );
        let shown = fixture.run(&["--json", "show", resource]).json();
        let warnings = shown["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].as_str().unwrap().contains("100.0 MiB"));
    }
    let answer = fixture.run(&["--json", "create", "x.img"]);
    for line in answer.err.lines() {
        let json: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            json["warning"].is_string() || json["note"].is_string(),
            "{line}"
        );
    }
    assert!(answer.err.contains("suspect"));
    // A copy has the warning once, too.
    fixture.run(&["--store", "other", "init"]).text();
    fixture.run(&["copy", "x", "--to", "other"]).text();
    let copied = fixture
        .run(&["--store", "other", "--json", "show", "x"])
        .json();
    assert_eq!(copied["warnings"].as_array().unwrap().len(), 1);
    fixture
        .run(&["copy", "x", "--to", "other"])
        .refused(7, &["already"]);
}
