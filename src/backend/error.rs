//! What a backend answers when it cannot do as asked.

use std::io;

/// What kind of failure it is, for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// The medium is full.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The system forbids it.
    Denied,
    /// The medium failed, or the object is shorter than asked for.
    Io,
}

/// A failed operation on one object.
#[derive(Debug, thiserror::Error)]
#[error("{action} {name}")]
pub struct Error {
    /// What was tried, in the present participle: "reading".
    pub action: &'static str,
    /// The object, or the folder.
    pub name: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> Kind {
        match self.source.raw_os_error() {
            Some(libc::ENOSPC) => return Kind::NoSpace,
            Some(libc::EDQUOT) => return Kind::Quota,
            _ => {}
        }
        match self.source.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::StorageFull => Kind::NoSpace,
            io::ErrorKind::QuotaExceeded => Kind::Quota,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
            _ => Kind::Io,
        }
    }
}

/// Result of an operation of a backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds action and name to what the system says.
pub(super) trait Context<T> {
    fn context(self, action: &'static str, name: &str) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, name: &str) -> Result<T> {
        self.map_err(|source| Error {
            action,
            name: name.to_owned(),
            source,
        })
    }
}
