//! A volume that was formatted again is what it was made last, also where the makers of
//! Windows leave what others wrote behind their boot sector; and the leftovers are said.

use crate::support::{Scratch, needs, shell_ok, tintype_ok};
use std::path::Path;

/// The types as `inspect` says them, and who makes them in `$IMAGE`.
const MAKERS: [(&str, &str); 6] = [
    ("ext4", "mkfs.ext4 -qF"),
    ("xfs", "mkfs.xfs -qf"),
    ("btrfs", "mkfs.btrfs -qf"),
    ("ntfs", "mkntfs -qQF"),
    ("fat32", "mkfs.fat -F 32"),
    ("exfat", "mkfs.exfat"),
];

/// Writes over an image only what a maker writes into a new one, as one does that wipes
/// nothing.
const LAY_OVER: &str = "rm -f $NEW; truncate -s 400M $NEW; $MAKE $NEW >/dev/null 2>&1
     dd if=$NEW of=$IMAGE bs=4096 conv=notrunc,sparse status=none";

fn inspected(image: &Path) -> serde_json::Value {
    let image = image.to_str().expect("a path");
    let text = tintype_ok(
        Path::new("/nonexistent"),
        &["--json", "inspect", "--image", image],
    );
    serde_json::from_str(&text).expect("JSON")
}

fn run(scratch: &Scratch, script: &str, make: &str) {
    let (image, new) = (scratch.join("image"), scratch.join("new"));
    shell_ok(
        script,
        &[
            ("IMAGE", image.as_os_str()),
            ("NEW", new.as_os_str()),
            ("MAKE", make.as_ref()),
        ],
    );
}

const BEGIN: &str = "rm -f $IMAGE; truncate -s 400M $IMAGE; $MAKE $IMAGE >/dev/null 2>&1";

#[test]
fn what_was_made_last_is_shown() {
    needs!(
        "mkfs.ext4",
        "mkfs.xfs",
        "mkfs.btrfs",
        "mkntfs",
        "mkfs.fat",
        "mkfs.exfat"
    );
    let scratch = Scratch::new();
    let image = scratch.join("image");
    let pairs = MAKERS
        .iter()
        .flat_map(|first| MAKERS.iter().map(move |last| (first, last)))
        .filter(|(first, last)| first != last);
    for ((before, first), (after, last)) in pairs {
        run(&scratch, BEGIN, first);
        run(&scratch, "$MAKE $IMAGE >/dev/null 2>&1", last);
        let found = inspected(&image);
        assert_eq!(found["filesystem"]["type"], *after, "{before} before");
        if ["ntfs", "fat32", "exfat"].contains(after) {
            run(&scratch, BEGIN, first);
            run(&scratch, LAY_OVER, last);
            let found = inspected(&image);
            assert_eq!(found["filesystem"]["type"], *after, "over a whole {before}");
        }
    }
}

/// The superblock of a btrfs lies where NTFS, exFAT and FAT have content.
#[test]
fn leftovers_are_said() {
    needs!("mkfs.btrfs", "mkntfs");
    let scratch = Scratch::new();
    let image = scratch.join("image");
    run(&scratch, BEGIN, "mkfs.btrfs -qf");
    run(&scratch, LAY_OVER, "mkntfs -qQF");
    let found = inspected(&image);
    let warnings = found["filesystem"]["warnings"].to_string();
    assert!(warnings.contains("marks of btrfs"), "{warnings}");

    // A boot sector alone is a leftover: the MFT is not there any more.
    run(
        &scratch,
        "mkfs.btrfs -qf $IMAGE; dd if=$NEW of=$IMAGE bs=512 count=1 conv=notrunc status=none",
        "",
    );
    let found = inspected(&image);
    assert_eq!(found["filesystem"]["type"], "btrfs");
    let warnings = found["filesystem"]["warnings"].to_string();
    assert!(warnings.contains("marks of ntfs"), "{warnings}");
}
