//! `mount`, `umount` and `drafts` as commands; what the mount shows is tested in
//! `tests/mount`.

use super::saying::say_skipped;
use super::support::Fixture;
use super::trees::ext4_of;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn can_mount(test: &str) -> bool {
    let can = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    if !can {
        say_skipped(&format!("cli: {test}"), "no /dev/fuse");
    }
    can
}

/// Unmounts, whatever the test did.
struct Mounted<'a> {
    fixture: &'a Fixture,
    place: &'a str,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(self.fixture.run(&["umount", "--lazy", self.place]));
    }
}

fn mount<'a>(fixture: &'a Fixture, words: &[&str]) -> Mounted<'a> {
    mount_at(fixture, "mnt", words)
}

fn mount_at<'a>(fixture: &'a Fixture, place: &'a str, words: &[&str]) -> Mounted<'a> {
    fs::create_dir_all(fixture.path(place)).unwrap();
    let text = fixture
        .run(&[&["mount", "--log-file", "log", place], words].concat())
        .text();
    assert_eq!(text, format!("mounted at {place}\n"));
    Mounted { fixture, place }
}

fn draft_id(draft: &Path) -> String {
    let mut id = [0; 100];
    let len = rustix::fs::getxattr(draft, "user.tintype.draft", &mut id[..]).unwrap();
    String::from_utf8(id[..len].to_vec()).unwrap()
}

fn wait_for_lease_to_end(fixture: &Fixture) {
    let start = Instant::now();
    while !fixture.leases().is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the mount does not end"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_mount_answers_when_the_command_returns() {
    if !can_mount("mount") {
        return;
    }
    let fixture = Fixture::new();
    let _mounted = mount(&fixture, &["--cache-size", "32M", "--threads", "3"]);
    assert!(fixture.path("mnt/create").is_dir());
    fs::write(fixture.path("mnt/create/web@one"), vec![5; 10_000]).unwrap();
    assert!(fixture.path("mnt/snapshots/web/one/disk.img").is_file());
    assert_eq!(
        fixture.run(&["--json", "show", "web@one"]).json()["image_len_bytes"],
        10_000
    );
    assert_eq!(fixture.run(&["umount", "mnt"]).text().lines().count(), 1);
    assert!(!fixture.path("mnt/create").exists());
    wait_for_lease_to_end(&fixture);
    fixture
        .run(&["umount", "mnt"])
        .refused(3, &["no tintype is mounted"]);
    assert!(fixture.path("log").is_file());
}

#[test]
fn a_read_only_mount_has_no_create_and_makes_no_store() {
    if !can_mount("mount --read-only") {
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("mnt")).unwrap();
    fixture
        .run(&["mount", "--log-file", "log", "--read-only", "mnt"])
        .refused(3, &["there is no store"]);
    fixture.run(&["init"]).text();
    let _mounted = mount(&fixture, &["--read-only"]);
    assert!(fixture.path("mnt/snapshots").is_dir());
    assert!(!fixture.path("mnt/create").exists());
}

#[test]
fn bad_places_are_refused_with_the_reason() {
    if !can_mount("mount") {
        return;
    }
    let fixture = Fixture::with_store();
    fixture
        .run(&["mount", "--log-file", "log", "store"])
        .refused(7, &["the store"]);
    fixture
        .run(&["mount", "--log-file", "log", "missing"])
        .refused(3, &["missing"]);
    fixture
        .run(&["mount", "--cache-size", "lots", "mnt"])
        .refused(2, &["512M"]);
    fixture
        .run(&["umount", "store"])
        .refused(3, &["no tintype is mounted"]);
}

#[test]
fn a_second_mount_at_the_same_place_is_refused() {
    if !can_mount("mount, twice") {
        return;
    }
    let fixture = Fixture::with_store();
    let _mounted = mount(&fixture, &[]);
    fixture
        .run(&["mount", "--log-file", "log", "mnt"])
        .refused(7, &["mounted at", "already", "tintype umount"]);
    assert!(fixture.path("mnt/create").is_dir());
    fixture.run(&["umount", "mnt"]).text();
    assert!(!fixture.path("mnt/create").exists());
}

#[test]
fn the_log_says_what_is_wrong_with_a_file_system() {
    if !can_mount("the log of a mount") {
        return;
    }
    let fixture = Fixture::with_store();
    fs::create_dir(fixture.path("tree")).unwrap();
    fs::write(fixture.path("tree/file"), "content").unwrap();
    ext4_of(
        &fixture.path("tree"),
        &fixture.path("x.img"),
        200 << 20,
        &[],
    );
    let file = fs::OpenOptions::new()
        .write(true)
        .open(fixture.path("x.img"))
        .unwrap();
    file.write_all_at(&[0; 1024], 1024).unwrap();
    fixture.run(&["create", "x.img"]).text();
    let _mounted = mount(&fixture, &[]);
    assert!(fixture.path("mnt/snapshots/x/latest/files/file").is_file());
    let log = fs::read_to_string(fixture.path("log")).unwrap();
    assert!(log.contains("a backup was read"), "{log}");
}

#[test]
fn a_mount_that_is_used_goes_lazily() {
    if !can_mount("umount --lazy") {
        return;
    }
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    let _mounted = mount(&fixture, &[]);
    let open = fs::File::open(fixture.path("mnt/snapshots/web/one/disk.img")).unwrap();
    fixture
        .run(&["umount", "mnt"])
        .refused(7, &["in use", "--lazy"]);
    fixture.run(&["umount", "--lazy", "mnt"]).text();
    assert!(!fixture.path("mnt/snapshots").exists());
    drop(open);
    wait_for_lease_to_end(&fixture);
}

