//! `ls`, `tree`, `stat`, `cat`, `cp`, `tar` and `inspect` of a whole machine, from the
//! image and from a snapshot of it, as the machine sees it and by partition: all of it is
//! what the kernel's mounts show.

use super::machine_image::MachineImage;
use super::support::{Scratch, needs, shell, shell_within, tintype_ok};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// Mounts the root, with what fstab puts on it, at `$K/all`, and each file system alone.
const MOUNT: &str = r#"
K=$W/kernel
trap 'umount -R $K/all || true; umount $K/2 || true; umount $K/7 || true' EXIT
mkdir -p $K/all $K/2 $K/7
mount -o loop,ro,noload $I/root.img $K/all
mount --make-private $K/all
mount --bind $K/all $K/2
mount -o loop,ro,norecovery $I/lin.img $K/7
mount --bind $K/7 $K/all/srv
"#;

/// Compares what the commands print as JSON with `lstat`. Arguments: how (`ls`, `tree`,
/// `stat`), the kernel's tree; standard input: lines of JSON.
const COMPARE: &str = r#"
import datetime, json, os, stat, sys

def time(ns):
    seconds, rest = divmod(ns, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S"), rest

def told_time(text):
    moment, _, rest = text.rstrip("Z").partition(".")
    return moment, int((rest or "0").ljust(9, "0"))

WORDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "character_device", stat.S_IFBLK: "block_device"}

def kernel(path):
    found = os.lstat(path)
    view = {"type": WORDS[stat.S_IFMT(found.st_mode)], "mode": "%04o" % stat.S_IMODE(found.st_mode),
            "uid": found.st_uid, "gid": found.st_gid, "link_count": found.st_nlink, "size": found.st_size,
            "allocated_len_bytes": found.st_blocks * 512, "inode": found.st_ino,
            "accessed_at": time(found.st_atime_ns), "modified_at": time(found.st_mtime_ns),
            "changed_at": time(found.st_ctime_ns)}
    if stat.S_ISLNK(found.st_mode):
        view["target"] = os.readlink(path).decode()
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        view["device_major"], view["device_minor"] = os.major(found.st_rdev), os.minor(found.st_rdev)
    return view

how, root = sys.argv[1], os.fsencode(sys.argv[2])
seen, wrong = set(), []
for line in sys.stdin.buffer:
    told = json.loads(line)
    path = bytes.fromhex(told["path_hex"]) if "path_hex" in told else told["path"].encode()
    expected = kernel(root + path)
    for name, value in expected.items():
        other = told.get(name)
        if name.endswith("_at"):
            other = told_time(other)
        if other != value:
            wrong.append((path, name, other, value))
    if how == "stat":
        names = {os.fsencode(name) for name in os.listxattr(root + path, follow_symlinks=False)}
        values = {name: os.getxattr(root + path, name, follow_symlinks=False).hex() for name in names}
        others = {one["name"].encode(): one["value_hex"] for one in told["attributes"]}
        if values != others:
            wrong.append((path, "attributes", others, values))
    seen.add(path)
if how != "stat":
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)[len(root):]
            if path not in seen:
                wrong.append((path, "is missing"))
            seen.discard(path)
    wrong += [(path, "is too much") for path in seen]
    seen = {path for path in seen}
for line in wrong[:20]:
    print(line)
sys.exit(1 if wrong else 0)
"#;

