//! Files as images, and as temporary places.

use std::path::Path;
use tintype::base::{ByteLen, ByteOffset, ReadAt};
use tintype::filesystem::{Spill, SpillFile};

/// A file as an image.
pub struct ImageFile {
    file: std::fs::File,
    len: ByteLen,
}

impl ImageFile {
    pub fn open(path: &Path) -> Self {
        let file = std::fs::File::open(path).expect("an image");
        let len = file.metadata().expect("a length").len();
        Self { file, len }
    }
}

impl ReadAt for ImageFile {
    fn len(&self) -> ByteLen {
        self.len
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, target, offset)
    }
}

/// Temporary files for large replays.
pub struct TemporaryFiles;

struct TemporaryFile(std::fs::File);

impl Spill for TemporaryFiles {
    fn create(&self) -> std::io::Result<Box<dyn SpillFile>> {
        Ok(Box::new(TemporaryFile(tempfile::tempfile()?)))
    }
}

impl SpillFile for TemporaryFile {
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, target, offset)
    }

    fn write_all_at(&self, offset: ByteOffset, source: &[u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, source, offset)
    }
}
