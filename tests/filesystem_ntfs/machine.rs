//! Disks of machines with NTFS on them: of Windows, and of Linux with NTFS in its fstab.

use crate::driver::scripts;
use crate::support::reader::FileImage;
use crate::support::{Scratch, needs, shell_ok};
use std::path::Path;
use tintype::contents::{Contents, Follow, Inspection};
use tintype::filesystem::{BlockCache, OpenOptions};

/// Puts file systems into partitions: `$W/disk`, and `ntfs NAME LEN` makes one to fill.
const TOOLS: &str = r#"
start() { sgdisk -i $1 $W/disk | awk '/^First sector/ {print $3 * 512}'; }
put() { dd of=$W/disk bs=1M oflag=seek_bytes conv=notrunc,sparse status=none seek=$(start $1) if=$2; }
ntfs() {
    truncate -s $2 $W/$1.img
    mkntfs -F -Q -L $1 $W/$1.img >/dev/null 2>&1
    mkdir -p $W/fill
    timeout 120 ntfs-3g -o no_detach $W/$1.img $W/fill &
    DRIVER=$!
    for i in $(seq 100); do mountpoint -q $W/fill && break; sleep 0.1; done
}
done_ntfs() { umount $W/fill; wait $DRIVER; }
"#;

/// The layout that Windows' setup makes. The recovery volume is larger than the system's
/// here, so that size does not choose.
const WINDOWS: &str = r#"
truncate -s 220M $W/disk
sgdisk -n 1:2048:+40M -t 1:ef00 -c 1:'EFI system partition' -n 2:0:+16M -t 2:0c01 \
    -c 2:'Microsoft reserved partition' -n 3:0:+40M -t 3:0700 -c 3:'Basic data partition' \
    -n 4:0:+80M -t 4:2700 -c 4:Recovery $W/disk >/dev/null
truncate -s 40M $W/esp; mkfs.fat -F 32 -s 1 $W/esp >/dev/null
mmd -i $W/esp ::EFI ::EFI/Microsoft ::EFI/Microsoft/Boot
echo loader | mcopy -i $W/esp - ::EFI/Microsoft/Boot/bootmgfw.efi
put 1 $W/esp
ntfs Windows 40M
mkdir -p $W/fill/Windows/System32/config $W/fill/Users/Public "$W/fill/Program Files"
echo hive >$W/fill/Windows/System32/config/SYSTEM
echo hello >$W/fill/Users/Public/note.txt
python3 - $W/fill <<'END'
import os, struct, sys
path = sys.argv[1] + "/Documents and Settings"
os.mkdir(path)
name = "\\??\\C:\\Users".encode("utf-16-le")
data = struct.pack("<HHHH", 0, len(name), len(name) + 2, 0) + name + b"\0\0\0\0"
os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", 0xA0000003, len(data), 0) + data)
END
done_ntfs
put 3 $W/Windows.img
ntfs Recovery 80M
mkdir -p $W/fill/Recovery/WindowsRE; echo image >$W/fill/Recovery/WindowsRE/Winre.wim
done_ntfs
put 4 $W/Recovery.img
"#;

fn disk(scratch: &Scratch, script: &str) -> Contents {
    let script = format!("{TOOLS}\n{script}");
    shell_ok(
        &script,
        &[
            ("W", scratch.path().as_os_str()),
            ("S", scripts().as_os_str()),
        ],
    );
    let options = OpenOptions::new(BlockCache::new(8 << 20));
    Contents::open(FileImage::open(&scratch.join("disk")), &options).expect("opened")
}

fn text(contents: &Contents, path: &str) -> String {
    let assembly = contents.assembly().expect("assembled");
    let view = assembly.view().expect("a view");
    let node = view.walk(path.as_bytes(), Follow::Yes);
    let node = node.unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut bytes = vec![0; 1000];
    let count = view.read_at(node, 0, &mut bytes).expect("content");
    String::from_utf8(bytes[..count].to_vec()).expect("text")
}

fn mounts(found: &Inspection) -> Vec<(&str, &str)> {
    let mounts = found.mounts.iter();
    mounts
        .map(|mount| (&*mount.path, &*mount.partition))
        .collect()
}

