//! What can go wrong while partitions are looked for and read.

use crate::base::FieldError;
use std::io;

/// The result of looking for partitions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a table, a partition or a volume could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The medium below failed.
    #[error("reading the image failed")]
    Io(#[source] io::Error),
    /// The image is fine, and something is missing here.
    #[error("not supported: {feature}")]
    Unsupported {
        /// What is missing.
        feature: String,
    },
    /// The bytes contradict themselves.
    #[error("{field}: expected {expected}, found {actual:#x}")]
    Corrupt {
        /// What was looked at.
        field: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What is there.
        actual: u64,
    },
}

impl Error {
    /// Returns [`Error::Corrupt`]; a shorter way to write it.
    pub(super) fn corrupt(
        field: &'static str,
        expected: &'static str,
        actual: impl Into<u64>,
    ) -> Self {
        Self::Corrupt {
            field,
            expected,
            actual: actual.into(),
        }
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::corrupt("structure", "all fields inside it", error.end)
    }
}
