//! What can go wrong while a file system is read: three different answers about
//! the image, and two about the question.

use super::metadata::FileType;
use crate::base::{ByteOffset, FieldError};
use std::borrow::Cow;
use std::io;

/// The result of every reader.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file system could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The medium below failed; the image may be fine.
    #[error("reading the image failed")]
    Io(#[source] io::Error),
    /// The image is fine, and something is missing here.
    #[error("feature not supported: {feature}")]
    Unsupported {
        /// The feature, as its specification calls it.
        feature: Cow<'static, str>,
    },
    /// The bytes contradict themselves.
    #[error("{field} at byte {offset:#x}: expected {expected}, found {actual:#x}")]
    Corrupt {
        /// What was looked at.
        field: &'static str,
        /// Where, relative to the beginning of the file system.
        offset: ByteOffset,
        /// What would have been right.
        expected: &'static str,
        /// What is there.
        actual: u64,
    },
    /// The node is not of the type that the operation needs.
    #[error("expected a {}, found a {}", expected.name(), actual.name())]
    WrongType {
        /// The type that the operation needs.
        expected: FileType,
        /// The type of the node.
        actual: FileType,
    },
    /// There is no such node, subvolume or attribute.
    #[error("not found: {what}")]
    NotFound {
        /// What was looked for.
        what: Cow<'static, str>,
    },
}

/// The kind of an [`Error`], for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// See [`Error::Io`].
    Io,
    /// See [`Error::Unsupported`].
    Unsupported,
    /// See [`Error::Corrupt`].
    Corrupt,
    /// See [`Error::WrongType`].
    WrongType,
    /// See [`Error::NotFound`].
    NotFound,
}

impl Error {
    /// Returns the kind of this error.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) => ErrorKind::Io,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::WrongType { .. } => ErrorKind::WrongType,
            Self::NotFound { .. } => ErrorKind::NotFound,
        }
    }

    /// Returns [`Error::Corrupt`]; a shorter way to write it.
    pub fn corrupt(
        field: &'static str,
        offset: ByteOffset,
        expected: &'static str,
        actual: impl Into<u64>,
    ) -> Self {
        Self::Corrupt {
            field,
            offset,
            expected,
            actual: actual.into(),
        }
    }

    /// Returns [`Error::Unsupported`]; a shorter way to write it.
    pub fn unsupported(feature: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported {
            feature: feature.into(),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::Corrupt {
            field: "structure",
            offset: error.offset,
            expected: "all fields inside it",
            actual: error.end,
        }
    }
}
