//! The catalog: create, list, show, rename, tag, delete, and how a snapshot is named.

use super::support::{Fixture, names};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use tintype::backend::LocalBackend;
use tintype::base::{SnapshotId, Timestamp};
use tintype::snapshot::{Catalog, Labels, Manifest, SnapshotKind, SnapshotType};
use tintype::store::{OpenOptions, Store};

const KEYS: [&str; 17] = [
    "added_len_bytes",
    "allocated_len_bytes",
    "created_at",
    "description",
    "discarded_len_bytes",
    "hold",
    "id",
    "image_len_bytes",
    "kind",
    "name",
    "path_name",
    "reference",
    "resource",
    "sequence",
    "tags",
    "type",
    "warnings",
];

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_first_create_makes_the_store_and_says_so() {
    let fixture = Fixture::new();
    fixture.image("web.img", 1 << 20, &[(0, 5000)], 1);
    fixture
        .run(&["list"])
        .refused(3, &["there is no store in", "tintype init"]);
    let answer = fixture.run(&["create", "web.img"]);
    assert!(answer.text().starts_with("web@"), "{answer:?}");
    assert!(answer.err.contains("made a new store in"), "{}", answer.err);
    assert!(fixture.leases().is_empty());
    let again = fixture.run(&["create", "web.img"]);
    assert!(!again.err.contains("made a new store"), "{}", again.err);
}

/// A folder of a user had a `tmp/`: every command took it for one of ours, removed what was
/// in it, and only then saw that there is no store. A pipe in it was waited for.
#[test]
fn a_folder_that_is_no_store_is_left_as_it_is() {
    let fixture = Fixture::new();
    let tmp = fixture.store().join("tmp");
    let name = "0123456789abcdef0123456789abcdef";
    std::fs::create_dir_all(&tmp).unwrap();
    std::fs::write(tmp.join("thesis"), "thesis").unwrap();
    std::fs::write(tmp.join(name), "named as ours").unwrap();
    fixture.image("web.img", 1 << 20, &[(0, 5000)], 1);
    let make_pipe = |name: &str| {
        let pipe = tmp.join(name);
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        pipe
    };
    let pipe = make_pipe("pipe");
    fixture.run(&["list"]).refused(3, &["there is no store"]);
    for words in [["init"].as_slice(), &["create", "web.img"]] {
        fixture.run(words).refused(7, &["is not empty"]);
    }
    assert_eq!(names(&tmp).len(), 3);
    // The same in a store: only what can be ours goes.
    std::fs::rename(&tmp, fixture.path("aside")).unwrap();
    fixture.run(&["init"]).text();
    std::fs::rename(fixture.path("aside"), &tmp).unwrap();
    make_pipe("0123456789abcdef0123456789abcde0");
    std::os::unix::fs::symlink(&pipe, tmp.join("0123456789abcdef0123456789abcde1")).unwrap();
    fixture.run(&["list"]).text();
    let left = names(&tmp);
    assert!(
        left.len() == 4 && !left.contains(&name.to_owned()),
        "{left:?}"
    );
}

/// What an init that was killed leaves is no obstacle to the next.
#[test]
fn a_store_is_made_where_an_init_was_killed() {
    let fixture = Fixture::new();
    let tmp = fixture.store().join("tmp");
    std::fs::create_dir_all(&tmp).unwrap();
    std::fs::create_dir_all(fixture.store().join("keys")).unwrap();
    std::fs::write(tmp.join("0123456789abcdef0123456789abcdef"), "half").unwrap();
    std::fs::write(fixture.store().join("keys/mine"), "ssh").unwrap();
    fixture.run(&["init"]).refused(7, &["is not empty"]);
    std::fs::remove_file(fixture.store().join("keys/mine")).unwrap();
    fixture.run(&["init"]).text();
    fixture.run(&["list"]).text();
    assert!(names(&tmp).is_empty());
}

/// What was deleted before the failure was not told.
#[test]
fn what_was_deleted_is_told_when_the_next_one_fails() {
    let fixture = Fixture::with_store();
    fixture.snapshot("a", "one", 1);
    fixture.snapshot("b", "one", 2);
    // Nobody looks at this entry before the one in front of it is there.
    let catalog = fixture.store().join("catalog");
    let last = names(&catalog).into_iter().max().unwrap();
    let number: u64 = last.parse().unwrap();
    std::fs::write(catalog.join(format!("{:016}", number + 2)), "no entry").unwrap();
    let answer = fixture.run(&["delete", "a", "b"]);
    assert_ne!(answer.code, 0);
    let text = String::from_utf8(answer.out).unwrap();
    assert_eq!(text, "deleted a@one\n", "{}", answer.err);
}

