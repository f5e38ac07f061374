//! A fault of ours while a file system is read: it costs one request, never the mount.

use crate::support::{Fixture, can_mount, names};
use std::fs;
use std::process::Command;

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
