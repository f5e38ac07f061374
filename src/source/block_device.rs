//! An image on a block device: a disk, a partition, a logical volume.

use super::file::{advise_sequential, read_fully};
use super::{Error, ImageSource, Result, mounts};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A block device. It has no holes and no times: only being mounted read-write can
/// be noticed, not a write by somebody who has it open.
#[derive(Debug)]
pub struct BlockDeviceSource {
    file: File,
    device: u64,
    len_bytes: u64,
    warnings: Vec<String>,
}

impl BlockDeviceSource {
    /// Takes an open device; `path` is for messages.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let context = |source| Error::Io {
            action: "measuring",
            path: path.to_owned(),
            source,
        };
        let len_bytes = device_len(&file).map_err(context)?;
        let device = file.metadata().map_err(context)?.rdev();
        advise_sequential(&file);
        Ok(Self {
            warnings: mounted_warnings(device),
            file,
            device,
            len_bytes,
        })
    }
}

fn mounted_warnings(device: u64) -> Vec<String> {
    let uses = mounts::uses_of_device(device);
    uses.iter()
        .filter_map(mounts::Use::read_write_warning)
        .collect()
}

impl ImageSource for BlockDeviceSource {
    fn len(&self) -> u64 {
        self.len_bytes
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok((offset < self.len_bytes).then_some(offset..self.len_bytes))
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        read_fully(&self.file, offset, target)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        for warning in mounted_warnings(self.device) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// Returns the length of a block device; its metadata says 0.
pub(super) fn device_len(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}
