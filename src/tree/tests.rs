//! Behaviour of drafts without a mount: a model of plain bytes, crashes, and names.

use super::draft::Body;
use super::*;
use crate::backend::{Backend, LocalBackend};
use crate::base::ReadAt;
use crate::store::{InitOptions, OpenOptions, Store};
use proptest::prelude::*;
use std::path::Path;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let backend = LocalBackend::create(fixture.path()).unwrap();
        Store::init(&backend, &InitOptions::default()).unwrap();
        fixture
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn catalog(&self) -> Arc<Catalog> {
        let backend: Arc<dyn Backend> = Arc::new(LocalBackend::open(self.path()).unwrap());
        let options = OpenOptions {
            thread_count: 2,
            ..OpenOptions::default()
        };
        Catalog::open(Store::open(backend, &options).unwrap()).unwrap()
    }

    fn tree(&self) -> Arc<Tree> {
        let options = TreeOptions {
            uid: 0,
            gid: 0,
            is_read_only: false,
            block_cache_len_bytes: 4 << 20,
            spill_folder: std::env::temp_dir(),
            substitutes: filesystem::Substitutes::default(),
            fault_at: None,
        };
        Tree::open(self.catalog(), options).unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.path().join("drafts"))
            .unwrap()
            .count()
    }
}

const BY: Creation = Creation {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn create_inode(tree: &Tree) -> u64 {
    tree.look_up(ROOT, b"create").unwrap().attributes.inode
}

fn create(tree: &Tree, name: &str) -> (Arc<Draft>, u64) {
    let (entry, handle) = tree
        .create(create_inode(tree), name.as_bytes(), BY)
        .unwrap();
    (tree.draft(entry.attributes.inode).unwrap(), handle)
}

fn snapshot_bytes(tree: &Tree, resource: &str) -> Vec<u8> {
    let state = tree.catalog.state();
    let image = tree
        .catalog
        .image(state.of_resource(resource).last().unwrap());
    let mut bytes = vec![0; usize::try_from(ReadAt::len(&image)).unwrap()];
    image.read(0, &mut bytes).unwrap();
    bytes
}

fn count(tree: &Tree, resource: &str) -> usize {
    tree.catalog.state().of_resource(resource).len()
}

/// A change to a draft, in pieces that make edges of blocks likely.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, usize, u8),
    Zero(u64, u64),
    Resize(u64),
    Flush,
    Sync,
    Ingest,
    Close,
    Remount,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = 0_u64..700;
    let change = prop_oneof![
        8 => (place.clone(), 1_usize..300, any::<u8>(), -3_i64..4).prop_map(|(at, len, fill, off)| {
            let offset = (at * 4096).saturating_add_signed(off);
            Change::Write(offset, (len * 1000).saturating_add_signed(off as isize), fill)
        }),
        2 => (place.clone(), 0_u64..300, 0_u64..4000).prop_map(|(at, len, odd)| {
            Change::Zero(at * 4096 + odd, at * 4096 + odd + len * 4096 + odd)
        }),
        2 => (place, -2_i64..3).prop_map(|(at, off)| {
            Change::Resize((at * 4096).saturating_add_signed(off))
        }),
        2 => Just(Change::Flush),
        1 => Just(Change::Sync),
        2 => Just(Change::Ingest),
        1 => Just(Change::Close),
        1 => Just(Change::Remount),
    ];
    prop::collection::vec(change, 1..14)
}

