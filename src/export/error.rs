//! Why a file could not be brought out of an image.

use crate::filesystem;
use std::borrow::Cow;
use std::io;

/// Why a file could not be brought out of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the image, or what it says of itself.
    #[error(transparent)]
    Image(#[from] filesystem::Error),
    /// The system refused to write.
    #[error("{action}")]
    Target {
        /// What was tried, in the present participle, and on what.
        action: Cow<'static, str>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something of this name is there already.
    #[error("{what} is in the way")]
    Exists {
        /// What it is.
        what: &'static str,
    },
    /// Another name of the same file failed.
    #[error("it is the same file as one that failed")]
    SameFile,
    /// The work was stopped on request.
    #[error("interrupted")]
    Interrupted,
    /// A fault of ours.
    #[error("a reader failed; this is a fault of tintype")]
    Fault,
}

/// Result of bringing something out of an image.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns a function that adds what was tried to an error of the system.
    pub(super) fn target(action: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Target {
            action: action.into(),
            source: errno.into(),
        }
    }

    /// Returns a failure of the target with the file that it was at, which is empty for
    /// what is copied itself.
    pub(super) fn at(self, path: &[u8]) -> Self {
        match self {
            Self::Target { action, source } if !path.is_empty() => Self::Target {
                action: format!("{action} {}", String::from_utf8_lossy(path)).into(),
                source,
            },
            error => error,
        }
    }

    /// Tells whether it is this answer of the system.
    pub(super) fn is_errno(&self, errno: rustix::io::Errno) -> bool {
        let Self::Target { source, .. } = self else {
            return false;
        };
        source.raw_os_error() == Some(errno.raw_os_error())
    }

    /// Tells whether nothing more can be written after it.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Target { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}
