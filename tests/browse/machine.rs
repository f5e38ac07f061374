//! A whole machine, browsed by its owner, compared with the kernel's own mounts.

use super::machine_image::MachineImage;
use super::support::{Mount, MountOptions, Scratch, needs, shell, tintype_ok};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A store with a snapshot of one image, mounted.
pub struct Browsed {
    // Dropped in this order: the mount must end before its directory goes.
    pub mount: Option<Mount>,
    pub store: PathBuf,
    pub scratch: Scratch,
}

impl Browsed {
    pub fn new(image: &Path, options: &MountOptions) -> Self {
        let scratch = Scratch::new();
        let store = scratch.join("store");
        tintype_ok(&store, &["init"]);
        let image = image.to_str().expect("a path in UTF-8");
        tintype_ok(&store, &["create", "--resource", "web", image]);
        let mount = Some(Mount::start(&store, &scratch.join("mnt"), options));
        Self {
            mount,
            store,
            scratch,
        }
    }

    /// Returns a place below the snapshot.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join("mnt/snapshots/web/latest").join(name)
    }

    /// Returns what the snapshot's `snapshot.json` says.
    pub fn json(&self) -> serde_json::Value {
        let text = std::fs::read(self.path("snapshot.json")).expect("snapshot.json");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Runs a script with D (the snapshot's directory), M (the mount), W (scratch) and
    /// I (a folder with images); returns its standard output.
    #[track_caller]
    pub fn shell_ok(&self, images: &Path, script: &str) -> String {
        let (snapshot, point) = (self.path(""), self.scratch.join("mnt"));
        let variables: &[(&str, &OsStr)] = &[
            ("D", snapshot.as_os_str()),
            ("M", point.as_os_str()),
            ("W", self.scratch.path().as_os_str()),
            ("I", images.as_os_str()),
        ];
        let finished = shell(script, variables).expect_ok(script);
        finished.stdout.trim_end().to_owned()
    }
}

/// Mounts the file systems by the kernel, read-only, and checks that nothing differs:
/// first by attributes, then by content, links, lists and extended attributes.
const COMPARE: &str = r#"
mkdir -p $W/kernel $W/copy
trap 'umount -R $W/kernel || true' EXIT
compare() {
    (cd $W/kernel && find . -mindepth 1 -printf '%P %y %m %U:%G %n %s %b %T@ %C@ %l\n' | sort) >$W/a
    (cd $1 && find . -mindepth 1 -printf '%P %y %m %U:%G %n %s %b %T@ %C@ %l\n' | sort) >$W/b
    diff $W/a $W/b | head -20 >$W/differences || true
    [ ! -s $W/differences ] || { cat $W/differences >&2; exit 1; }
    # The long hole is compared by its map: rsync would read it.
    rsync -aHAX --checksum --exclude /sparse -n -i --delete $W/kernel/ $1/ >$W/differences
    [ ! -s $W/differences ] || { head $W/differences >&2; exit 1; }
    [ "$(stat -f -c "$2" $W/kernel)" = "$(stat -f -c "$2" $1)" ]
    wc -l <$W/a
}
mount -o loop,ro,noload $I/root.img $W/kernel
compare $D/partitions/2-root/files '%s %b %f %c %d'
umount $W/kernel
mount -o loop,ro,norecovery $I/lin.img $W/kernel
compare $D/partitions/7-tvg-lin/files '%s %b %f %a %c %d'
umount $W/kernel
mount -o loop,ro,noload $I/root.img $W/kernel
mount -o loop,ro,norecovery $I/lin.img $W/kernel/srv
rsync -aHAX --checksum --exclude /sparse -n -i --delete $W/kernel/ $D/files/ >$W/differences
[ ! -s $W/differences ] || { head $W/differences >&2; exit 1; }
cp -a $D/files/. $W/copy/
rsync -aHAX --checksum --exclude /sparse -n -i --delete $W/kernel/ $W/copy/ >$W/differences
[ ! -s $W/differences ] || { head $W/differences >&2; exit 1; }
[ $(du -k $W/copy/sparse | cut -f1) -lt 1024 ]
[ -z "$(getfattr -R -d -m tintype $W/copy/etc)" ]
umount -R $W/kernel
"#;

#[test]
fn a_machine_is_shown_as_it_runs() {
    needs!(
        "root", "fuse", "sgdisk", "mke2fs", "mkfs.xfs", "rsync", "setfacl", "mkswap"
    );
    let image = MachineImage::new();
    let mut browsed = Browsed::new(&image.path(), &MountOptions::default());
    let counts = browsed.shell_ok(image.scratch.path(), COMPARE);
    let counts: Vec<u32> = counts
        .lines()
        .map(|line| line.parse().expect("a count"))
        .collect();
    assert!(counts[0] > 5_070 && counts[1] > 20_500, "{counts:?}");

    browsed.shell_ok(
        image.scratch.path(),
        r#"
        P=$D/partitions
        [ "$(ls $D | tr '\n' ' ')" = "disk.img files partitions snapshot.json " ]
        [ "$(ls $P | tr '\n' ' ')" = "1-ESP 2-root 3-pv1 4-pv2 5-swap 6-vault 7-tvg-lin 8-tvg-stri " ]
        cmp $P/2-root/disk.img $I/root.img
        cmp $P/7-tvg-lin/disk.img $I/lin.img
        [ -z "$(ls -A $P/5-swap/files)$(ls -A $P/6-vault/files)" ]
        # Links share a number, whatever shows it has one of its own.
        number() { stat -c %i $1; }
        [ $(number $D/files/hard) = $(number $D/files/hard-7) ]
        [ $(number $D/files/hard) != $(number $P/2-root/files/hard) ]
        [ $(number $D/files/etc) != $(number $P/2-root/files/etc) ]
        [ "$(getfattr --only-values -n user.tintype.inode $D/files/hard)" = \
          "$(debugfs -R 'stat /hard' $I/root.img 2>/dev/null | awk '/^Inode:/ {print $2}')" ]
        [ -z "$(getfattr -d -m tintype $D/files/hard)" ]
        "#,
    );
    let before = numbers(&browsed);
    browsed.mount = None;
    browsed.mount = Some(Mount::start(
        &browsed.store,
        &browsed.scratch.join("mnt"),
        &MountOptions::default(),
    ));
    assert_eq!(numbers(&browsed), before, "numbers after another mount");
    assert_eq!(
        before.lines().count(),
        before
            .lines()
            .collect::<std::collections::HashSet<_>>()
            .len()
    );

    let json = browsed.json();
    assert_eq!(json["operating_system"]["name"], "Testix 1");
    assert_eq!(json["mounts"][1]["path"], "/srv");
    assert_eq!(json["mounts"][1]["partition"], "7-tvg-lin");
    let vault = &json["partitions"][5];
    assert_eq!(vault["filesystem"]["type"], "luks");
    assert_eq!(vault["filesystem"]["browsable"], false);
    assert!(vault["filesystem"]["reason"].is_string());
    assert_eq!(json["resource"], "web");
}

/// Returns the numbers of everything that has one name in `files/` and in the
/// partitions, and of the directories above.
fn numbers(browsed: &Browsed) -> String {
    browsed.shell_ok(
        Path::new("/"),
        "cd $D && find files partitions \\( -type d -o -links 1 \\) -printf '%i\\n' | sort -n",
    )
}

#[test]
fn holes_are_told_and_nothing_can_be_changed() {
    needs!(
        "root", "fuse", "sgdisk", "mke2fs", "mkfs.xfs", "setfacl", "mkswap"
    );
    let image = MachineImage::new();
    let browsed = Browsed::new(&image.path(), &MountOptions::default());
    browsed.shell_ok(
        image.scratch.path(),
        r#"
        ranges() { python3 -c '
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
place, ranges = 0, []
while True:
    try:
        data = os.lseek(file, place, os.SEEK_DATA)
    except OSError as error:
        assert error.errno == 6, error
        break
    place = os.lseek(file, data, os.SEEK_HOLE)
    ranges.append((data, place))
print((ranges, os.fstat(file).st_size))
' $1; }
        mkdir $W/kernel
        trap 'umount $W/kernel || true' EXIT
        mount -o loop,ro,noload $I/root.img $W/kernel
        [ "$(ranges $D/files/sparse)" = "$(ranges $W/kernel/sparse)" ]
        [ "$(ranges $D/files/random)" = "$(ranges $W/kernel/random)" ]
        cmp $W/kernel/random <(dd if=$D/files/random bs=1M iflag=direct status=none)
        # A hole of a partition is one of the image, and what is none is counted.
        for name in 2-root:root 7-tvg-lin:lin; do
            cp --sparse=always $I/${name#*:}.img $W/same
            [ "$(ranges $D/partitions/${name%:*}/disk.img)" = "$(ranges $W/same)" ]
            data=$(ranges $W/same | python3 -c 'print(sum(end - start for start, end in eval(input())[0]))')
            [ $(stat -c %b $D/partitions/${name%:*}/disk.img) = $((data / 512)) ]
            [ "$(stat -c '%a %u' $D/partitions/${name%:*}/disk.img)" = "400 0" ]
        done
        cp --reflink=auto $D/files/random $M/create/copied
        cmp $M/create/copied $W/kernel/random
        "#,
    );
    browsed.shell_ok(
        Path::new("/"),
        r#"
        F=$D/files
        refused() { ! "$@" 2>$W/said && grep -q "Read-only file system" $W/said; }
        refused touch $F/new
        refused touch $F/hard
        refused mkdir $F/etc/new
        refused ln -s x $F/new
        refused ln $F/hard $F/new
        refused mv $F/hard $F/new
        refused mv $F/hard $M/create/hard
        refused rm $F/hard
        refused rmdir $F/many
        refused chmod 600 $F/hard
        refused chown 1 $F/hard
        refused truncate -s 0 $F/hard
        refused setfattr -n user.x -v y $F/hard
        refused setfattr -x user.short $F/hard
        refused mknod $F/new p
        refused dd if=/dev/zero of=$F/hard conv=notrunc count=1 status=none
        refused dd if=/dev/zero of=$D/partitions/2-root/disk.img conv=notrunc count=1 status=none
        "#,
    );
}
