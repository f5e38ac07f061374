//! Images taken while the file system was mounted and written: what Tintype shows is
//! what the kernel shows after its own recovery.
//!
//! The image is a file on a file system with reflinks; cloning it holds its lock, so a
//! clone is the disk at one instant.

use crate::open_file;
use crate::oracle::churn::{clone, work};
use crate::support::{Random, Scratch, is_able, mount, number, say, shell, umount};
use crate::walk::{compare, kernel_tree, our_tree};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tintype::filesystem::{Consistency, FileSystem};

/// Makes an image that is being written, and takes `count` clones of it.
fn take_clones(host: &Path, mkfs: &str, seed: u64, count: u64) -> Vec<PathBuf> {
    let image = host.join(format!("image-{seed}"));
    let point = host.with_extension(format!("live-{seed}"));
    shell(&format!(
        "truncate -s 700M '{0}'; mkfs.xfs -q -f {mkfs} '{0}'",
        image.display()
    ));
    mount(&image, &point, "loop").expect("mounted");
    let is_done = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let (point, is_done) = (point.clone(), Arc::clone(&is_done));
            std::thread::spawn(move || work(&point, seed * 10 + worker, &is_done))
        })
        .collect();
    let mut random = Random::new(seed + 4711);
    let mut clones = Vec::new();
    for index in 0..count {
        std::thread::sleep(Duration::from_millis(200 + random.below(1800)));
        if random.below(3) == 0 {
            shell(&format!("timeout 20 sync -f '{}'", point.display()));
        }
        let path = host.join(format!("clone-{seed}-{index}"));
        clone(&image, &path).expect("cloned");
        clones.push(path);
    }
    is_done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a worker that ends");
    }
    umount(&point);
    clones
}

/// Compares one clone with what the kernel makes of it.
fn check(path: &Path, point: &Path) -> Result<(usize, Consistency), String> {
    let fs = open_file(path).map_err(|error| format!("open: {error}"))?;
    let ours = our_tree(&fs).map_err(|error| format!("{}: {error}", path.display()))?;
    let consistency = fs.summary().consistency;
    let warnings = fs.summary().warnings.clone();
    drop(fs);
    let kept = path.with_extension("kept");
    clone(path, &kept).map_err(|error| error.to_string())?;
    // Recovery writes to the clone (and a read-only loop device is not recovered); it
    // is not needed any more.
    mount(path, point, "loop,noatime,nouuid")?;
    let kernel = kernel_tree(point);
    umount(point);
    let name = format!("{} ({consistency:?} {warnings:?})", path.display());
    if kernel != ours
        && let Some(place) = std::env::var_os("TINTYPE_XFS_KEEP")
    {
        shell(&format!(
            "cp --sparse=always '{}' '{}'",
            kept.display(),
            place.to_string_lossy()
        ));
    }
    std::fs::remove_file(&kept).map_err(|error| error.to_string())?;
    compare(&name, &kernel, &ours);
    Ok((kernel.len(), consistency))
}

#[test]
fn live_images_look_as_after_recovery() {
    let test = "live_images_look_as_after_recovery";
    if !is_able(test, &["mkfs.xfs"]) {
        return;
    }
    let count = number("TINTYPE_XFS_DIRTY", 3);
    let seed = number("TINTYPE_XFS_SEED", 1);
    let scratch = Scratch::new();
    let (disk, host) = (scratch.join("disk"), scratch.join("host"));
    shell(&format!(
        "truncate -s 20G '{0}'; mkfs.xfs -q -f '{0}'",
        disk.display()
    ));
    mount(&disk, &host, "loop").expect("mounted");
    let options = [
        "",
        "-m rmapbt=1 -b size=1024 -n size=8192",
        "-i nrext64=1 -l size=64m",
    ];
    let (mut replayed, mut entries, mut done) = (0, 0, 0);
    for (round, mkfs) in (seed..).zip(options.iter().cycle()) {
        let wanted = (count - done).min(count.div_ceil(3));
        if wanted == 0 {
            break;
        }
        for path in take_clones(&host, mkfs, round, wanted) {
            let (len, consistency) = check(&path, &scratch.join("clone")).expect("compared");
            replayed += u64::from(consistency == Consistency::Replayed);
            entries += len;
            done += 1;
            std::fs::remove_file(&path).expect("removed");
        }
    }
    umount(&host);
    say(&format!(
        "MEASURED: filesystem_xfs::{test}: {done} moments, {replayed} replayed, {entries} \
         entries equal to the kernel's after recovery (seed {seed})"
    ));
    assert!(replayed * 2 >= done, "{replayed} of {done} logs were dirty");
}
