//! An image on a block device: a disk, a partition, a logical volume.

use super::file::shrunk;
use super::{Error, ImageSource, Result, mounts, sys};
use crate::base::{ByteLen, ByteOffset};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A block device. It has no holes and no times: only being mounted read-write can
/// be noticed, not a write by somebody who has it open.
#[derive(Debug)]
pub struct BlockDeviceSource {
    file: File,
    path: PathBuf,
    device: u64,
    len_bytes: ByteLen,
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
        let len_bytes = sys::block_device_len(&file).map_err(context)?;
        let device = file.metadata().map_err(context)?.rdev();
        sys::advise_sequential(&file);
        Ok(Self {
            warnings: mounted_warnings(device),
            file,
            path: path.to_owned(),
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
    fn len(&self) -> ByteLen {
        self.len_bytes
    }

    fn next_data(&self, offset: ByteOffset) -> io::Result<Option<Range<ByteOffset>>> {
        Ok((offset < self.len_bytes).then_some(offset..self.len_bytes))
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        self.file
            .read_exact_at(target, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => shrunk(&self.path),
                _ => error,
            })
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