#[test]
fn wrong_arguments_make_no_store() {
    let fixture = Fixture::new();
    fixture.run(&["create", "-"]).refused(2, &["--resource"]);
    fixture
        .run(&["create", "missing.img"])
        .refused(3, &["missing.img"]);
    let folder = ["create", "--resource", "x", "."];
    fixture
        .run(&folder)
        .refused(2, &["neither a regular file nor a block device"]);
    fixture.run(&["create", "."]).refused(2, &["--resource"]);
    fixture
        .run(&["create", "--time", "yesterday", "x"])
        .refused(2, &["2026-11-23T07:44:12Z"]);
    fixture.run(&["frobnicate"]).refused(2, &["frobnicate"]);
    assert!(!fixture.store().exists());
}

#[test]
fn init_makes_a_store_once_and_never_in_a_folder_with_files() {
    let fixture = Fixture::new();
    assert!(fixture.run(&["init"]).text().contains("made a new store"));
    fixture.run(&["init"]).refused(7, &["already"]);
    std::fs::create_dir(fixture.path("full")).unwrap();
    std::fs::write(fixture.path("full/letter"), "dear").unwrap();
    fixture.run(&["init", "full"]).refused(7, &["not empty"]);
    fixture
        .run(&["init", "--level", "99", "x"])
        .refused(2, &["99"]);
    let json = fixture.run(&["--json", "init", "other/deep"]).json();
    assert_eq!(keys(&json), ["id", "level", "store"]);
}

#[test]
fn json_has_the_same_keys_in_every_command() {
    let fixture = Fixture::with_store();
    let created = fixture.snapshot("web", "one", 1);
    assert_eq!(keys(&created), KEYS);
    let shown = fixture.run(&["show", "--json", "web@one"]).json();
    let listed = fixture.run(&["list", "--json"]).json();
    let tagged = fixture.run(&["--json", "tag", "web"]).json();
    for value in [&shown, &listed[0], &tagged] {
        assert_eq!(*value, created);
    }
    assert_eq!(created["reference"], "web@one");
    assert_eq!(created["image_len_bytes"], 1 << 20);
    assert_eq!(created["allocated_len_bytes"], 5 * 4096);
    assert_eq!(created["kind"], "machine");
    assert_eq!(created["type"], "snapshot");
}

