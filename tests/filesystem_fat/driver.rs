//! Drivers of others: Linux's vfat in a user mode kernel, which needs no root, and
//! exfat-fuse on a loop device, which does.

use crate::listing::SCRIPT;
use crate::support::{Scratch, shell_ok, shell_within};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Puts modules into the kernel: tools for that may be missing.
const LOAD_MODULES: &str = r#"
import ctypes, glob, os
libc = ctypes.CDLL(None, use_errno=True)
kernel = glob.glob("/usr/lib/uml/modules/" + os.uname().release + "/kernel/fs")[0]
for name in ["fat/fat", "fat/vfat", "nls/nls_cp437", "nls/nls_cp850", "nls/nls_utf8",
             "nls/nls_iso8859-1"]:
    file = os.open(f"{kernel}/{name}.ko", os.O_RDONLY)
    result = libc.syscall(313, file, b"", 0)
    assert result == 0 or ctypes.get_errno() == 17, (name, ctypes.get_errno())
"#;

/// Where the filler lies.
pub fn filler() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filesystem_fat/fill.py")
}

/// Runs a script in a user mode kernel with the image as `/dev/ubda`; `$ROOT` is a
/// folder to mount it on, `$OUT` begins the names of what it leaves. `OPTIONS` are those
/// of a mount.
pub fn vfat(scratch: &Scratch, image: &Path, options: &str, script: &str) -> String {
    let (root, init) = (scratch.dir("root"), scratch.join("init"));
    let (log, status) = (scratch.join("log"), scratch.join("status"));
    let load = scratch.join("load.py");
    std::fs::write(&load, LOAD_MODULES).expect("a script");
    let text = format!(
        "#!/bin/bash\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C\n\
         export ROOT={root} OUT={out} OPTIONS={options}\n\
         mount -t proc proc /proc\n\
         (set -e; python3 {load}; {script}) >{log} 2>&1\n\
         echo $? >{status}\n\
         echo o >/proc/sysrq-trigger\n\
         sleep 9\n",
        root = root.display(),
        out = scratch.join("out").display(),
        load = load.display(),
        log = log.display(),
        status = status.display(),
    );
    std::fs::write(&init, text).expect("a script");
    let _ = std::fs::remove_file(&status);
    shell_within(
        Duration::from_secs(300),
        "chmod +x $INIT; linux.uml mem=128M rootfstype=hostfs rootflags=/ rw init=$INIT \
         ubd0=$IMAGE con=null con0=null,fd:1 quiet",
        &[("INIT", init.as_os_str()), ("IMAGE", image.as_os_str())],
    );
    let said = std::fs::read(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let status = std::fs::read_to_string(&status).unwrap_or_default();
    assert_eq!(status.trim(), "0", "in the user mode kernel: {said}");
    said
}

/// Mounts, fills, and lists with the kernel's driver.
pub fn fill_vfat(scratch: &Scratch, image: &Path, entries: usize) -> String {
    let script = format!(
        "mount -t vfat -o $OPTIONS /dev/ubda $ROOT
         python3 {filler} $ROOT vfat {entries}
         umount $ROOT
         {list}",
        filler = filler().display(),
        list = list_vfat(),
    );
    vfat(scratch, image, "utf8,tz=UTC,noatime", &script)
}

/// Lists the image with the kernel's driver, and what it says about space.
pub fn list_vfat() -> String {
    format!(
        "mount -t vfat -o $OPTIONS,ro /dev/ubda $ROOT
         stat -f -c '%s %b %f' $ROOT >$OUT.space
         {SCRIPT}
         umount $ROOT"
    )
}

/// A mount of exfat-fuse; gone when it is dropped.
pub struct ExfatFuse {
    device: String,
    pub root: PathBuf,
}

impl ExfatFuse {
    pub fn new(scratch: &Scratch, image: &Path, options: &str) -> Self {
        let root = scratch.dir("root");
        let device = shell_ok("losetup -f --show $IMAGE", &[("IMAGE", image.as_os_str())]);
        let mounted = Self { device, root };
        shell_ok(
            "mount.exfat-fuse -o $OPTIONS $DEVICE $ROOT >/dev/null",
            &[
                ("OPTIONS", options.as_ref()),
                ("DEVICE", mounted.device.as_ref()),
                ("ROOT", mounted.root.as_os_str()),
            ],
        );
        mounted
    }

    /// Lists what the driver shows.
    pub fn list(&self, scratch: &Scratch) {
        let out = scratch.join("out");
        let variables = [("ROOT", self.root.as_os_str()), ("OUT", out.as_os_str())];
        shell_ok(SCRIPT, &variables);
        shell_ok("stat -f -c '%s %b %f' $ROOT >$OUT.space", &variables);
    }
}

impl Drop for ExfatFuse {
    fn drop(&mut self) {
        let variables = [
            ("DEVICE", self.device.as_ref()),
            ("ROOT", self.root.as_os_str()),
        ];
        let script = "umount $ROOT || umount -l $ROOT
            for i in $(seq 50); do losetup -d $DEVICE && break; sleep 0.1; done";
        let _ = shell_within(Duration::from_secs(60), script, &variables);
    }
}
