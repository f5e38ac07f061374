//! Sources that somebody writes, and file systems that were not unmounted.

use super::support::{Scratch, listed, needs, open_catalog, tintype};
use super::{Pair, run, try_create};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tintype::base::{Progress, Timestamp};
use tintype::filesystem::{BlockCache, OpenOptions};
use tintype::snapshot::{Discard, IngestOptions, Labels, SnapshotKind, SnapshotType};
use tintype::source::ImageSource;

#[test]
fn standard_input_is_refused() {
    let scratch = Scratch::new();
    let args = ["create", "--discard-free", "--resource", "x", "-"];
    let finished = tintype(&scratch.join("store"), &args);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("standard input"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_source_that_is_mounted_is_refused() {
    needs!("root", "mkfs.btrfs");
    let scratch = Scratch::new();
    run(
        &scratch,
        "truncate -s 200M $W/image; mkfs.btrfs -q $W/image; mkdir $W/mnt; mount -o loop $W/image $W/mnt",
    );
    let finished = try_create(&scratch, &scratch.join("image"));
    run(&scratch, "umount $W/mnt");
    assert_eq!(finished.code, Some(7), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("nobody writes"),
        "{}",
        finished.stderr
    );
    assert_eq!(listed(&scratch.join("store")).len(), 0);
}

/// An image of a machine that lost its power: everything is kept, and the kernel's own
/// recovery works on what is restored.
#[test]
fn a_file_system_that_was_not_unmounted_is_kept() {
    needs!("root", "mke2fs", "mkfs.xfs");
    for (make, check) in [
        ("mke2fs -q -F -t ext4 $W/live", "e2fsck -fn $W/less >&2"),
        ("mkfs.xfs -q $W/live", "xfs_repair -n $W/less >&2"),
    ] {
        let scratch = Scratch::new();
        run(
            &scratch,
            &format!(
                "truncate -s 400M $W/live; {make}; mkdir $W/mnt $W/keep
                 mount -o loop $W/live $W/mnt; trap 'umount $W/mnt' EXIT
                 {{ yes $MARK || true; }} | head -c 40000000 >$W/mnt/gone
                 sync -f $W/mnt; rm $W/mnt/gone
                 for number in $(seq 300); do echo $number >$W/mnt/$number; done
                 sync -f $W/mnt; cp $W/mnt/[0-9]* $W/keep
                 cp --sparse=always $W/live $W/image"
            ),
        );
        let pair = Pair::new(scratch);
        pair.expect_all_kept("it was not unmounted");
        pair.shell_ok(&format!(
            "mount -o loop $W/less $W/mnt; diff -r $W/keep $W/mnt -x 'lost+found'; umount $W/mnt
             {check}"
        ));
    }
}

/// A frozen ext4 has an empty journal: that is how a running machine gets rid of its
/// deleted files.
#[test]
fn a_frozen_ext4_loses_its_free_blocks() {
    needs!("root", "mke2fs", "fsfreeze");
    let scratch = Scratch::new();
    run(
        &scratch,
        "truncate -s 200M $W/live; mke2fs -q -F -t ext4 $W/live; mkdir $W/mnt
         mount -o loop $W/live $W/mnt; trap 'umount $W/mnt' EXIT
         { yes $MARK || true; } | head -c 40000000 >$W/mnt/gone
         sync -f $W/mnt; rm $W/mnt/gone; seq 9999 >$W/mnt/stays
         fsfreeze -f $W/mnt; cp --sparse=always $W/live $W/image; fsfreeze -u $W/mnt",
    );
    let pair = Pair::new(scratch);
    assert!(pair.left_out().len() > 9000, "{}", pair.said);
    pair.shell_ok(
        "e2fsck -fn $W/less >&2; mount -o loop $W/less $W/mnt
         seq 9999 | cmp - $W/mnt/stays; umount $W/mnt",
    );
}

/// A source that changes into another one once its data is asked for.
struct Changing {
    before: Arc<dyn ImageSource>,
    after: Arc<dyn ImageSource>,
    is_changed: AtomicBool,
}

impl Changing {
    fn now(&self) -> &dyn ImageSource {
        match self.is_changed.load(Ordering::SeqCst) {
            true => &*self.after,
            false => &*self.before,
        }
    }
}

impl ImageSource for Changing {
    fn len(&self) -> u64 {
        self.before.len()
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.is_changed.store(true, Ordering::SeqCst);
        self.now().next_data(offset)
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        self.now().read_at(offset, target)
    }

    fn warnings(&self) -> Vec<String> {
        vec![]
    }
}

/// A file that is written to free blocks while they are passed over would be lost: then
/// nothing is made.
#[test]
fn a_source_that_changes_meanwhile_is_refused() {
    needs!("mke2fs", "debugfs");
    let scratch = Scratch::new();
    run(
        &scratch,
        "truncate -s 60M $W/before; mke2fs -q -F -t ext4 $W/before; cp $W/before $W/after
         head -c 300000 /dev/urandom >$W/new; debugfs -w -R \"write $W/new new\" $W/after 2>/dev/null",
    );
    let store = scratch.join("store");
    let _ = tintype(&store, &["init"]).expect_ok("init");
    let catalog = open_catalog(&store);
    let open = |name: &str| tintype::source::open(&scratch.join(name)).expect("opened");
    for (after, is_made) in [("before", true), ("after", false)] {
        let source: Arc<dyn ImageSource> = Arc::new(Changing {
            before: open("before"),
            after: open(after),
            is_changed: AtomicBool::new(false),
        });
        let options = OpenOptions::new(BlockCache::new(1 << 20));
        let discard = Discard::find(&source, options).expect("free space");
        assert!(discard.free_space().ranges.len() > 1);
        let options = IngestOptions {
            resource: after.to_owned(),
            labels: Labels::default(),
            kind: SnapshotKind::Volume,
            snapshot_type: SnapshotType::Snapshot,
            created_at: Timestamp::now(),
            warnings: vec![],
            discarded_len_bytes: None,
        };
        let progress = Arc::new(Progress::default());
        let made = tintype::snapshot::ingest_without_free(&catalog, &discard, options, &progress);
        assert_eq!(made.is_ok(), is_made, "{made:?}");
        if let Err(error) = made {
            let text = tintype::store::chain(&error);
            assert!(text.contains("changed while it was read"), "{text}");
        }
    }
    assert_eq!(listed(&store).len(), 1);
}
