//! The formats that are fuzzed. To add one: put images into `tests/data/fuzz/<name>/`
//! (`scripts/fuzz-images` makes them), and a line here; a repairer of its checksums
//! lets changes reach behind them.

use crate::image::{Base, Image};
use crate::repair::{self, Repair};
use crate::{partitions, walk};
use std::path::PathBuf;
use std::sync::Arc;

/// How a format is fuzzed.
pub struct Format {
    pub name: &'static str,
    /// Looks at everything in an image; returns how many things that were.
    pub run: fn(&Arc<Image>) -> usize,
    /// Makes what repairs the checksums of changed copies of an image.
    pub repairer: fn(&Arc<Base>) -> Box<dyn Repair>,
    /// Bytes that a run may hold: what the reader promises, and the cache.
    pub bytes_max: usize,
}

/// 16 MiB for each file system and the cache, and some for the walk itself.
const FILE_SYSTEM_BYTES_MAX: usize = (16 << 20) + walk::CACHE_LEN + (3 << 20);

pub const FORMATS: [Format; 7] = [
    Format {
        name: "ext",
        run: walk::file_system,
        repairer: repair::ext,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "xfs",
        run: walk::file_system,
        repairer: repair::xfs,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "btrfs",
        run: walk::file_system,
        repairer: repair::btrfs,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "fat",
        run: walk::file_system,
        repairer: repair::nothing,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "exfat",
        run: walk::file_system,
        repairer: repair::exfat,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "ntfs",
        run: walk::file_system,
        repairer: repair::ntfs,
        bytes_max: FILE_SYSTEM_BYTES_MAX,
    },
    Format {
        name: "partition",
        run: partitions::tables,
        repairer: repair::partition,
        // The budget of LVM metadata, and two texts of it.
        bytes_max: 72 << 20,
    },
];

impl Format {
    /// Returns the format with that name.
    pub fn of(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// Returns where its images and findings lie.
    pub fn folder(&self) -> PathBuf {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz");
        PathBuf::from(data).join(self.name)
    }

    /// Returns all images below a folder of [`Format::folder`] by name.
    pub fn images(&self, folder: &str) -> Vec<(String, Arc<Base>)> {
        let folder = self.folder().join(folder);
        let Ok(listed) = std::fs::read_dir(folder) else {
            return vec![];
        };
        let mut images = vec![];
        for entry in listed {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(name) = name.strip_suffix(".pages.zst") {
                let base = Base::load(&path).expect("an image of ours");
                images.push((name.to_owned(), Arc::new(base)));
            }
        }
        images.sort_by(|one, other| one.0.cmp(&other.0));
        images
    }
}
