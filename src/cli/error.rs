//! Why a command ended without success.

use super::exit_code::Code;
use crate::{export, filesystem, fuse, source, store, tree};
use std::io;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store, an image or the catalog.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What an image is read from or restored to.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// Drafts.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] fuse::Error),
    /// A file in an image, or the image that it is in.
    #[error("{place}")]
    Files {
        /// The image, and the path in it.
        place: String,
        /// What is the matter.
        #[source]
        source: filesystem::Error,
    },
    /// A file that is brought out of an image.
    #[error("{place}")]
    Export {
        /// The image, and the path in it.
        place: String,
        /// What is the matter.
        #[source]
        source: export::Error,
    },
    /// Some of the work was done; what was not has been told.
    #[error("{message}")]
    Incomplete {
        /// What to end with.
        code: Code,
        /// How much was not done.
        message: String,
    },
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Something is in the way that the user can move.
    #[error("{0}")]
    Refused(String),
    /// The system refused.
    #[error("{action}")]
    Io {
        /// What was tried, in the present participle, and on what.
        action: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A part of the program that ran elsewhere failed with this code and message.
    #[error("{message}")]
    Child {
        /// Its exit code.
        code: u8,
        /// What it said.
        message: String,
    },
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    OutputClosed,
}

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns a function that adds what was tried to an error of the system.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Turns a failed write to standard output into an error.
    pub fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Io {
            action: "writing to standard output".to_owned(),
            source,
        }
    }
}
