//! Subvolumes and snapshots: as directories, as roots, nested, deleted, and counted
//! by simple quotas.

use crate::oracle::nasty::{Scale, fill};
use crate::support::{Scratch, is_able, say, shell, umount};
use crate::walk::{compare, kernel_tree, our_tree};
use crate::{compare_with_kernel, forget_stubs, make, mount, open_file};
use std::path::Path;
use tintype::filesystem::{ErrorKind, FileSystem, Name, NodeId, RootSelector};

const SCALE: Scale = Scale {
    large_directory: 700,
    hard_links: 50,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 3000,
};

fn populate(point: &Path) {
    shell(&format!(
        "cd '{0}'; btrfs -q subvolume create one; mkdir one/dir; chown 7:8 one/dir; \
         btrfs -q subvolume create one/dir/nested; echo inside > one/dir/nested/file; \
         for i in $(seq 60); do btrfs -q subvolume create many-$i; echo $i > many-$i/n; done",
        point.display()
    ));
    fill(&point.join("one"), SCALE);
    // The nested subvolume is not in the snapshots: an empty directory stands there.
    shell(&format!(
        "cd '{0}'; btrfs -q subvolume snapshot one first; \
         btrfs -q subvolume snapshot -r one readonly; \
         echo changed > 'first/one byte'; rm -r first/names one/times; \
         btrfs -q subvolume snapshot first second; echo more > second/more; \
         mv many-7 one/moved; btrfs -q subvolume delete many-8 many-9; \
         mkdir 'one/with space'; btrfs -q subvolume create 'one/with space/last'; sync -f .",
        point.display()
    ));
}

#[test]
fn subvolumes_are_directories() {
    let test = "subvolumes_are_directories";
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "1G", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    populate(&point);
    umount(&point);
    let count = compare_with_kernel(test, &image, &point, "loop,noatime,ro");
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {count} entries equal to the kernel's"
    ));
    let fs = open_file(&image).expect("opened");
    let name = |text: &'static str| Name::new(text.as_bytes()).expect("a name");
    let first = fs
        .lookup(fs.root(), name("first"))
        .expect("read")
        .expect("there");
    assert_eq!(first.inode, 256);
    assert_ne!(first.subvolume, fs.root().subvolume);
    let dir = fs.lookup(first, name("dir")).expect("read").expect("there");
    let stub = fs
        .lookup(dir, name("nested"))
        .expect("read")
        .expect("there");
    let stat = fs.metadata(stub).expect("read");
    assert_eq!((stat.user, stat.group, stat.size), (7, 8, 0));
    assert_eq!(fs.lookup(stub, name("file")).expect("read"), None);
    for selector in ["second", "/one/with space/last/"] {
        let selector = RootSelector::Path(selector.into());
        let node = fs.root_of(&selector).expect("found");
        assert_eq!(
            fs.root_of(&RootSelector::Id(node.subvolume))
                .expect("found"),
            node
        );
    }
    for selector in [
        RootSelector::Path(b"one/dir".to_vec()),
        RootSelector::Path(b"nothing".to_vec()),
        RootSelector::Path(format!("one{}nothing", "/".repeat(4096)).into_bytes()),
        RootSelector::Path(b"one byte".to_vec()),
        RootSelector::Id(7),
        RootSelector::Id(999_999),
        RootSelector::Id(u64::MAX),
    ] {
        assert!(fs.root_of(&selector).is_err(), "{selector:?}");
    }
    let top = fs.root_of(&RootSelector::TopLevel).expect("found");
    assert_eq!(
        top,
        NodeId {
            subvolume: 5,
            inode: 256
        }
    );
    for subvolume in [0, 1, 2, 7, 1 << 40, 1 << 63, 1 << 63 | 2, u64::MAX] {
        let forged = NodeId {
            subvolume,
            inode: 256,
        };
        let error = fs.metadata(forged).expect_err("no such tree");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{subvolume}");
    }
}

#[test]
fn the_default_subvolume_is_the_root() {
    let test = "the_default_subvolume_is_the_root";
    if !is_able(test, &["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "256M", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    shell(&format!(
        "cd '{0}'; mkdir plain; btrfs -q subvolume create plain/@; \
         btrfs -q subvolume create plain/@/home; echo root > plain/@/file; \
         btrfs subvolume set-default plain/@",
        point.display()
    ));
    umount(&point);
    compare_with_kernel(test, &image, &point, "loop,noatime,ro");
    let fs = open_file(&image).expect("opened");
    assert_ne!(fs.root().subvolume, 5);
    assert!(fs.summary().features.contains(&"default-subvol".to_owned()));
    let top = fs.root_of(&RootSelector::TopLevel).expect("found");
    let plain = Name::new(b"plain").expect("a name");
    assert!(fs.lookup(top, plain).expect("read").is_some());
    let by_path = fs.root_of(&RootSelector::Path(b"plain/@".to_vec()));
    assert_eq!(by_path.expect("found"), fs.root());
}

