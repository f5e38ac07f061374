//! `create --discard-free`: what is left out is free by the word of the real tools, what is
//! kept is equal byte for byte, and whatever cannot be relied on is kept as a whole.

#[path = "../browse/machine_image.rs"]
#[allow(dead_code, reason = "the image is moved away here")]
mod machine_image;
#[path = "../support/mod.rs"]
mod support;

mod crafted;
mod formats;
mod machine;
mod refused;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use support::{Scratch, shell_ok, tintype, tintype_ok};

/// What a deleted file is full of.
pub(crate) const MARK: &str = "this-was-deleted";

/// An image, and what became of it with and without free blocks.
pub(crate) struct Pair {
    pub(crate) scratch: Scratch,
    /// What `create --json --discard-free` said.
    pub(crate) said: serde_json::Value,
}

impl Pair {
    /// Makes both snapshots of `image` in the scratch directory, and restores them.
    #[track_caller]
    pub(crate) fn new(scratch: Scratch) -> Self {
        let store = scratch.join("store");
        let path = |name: &str| scratch.join(name).to_str().expect("UTF-8").to_owned();
        let image = path("image");
        tintype_ok(&store, &["init"]);
        let create = ["--json", "create", "--resource"];
        let whole = [&create[..], &["whole", &image]].concat();
        let whole: serde_json::Value =
            serde_json::from_str(&tintype_ok(&store, &whole)).expect("JSON");
        assert!(whole["discarded_len_bytes"].is_null(), "{whole}");
        let less = [&create[..], &["less", "--discard-free", &image]].concat();
        let said = serde_json::from_str(&tintype_ok(&store, &less)).expect("JSON");
        for name in ["whole", "less"] {
            let snapshot = format!("{name}@latest");
            tintype_ok(&store, &["restore", &snapshot, &path(name)]);
        }
        // Without the option an image is what it was.
        let pair = Self { scratch, said };
        pair.shell_ok("cmp $W/image $W/whole");
        pair
    }

    /// Runs a script with W (the folder).
    #[track_caller]
    pub(crate) fn shell_ok(&self, script: &str) -> String {
        run(&self.scratch, script)
    }

    pub(crate) fn discarded_len(&self) -> u64 {
        self.said["discarded_len_bytes"].as_u64().expect("a number")
    }

    /// Checks that both are the same: nothing was left out.
    #[track_caller]
    pub(crate) fn expect_all_kept(&self, words: &str) {
        self.shell_ok("cmp $W/image $W/less");
        assert_eq!(self.discarded_len(), 0, "{}", self.said);
        for volume in self.said["free_space"].as_array().expect("volumes") {
            assert!(volume["kept"].is_string(), "{volume}");
            assert_eq!(volume["free_len_bytes"], 0, "{volume}");
        }
        let said = self.said["free_space"].to_string();
        assert!(said.contains(words), "{words:?} is not in {said}");
    }

    /// Returns the blocks of 4 KiB that differ from the image; they must be zero.
    pub(crate) fn left_out(&self) -> Vec<u64> {
        let read = |name: &str| std::fs::read(self.scratch.join(name)).expect("read");
        let (image, less) = (read("image"), read("less"));
        assert_eq!(image.len(), less.len());
        let blocks = image.chunks(4096).zip(less.chunks(4096)).enumerate();
        let different = blocks.filter(|(_, (image, less))| image != less);
        different
            .map(|(number, (_, less))| {
                assert!(less.iter().all(|byte| *byte == 0), "block {number}");
                number as u64
            })
            .collect()
    }
}

/// Runs a script with W (the folder) and MARK; returns its standard output.
#[track_caller]
pub(crate) fn run(scratch: &Scratch, script: &str) -> String {
    let variables: &[(&str, &OsStr)] =
        &[("W", scratch.path().as_os_str()), ("MARK", MARK.as_ref())];
    shell_ok(script, variables)
}

/// Makes an empty store beside the image and tries to make a snapshot.
pub(crate) fn try_create(scratch: &Scratch, image: &Path) -> support::Finished {
    let store: PathBuf = scratch.join("store");
    tintype_ok(&store, &["init"]);
    let image = image.to_str().expect("UTF-8");
    tintype(
        &store,
        &["create", "--discard-free", "--resource", "x", image],
    )
}
