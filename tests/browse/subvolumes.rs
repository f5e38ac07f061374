//! A machine on subvolumes of btrfs, with FAT and exFAT put where its fstab says: the
//! mount and the command line show what the machine sees.

use super::machine::Browsed;
use super::support::{Mount, MountOptions, Scratch, needs, shell, shell_ok, tintype_ok};
use std::ffi::OsStr;
use std::path::Path;

/// A GPT with an ESP, the btrfs and an exFAT; `$W/fstab.sh` fills the root's table.
const MAKE: &str = r#"
umask 022
truncate -s 40M $W/esp.img; truncate -s 300M $W/btrfs.img; truncate -s 40M $W/exfat.img
mkfs.fat -F 32 -s 1 -n ESP -i 1234ABCD $W/esp.img >&2
mkdir -p $W/esp/EFI/BOOT
head -c 300000 /dev/urandom >$W/esp/EFI/BOOT/BOOTX64.EFI
echo 'a text' >"$W/esp/A long name.txt"
mcopy -s -i $W/esp.img $W/esp/* ::
mkfs.exfat -L DATA $W/exfat.img >&2
mkfs.btrfs -q $W/btrfs.img
mkdir $W/fill
btrfs device scan --forget
mount -o loop,subvolid=5 $W/btrfs.img $W/fill
trap 'umount $W/fill || true' EXIT
F=$W/fill
for name in @ @home @log; do btrfs -q subvolume create $F/$name; done
mkdir -p $F/@/etc $F/@/home $F/@/var/log $F/@/top $F/@/boot/efi $F/@/media/data $F/etc
printf 'PRETTY_NAME="Testix 2"\nID=testix\n' >$F/@/etc/os-release
(cd $F/@home && mkdir ann && seq 3000 | xargs touch && head -c 2M /dev/urandom >ann/thesis && ln ann/thesis same)
cp --reflink=always $F/@home/ann/thesis $F/@/cloned
seq 10000 >$F/@log/messages
setfattr -n user.which -v log $F/@log/messages
chown -R 1000:1001 $F/@home/ann
btrfs -q subvolume snapshot -r $F/@home $F/@home-yesterday
btrfs -q subvolume create $F/@home/deeper
echo deeper >$F/@home/deeper/file
LOG=$(btrfs subvolume list $F | awk '$NF == "@log" {print $2}')
HOME_ID=$(btrfs subvolume list $F | awk '$NF == "@home" {print $2}')
U=UUID=$(btrfs inspect-internal dump-super $W/btrfs.img | awk '$1 == "fsid" {print $2}')
. $W/fstab.sh
umount $F
truncate -s 400M $W/machine.img
sgdisk -a 1 -n 1:2048:+40M -c 1:ESP -t 1:ef00 -n 2:0:+300M -c 2:system -n 3:0:+40M -c 3:data \
    $W/machine.img >&2
put() {
    local start=$(sgdisk -i $1 $W/machine.img | awk '/^First sector/ {print $3 * 512}')
    dd if=$2 of=$W/machine.img bs=1M oflag=seek_bytes conv=notrunc,sparse status=none seek=$start
}
put 1 $W/esp.img; put 2 $W/btrfs.img; put 3 $W/exfat.img
"#;

/// The root is a subvolume that only its own table names, and the top has an old table.
const BY_NAME: &str = r#"
cat >$F/@/etc/fstab <<END
$U / btrfs defaults,subvol=@ 0 0
$U /home btrfs subvol=/@home 0 0
$U /var/log btrfs subvolid=$LOG,noatime 0 0
$U /top btrfs subvolid=5 0 0
UUID=1234-ABCD /boot/efi vfat umask=0077 0 1
LABEL=DATA /media/data exfat defaults 0 0
END
cp $F/@/etc/fstab $F/etc/fstab
"#;

/// The root is the default subvolume; homes come by number, in hexadecimal.
const BY_DEFAULT: &str = r#"
cat >$F/@/etc/fstab <<END
$U / btrfs defaults 0 0
$U /home btrfs subvolid=$(printf 0x%x $HOME_ID) 0 0
$U /var/log btrfs subvol=@log 0 0
$U /top btrfs subvol=/ 0 0
PARTLABEL=ESP /boot/efi vfat defaults 0 1
PARTLABEL=data /media/data exfat defaults 0 0
END
btrfs subvolume set-default $(btrfs subvolume list $F | awk '$NF == "@" {print $2}') $F
"#;

/// The same by the kernel, which here reads neither FAT nor exFAT.
const COMPARE: &str = r#"
K=$W/kernel
mkdir -p $K
btrfs device scan --forget
LOOP=$(losetup --find --show --read-only $I/btrfs.img)
trap 'umount -R $K || true; losetup -d $LOOP' EXIT
mount -o ro,subvol=@ $LOOP $K
mount -o ro,subvol=@home $LOOP $K/home
mount -o ro,subvol=@log $LOOP $K/var/log
mount -o ro,subvolid=5 $LOOP $K/top
differ() {
    $DIFF $1 $2 >$W/differences || true
    ! grep '^differs' $W/differences | grep -v "^differs: \(boot/efi\|media/data\): " >&2
    tail -1 $W/differences | cut -d' ' -f2
}
differ $K $D/files
diff -r $I/esp $D/files/boot/efi
[ "$(ls -A $D/files/media/data)" = "" ]
[ "$(stat -f -c %b $D/files/media/data)" != "$(stat -f -c %b $D/files)" ]
umount -R $K
# The partition alone is what a mount without options shows.
mount -o ro $LOOP $K
differ $K $D/partitions/2-system/files
"#;

fn made(fstab: &str) -> Scratch {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("fstab.sh"), fstab).expect("written");
    let variables: &[(&str, &OsStr)] = &[("W", scratch.path().as_os_str())];
    let _ = shell(MAKE, variables).expect_ok(MAKE);
    scratch
}

fn check(fstab: &str) -> (Scratch, Browsed) {
    let images = made(fstab);
    let browsed = Browsed::new(&images.join("machine.img"), &MountOptions::default());
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/diff-walk");
    let script = format!("DIFF={}\n{COMPARE}", tool.display());
    let counts = browsed.shell_ok(images.path(), &script);
    let counts: Vec<u32> = counts
        .lines()
        .map(|line| line.parse().expect("a count"))
        .collect();
    // Below the root lie homes and, at /top, everything once more, with the snapshot.
    assert!(counts[0] > 9000 && counts[1] > 1, "{counts:?}");
    let json = browsed.json();
    assert_eq!(json["operating_system"]["name"], "Testix 2");
    let mounts: Vec<_> = json["mounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| {
            let word = |name: &str| mount[name].as_str().expect("a text").to_owned();
            (word("path"), word("partition"))
        })
        .collect();
    let expected = [
        ("/", "2-system"),
        ("/home", "2-system"),
        ("/top", "2-system"),
        ("/var/log", "2-system"),
        ("/boot/efi", "1-ESP"),
        ("/media/data", "3-data"),
    ]
    .map(|(path, partition)| (path.to_owned(), partition.to_owned()));
    assert_eq!(mounts, expected);
    let unplaced = json["unplaced"].as_array();
    assert!(unplaced.is_none_or(Vec::is_empty), "{json}");
    (images, browsed)
}

#[test]
fn subvolumes_are_placed_by_name_and_by_number() {
    needs!(
        "root",
        "fuse",
        "sgdisk",
        "btrfs",
        "mkfs.btrfs",
        "mkfs.fat",
        "mkfs.exfat",
        "mcopy",
        "python3"
    );
    let _ = check(BY_DEFAULT);
    let (images, mut browsed) = check(BY_NAME);

    // The command line shows the same, from the image and from the store.
    let path = images.join("machine.img");
    let path = path.to_str().expect("a path in UTF-8");
    let efi = |words: &[&str]| -> serde_json::Value {
        let line = [&["--json", "ls", "-d"], words].concat();
        serde_json::from_str(&tintype_ok(&browsed.store, &line)).expect("JSON")
    };
    let file = "/boot/efi/EFI/BOOT/BOOTX64.EFI";
    let from_store = format!("web:{file}");
    for words in [&["--image", path, file][..], &[&from_store]] {
        let told = efi(words);
        // The umask is that of its fstab, the owner that of the options.
        assert_eq!((&told["mode"], &told["uid"]), (&"0700".into(), &0.into()));
        let told = efi(&[
            &["--default-umask", "137", "--default-owner", "1000:1001"],
            words,
        ]
        .concat());
        let owner = (&told["mode"], &told["uid"], &told["gid"]);
        assert_eq!(owner, (&"0700".into(), &1000.into(), &1001.into()));
    }
    let cat = tintype_ok(&browsed.store, &["cat", "web:/home/ann/../deeper/file"]);
    assert_eq!(cat, "deeper\n");

    // And a mount with such options, in the background too.
    browsed.mount = None;
    let point = browsed.scratch.join("mnt");
    let words = ["--default-umask=077", "--default-owner=1000"].map(str::to_owned);
    let options = MountOptions {
        args: words.to_vec(),
    };
    browsed.mount = Some(Mount::start(&browsed.store, &point, &options));
    let stat = r#"
        (cd $M/snapshots/web/latest/files
         stat -c '%a %u:%g' boot/efi media/data boot/efi/EFI/BOOT/BOOTX64.EFI home home/ann)
    "#;
    let expected = "700 1000:1000\n700 1000:1000\n700 1000:1000\n755 0:0\n755 1000:1001";
    let variables: &[(&str, &OsStr)] = &[("M", point.as_os_str())];
    assert_eq!(shell_ok(stat, variables), expected);
    browsed.mount = None;
    let background = r#"
        $TINTYPE --store $STORE --quiet mount --log-file $W/log --default-umask 077 --default-owner 1000 $M >&2
        trap '$TINTYPE umount $M >&2' EXIT
    "#;
    let variables: &[(&str, &OsStr)] = &[
        ("M", point.as_os_str()),
        ("W", images.path().as_os_str()),
        ("STORE", browsed.store.as_os_str()),
    ];
    assert_eq!(
        shell_ok(&format!("{background}{stat}"), variables),
        expected
    );
}
