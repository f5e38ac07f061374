//! A fault of ours while a file system is read: it costs one request, never the mount.

use crate::support::{Fixture, can_mount, names};
use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use tintype::filesystem::Substitutes;
use tintype::tree::{ROOT, Tree, TreeOptions};

#[test]
fn a_fault_of_a_reader_costs_one_request() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let (tree, image) = (fixture.path("tree"), fixture.path("image"));
    fs::create_dir_all(tree.join("below/deep")).unwrap();
    fs::write(tree.join("fine"), "still there").unwrap();
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([tree.as_os_str(), image.as_os_str(), "16M".as_ref()])
        .status()
        .unwrap();
    assert!(made.success());
    let mounted = fixture.mount_with("mnt", |options| {
        options.thread_count = 2;
        options.fault_at = Some(b"below".to_vec());
    });
    fs::copy(&image, mounted.path("create/web")).unwrap();
    let files = mounted.path("snapshots/web/latest/files");
    // More often than there are threads: one that ends would be missed.
    for _ in 0..20 {
        let error = fs::metadata(files.join("below")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        // The listing comes to the fault too, with attributes.
        let listed: Result<Vec<_>, _> = fs::read_dir(&files).unwrap().collect();
        assert_eq!(listed.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(fs::read(files.join("fine")).unwrap(), b"still there");
    }
    assert_eq!(names(&mounted.path("snapshots")), ["web"]);
}

/// Makes an ext4 with 200 files and stores it as `web`; returns its names in the order
/// of its listing.
fn stored(fixture: &Fixture) -> Vec<OsString> {
    let (tree, image) = (fixture.path("tree"), fixture.path("image"));
    fs::create_dir(&tree).unwrap();
    for number in 0..200 {
        fs::write(tree.join(format!("file-{number:03}")), "content").unwrap();
    }
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([tree.as_os_str(), image.as_os_str(), "16M".as_ref()])
        .status()
        .unwrap();
    assert!(made.success());
    let mounted = fixture.mount();
    fs::copy(&image, mounted.path("create/web")).unwrap();
    let listed = fs::read_dir(mounted.path("snapshots/web/latest/files")).unwrap();
    let order: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(order.len(), 201);
    order
}

/// A fault in the middle of a listing once cost the entries before it: they had been
/// looked up and counted, the kernel never heard of them and so never forgot them.
#[test]
fn what_is_listed_before_a_fault_is_given() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let order = stored(&fixture);
    for place in [0, 1, 10, 60, 200] {
        let mounted = fixture.mount_with("mnt", |options| {
            options.fault_at = Some(order[place].as_encoded_bytes().to_vec());
        });
        let files = mounted.path("snapshots/web/latest/files");
        let mut listed = vec![];
        let mut failed = None;
        for entry in fs::read_dir(&files).unwrap() {
            match entry {
                Ok(entry) => listed.push(entry.file_name()),
                Err(error) => {
                    failed = error.raw_os_error();
                    break;
                }
            }
        }
        assert_eq!(failed, Some(libc::EIO), "{place}");
        assert_eq!(listed, order[..place], "{place}");
    }
}

#[test]
fn only_what_was_taken_of_a_listing_is_counted() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let _ = stored(&fixture);
    let options = TreeOptions {
        uid: 0,
        gid: 0,
        is_read_only: true,
        block_cache_len_bytes: 4 << 20,
        spill_folder: std::env::temp_dir(),
        substitutes: Substitutes::default(),
        fault_at: None,
    };
    let tree = Tree::open(fixture.catalog(), options).unwrap();
    let mut inode = ROOT;
    let id = fixture
        .catalog()
        .state()
        .snapshots()
        .last()
        .unwrap()
        .manifest
        .id;
    for name in ["by-id", &id.to_string()] {
        inode = tree
            .look_up(inode, name.as_bytes())
            .unwrap()
            .attributes
            .inode;
    }
    let target = tree.read_link(inode).unwrap();
    inode = ROOT;
    let target = String::from_utf8(target).unwrap();
    for name in target.split('/').skip(1).chain(["files"]) {
        inode = tree
            .look_up(inode, name.as_bytes())
            .unwrap()
            .attributes
            .inode;
    }
    let (handle, _) = tree.open_directory(inode).unwrap();
    let open = tree.opened(handle).unwrap();
    let folder = open.as_folder().unwrap();
    let before = tree.held_node_count();
    for (taken, is_fault) in [(0, true), (7, true), (7, false), (150, true)] {
        let mut inodes = vec![];
        let read = catch_unwind(AssertUnwindSafe(|| {
            folder.read_with_attributes(&tree, 0, &mut |_, _, entry| {
                if inodes.len() < taken {
                    inodes.push(entry.attributes.inode);
                    return ControlFlow::Continue(());
                }
                assert!(!is_fault, "a fault that this test wants");
                ControlFlow::Break(())
            })
        }));
        assert_eq!(read.is_err(), is_fault);
        assert_eq!(tree.held_node_count(), before + taken);
        for inode in inodes {
            tree.forget(inode, 1);
        }
        assert_eq!(tree.held_node_count(), before);
    }
}
