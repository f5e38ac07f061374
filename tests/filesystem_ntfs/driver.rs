//! ntfs-3g as the oracle: it makes and fills volumes, and shows them.

use crate::support::{Scratch, shell_ok, wait_until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Folder of the scripts that fill volumes.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filesystem_ntfs")
}

/// Makes an empty volume in a new file.
pub fn make(scratch: &Scratch, len: &str, options: &str) -> PathBuf {
    let image = scratch.join("image");
    shell_ok(
        "rm -f $IMAGE; truncate -s $LEN $IMAGE
         mkntfs -F -Q -L 'a label' $OPTIONS $IMAGE >/dev/null 2>&1",
        &[
            ("IMAGE", image.as_os_str()),
            ("LEN", len.as_ref()),
            ("OPTIONS", options.as_ref()),
        ],
    );
    image
}

/// A mount of ntfs-3g; gone when it is dropped.
pub struct Mounted {
    child: Child,
    pub root: PathBuf,
}

impl Mounted {
    pub fn new(scratch: &Scratch, image: &Path, options: &str) -> Self {
        let root = scratch.dir("root");
        let child = Command::new("timeout")
            .args(["-k", "5", "400", "ntfs-3g"])
            .args([image, &root])
            .args(["-o", &format!("no_detach,umask=022,{options}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ntfs-3g starts");
        let mounted = Self { child, root };
        let is_there = wait_until(Duration::from_secs(30), || {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            mounts.contains(&format!(" {} ", mounted.root.display()))
        });
        assert!(is_there, "ntfs-3g did not mount {}", image.display());
        mounted
    }

    /// Runs one of the scripts on it.
    pub fn fill(&self, script: &str) {
        shell_ok(
            &format!("timeout 300 python3 $SCRIPTS/{script}"),
            &[
                ("SCRIPTS", scripts().as_os_str()),
                ("ROOT", self.root.as_os_str()),
            ],
        );
    }
}

impl Drop for Mounted {
    /// Waits for the driver, which writes after the mount is gone.
    fn drop(&mut self) {
        let root = self.root.clone();
        let unmount = || {
            let status = Command::new("timeout")
                .args(["20", "umount"])
                .arg(&root)
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        let _ = wait_until(Duration::from_secs(20), unmount);
        let child = &mut self.child;
        let is_gone = wait_until(Duration::from_secs(60), || {
            child.try_wait().is_ok_and(|status| status.is_some())
        });
        if !is_gone {
            let _ = child.kill();
        }
    }
}

/// Fills a volume by one of the scripts.
pub fn fill(scratch: &Scratch, image: &Path, options: &str, script: &str) {
    Mounted::new(scratch, image, options).fill(script);
}