/// All blocks have moved then, those that snapshots share too, and are of one more profile.
#[test]
fn a_balance_moves_everything() {
    let test = "a_balance_moves_everything";
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "2G", "-m single -d single");
    mount(&image, &point, "loop,noatime").expect("mounted");
    populate(&point);
    let at = point.display();
    shell(&format!("btrfs -q balance start --full-balance '{at}'"));
    let options = "-f -dconvert=dup,limit=1 -mconvert=dup,limit=1";
    shell(&format!("btrfs -q balance start {options} '{at}'"));
    umount(&point);
    let count = compare_with_kernel(test, &image, &point, "loop,noatime,ro");
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {count} entries equal to the kernel's"
    ));
}

/// Turns on simple quotas; the tools of Debian 12 do not know them yet.
fn enable_simple_quotas(point: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // BTRFS_IOC_QUOTA_CTL with BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA.
    const QUOTA_CTL: libc::c_ulong = 0xC010_9428;
    let arguments: [u64; 2] = [4, 0];
    let directory = std::fs::File::open(point)?;
    // SAFETY: the structure has the length that the number of the call tells.
    let code = unsafe { libc::ioctl(directory.as_raw_fd(), QUOTA_CTL, arguments.as_ptr()) };
    match code {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn simple_quotas_change_nothing() {
    let test = "simple_quotas_change_nothing";
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "1G", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    if let Err(error) = enable_simple_quotas(&point) {
        say(&format!("SKIPPED TEST: filesystem_btrfs::{test}: {error}"));
        return;
    }
    populate(&point);
    umount(&point);
    let count = compare_with_kernel(test, &image, &point, "loop,noatime,ro");
    let fs = open_file(&image).expect("opened");
    assert!(fs.summary().features.contains(&"squota".to_owned()));
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {count} entries equal to the kernel's"
    ));
}

/// Each subvolume alone is what a mount with `subvolid=` shows.
#[test]
fn every_subvolume_is_a_root() {
    let test = "every_subvolume_is_a_root";
    if !is_able(test, &["mkfs.btrfs", "btrfs", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "1G", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    populate(&point);
    umount(&point);
    let fs = open_file(&image).expect("opened");
    let mut entries = 0;
    for path in ["one", "first", "readonly", "second", "one/moved"] {
        let selector = RootSelector::Path(path.into());
        let root = fs.root_of(&selector).expect("found");
        mount(
            &image,
            &point,
            &format!("loop,noatime,ro,subvolid={}", root.subvolume),
        )
        .expect("mounted");
        let mut kernel = kernel_tree(&point);
        umount(&point);
        let mut ours = crate::walk::our_tree_from(&fs, root).expect("read");
        forget_stubs(&mut kernel, &mut ours);
        compare(path, &kernel, &ours);
        entries += kernel.len();
    }
    let whole = our_tree(&fs).expect("read").len();
    assert!(whole > entries, "{whole} entries of all, {entries} of some");
}

/// The tree of a whole system, in three subvolumes with two snapshots, is only copied
/// where somebody says where there is one: it takes minutes.
#[test]
fn a_whole_system_in_three_subvolumes() {
    let test = "a_whole_system_in_three_subvolumes";
    let Some(system) = std::env::var_os("TINTYPE_BTRFS_SYSTEM") else {
        say(&format!(
            "SKIPPED TEST: filesystem_btrfs::{test}: TINTYPE_BTRFS_SYSTEM names no tree"
        ));
        return;
    };
    if !is_able(test, &["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "6G", "");
    mount(&image, &point, "loop,noatime,compress=zstd").expect("mounted");
    let (at, from) = (point.display(), Path::new(&system).display());
    // Each of them has its own limit of time.
    for line in [
        "for i in @ @var @home; do btrfs -q subvolume create $i; done; mkdir @/var @/home",
        "cp -ax \"$from\"/var/. @var/; mkdir @home/user; cp -a \"$from\"/etc @home/user/",
        "for i in $(ls -A \"$from\"); do case $i in var|usr) ;; *) cp -ax \"$from\"/$i @/;; esac; done",
        "mkdir @/usr; cp -ax \"$from\"/usr/share @/usr/",
        "for i in $(ls -A \"$from\"/usr); do [ $i = share ] || cp -ax \"$from\"/usr/$i @/usr/; done",
        "btrfs -q subvolume snapshot -r @ @snapshot-1; rm -r @/usr/share/doc; \
         echo changed >> @/etc/passwd; btrfs -q subvolume snapshot @ @snapshot-2; \
         cp -a @/etc @/etc.copy; btrfs subvolume set-default @; sync -f .",
    ] {
        shell(&format!("from='{from}'; cd '{at}'; {line}"));
    }
    umount(&point);
    let fs = open_file(&image).expect("opened");
    let mut entries = 0;
    for path in ["@", "@var", "@home", "@snapshot-1", "@snapshot-2"] {
        let root = fs.root_of(&RootSelector::Path(path.into())).expect("found");
        let options = format!("loop,noatime,ro,subvol={path}");
        mount(&image, &point, &options).expect("mounted");
        let kernel = kernel_tree(&point);
        umount(&point);
        let ours = crate::walk::our_tree_from(&fs, root).expect("read");
        compare(path, &kernel, &ours);
        entries += kernel.len();
    }
    assert_eq!(
        fs.root_of(&RootSelector::Path(b"@".to_vec()))
            .expect("found"),
        fs.root()
    );
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {entries} entries of five subvolumes equal to \
         the kernel's"
    ));
}
