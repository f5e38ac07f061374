//! What backup and copy tools take out of `files/`, compared with the original tree by
//! `scripts/diff-walk` in all that each tool keeps.

use super::machine::Browsed;
use super::machine_image::MachineImage;
use super::support::{Mount, MountOptions, needs};
use std::path::Path;

/// The original tree, mounted by the kernel, and a file system for the copies: `$K` and
/// `$T`. `same` compares; the kind of file system decides link counts and sizes of
/// directories, the time of the copy the change times, and how a tool writes the holes.
const PREPARE: &str = r#"
K=$W/kernel T=$W/target
cleanup() { umount -R $K || true; umount $T || true; }
trap cleanup EXIT
mkdir -p $K $T
mount -o loop,ro,noload $I/root.img $K
mount -o loop,ro,norecovery $I/lin.img $K/srv
target() {
    truncate -s 3G $W/target.img
    case $1 in
        ext4) mke2fs -q -F -t ext4 -I 256 -N 100000 $W/target.img >&2 ;;
        xfs) mkfs.xfs -q -f $W/target.img >&2 ;;
    esac
    mount -o loop,noatime $W/target.img $T
}
same() {
    # XFS as root has a second name for each access control list.
    $DIFF --without ctime,links,blocks${3:-} --without-xattrs trusted.SGI_ $1 $2 >$W/differences || true
    sed -n '/differs: /p' $W/differences
}
counted() { tail -1 $W/differences | cut -d' ' -f2; }
"#;

/// restic keeps everything but sockets and holes, and writes out the long hole, which is
/// left out here.
const RESTIC: &str = r#"
export RESTIC_PASSWORD=secret RESTIC_REPOSITORY=$W/repository
restic() { command restic --no-cache --quiet "$@"; }
restic init
F=$(realpath $D/files)
restic backup --with-atime --exclude $F/sparse $F
for kind in ext4 xfs; do
    target $kind
    restic restore latest --target $T
    cmp $K/random $T$F/random
    same $K $T$F ,data,size
    [ $(counted) -gt 25500 ]
    # Sizes: diff-walk leaves them out, as those of directories differ.
    (cd $K && find . -type f ! -name sparse -printf '%P %s %n\n' | sort) >$W/a
    (cd $T$F && find . -type f -printf '%P %s %n\n' | sort) >$W/b
    cmp $W/a $W/b
    umount $T
done
"#;

const COPIES: &str = r#"
for kind in ext4 xfs; do
    target $kind
    mkdir $T/rsync $T/cp
    # rsync reads holes: the long one is copied by cp.
    rsync -aHAX --exclude /sparse --sparse $D/files/ $T/rsync/
    cp -a $D/files/. $T/cp/
    same $K $T/rsync ,atime,size,data
    [ $(counted) -gt 25500 ]
    same $K $T/cp ,size,data
    [ $(counted) -gt 25500 ]
    (cd $K && find . -type f -printf '%P %s %n\n' | sort) >$W/a
    (cd $T/cp && find . -type f -printf '%P %s %n\n' | sort) >$W/b
    cmp $W/a $W/b
    [ $(du -k $T/cp/sparse | cut -f1) -lt 1024 ]
    umount $T
done
"#;

/// Runs a script after the preparations; returns the differences that it prints.
fn differences(browsed: &Browsed, image: &MachineImage, script: &str) -> Vec<String> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/diff-walk");
    let script = format!("DIFF={}\n{PREPARE}{script}", tool.display());
    let printed = browsed.shell_ok(image.scratch.path(), &script);
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn what_restic_restores_is_what_the_image_holds() {
    needs!(
        "root", "fuse", "sgdisk", "mke2fs", "mkfs.xfs", "setfacl", "mkswap", "restic", "python3"
    );
    let image = MachineImage::new();
    let mut browsed = Browsed::new(&image.path(), &MountOptions::default());
    let found = differences(&browsed, &image, RESTIC);
    let left_out = ["b'socket'", "b'sparse'"]
        .map(|name| format!("differs: /: {name} only in the first"))
        .to_vec();
    assert_eq!(found, [left_out.clone(), left_out].concat());

    // Another mount shows the same, so nothing is read again.
    browsed.mount = None;
    browsed.mount = Some(Mount::start(
        &browsed.store,
        &browsed.scratch.join("mnt"),
        &MountOptions::default(),
    ));
    let script = r#"
        export RESTIC_PASSWORD=secret RESTIC_REPOSITORY=$W/repository
        F=$(realpath $D/files)
        restic --no-cache --json backup --with-atime --exclude $F/sparse $F |
            grep '"message_type":"summary"'
    "#;
    let summary = browsed.shell_ok(image.scratch.path(), script);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["files_new"], 0, "{summary}");
    assert_eq!(summary["files_changed"], 0, "{summary}");
    let unmodified = summary["files_unmodified"].as_u64().expect("a count");
    assert!(unmodified > 25_500, "{summary}");
}

#[test]
fn what_rsync_and_cp_copy_is_what_the_image_holds() {
    needs!(
        "root", "fuse", "sgdisk", "mke2fs", "mkfs.xfs", "setfacl", "mkswap", "rsync", "python3"
    );
    let image = MachineImage::new();
    let browsed = Browsed::new(&image.path(), &MountOptions::default());
    let found = differences(&browsed, &image, COPIES);
    let left_out = "differs: /: b'sparse' only in the first".to_owned();
    assert_eq!(found, [left_out.clone(), left_out]);
}
