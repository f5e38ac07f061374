//! The image of a machine: GPT with an ESP, an ext4 root with an fstab, an XFS on an
//! LVM volume in two pieces, swap, and something encrypted.

use super::support::{Scratch, shell};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What the machine's root holds; `$R` is the folder.
const FILL: &str = r#"
umask 022
mkdir -p $R/etc $R/srv $R/dev $R/many
echo host >$R/etc/hostname
printf 'PRETTY_NAME="Testix 1"\nID=testix\nVERSION_ID="1"\n' >$R/etc/os-release
printf '%s\n' 'UUID=11111111-2222-3333-4444-555555555555 / ext4 defaults 0 1' \
    '/dev/tvg/lin /srv xfs defaults 0 2' 'tmpfs /tmp tmpfs defaults 0 0' >$R/etc/fstab
(cd $R/many && seq -f 'file-%06g' 5000 | xargs touch)
echo hard >$R/hard
for number in $(seq 50); do ln $R/hard $R/hard-$number; done
ln -s /etc/hostname $R/link
ln -s "$(printf 'x%.0s' $(seq 300))" $R/long-link
mkfifo $R/fifo
mknod $R/dev/null c 1 3
mknod $R/dev/big b 259 70000
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$R/socket')"
truncate -s 5G $R/sparse
printf end >>$R/sparse
printf middle | dd of=$R/sparse bs=1 seek=3000000000 conv=notrunc status=none
head -c 20000000 /dev/urandom >$R/random
touch -d '1960-03-04 05:06:07.123456789' $R/old
printf bytes >"$R/$(printf 'not-utf8-\377')"
printf name >"$R/$(printf 'n%.0s' $(seq 255))"
setfattr -n user.short -v value $R/hard
setfattr -n trusted.own -v 1 $R/hard
setfattr -n user.long -v "$(head -c 3000 /dev/zero | tr '\0' v)" $R/random
mkdir $R/guarded
setfacl -m d:u:65534:rx $R/guarded
mkdir -m 700 $R/private
echo secret >$R/private/secret
printf 'readable by list' >$R/listed; chmod 600 $R/listed; setfacl -m u:65534:r $R/listed
printf 'denied by list' >$R/denied; chmod 644 $R/denied; setfacl -m u:65534:- $R/denied
chown -h 1234:5678 $R/old $R/link
chmod 4755 $R/random
"#;

/// Puts the parts together: `$W/machine.img`, and the file systems alone beside it.
const ASSEMBLE: &str = r#"
mke2fs -q -F -t ext4 -b 4096 -U 11111111-2222-3333-4444-555555555555 -d $R $W/root.img 200M >&2
truncate -s 50M $W/lin.img
mkfs.xfs -q --unsupported $W/lin.img 2>/dev/null
mkdir $W/fill
mount -o loop $W/lin.img $W/fill
mkdir $W/fill/www $W/fill/many
(cd $W/fill/many && seq -f 'file-%06g' 20000 | xargs touch)
head -c 3000000 /dev/urandom >$W/fill/www/index
for number in $(seq 500); do echo $number >$W/fill/www/$number; done
ln $W/fill/www/index $W/fill/hard
setfattr -n user.xfs -v yes $W/fill/hard
umount $W/fill
truncate -s 460M $W/machine.img
sgdisk -a 1 -n 1:2048:+8M -c 1:ESP -t 1:ef00 -n 2:0:+200M -c 2:root -n 3:0:+64M -t 3:8e00 \
    -c 3:pv1 -n 4:0:+64M -t 4:8e00 -c 4:pv2 -n 5:0:+16M -c 5:swap -t 5:8200 -n 6:0:+16M -c 6:vault \
    $W/machine.img >&2
start() { sgdisk -i $1 $W/machine.img | awk '/^First sector/ {print $3 * 512}'; }
put() { dd of=$W/machine.img bs=1M oflag=seek_bytes conv=notrunc,sparse status=none seek=$1; }
put $(start 2) <$W/root.img
for number in 1 2; do
    put $(start $((number + 2))) <$W/pv$number
done
head -c 40M $W/lin.img | put $(($(start 3) + (1 << 20)))
tail -c 10M $W/lin.img | put $(($(start 4) + (11 << 20)))
truncate -s 16M $W/swap; mkswap -q $W/swap >&2; put $(start 5) <$W/swap
printf 'LUKS\272\276\000\002' | put $(start 6)
"#;

/// A folder with the image and its parts.
pub struct MachineImage {
    pub scratch: Scratch,
}

impl MachineImage {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        scratch.dir("tree");
        let image = Self { scratch };
        image.unpack_volumes();
        image.shell_ok(FILL);
        image.shell_ok(ASSEMBLE);
        image
    }

    pub fn path(&self) -> PathBuf {
        self.scratch.join("machine.img")
    }

    /// Writes the beginnings of the two physical volumes: `pv1`, `pv2`.
    fn unpack_volumes(&self) {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lvm");
        for name in ["pv1", "pv2"] {
            let packed = std::fs::read(data.join(name).with_extension("zst")).expect("read");
            let bytes = zstd::decode_all(&*packed).expect("zstd");
            std::fs::write(self.scratch.join(name), bytes).expect("written");
        }
    }

    /// Runs a script with W (the folder) and R (the root's files).
    #[track_caller]
    pub fn shell_ok(&self, script: &str) {
        let tree = self.scratch.join("tree");
        let variables: &[(&str, &OsStr)] = &[
            ("W", self.scratch.path().as_os_str()),
            ("R", tree.as_os_str()),
        ];
        let _ = shell(script, variables).expect_ok(script);
    }
}
