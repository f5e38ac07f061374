//! A source as a range of bytes that others look into.

use super::ImageSource;
use crate::base::{ByteLen, ByteOffset, ReadAt};
use std::io;
use std::sync::Arc;

/// An image in a file or on a block device, read at any place and never written.
#[derive(Clone)]
pub struct SourceReader {
    source: Arc<dyn ImageSource>,
}

impl SourceReader {
    /// Returns the bytes of a source.
    pub fn new(source: Arc<dyn ImageSource>) -> Self {
        Self { source }
    }
}

impl ReadAt for SourceReader {
    fn len(&self) -> ByteLen {
        self.source.len()
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let count = self.source.read_at(offset, target)?;
        if count < target.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_never_read_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        std::fs::write(&path, b"abc").unwrap();
        let reader = SourceReader::new(crate::source::open(&path).unwrap());
        assert_eq!(reader.len(), 3);
        let mut two = [0; 2];
        reader.read_exact_at(1, &mut two).unwrap();
        assert_eq!(&two, b"bc");
        let error = reader.read_exact_at(2, &mut two).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
