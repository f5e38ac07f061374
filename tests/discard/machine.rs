//! A whole disk: GPT with an ESP, a root, LVM on two partitions, swap, something encrypted,
//! and gaps. Nothing outside of file systems changes.

use super::machine_image::MachineImage;
use super::support::{needs, tintype_ok};
use super::{MARK, Pair};
use std::ops::Range;

/// Deletes files on the root and on the logical volume, and puts junk where no file system
/// is: in gaps, in the swap space and behind the encrypted header.
const SPOIL: &str = r#"
start() { sgdisk -i $1 $W/machine.img | awk '/^First sector/ {print $3 * 512}'; }
put() { dd of=$W/machine.img bs=1M oflag=seek_bytes conv=notrunc status=none seek=$1; }
mkdir $W/mnt
spoil() {
    { yes this-was-deleted || true; } | head -c $1 >$W/mnt/gone
    sync -f $W/mnt; rm $W/mnt/gone; sync -f $W/mnt; umount $W/mnt
}
mount -o loop $W/root.img $W/mnt; spoil 60000000
mount -o loop $W/lin.img $W/mnt; spoil 25000000
put $(start 2) <$W/root.img
head -c 40M $W/lin.img | put $(($(start 3) + (1 << 20)))
tail -c 10M $W/lin.img | put $(($(start 4) + (11 << 20)))
head -c 900000 /dev/urandom | put 40000
head -c 9000000 /dev/urandom | put $(($(start 5) + 65536))
head -c 9000000 /dev/urandom | put $(($(start 6) + 4096))
head -c 2000000 /dev/urandom | put $(($(start 6) + (17 << 20)))
head -c 3000000 /dev/urandom | put $(($(start 3) + (50 << 20)))
mkfs.fat -C $W/esp 8192 >/dev/null; put $(start 1) <$W/esp
mv $W/machine.img $W/image
"#;

fn start_of(pair: &Pair, number: u32) -> u64 {
    let script = format!("sgdisk -i {number} $W/image | awk '/^First sector/ {{print $3 * 512}}'");
    pair.shell_ok(&script).parse().expect("a number")
}

#[test]
fn a_machine_loses_nothing_outside_of_its_file_systems() {
    needs!(
        "root",
        "sgdisk",
        "mke2fs",
        "mkfs.xfs",
        "mkswap",
        "mkfs.fat",
        "e2fsck",
        "xfs_repair"
    );
    let image = MachineImage::new();
    image.shell_ok(SPOIL);
    let pair = Pair::new(image.scratch);
    let volumes = pair.said["free_space"].as_array().expect("volumes");
    let of = |name: &str| {
        let found = volumes.iter().find(|volume| volume["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {volumes:?}"))
    };
    for (name, free) in [("2-root", 60_000_000), ("7-tvg-lin", 9_000_000)] {
        let volume = of(name);
        assert!(volume["free_len_bytes"].as_u64() > Some(free), "{volume}");
        assert!(volume["kept"].is_null(), "{volume}");
    }
    for (name, reason) in [
        ("1-ESP", "FAT12"),
        ("3-pv1", "assemble"),
        ("4-pv2", "assemble"),
        ("5-swap", "swap space"),
        ("6-vault", "encrypted"),
    ] {
        let kept = of(name)["kept"].as_str().expect("a reason");
        assert!(kept.contains(reason), "{name}: {kept}");
    }
    let mib = |count: u64| count << 20;
    let (root, pv1, pv2) = (start_of(&pair, 2), start_of(&pair, 3), start_of(&pair, 4));
    let inside: [Range<u64>; 3] = [
        root..root + mib(200),
        pv1 + mib(1)..pv1 + mib(41),
        pv2 + mib(11)..pv2 + mib(21),
    ];
    let mut counts = [0; 3];
    for block in pair.left_out() {
        let place = inside
            .iter()
            .position(|range| range.contains(&(block * 4096)));
        counts[place.unwrap_or_else(|| panic!("block {block} is in no file system"))] += 1;
    }
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
    pair.shell_ok(&format!(
        "part() {{ dd if=$W/less bs=1M iflag=skip_bytes,count_bytes status=none skip=$1 count=$2; }}
         part {root} 209715200 >$W/root; e2fsck -fn $W/root >&2
         {{ part {lin1} 41943040; part {lin2} 10485760; }} >$W/lin; xfs_repair -n $W/lin >&2
         mount -o loop,ro $W/root.img $W/mnt; mkdir $W/own; mount -o loop,ro $W/root $W/own
         trap 'umount $W/mnt $W/own' EXIT
         rsync -aHAX --checksum --exclude /sparse -n -i --delete $W/mnt/ $W/own/ >$W/differences
         [ ! -s $W/differences ]; umount $W/mnt $W/own
         mount -o loop,ro $W/lin.img $W/mnt; mount -o loop,ro,nouuid $W/lin $W/own
         rsync -aHAX --checksum -n -i --delete $W/mnt/ $W/own/ >$W/differences
         [ ! -s $W/differences ]",
        lin1 = pv1 + mib(1),
        lin2 = pv2 + mib(11),
    ));
    let marks = format!("{{ grep -ao {MARK} $W/less || true; }} | wc -l");
    assert_eq!(pair.shell_ok(&marks), "0");
    expect_said(&pair);
}

/// The snapshot says for ever what it was made without, also where it is copied to; and the
/// next one that keeps everything is bit-exact again.
fn expect_said(pair: &Pair) {
    let store = pair.scratch.join("store");
    let shown = |store: &std::path::Path, snapshot: &str| -> serde_json::Value {
        let text = tintype_ok(store, &["--json", "show", snapshot]);
        serde_json::from_str(&text).expect("JSON")
    };
    let discarded = pair.discarded_len();
    assert_eq!(
        shown(&store, "less@latest")["discarded_len_bytes"],
        discarded
    );
    assert!(tintype_ok(&store, &["show", "less@latest"]).contains("left out"));
    let (copy, image) = (pair.scratch.join("copy"), pair.scratch.join("image"));
    tintype_ok(&copy, &["init"]);
    let (to, image) = (
        copy.to_str().expect("UTF-8"),
        image.to_str().expect("UTF-8"),
    );
    tintype_ok(&store, &["copy", "less@latest", "--to", to]);
    assert_eq!(
        shown(&copy, "less@latest")["discarded_len_bytes"],
        discarded
    );
    tintype_ok(&store, &["create", "--resource", "less", image]);
    assert!(shown(&store, "less@latest")["discarded_len_bytes"].is_null());
    let again = pair.scratch.join("again");
    let again = again.to_str().expect("UTF-8");
    tintype_ok(&store, &["restore", "less@latest", again]);
    pair.shell_ok("cmp $W/image $W/again");
}
