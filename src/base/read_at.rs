//! The one way in which an image, a partition, a file or a slice is read.

use super::ByteLen;
use super::ByteOffset;
use std::io;

/// Random access to a fixed range of bytes: an image, a partition, a file, a slice.
pub trait ReadAt: Send + Sync {
    /// Returns the length in bytes; constant for the life of the value.
    fn len(&self) -> ByteLen;

    /// Tells whether there is not a single byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `target` from `offset`; never short.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if any byte lies beyond [`ReadAt::len`]; otherwise what the
    /// medium reports. `target` is unspecified after an error.
    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len(&self) -> ByteLen {
        <[u8]>::len(self) as ByteLen
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(target.len())?))
            .and_then(|range| self.get(range))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        target.copy_from_slice(source);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> ByteLen {
        self.as_slice().len() as ByteLen
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        ReadAt::read_exact_at(self.as_slice(), offset, target)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn len(&self) -> ByteLen {
        (**self).len()
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_never_read_short() {
        let bytes = vec![1_u8, 2, 3];
        let mut two = [0; 2];
        bytes.read_exact_at(1, &mut two).unwrap();
        assert_eq!(two, [2, 3]);
        assert!(bytes.read_exact_at(2, &mut two).is_err());
        assert!(bytes.read_exact_at(u64::MAX, &mut two).is_err());
    }
}