fn check(draft: &Draft, model: &[u8]) {
    assert_eq!(draft.len(), model.len() as u64);
    let mut bytes = vec![1; model.len() + 10];
    let read = draft.read(0, &mut bytes).unwrap();
    assert_eq!(read, model.len());
    let first = (0..model.len()).find(|place| bytes[*place] != model[*place]);
    assert_eq!(first, None, "content differs there");
    // Whatever is not data is zero.
    let mut offset = 0;
    while let Ok(data) = draft.seek(offset, false) {
        assert!(
            model[offset as usize..data as usize]
                .iter()
                .all(|byte| *byte == 0)
        );
        offset = draft.seek(data, true).unwrap();
    }
    assert!(
        model[(offset as usize).min(model.len())..]
            .iter()
            .all(|byte| *byte == 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_draft_is_what_was_written(changes in changes()) {
        let fixture = Fixture::new();
        let mut tree = fixture.tree();
        let (mut draft, mut handle) = create(&tree, "web");
        let mut model: Vec<u8> = vec![];
        for change in changes {
            match change {
                Change::Write(offset, len, fill) => {
                    let data: Vec<u8> =
                        (0..len).map(|place| fill.wrapping_mul((place / 999) as u8)).collect();
                    draft.write(offset, &data).unwrap();
                    let end = offset as usize + len;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&data);
                }
                Change::Zero(start, end) => {
                    draft.zero(start..end, 0).unwrap();
                    let end = (end as usize).min(model.len());
                    if let Some(part) = model.get_mut(start as usize..end) {
                        part.fill(0);
                    }
                }
                Change::Resize(len) => {
                    draft.set_len(len).unwrap();
                    model.resize(len as usize, 0);
                }
                Change::Flush => draft.flush(false).unwrap(),
                Change::Sync => draft.sync().unwrap(),
                Change::Ingest => {
                    let Body::Working(content) = draft.body() else { continue };
                    let _turn = draft.work.lock();
                    content.drain().unwrap();
                    draft.checkpoint(&content).unwrap();
                }
                Change::Close => {
                    draft.flush(false).unwrap();
                    tree.close(handle);
                    handle = tree.keep_open(Open::draft(Arc::clone(&draft), true));
                }
                Change::Remount => {
                    let is_draft = matches!(draft.body(), Body::Working(_));
                    draft.sync().unwrap();
                    let was_ready = draft.state.lock().prepared.is_some();
                    drop(draft);
                    drop(tree);
                    tree = fixture.tree();
                    if is_draft && !was_ready {
                        let inode = create_inode(&tree);
                        let found = tree.look_up(inode, b"web").unwrap().attributes.inode;
                        draft = tree.draft(found).unwrap();
                        handle = tree.keep_open(Open::draft(Arc::clone(&draft), true));
                    } else {
                        assert_eq!(snapshot_bytes(&tree, "web"), model);
                        model.clear();
                        (draft, handle) = create(&tree, "web");
                    }
                }
            }
            check(&draft, &model);
        }
        draft.write(0, b"end").unwrap();
        model.resize(model.len().max(3), 0);
        model[..3].copy_from_slice(b"end");
        draft.flush(false).unwrap();
        tree.close(handle);
        prop_assert_eq!(snapshot_bytes(&tree, "web"), model);
        prop_assert_eq!(fixture.files(), 0);
    }
}

#[test]
fn the_last_writer_publishes_once_and_the_name_stays() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let (draft, handle) = create(&tree, "web@first");
    draft.write(5, b"data").unwrap();
    draft.flush(false).unwrap();
    assert_eq!(count(&tree, "web"), 0);
    assert!(tree.must_wait(tree.look_up(ROOT, b"snapshots").unwrap().attributes.inode));
    tree.close(handle);
    assert_eq!(count(&tree, "web"), 1);
    assert!(tree.catalog.state().find("web", "first").is_some());
    assert_eq!(fixture.files(), 0);
    draft.change(&AttributeChange {
        mode: Some(0o640),
        ..AttributeChange::default()
    });
    draft
        .set_xattr(b"system.posix_acl_access", Some(b"acl"))
        .unwrap();
    assert_eq!(
        tree.look_up(create_inode(&tree), b"web@first")
            .unwrap()
            .attributes
            .mode,
        0o640
    );
    tree.unlink(create_inode(&tree), b"web@first").unwrap();
    assert_eq!(count(&tree, "web"), 1);
}

#[test]
fn a_second_pass_replaces_and_an_emptied_one_is_new() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let (draft, handle) = create(&tree, "web");
    draft.write(0, &[1; 8192]).unwrap();
    draft.flush(false).unwrap();
    tree.close(handle);

    let (handle, _) = tree.open_file(draft.inode(), true).unwrap();
    draft.write(4096, &[2; 8192]).unwrap();
    draft.flush(false).unwrap();
    tree.close(handle);
    assert_eq!(count(&tree, "web"), 1);
    assert_eq!(
        snapshot_bytes(&tree, "web"),
        [vec![1; 4096], vec![2; 8192]].concat()
    );

    let (handle, _) = tree.open_file(draft.inode(), true).unwrap();
    draft.set_len(0).unwrap();
    draft.write(0, &[3; 10]).unwrap();
    draft.flush(false).unwrap();
    tree.close(handle);
    assert_eq!(count(&tree, "web"), 2);
    assert_eq!(snapshot_bytes(&tree, "web"), [3; 10]);
}

#[test]
fn death_between_flush_and_release_publishes_at_the_next_mount() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let (draft, _) = create(&tree, "web");
    draft.write(0, &[7; 100_000]).unwrap();
    draft.flush(false).unwrap();
    // Another mount leaves what a living one works on alone.
    let other = fixture.tree();
    assert_eq!(count(&other, "web"), 0);
    assert_eq!(
        other.list(create_inode(&other)).unwrap().entries(0).count(),
        0
    );
    drop((draft, tree));
    let next = fixture.tree();
    assert_eq!(snapshot_bytes(&next, "web"), vec![7; 100_000]);
    assert_eq!(fixture.files(), 0);
}

