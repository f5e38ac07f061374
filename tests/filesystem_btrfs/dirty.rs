//! Images taken while the file system was mounted and written: what Tintype shows is
//! what the kernel shows after its own recovery.
//!
//! The image is a file on a file system with reflinks; cloning it holds its lock, so a
//! clone is the disk at one instant.

use crate::oracle::churn::{clone, work};
use crate::support::{self, Random, Scratch, is_able, number, say, shell, umount};
use crate::walk::{Tree, compare, kernel_tree, our_tree};
use crate::{make, mount, open_file};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tintype::filesystem::{Consistency, FileSystem};

/// Makes an image that is being written, and takes `count` clones of it.
fn take_clones(host: &Path, options: (&str, &str), seed: u64, count: u64) -> Vec<PathBuf> {
    let image = host.join(format!("image-{seed}"));
    let point = host.with_extension(format!("live-{seed}"));
    make(&image, "700M", options.0);
    mount(&image, &point, options.1).expect("mounted");
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
        if random.below(4) == 0 {
            shell(&format!("timeout 20 sync -f '{}'", point.display()));
            std::thread::sleep(Duration::from_millis(random.below(700)));
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

/// Returns the tree that the kernel shows after it recovered `image`, which it writes to.
/// What the recovery itself changed has the time of the recovery: those are forgotten.
pub fn recovered(image: &Path, point: &Path, ours: &mut Tree) -> Result<Tree, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| error.to_string())?;
    mount(image, point, "loop,noatime")?;
    let mut kernel = kernel_tree(point);
    umount(point);
    let is_new = |line: &str| {
        let time = line
            .strip_prefix("mtime=")
            .or_else(|| line.strip_prefix("ctime="));
        let seconds = time.and_then(|time| time.split('.').next()?.parse::<u64>().ok());
        // Times of after 2038 are those of the test.
        seconds.is_some_and(|seconds| (now.as_secs()..now.as_secs() + 1000).contains(&seconds))
    };
    for (path, text) in &mut kernel {
        let names: Vec<String> = text
            .lines()
            .filter(|line| is_new(line))
            .filter_map(|line| Some(format!("{}=", line.split('=').next()?)))
            .collect();
        if names.is_empty() {
            continue;
        }
        let without = |text: &str| {
            let is_kept = |line: &&str| !names.iter().any(|name| line.starts_with(name.as_str()));
            text.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
        };
        *text = without(text);
        if let Some(text) = ours.get_mut(path) {
            *text = without(text);
        }
    }
    Ok(kernel)
}

/// Compares one clone with what the kernel makes of it.
fn check(path: &Path, point: &Path) -> Result<(usize, Consistency), String> {
    let fs = open_file(path).map_err(|error| format!("open: {error}"))?;
    let mut ours = our_tree(&fs).map_err(|error| format!("{}: {error}", path.display()))?;
    let consistency = fs.summary().consistency;
    drop(fs);
    let kept = path.with_extension("kept");
    clone(path, &kept).map_err(|error| error.to_string())?;
    let kernel = recovered(path, point, &mut ours)?;
    if kernel != ours
        && let Some(place) = std::env::var_os("TINTYPE_BTRFS_KEEP")
    {
        let place = place.to_string_lossy();
        shell(&format!(
            "cp --sparse=always '{}' '{place}'",
            kept.display()
        ));
    }
    std::fs::remove_file(&kept).map_err(|error| error.to_string())?;
    compare(
        &format!("{} ({consistency:?})", path.display()),
        &kernel,
        &ours,
    );
    Ok((kernel.len(), consistency))
}

#[test]
fn live_images_look_as_after_recovery() {
    let test = "live_images_look_as_after_recovery";
    if !is_able(test, &["mkfs.btrfs", "mkfs.xfs", "btrfs"]) {
        return;
    }
    let count = number("TINTYPE_BTRFS_DIRTY", 3);
    let seed = number("TINTYPE_BTRFS_SEED", 1);
    let scratch = Scratch::new();
    let (disk, host) = (scratch.join("disk"), scratch.join("host"));
    shell(&format!(
        "truncate -s 20G '{0}'; mkfs.xfs -q -f '{0}'",
        disk.display()
    ));
    support::mount(&disk, &host, "loop").expect("mounted");
    let options = [
        ("", "loop"),
        (
            "-n 4096 --csum xxhash -O ^no-holes",
            "loop,compress=zstd,flushoncommit",
        ),
        ("--mixed --csum sha256", "loop,compress-force=lzo,commit=5"),
    ];
    let (mut replayed, mut entries, mut done) = (0, 0, 0);
    for (round, options) in (seed..).zip(options.into_iter().cycle()) {
        let mut wanted = count.saturating_sub(done).min(count.div_ceil(3));
        if wanted == 0 {
            // Few moments may all have met a commit just done.
            if replayed * 3 >= count || done >= count * 4 {
                break;
            }
            wanted = 1;
        }
        for path in take_clones(&host, options, round, wanted) {
            let (len, consistency) = check(&path, &scratch.join("clone")).expect("compared");
            replayed += u64::from(consistency == Consistency::Replayed);
            entries += len;
            done += 1;
            std::fs::remove_file(&path).expect("removed");
        }
    }
    umount(&host);
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {done} moments, {replayed} replayed, {entries} \
         entries equal to the kernel's after recovery (seed {seed})"
    ));
    assert!(replayed * 3 >= count, "{replayed} of {done} had a log");
}
