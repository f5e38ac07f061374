//! What the tree answers when it cannot do as asked. The adapters choose errno or
//! status from [`Kind`], each in one exhaustive match.

use crate::filesystem::{self, FileType};
use crate::store;
use std::fmt;
use std::io;

/// What kind of failure it is, for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such name or node.
    NotFound,
    /// The name is taken.
    Exists,
    /// A directory was needed.
    NotADirectory,
    /// A directory cannot be used like a file.
    IsADirectory,
    /// This part of the tree never changes by request.
    ReadOnly,
    /// The tree does not do this to anything.
    NotPermitted,
    /// The medium of the store is full.
    NoSpace,
    /// The user's quota on the medium is used up.
    Quota,
    /// A chunk or another object is damaged or missing.
    Damaged,
    /// A file system inside an image contradicts itself.
    Inconsistent,
    /// The medium failed.
    Io,
    /// Tintype does not do this operation.
    Unsupported,
    /// The request makes no sense.
    Invalid,
    /// There is no such extended attribute.
    NoData,
    /// No data lies at or after that place.
    NoSuchPlace,
    /// The file would be longer than an image can be.
    TooLarge,
    /// The name is longer than a directory entry can be.
    NameTooLong,
    /// Somebody else uses it.
    Busy,
    /// It would need more memory than is set aside for it.
    TooMuch,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such name",
            Self::Exists => "the name is taken",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "it is a directory",
            Self::ReadOnly => "snapshots never change",
            Self::NotPermitted => "not possible here",
            Self::NoSpace => "the store's disk is full",
            Self::Quota => "the quota on the store's disk is used up",
            Self::Damaged => "the data is damaged",
            Self::Inconsistent => "the file system of the image is damaged",
            Self::Io => "the store's disk failed",
            Self::Unsupported => "not supported",
            Self::Invalid => "the request makes no sense",
            Self::NoData => "no such attribute",
            Self::NoSuchPlace => "no data at or after that offset",
            Self::TooLarge => "longer than an image can be",
            Self::NameTooLong => "the name is too long",
            Self::Busy => "somebody else uses it",
            Self::TooMuch => "more than is set aside for it",
        })
    }
}

/// A failed operation of the tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is refused.
    #[error("{0}")]
    Refused(Kind),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file of a draft failed.
    #[error("{action}")]
    File {
        /// What was tried, in the present participle.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file system or a partition inside an image cannot be read.
    #[error(transparent)]
    Contents(#[from] filesystem::Error),
    /// An earlier write failed, and the draft cannot become a snapshot.
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
            Self::Refused(kind) | Self::Failed { kind, .. } => *kind,
            Self::Store(error) => match error.kind() {
                store::Kind::NotFound => Kind::NotFound,
                store::Kind::Corrupt => Kind::Damaged,
                store::Kind::NoSpace => Kind::NoSpace,
                store::Kind::Quota => Kind::Quota,
                store::Kind::Denied | store::Kind::Io | store::Kind::Interrupted => Kind::Io,
                store::Kind::Unsupported => Kind::Unsupported,
                store::Kind::Invalid => Kind::Invalid,
                store::Kind::Exists => Kind::Exists,
            },
            Self::Contents(error) => contents_kind(error),
            Self::File { source, .. } => match source.raw_os_error() {
                Some(libc::ENOSPC) => Kind::NoSpace,
                Some(libc::EDQUOT) => Kind::Quota,
                Some(libc::EFBIG) => Kind::TooLarge,
                _ => Kind::Io,
            },
        }
    }

    /// Returns what to remember of a failure that ends a draft.
    pub fn to_failed(&self) -> Self {
        Self::Failed {
            kind: self.kind(),
            message: store::chain(self),
        }
    }
}

/// Returns the kind of a failure inside an image.
fn contents_kind(error: &filesystem::Error) -> Kind {
    match error {
        filesystem::Error::Corrupt { .. } => Kind::Inconsistent,
        filesystem::Error::Unsupported { .. } => Kind::Unsupported,
        filesystem::Error::NotFound { .. } => Kind::NotFound,
        filesystem::Error::WrongType { expected, actual } => match (expected, actual) {
            (FileType::Directory, _) => Kind::NotADirectory,
            (_, FileType::Directory) => Kind::IsADirectory,
            _ => Kind::Invalid,
        },
        // What reads the image is ours.
        filesystem::Error::Io(error) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
            .map_or(Kind::Io, Error::kind),
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::Refused(kind)
    }
}

/// Adds what was tried to what the system says.
pub(super) trait Context<T> {
    fn context(self, action: &'static str) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str) -> Result<T> {
        self.map_err(|source| Error::File { action, source })
    }
}

/// Result of an operation of the tree.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_inside_an_image_keeps_its_kind() {
        let kind = |error: filesystem::Error| Error::from(error).kind();
        let damaged = io::Error::other(Error::from(Kind::Damaged));
        assert_eq!(kind(filesystem::Error::Io(damaged)), Kind::Damaged);
        let failed = io::Error::from_raw_os_error(libc::EIO);
        assert_eq!(kind(filesystem::Error::Io(failed)), Kind::Io);
        let corrupt = filesystem::Error::corrupt("field", 0, "something else", 1_u64);
        assert_eq!(kind(corrupt), Kind::Inconsistent);
        let unsupported = filesystem::Error::unsupported("encryption");
        assert_eq!(kind(unsupported), Kind::Unsupported);
        let wrong = |expected, actual| kind(filesystem::Error::WrongType { expected, actual });
        let (file, directory) = (FileType::Regular, FileType::Directory);
        assert_eq!(wrong(directory, file), Kind::NotADirectory);
        assert_eq!(wrong(file, directory), Kind::IsADirectory);
        assert_eq!(wrong(FileType::Symlink, file), Kind::Invalid);
    }
}
