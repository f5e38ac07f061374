//! Owners and modes that a machine's fstab gives to volumes that have none.

use crate::support::reader::FileImage;
use crate::support::{Scratch, needs, shell_ok};
use tintype::contents::{Contents, Follow};
use tintype::filesystem::{BlockCache, Metadata, OpenOptions};

/// A root with an ESP and an exFAT, each in a partition, and a fstab in the form that the
/// installer of Debian writes.
const DISK: &str = r#"
start() { sgdisk -i $1 $W/disk | awk '/^First sector/ {print $3 * 512}'; }
put() { dd of=$W/disk bs=1M oflag=seek_bytes conv=notrunc,sparse status=none seek=$(start $1) if=$2; }
truncate -s 120M $W/disk
sgdisk -n 1:2048:+40M -t 1:ef00 -c 1:ESP -n 2:0:+40M -n 3:0:+20M $W/disk >/dev/null
truncate -s 40M $W/esp; mkfs.fat -F 32 -s 1 -n ESP $W/esp >/dev/null
mmd -i $W/esp ::EFI
echo loader | mcopy -i $W/esp - ::EFI/shim.efi
mattrib +r -i $W/esp ::EFI/shim.efi
put 1 $W/esp
truncate -s 20M $W/shared; mkfs.exfat -L shared $W/shared >/dev/null; put 3 $W/shared
mkdir -p $W/root/etc $W/root/boot/efi $W/root/shared
echo 'ada:x:1815:100::/:' >$W/root/etc/passwd
echo 'LABEL=ESP /boot/efi vfat umask=0077 0 1' >$W/root/etc/fstab
echo 'LABEL=shared /shared exfat uid=ada,gid=50,fmask=0137,dmask=0027 0 0' >>$W/root/etc/fstab
mke2fs -q -F -t ext4 -d $W/root $W/root.img 30M
put 2 $W/root.img
"#;

fn told(metadata: &Metadata) -> (u32, u32, u16) {
    (metadata.user, metadata.group, metadata.permissions)
}

#[test]
fn options_of_fstab_are_those_of_the_files() {
    needs!("mkfs.fat", "mkfs.exfat", "mcopy", "sgdisk", "mke2fs");
    let scratch = Scratch::new();
    shell_ok(DISK, &[("W", scratch.path().as_os_str())]);
    let mut options = OpenOptions::new(BlockCache::new(8 << 20));
    options.substitutes.user = 7;
    options.substitutes.group = 8;
    let image = FileImage::open(&scratch.join("disk"));
    let contents = Contents::open(image, &options).expect("opened");
    let assembly = contents.assembly().expect("assembled");
    assert_eq!(assembly.unplaced(), []);
    let view = assembly.view().expect("a view");
    let metadata = |path: &[u8]| {
        let node = view.walk(path, Follow::Yes).expect("a file");
        told(&view.metadata(node).expect("metadata"))
    };
    // What the options do not say is as on the command line.
    assert_eq!(metadata(b"boot/efi"), (7, 8, 0o700));
    assert_eq!(metadata(b"boot/efi/EFI"), (7, 8, 0o700));
    assert_eq!(metadata(b"boot/efi/EFI/shim.efi"), (7, 8, 0o500));
    assert_eq!(metadata(b"shared"), (1815, 50, 0o750));
    // The partition for itself has no fstab.
    let alone = contents
        .volume("1-ESP")
        .expect("a volume")
        .view()
        .expect("its files");
    let node = alone.walk(b"EFI", Follow::Yes).expect("a folder");
    assert_eq!(
        told(&alone.metadata(node).expect("metadata")),
        (7, 8, 0o755)
    );
}
