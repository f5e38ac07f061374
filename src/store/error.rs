//! What the store answers when it cannot do as asked.

use crate::backend;
use crate::base::ChunkId;

/// What kind of failure it is, for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for is not there.
    NotFound,
    /// The bytes contradict themselves, or a named object is missing.
    Corrupt,
    /// The medium is full.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The system forbids it.
    Denied,
    /// The store needs a feature that this version lacks.
    Unsupported,
    /// The request makes no sense.
    Invalid,
    /// It is there already.
    Exists,
    /// The work was stopped on request.
    Interrupted,
    /// The medium failed.
    Io,
}

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// An object contradicts itself.
    #[error("{object} is damaged: {problem}")]
    Corrupt {
        /// The object and the place in it.
        object: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// No index knows the chunk.
    #[error("chunk {0} is in no index")]
    ChunkMissing(ChunkId),
    /// The compressor failed.
    #[error("the compressor failed")]
    Codec(#[source] std::io::Error),
    /// The work was stopped on request.
    #[error("interrupted")]
    Interrupted,
    /// Reading what was to be stored failed.
    #[error("reading the source failed")]
    Source(#[source] std::io::Error),
    /// Writing what was brought back failed.
    #[error("writing the target failed")]
    Target(#[source] std::io::Error),
    /// The store uses a feature that this version lacks.
    #[error("{0}; a newer tintype may read it")]
    Unsupported(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// An earlier write failed, and nothing more is taken.
    #[error("an earlier write failed: {message}")]
    Failed {
        /// The kind of the first failure.
        kind: Kind,
        /// What the first failure said.
        message: String,
    },
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Backend(error) => match error.kind() {
                backend::Kind::NotFound => Kind::NotFound,
                backend::Kind::NoSpace => Kind::NoSpace,
                backend::Kind::Quota => Kind::Quota,
                backend::Kind::Denied => Kind::Denied,
                backend::Kind::Io => Kind::Io,
            },
            Self::Corrupt { .. } | Self::ChunkMissing(_) => Kind::Corrupt,
            Self::Target(error) => target_kind(error),
            Self::Source(_) | Self::Codec(_) => Kind::Io,
            Self::Interrupted => Kind::Interrupted,
            Self::NotFound(_) => Kind::NotFound,
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Invalid(_) => Kind::Invalid,
            Self::Exists(_) => Kind::Exists,
            Self::Failed { kind, .. } => *kind,
        }
    }

    /// Returns a copy for a second reader of the same failure.
    pub fn duplicate(&self) -> Self {
        Self::Failed {
            kind: self.kind(),
            message: chain(self),
        }
    }
}

fn target_kind(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Kind::NoSpace,
        std::io::ErrorKind::QuotaExceeded => Kind::Quota,
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Io,
    }
}

/// Returns the messages of `error` and of all its sources.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// Result of an operation of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