#[test]
fn a_disk_of_windows_shows_its_system_volume() {
    needs!(
        "mkntfs", "ntfs-3g", "sgdisk", "mkfs.fat", "mcopy", "fuse", "root"
    );
    let scratch = Scratch::new();
    let contents = disk(&scratch, WINDOWS);
    let found = contents.inspect().expect("inspected");
    let kinds: Vec<(&str, &str, bool)> = found
        .partitions
        .iter()
        .map(|volume| {
            let fs = &volume.filesystem;
            (&*volume.name, &*fs.format, fs.browsable)
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("1-EFI system partition", "fat32", true),
            ("2-Microsoft reserved partition", "", false),
            ("3-Basic data partition", "ntfs", true),
            ("4-Recovery", "ntfs", true),
        ]
    );
    assert_eq!(mounts(&found), [("/", "3-Basic data partition")]);
    assert_eq!(found.operating_system.expect("known").id, "windows");
    assert_eq!(text(&contents, "Windows/System32/config/SYSTEM"), "hive\n");
    // A junction leads to where Windows goes.
    assert_eq!(
        text(&contents, "Documents and Settings/Public/note.txt"),
        "hello\n"
    );
    for (name, path, expected) in [
        (
            "1-EFI system partition",
            "EFI/Microsoft/Boot/bootmgfw.efi",
            "loader\n",
        ),
        ("4-Recovery", "Recovery/WindowsRE/Winre.wim", "image\n"),
    ] {
        let view = contents
            .volume(name)
            .expect("a volume")
            .view()
            .expect("its files");
        let node = view.walk(path.as_bytes(), Follow::Yes).expect("a file");
        let mut bytes = [0; 20];
        let count = view.read_at(node, 0, &mut bytes).expect("content");
        assert_eq!(&bytes[..count], expected.as_bytes());
    }
    let state = &found.partitions[2].filesystem;
    assert_eq!(
        (state.consistency, &*state.label),
        (Some("clean"), "Windows")
    );
    assert!(Path::new(&scratch.join("disk")).exists());
}

#[test]
fn volumes_of_fstab_are_placed() {
    needs!("mkntfs", "ntfs-3g", "sgdisk", "mke2fs", "fuse", "root");
    let scratch = Scratch::new();
    let contents = disk(
        &scratch,
        r#"
        truncate -s 120M $W/disk
        sgdisk -n 1:2048:+30M -n 2:0:+20M -n 3:0:+20M -n 4:0:+20M -c 4:third $W/disk >/dev/null
        for name in first second third; do
            ntfs $name 20M
            echo "on the $name" >$W/fill/file
            done_ntfs
        done
        put 2 $W/first.img; put 3 $W/second.img; put 4 $W/third.img
        UUID=$(blkid -p -s UUID -o value $W/first.img)
        mkdir -p $W/root/etc $W/root/mnt/first $W/root/mnt/second $W/root/mnt/third
        printf '%s\n' "UUID=$UUID /mnt/first ntfs-3g defaults,uid=1000 0 0" \
            'LABEL=second /mnt/second ntfs3 ro 0 0' 'PARTLABEL=third /mnt/third ntfs ro 0 0' \
            'UUID=0123456789ABCDEF /mnt/gone ntfs ro 0 0' >$W/root/etc/fstab
        mke2fs -q -F -t ext4 -d $W/root $W/root.img 30M
        put 1 $W/root.img
        "#,
    );
    for name in ["first", "second", "third"] {
        assert_eq!(
            text(&contents, &format!("mnt/{name}/file")),
            format!("on the {name}\n")
        );
    }
    let found = contents.inspect().expect("inspected");
    let expected = [
        ("/", "1"),
        ("/mnt/first", "2"),
        ("/mnt/second", "3"),
        ("/mnt/third", "4-third"),
    ];
    assert_eq!(mounts(&found), expected);
    assert_eq!(found.unplaced.len(), 1);
    assert_eq!(found.unplaced[0].path, "/mnt/gone");
}
