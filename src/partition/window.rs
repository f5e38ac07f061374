//! One range of an image as an image of its own.

use super::error::{Error, Result};
use crate::base::{ByteLen, ByteOffset, ReadAt};
use std::io;
use std::sync::Arc;

/// The bytes of one range of an image.
pub struct Window {
    image: Arc<dyn ReadAt>,
    image_offset: ByteOffset,
    len: ByteLen,
}

impl Window {
    /// Returns the `len` bytes of `image` from `image_offset` on.
    ///
    /// # Errors
    ///
    /// Corrupt if they are not all inside the image.
    pub fn new(image: Arc<dyn ReadAt>, image_offset: ByteOffset, len: ByteLen) -> Result<Self> {
        let end = image_offset.checked_add(len);
        if end.is_none_or(|end| end > image.len()) {
            return Err(Error::corrupt(
                "range",
                "a place inside the image",
                image_offset,
            ));
        }
        Ok(Self {
            image,
            image_offset,
            len,
        })
    }
}

impl ReadAt for Window {
    fn len(&self) -> ByteLen {
        self.len
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let end = u64::try_from(target.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let image_offset = self
            .image_offset
            .checked_add(offset)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.image.read_exact_at(image_offset, target)
    }
}
