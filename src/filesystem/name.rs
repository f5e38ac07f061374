//! A validated component of a path: bytes, as the file system has them.

use super::error::{Error, Result};
use std::fmt;

/// One component of a path: not empty, not `.` or `..`, without `/` and NUL, at
/// most [`Name::LEN_MAX`] bytes. Otherwise any bytes, not only UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The longest name in bytes: 255 UTF-16 units of NTFS take up to 765 bytes;
    /// Linux does not take names above 1,024 through FUSE.
    pub const LEN_MAX: usize = 1024;

    /// Returns the name if `bytes` is one.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let valid = !bytes.is_empty()
            && bytes.len() <= Self::LEN_MAX
            && bytes != b"."
            && bytes != b".."
            && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        valid.then_some(Self(bytes))
    }

    /// Returns the name that a directory of an image has at `offset`.
    ///
    /// # Errors
    ///
    /// Corrupt if no file can have that name.
    pub fn of_image(bytes: &'a [u8], offset: crate::base::ByteOffset) -> Result<Self> {
        Self::new(bytes).ok_or_else(|| {
            Error::corrupt(
                "directory entry name",
                offset,
                "a name without / and NUL",
                u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            )
        })
    }

    /// Returns the bytes of the name.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_file_can_have_are_names() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 1025]] {
            assert!(Name::new(bad).is_none(), "{}", bad.escape_ascii());
        }
        for good in [&b"a"[..], b"...", b"\xff\xfe", b"new\nline", &[b'x'; 255]] {
            assert!(Name::new(good).is_some(), "{}", good.escape_ascii());
        }
        assert!(Name::of_image(b"a/b", 7).is_err());
    }
}
