//! What `tintype cp` makes of rights that the target cannot have, or is not to have.

use super::support::{Fixture, can_use_loop_devices};
use super::trees::{Mounted, bash, has_tools};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// An image with ACLs and capabilities, and a file system that takes them.
fn prepared(name: &str) -> Option<(Fixture, Mounted)> {
    let tools = ["setfacl", "getfacl", "setfattr", "getfattr"];
    if !can_use_loop_devices(name) || !has_tools(name, &tools) {
        return None;
    }
    let fixture = Fixture::new();
    let here = fixture.path(".");
    bash(
        &here,
        "for name in x target; do truncate -s 16M $name.img; mke2fs -q -F -t ext4 $name.img; done",
    );
    let image = Mounted::new(&fixture.path("x.img"), "rw");
    bash(
        &image.path,
        "mkdir dir; echo x > dir/shared; setfacl -m u::rw,g::-,u:1000:rwx,m::rwx,o::- dir/shared; \
         cp -a dir/shared dir/masked; setfacl -m g::rwx,m::rx dir/masked; \
         echo x > dir/plain; chmod 664 dir/plain; mkfifo -m 640 dir/pipe; mknod -m 640 dir/null c 1 3; \
         echo x > dir/tool; chmod 755 dir/tool; setfattr -n user.kept -v 1 dir/tool; \
         setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 dir/tool; \
         setfacl -m u::rwx,g::-,u:1000:rwx,m::rwx,o::- dir",
    );
    drop(image);
    let target = Mounted::new(&fixture.path("target.img"), "rw");
    Some((fixture, target))
}

/// The bits of the group are the mask of an ACL. Without the ACL they let the group do
/// what the image does not.
#[test]
fn the_mask_of_an_acl_does_not_become_the_rights_of_the_group() {
    let Some((fixture, target)) = prepared("cp of masks") else {
        return;
    };
    let here = fixture.path(".");
    let modes = |folder: &str| {
        bash(
            &here,
            &format!("cd {folder}; stat -c '%n %a' dir dir/masked dir/plain dir/shared | xargs"),
        )
    };
    fixture
        .run(&["cp", "-r", "--image", "x.img", "/dir", "target.mnt"])
        .text();
    let expected = "dir 700 dir/masked 650 dir/plain 664 dir/shared 600\n";
    assert_eq!(modes("target.mnt"), expected);
    fixture
        .run(&["cp", "--image", "x.img", "/dir/shared", "one"])
        .text();
    let mode = fs::metadata(fixture.path("one")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A target that has no ACLs: told, and no more rights than there were.
    bash(&here, "mkdir none; mount -t ramfs none none");
    let answer = fixture.run(&["cp", "-a", "--image", "x.img", "/dir", "none"]);
    let found = modes("none");
    bash(&here, "umount none");
    answer.refused(6, &["ACLs not set: 3"]);
    assert_eq!(found, expected);
    // And where it has: the mode shows the mask.
    bash(&target.path, "rm -r dir");
    fixture
        .run(&["cp", "-a", "--image", "x.img", "/dir", "target.mnt"])
        .text();
    let expected = "dir 770 dir/masked 650 dir/plain 664 dir/shared 670\n";
    assert_eq!(modes("target.mnt"), expected);
}

/// Without the owner of the image, setuid was dropped and capabilities were kept: both
/// let whoever runs the file do more than they may.
#[test]
fn capabilities_go_with_their_owner() {
    let Some((fixture, target)) = prepared("cp of capabilities") else {
        return;
    };
    let attributes = || {
        let line = "getfattr --absolute-names -d -m - dir/tool | grep = | cut -d= -f1 | xargs";
        bash(&target.path, line)
    };
    let words = ["cp", "-a", "--image", "x.img", "/dir", "target.mnt"];
    fixture.run(&words).text();
    assert_eq!(attributes(), "security.capability user.kept\n");
    bash(&target.path, "rm -r dir");
    fixture.run(&[&words[..], &["--no-owner"]].concat()).text();
    assert_eq!(attributes(), "user.kept\n");
}

/// Devices, pipes and sockets kept what the ACL of their new directory gave them.
#[test]
fn a_node_gets_no_acl_from_where_it_is_copied_to() {
    let Some((fixture, target)) = prepared("cp of nodes") else {
        return;
    };
    bash(&target.path, "setfacl -d -m u:1000:rwx .");
    for name in ["/dir/pipe", "/dir/null", "/dir/plain"] {
        fixture
            .run(&["cp", "-a", "--image", "x.img", name, "target.mnt"])
            .text();
    }
    let found = bash(
        &target.path,
        "getfacl -s pipe null plain; stat -c %a pipe null plain | xargs",
    );
    assert_eq!(found, "640 640 664\n");
}
