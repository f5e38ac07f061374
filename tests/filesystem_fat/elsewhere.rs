//! Volumes that others wrote (Windows, cameras, other drivers), which cannot be kept with
//! the sources: `TINTYPE_FAT_VOLUMES` names a folder of images, each of one volume, and
//! every one is compared with what Linux's vfat or exfat-fuse shows of it.

use crate::driver::{ExfatFuse, list_vfat, vfat};
use crate::exfat::{reduce, without};
use crate::listing::{Listing, difference, of_reader, parse};
use crate::support::reader::{FileImage, images_of, open};
use crate::support::{Scratch, measured, needs, shell_ok};
use std::panic::AssertUnwindSafe;
use std::path::Path;

#[test]
fn volumes_that_others_wrote() {
    let Some(images) = images_of("TINTYPE_FAT_VOLUMES") else {
        return; // Nothing is skipped: these are volumes beside those of the tests.
    };
    needs!("linux.uml", "root", "fuse", "mount.exfat-fuse");
    let is_equal = |image: &Path| {
        std::panic::catch_unwind(AssertUnwindSafe(|| is_equal(image))).unwrap_or(false)
    };
    let differing: Vec<_> = images.iter().filter(|image| !is_equal(image)).collect();
    assert!(differing.is_empty(), "volumes that differ: {differing:?}");
}

fn is_equal(image: &Path) -> bool {
    let scratch = Scratch::new();
    let copy = scratch.join("image");
    shell_ok(
        "cp --sparse=always $IMAGE $COPY",
        &[("IMAGE", image.as_os_str()), ("COPY", copy.as_os_str())],
    );
    let fs = open(FileImage::open(&copy)).expect("opened");
    let summary = fs.summary();
    let is_exfat = summary.format == "exfat";
    if is_exfat {
        ExfatFuse::new(&scratch, &copy, "umask=022,ro").list(&scratch);
    } else {
        vfat(&scratch, &copy, "utf8,tz=UTC,noatime", &list_vfat());
    }
    let mut theirs = parse(&scratch.join("out"));
    let mut ours = of_reader(&*fs, &copy);
    if is_exfat {
        theirs = bare(&theirs);
        ours = bare(&reduce(&ours));
    }
    let differences = difference(&theirs, &ours);
    for difference in &differences {
        eprintln!("{}: {difference}", image.display());
    }
    measured!(
        "filesystem_fat::elsewhere {} ({}): {} entries, {} differences, {:?} {:?}",
        image.file_name().unwrap_or_default().display(),
        summary.format,
        theirs.len(),
        differences.len(),
        summary.consistency,
        summary.warnings,
    );
    differences.is_empty()
}

/// exfat-fuse passes over the hundredths of seconds that Windows writes.
fn bare(listing: &Listing) -> Listing {
    let mut bare = Listing::new();
    for (path, entry) in listing {
        let mut entry = without(entry);
        entry.times.iter_mut().for_each(|time| time.1 = 0);
        bare.insert(path.clone(), entry);
    }
    bare
}