#[test]
fn a_write_after_the_flush_takes_the_publication_back() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let (draft, _) = create(&tree, "web");
    draft.write(0, &[7; 10_000]).unwrap();
    draft.flush(false).unwrap();
    draft.write(4096, &[8; 100]).unwrap();
    draft.sync().unwrap();
    drop((draft, tree));
    let next = fixture.tree();
    assert_eq!(count(&next, "web"), 0);
    let inode = next
        .look_up(create_inode(&next), b"web")
        .unwrap()
        .attributes
        .inode;
    let mut bytes = [0; 2];
    next.draft(inode).unwrap().read(4195, &mut bytes).unwrap();
    assert_eq!(bytes, [8, 7]);
}

#[test]
fn killed_writers_zeros_and_names_on_their_way_stay_drafts() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let inode = create_inode(&tree);
    for (name, data, is_killed) in [("a", 1, true), ("b", 0, false), ("c.part", 1, false)] {
        let (draft, handle) = create(&tree, name);
        draft.write(0, &[data; 5000]).unwrap();
        draft.flush(is_killed).unwrap();
        tree.close(handle);
    }
    assert_eq!(tree.catalog.state().snapshots().len(), 0);
    tree.rename((inode, b"c.part"), (inode, b"c"), false)
        .unwrap();
    tree.rename((inode, b"b"), (inode, b"zeros"), false)
        .unwrap();
    assert_eq!(snapshot_bytes(&tree, "c"), vec![1; 5000]);
    assert_eq!(snapshot_bytes(&tree, "zeros"), vec![0; 5000]);
    tree.unlink(inode, b"a").unwrap();
    assert_eq!(tree.catalog.state().snapshots().len(), 2);
    assert_eq!(fixture.files(), 0);
}

#[test]
fn a_copy_inside_the_mount_shares_all_chunks() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let (draft, handle) = create(&tree, "web");
    let data: Vec<u8> = (0..3_000_001_u32).map(|place| (place / 77) as u8).collect();
    draft.write(0, &data).unwrap();
    draft.flush(false).unwrap();
    tree.close(handle);
    let (source, _) = tree.open_file(draft.inode(), false).unwrap();
    for (name, source_offset, target_offset) in [
        ("same", 0, 0),
        ("moved", 4096, 8192),
        ("odd", 100, 4196),
        ("unaligned", 1, 0),
    ] {
        let (copy, target) = create(&tree, name);
        let mut done = 0;
        while source_offset + done < data.len() as u64 {
            let range = CopyRange {
                source,
                source_offset: source_offset + done,
                target,
                target_offset: target_offset + done,
                len: u64::from(u32::MAX),
            };
            let count = tree.copy(range).unwrap();
            assert!(count > 0, "{name}");
            done += count;
        }
        copy.flush(false).unwrap();
        tree.close(target);
        let mut expected = vec![0; target_offset as usize];
        expected.extend(&data[source_offset as usize..]);
        assert_eq!(snapshot_bytes(&tree, name), expected, "{name}");
    }
    let state = tree.catalog.state();
    assert_eq!(state.of_resource("same")[0].manifest.added_len_bytes, 0);
}

#[test]
fn names_that_mean_nothing_and_changes_of_snapshots_are_refused() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let inode = create_inode(&tree);
    let refused = |name: &[u8]| tree.create(inode, name, BY).unwrap_err().kind();
    assert_eq!(refused(b"@x"), Kind::Invalid);
    assert_eq!(
        tree.create(ROOT, b"x", BY).unwrap_err().kind(),
        Kind::ReadOnly
    );
    assert_eq!(tree.refuse(inode).kind(), Kind::NotPermitted);
    assert_eq!(tree.refuse(ROOT).kind(), Kind::ReadOnly);
    assert_eq!(
        tree.look_up(ROOT, b"nothing").unwrap_err().kind(),
        Kind::NotFound
    );
    let _ = create(&tree, "web");
    assert_eq!(refused(b"web"), Kind::Exists);
    let too_long = tree
        .draft(tree.look_up(inode, b"web").unwrap().attributes.inode)
        .unwrap();
    assert_eq!(
        too_long.write(1 << 60, b"x").unwrap_err().kind(),
        Kind::TooLarge
    );
    too_long.write(0, b"still fine").unwrap();
}