#[test]
fn a_mount_in_the_foreground_ends_by_a_signal() {
    if !can_mount("mount --foreground") {
        return;
    }
    let fixture = Fixture::with_store();
    fs::create_dir(fixture.path("mnt")).unwrap();
    let mut child = fixture
        .signalled(&["mount", "--foreground", "mnt"])
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !fixture.path("mnt/create").exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "no mount came");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!fixture.path("mnt/create").exists());
    assert!(fixture.leases().is_empty());
}

#[test]
fn drafts_are_settled_through_the_mount_and_without() {
    if !can_mount("drafts") {
        return;
    }
    let fixture = Fixture::new();
    let states = |fixture: &Fixture| -> Vec<(String, String)> {
        let json = fixture.run(&["--json", "drafts", "list"]).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let drafts = json.as_array().unwrap().iter();
        drafts
            .map(|draft| (text(&draft["name"]), text(&draft["state"])))
            .collect()
    };
    let write = |name: &str| fs::write(fixture.path("mnt/create").join(name), [3; 9000]).unwrap();
    {
        let _mounted = mount(&fixture, &[]);
        ["a.part", "b.part", "c.part", "d.part"]
            .iter()
            .for_each(|name| write(name));
        let mounted = "mounted".to_owned();
        assert_eq!(states(&fixture)[0], ("a.part".to_owned(), mounted));
        assert_eq!(
            fixture.run(&["drafts", "publish", "a.part"]).text(),
            "published a.part\n"
        );
        assert_eq!(
            fixture.run(&["drafts", "remove", "b.part"]).text(),
            "removed b.part\n"
        );
        assert!(!Path::new(&fixture.path("mnt/create/b.part")).exists());
        fixture.run(&["umount", "mnt"]).text();
        wait_for_lease_to_end(&fixture);
    }
    let left: Vec<String> = states(&fixture).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["c.part", "d.part"]);
    fixture.run(&["drafts", "publish", "c.part"]).text();
    fixture.run(&["drafts", "remove", "d.part"]).text();
    fixture
        .run(&["drafts", "remove", "d.part"])
        .refused(3, &["there is no draft"]);
    assert!(states(&fixture).is_empty());
    let listed = fixture.run(&["--json", "list"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(fixture.run(&["restore", "c.part", "-"]).out, [3; 9000]);
}

/// Two mounts of a store had drafts of the same name, and the command took the first one that
/// it found: it removed the other, and said that it had removed the one that was asked for.
#[test]
fn of_drafts_of_the_same_name_the_one_that_is_meant_is_settled() {
    if !can_mount("drafts of two mounts") {
        return;
    }
    let fixture = Fixture::with_store();
    let _mounts = [mount_at(&fixture, "m1", &[]), mount_at(&fixture, "m2", &[])];
    let path = |place: &str| fixture.path(place).join("create/web.part");
    for (meant, other) in [("m1", "m2"), ("m2", "m1")] {
        for place in [meant, other] {
            fs::write(path(place), place.repeat(5000)).unwrap();
        }
        let id = draft_id(&path(meant));
        assert_eq!(
            fixture.run(&["drafts", "remove", &id]).text(),
            "removed web.part\n"
        );
        assert!(!path(meant).exists() && path(other).exists());
        fs::write(path(meant), "again").unwrap();
        fixture
            .run(&["drafts", "remove", "web.part"])
            .refused(2, &["more than one draft"]);
        let id = draft_id(&path(meant));
        fixture.run(&["drafts", "publish", &id]).text();
        assert_eq!(fixture.run(&["restore", "web.part", "-"]).out, b"again");
        fs::remove_file(path(other)).unwrap();
        fs::remove_file(path(meant)).unwrap();
    }
}

/// The place of a mount that is gone had an ordinary file of the name of a draft.
#[test]
fn an_ordinary_file_is_no_draft() {
    if !can_mount("drafts after umount --lazy") {
        return;
    }
    let fixture = Fixture::with_store();
    let mounted = mount(&fixture, &[]);
    let file = fixture.path("mnt/create/web.part");
    fs::write(&file, [3; 9000]).unwrap();
    let open = fs::File::open(&file).unwrap();
    drop(mounted);
    fs::create_dir(fixture.path("mnt/create")).unwrap();
    fs::write(&file, "thesis").unwrap();
    for action in ["remove", "publish"] {
        fixture
            .run(&["drafts", action, "web.part"])
            .refused(7, &["a mount works on web.part"]);
    }
    assert_eq!(fs::read(&file).unwrap(), b"thesis");
    drop(open);
    wait_for_lease_to_end(&fixture);
    fixture.run(&["drafts", "remove", "web.part"]).text();
    assert_eq!(fs::read(&file).unwrap(), b"thesis");
}

#[test]
fn the_log_of_a_mount_says_as_much_as_was_asked_for() {
    if !can_mount("mount -vv") {
        return;
    }
    let fixture = Fixture::with_store();
    let logged = |words: &[&str]| {
        let mounted = mount(&fixture, words);
        drop(fs::read_dir(fixture.path("mnt/snapshots")).unwrap());
        drop(mounted);
        wait_for_lease_to_end(&fixture);
        let log = fs::read_to_string(fixture.path("log")).unwrap();
        fs::remove_file(fixture.path("log")).unwrap();
        log
    };
    assert!(!logged(&[]).contains(" DEBUG "));
    assert!(logged(&["-vv"]).contains(" DEBUG "));
}
