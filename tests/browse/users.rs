//! Who may read what: the owner of a mount everything, others what the image says.

use super::machine::Browsed;
use super::machine_image::MachineImage;
use super::support::{MountOptions, needs};
use std::path::Path;

/// Runs the rest of a line as nobody.
const AS_NOBODY: &str = r#"
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
denied() { ! as_nobody "$@" 2>$W/said >&2 && grep -q "Permission denied" $W/said; }
"#;

/// What nobody does with a store and a mount of their own.
const OF_ONES_OWN: &str = r#"
mknod -m 666 $W/fuse c 10 229
mount --bind $W/fuse /dev/fuse
chmod 755 $W
mkdir $W/own
cp $TINTYPE $W/program && chmod 755 $W/program
chown 65534:65534 $W/own
chmod 644 $W/machine.img
cd $W/own
export HOME=$W/own TINTYPE_STORE=$W/own/store
as_nobody $W/program init >&2
as_nobody $W/program create --resource web $W/machine.img >&2
as_nobody mkdir mnt
as_nobody $W/program mount --log-file $W/own/log mnt >&2
trap 'as_nobody fusermount3 -u $W/own/mnt' EXIT
F=mnt/snapshots/web/latest/files
[ "$(as_nobody cat $F/private/secret)" = secret ]
[ "$(as_nobody cat $F/denied)" = "denied by list" ]
[ "$(as_nobody find $F/srv/ -type f | wc -l)" = 20502 ]
[ "$(as_nobody stat -c '%U %a %A' $F/private)" = "root 700 drwx------" ]
# Nobody else is let in, not even root.
if ls mnt >/dev/null 2>&1; then exit 1; fi
"#;

#[test]
fn others_may_what_the_image_lets_them() {
    needs!(
        "root", "fuse", "sgdisk", "mke2fs", "mkfs.xfs", "setfacl", "setpriv", "mkswap"
    );
    let image = MachineImage::new();
    let options = MountOptions {
        args: vec!["--allow-other".to_owned()],
    };
    let browsed = Browsed::new(&image.path(), &options);
    browsed.shell_ok(
        Path::new("/"),
        &format!(
            "{AS_NOBODY}{}",
            r#"
            chmod 755 $W
            F=$D/files
            [ "$(as_nobody cat $F/etc/hostname)" = host ]
            [ "$(as_nobody ls $F/many | wc -l)" = 5000 ]
            denied ls $F/private
            denied cat $F/private/secret
            denied cat $D/disk.img
            denied cat $D/partitions/2-root/disk.img
            # Access control lists decide both ways.
            [ "$(as_nobody cat $F/listed)" = "readable by list" ]
            denied cat $F/denied
            [ "$(as_nobody getfacl -cp $F/listed)" = "$(getfacl -cp $F/listed)" ]
            # As everywhere, who may not read them does not hear of them.
            [ -z "$(as_nobody getfattr -d -m trusted $F/hard)" ]
            getfattr -d -m - $F/hard | grep -q trusted.own
            [ "$(cat $F/private/secret)" = secret ]
            "#
        ),
    );
}

#[test]
fn a_mount_of_ones_own_shows_its_owner_everything() {
    needs!(
        "root",
        "fuse",
        "sgdisk",
        "mke2fs",
        "mkfs.xfs",
        "setfacl",
        "setpriv",
        "mkswap",
        "fusermount3",
        "unshare"
    );
    let image = MachineImage::new();
    // In a mount namespace, where everybody may open the FUSE device.
    let script = format!(
        "cat >$W/inner <<'INNER'\n{AS_NOBODY}{OF_ONES_OWN}\nINNER\n\
         unshare --mount --propagation private bash -euo pipefail $W/inner"
    );
    image.shell_ok(&script);
}