/// Every command on one view: `S` is how a place is named (empty, or `web:`), `A` the
/// other arguments, `V` the kernel's tree.
const COMMANDS: &str = r#"
check() {
    local S=$1 V=$2
    shift 2
    run() { local command=$1; shift; "$TINTYPE" --store $STORE --quiet $command "$@"; }
    run ls --json -Ra "$@" $S/ | python3 $W/compare ls $V
    run tree --json -a "$@" $S/ | python3 $W/compare tree $V
    # Some of everything: each file at the top, and the special ones.
    (cd $V && find . -maxdepth 2 ! -name . ! -path './many/*' -printf "$S/%P\0") >$W/places
    xargs -0 "$TINTYPE" --store $STORE --quiet stat --json "$@" <$W/places | python3 $W/compare stat $V
    # By the end of a name, which no shell has to quote.
    (cd $V && find . -type f ! -name sparse ! -path './many/*' -size +0 -printf "$S/%P\0" | sort -z) >$W/places
    xargs -0 "$TINTYPE" --store $STORE --quiet cat "$@" <$W/places | sha256sum >$W/ours
    (cd $V && find . -type f ! -name sparse ! -path './many/*' -size +0 -printf "$S/%P\0" | sort -z |
        sed -z "s,^$S/,./," | xargs -0 cat) | sha256sum >$W/theirs
    cmp $W/ours $W/theirs
    rm -rf $W/copy $W/unpacked
    run cp -a "$@" $S/ $W/copy
    # Sizes and counts of directories are those of the target.
    $DIFF --without ctime,links,blocks,size,data $V $W/copy >$W/differences || { cat $W/differences >&2; exit 1; }
    mkdir $W/unpacked
    run tar "$@" $S/ 2>/dev/null |
        tar x -p --xattrs --xattrs-include='*' --acls --numeric-owner -C $W/unpacked
    $DIFF --without ctime,atime,links,blocks,size,data $V $W/unpacked >$W/differences || true
    ! grep '^differs' $W/differences | grep -v "b'socket' only in the first" >&2
    (cd $V && find . -type f -printf '%P %s %n\n' | sort) >$W/theirs
    for made in copy unpacked; do
        (cd $W/$made && find . -type f -printf '%P %s %n\n' | sort) | cmp - $W/theirs
        [ ! -e $W/$made/sparse ] || [ $(du -k $W/$made/sparse | cut -f1) -lt 1024 ]
    done
    rm -rf $W/copy $W/unpacked
}
"#;

#[test]
fn every_command_tells_of_a_machine_what_the_kernel_tells() {
    needs!(
        "root", "sgdisk", "mke2fs", "mkfs.xfs", "setfacl", "mkswap", "python3", "tar"
    );
    let image = MachineImage::new();
    let scratch = Scratch::new();
    let store = scratch.join("store");
    tintype_ok(&store, &["init"]);
    let path = image.path();
    let path = path.to_str().expect("a path in UTF-8");
    tintype_ok(&store, &["create", "--resource", "web", path]);
    std::fs::write(scratch.join("compare"), COMPARE).expect("written");
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/diff-walk");
    let views = r#"
        check_all() {
            local name=$1
            shift
            check "$name" $K/all "$@"
            check "$name" $K/2 "$@" --partition 2-root
            check "$name" $K/7 "$@" --partition 7
        }
        check_all "" --image $I/machine.img
        check_all web:
    "#;
    let script = format!("{MOUNT}{COMMANDS}{views}");
    let variables: &[(&str, &OsStr)] = &[
        ("W", scratch.path().as_os_str()),
        ("I", image.scratch.path().as_os_str()),
        ("STORE", store.as_os_str()),
        ("DIFF", tool.as_os_str()),
    ];
    let limit = Duration::from_secs(400);
    let _ = shell_within(limit, &script, variables).expect_ok("the commands");
    check_inspections(&store, path, variables);
}

/// Checks that image and snapshot are told alike, and that usage is what `stat -f` says.
fn check_inspections(store: &Path, image: &str, variables: &[(&str, &OsStr)]) {
    let inspected = |what: &[&str]| -> serde_json::Value {
        let words = [&["--json", "inspect"], what].concat();
        let mut told: serde_json::Value =
            serde_json::from_str(&tintype_ok(store, &words)).expect("JSON");
        told["image"].take();
        told
    };
    let json = inspected(&["--image", image]);
    assert_eq!(json, inspected(&["web"]));
    let names: Vec<_> = json["partitions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| found["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "1-ESP",
            "2-root",
            "3-pv1",
            "4-pv2",
            "5-swap",
            "6-vault",
            "7-tvg-lin",
            "8-tvg-stri"
        ]
    );
    let usage = r#"
        for number in 2 7; do stat -f -c '%b %f %S' $K/$number; done
    "#;
    let told = shell(&format!("{MOUNT}{usage}"), variables).expect_ok("stat -f");
    for (line, index) in told.stdout.lines().zip([1, 6]) {
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|word| word.parse().expect("a number"))
            .collect();
        let filesystem = &json["partitions"][index]["filesystem"];
        assert_eq!(filesystem["free_len_bytes"], numbers[1] * numbers[2]);
        assert_eq!(
            filesystem["used_len_bytes"],
            (numbers[0] - numbers[1]) * numbers[2]
        );
    }
}
