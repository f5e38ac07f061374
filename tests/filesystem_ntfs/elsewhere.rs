//! Volumes that others wrote (Windows, other drivers), which cannot be kept with the
//! sources: `TINTYPE_NTFS_VOLUMES` names a folder of images, each of one volume, and every
//! one is compared with what ntfs-3g shows of it.

use crate::driver::Mounted;
use crate::listing::{Listing, difference, of_mount, of_reader};
use crate::support::reader::{FileImage, images_of, open};
use crate::support::{Scratch, measured, needs, shell_ok};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn volumes_that_others_wrote() {
    let Some(images) = images_of("TINTYPE_NTFS_VOLUMES") else {
        return; // Nothing is skipped: these are volumes beside those of the tests.
    };
    needs!("ntfs-3g", "fuse", "root");
    let differing = images.iter().filter(|image| !is_equal(image)).count();
    assert_eq!(differing, 0, "volumes that differ");
}

fn is_equal(image: &Path) -> bool {
    let scratch = Scratch::new();
    // ntfs-3g changes nothing by "ro"; the image is not ours all the same.
    let copy = scratch.join("image");
    shell_ok(
        "cp --sparse=always $IMAGE $COPY",
        &[("IMAGE", image.as_os_str()), ("COPY", copy.as_os_str())],
    );
    let mounted = Mounted::new(&scratch, &copy, "ro");
    let mut theirs = of_mount(&mounted.root);
    drop(mounted);
    let fs = open(FileImage::open(&copy)).expect("opened");
    let before = Instant::now();
    let mut ours = of_reader(&*fs, &copy);
    let passed = before.elapsed();
    settle(&mut theirs, &mut ours);
    let differences = difference(&theirs, &ours);
    let summary = fs.summary();
    for difference in &differences {
        eprintln!("{}: {difference}", image.display());
    }
    measured!(
        "filesystem_ntfs::elsewhere {}: {} entries, {} differences, {:?} {:?} {}",
        image.file_name().unwrap_or_default().display(),
        theirs.len(),
        differences.len(),
        summary.consistency,
        summary.warnings,
        shown(passed),
    );
    differences.is_empty()
}

fn shown(passed: Duration) -> String {
    format!("{} ms", passed.as_millis())
}

/// It counts short names as links; Windows gives nearly every file one.
fn settle(theirs: &mut Listing, ours: &mut Listing) {
    for (path, entry) in ours {
        let Some(other) = theirs.get_mut(path) else {
            continue;
        };
        let count = |entry: &std::collections::BTreeMap<String, String>| {
            entry["links"].parse::<u64>().expect("a number")
        };
        if (count(entry)..=2 * count(entry)).contains(&count(other)) {
            entry.remove("links");
            other.remove("links");
        }
    }
}