#[test]
fn list_selects() {
    let fixture = Fixture::with_store();
    fixture.image("v.img", 1 << 20, &[(0, 1)], 1);
    let create = [
        "create", "--kind", "volume", "--tag", "a", "--tag", "b", "v.img",
    ];
    fixture.run(&create).text();
    fixture.snapshot("web", "one", 2);
    let count = |words: &[&str]| {
        let words = [&["list", "--json"], words].concat();
        fixture.run(&words).json().as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--kind", "volume"]), 1);
    assert_eq!(count(&["--kind", "machine"]), 1);
    assert_eq!(count(&["--tag", "a", "--tag", "b"]), 1);
    assert_eq!(count(&["--tag", "a", "--tag", "c"]), 0);
    assert_eq!(count(&["--resource", "web"]), 1);
    assert_eq!(count(&["--resource", "we"]), 0);
    let text = fixture.run(&["list"]).text();
    assert!(text.starts_with("SNAPSHOT"), "{text}");
    assert!(text.contains("web@one") && text.contains("a,b"), "{text}");
}

#[test]
fn a_snapshot_is_found_by_every_kind_of_name() {
    let fixture = Fixture::with_store();
    let one = fixture.snapshot("web", "one", 1);
    let two = fixture.snapshot("web", "two", 2);
    let id = one["id"].as_str().unwrap();
    let find = |text: &str| fixture.run(&["--json", "show", text]).json()["id"].clone();
    for text in ["web@one", id, &id[..12], &id[..12].to_uppercase()] {
        assert_eq!(find(text), one["id"], "{text}");
    }
    for text in ["web@two", "web@latest", "web"] {
        assert_eq!(find(text), two["id"], "{text}");
    }
    for text in ["web@three", "nobody", &id[..3], "zzzz"] {
        fixture
            .run(&["show", text])
            .refused(3, &["there is no snapshot", "tintype list"]);
    }
}

#[test]
fn an_ambiguous_prefix_is_refused() {
    let fixture = Fixture::with_store();
    let backend = LocalBackend::open(&fixture.store()).unwrap();
    let store = Store::open(Arc::new(backend), &OpenOptions::default()).unwrap();
    let catalog = Catalog::open(store).unwrap();
    for last in [1, 2] {
        let mut id = SnapshotId([0xab; 16]);
        id.0[15] = last;
        let manifest = Manifest {
            id,
            resource: "web".to_owned(),
            kind: SnapshotKind::Machine,
            snapshot_type: SnapshotType::Snapshot,
            created_at: Timestamp::from_nanoseconds(i64::from(last)),
            image_len_bytes: 4096,
            allocated_len_bytes: 0,
            added_len_bytes: 0,
            map_root: None,
            warnings: vec![],
            discarded_len_bytes: None,
            replaces: None,
        };
        catalog.create(manifest, Labels::default()).unwrap();
    }
    fixture
        .run(&["show", "abab"])
        .refused(2, &["more than one", "more digits"]);
    fixture
        .run(&["delete", "ABABAB"])
        .refused(2, &["more than one"]);
    let whole = "ab".repeat(15) + "01";
    assert_eq!(
        fixture.run(&["--json", "show", &whole]).json()["id"],
        whole.as_str()
    );
}

#[test]
fn odd_names_are_kept_and_do_not_reach_the_terminal() {
    let fixture = Fixture::with_store();
    for (seed, name) in [
        "a/b",
        "grüße 世界",
        "x@y",
        ".hidden",
        "\u{1b}[31mred\n",
        "a:b",
        "latest",
    ]
    .iter()
    .enumerate()
    {
        let created = fixture.snapshot(name, name, seed as u64);
        assert_eq!(created["resource"], *name);
        assert_eq!(created["name"], *name);
        let path_name = created["path_name"].as_str().unwrap();
        assert!(!path_name.contains(['/', '\n', '\u{1b}']), "{path_name}");
        let id = created["id"].as_str().unwrap();
        let text = fixture.run(&["show", id]).text() + &fixture.run(&["list"]).text();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let reference = created["reference"].as_str().unwrap();
        assert_eq!(
            fixture.run(&["--json", "show", reference]).json()["id"],
            created["id"]
        );
    }
    let long = "x".repeat(300);
    fixture.image("i.img", 4096, &[], 1);
    fixture
        .run(&["create", "--resource", &long, "i.img"])
        .refused(2, &["255"]);
    fixture
        .run(&["create", "--resource", "", "i.img"])
        .refused(2, &["empty"]);
}

#[test]
fn rename_tag_and_delete() {
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    let renamed = fixture.run(&["rename", "web@one", "first"]).text();
    assert_eq!(renamed, "web@one is now web@first\n");
    fixture.run(&["show", "web@one"]).refused(3, &[]);

    let words = [
        "--json",
        "tag",
        "web",
        "keep",
        "b",
        "keep",
        "--description",
        "good",
        "--hold",
    ];
    let tagged = fixture.run(&words).json();
    assert_eq!(tagged["tags"], serde_json::json!(["b", "keep"]));
    assert_eq!(tagged["description"], "good");
    fixture
        .run(&["delete", "web@first"])
        .refused(7, &["on hold", "--release"]);
    let tagged = fixture
        .run(&["--json", "tag", "web", "-r", "b", "--release"])
        .json();
    assert_eq!(tagged["tags"], serde_json::json!(["keep"]));
    assert_eq!(tagged["hold"], false);

    let unnamed = fixture.run(&["--json", "rename", "web@first", ""]).json();
    assert_eq!(unnamed["name"], Value::Null);

    fixture
        .run(&["delete", "web", "nobody"])
        .refused(3, &["nobody"]);
    assert_eq!(
        fixture
            .run(&["list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let deleted = fixture
        .run(&["--json", "delete", "web", "web@latest"])
        .json();
    assert_eq!(deleted.as_array().unwrap().len(), 1);
    assert_eq!(keys(&deleted[0]), ["id", "reference"]);
    assert_eq!(
        fixture.run(&["list", "--json"]).json(),
        serde_json::json!([])
    );
}

#[test]
fn errors_are_json_when_asked() {
    let fixture = Fixture::with_store();
    let answer = fixture.run(&["--json", "show", "nobody"]);
    assert_eq!(answer.code, 3);
    let error: Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!(error["error"]["kind"], "not_found");
    assert_eq!(error["error"]["exit_code"], 3);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("nobody")
    );
}

#[test]
fn the_store_is_chosen_by_option_before_environment() {
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    fixture.run(&["init", "other"]).text();
    let other = fixture.run(&["--store", "other", "--json", "list"]).json();
    assert_eq!(other, serde_json::json!([]));
    std::fs::write(fixture.path("file"), "").unwrap();
    fixture
        .run(&["--store", "file", "list"])
        .refused(2, &["not a directory"]);
}
