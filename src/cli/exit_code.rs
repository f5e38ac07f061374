//! The exit codes, and the one place that chooses them. docs/reference/exit-codes.md
//! is for people; the numbers never change their meaning.

use super::error::Error;
use crate::{backend, export, filesystem, fuse, source, store, tree};
use std::io;
use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All done.
    Success,
    /// Something failed that no other code names.
    Failure,
    /// The arguments make no sense.
    Usage,
    /// The store, snapshot, source or draft is not there.
    NotFound,
    /// Stored data is damaged or missing.
    Damaged,
    /// A disk or a quota is full.
    NoSpace,
    /// The system forbids it.
    Denied,
    /// Something is in the way: a file that exists, a device in use or too small.
    Refused,
    /// The store, or what is in an image, needs a feature that this program lacks.
    Unsupported,
    /// Ended by this signal.
    Signal(u8),
    /// What a background process ended with.
    Other(u8),
}

impl Code {
    /// Returns the number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Damaged => 4,
            Self::NoSpace => 5,
            Self::Denied => 6,
            Self::Refused => 7,
            Self::Unsupported => 8,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
            Self::Other(number) => number,
        }
    }

    /// Returns the word for it in `--json` errors.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure | Self::Other(_) => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Damaged => "damaged",
            Self::NoSpace => "no_space",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Signal(_) => "interrupted",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// Chooses the code for an error; `signal` is the one that the program received.
pub fn of(error: &Error, signal: Option<u8>) -> Code {
    match error {
        Error::Store(error) => of_store(error, signal),
        Error::Source(error) => of_source(error),
        Error::Tree(error) => of_tree(error, signal),
        Error::Mount(error) => of_mount(error, signal),
        Error::Files { source, .. } => of_files(source, signal),
        Error::Export { source, .. } => of_export(source, signal),
        Error::Incomplete { code, .. } => *code,
        Error::Usage(_) => Code::Usage,
        Error::NotFound(_) => Code::NotFound,
        Error::Refused(_) => Code::Refused,
        Error::Io { source, .. } => of_io(source),
        Error::Child { code, .. } => Code::Other(*code),
        Error::OutputClosed => Code::Failure,
    }
}

fn of_store(error: &store::Error, signal: Option<u8>) -> Code {
    if let store::Error::Source(source) | store::Error::Target(source) = error {
        return of_io(source);
    }
    match error.kind() {
        // Within an open store a missing object is damage; the catalog says NotFound
        // of snapshots only.
        store::Kind::NotFound => Code::NotFound,
        store::Kind::Corrupt => Code::Damaged,
        store::Kind::NoSpace | store::Kind::Quota => Code::NoSpace,
        store::Kind::Denied => Code::Denied,
        store::Kind::Unsupported => Code::Unsupported,
        store::Kind::Invalid => Code::Usage,
        store::Kind::Exists => Code::Refused,
        store::Kind::Interrupted => signal.map_or(Code::Failure, Code::Signal),
        store::Kind::Io => Code::Failure,
    }
}

fn of_files(error: &filesystem::Error, signal: Option<u8>) -> Code {
    if let filesystem::Error::Io(error) = error {
        // An image in a store fails with an error of the store.
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        return inner.map_or_else(|| of_io(error), |inner| of_store(inner, signal));
    }
    match error.kind() {
        filesystem::ErrorKind::NotFound => Code::NotFound,
        filesystem::ErrorKind::Corrupt => Code::Damaged,
        filesystem::ErrorKind::Unsupported => Code::Unsupported,
        filesystem::ErrorKind::WrongType | filesystem::ErrorKind::Io => Code::Failure,
    }
}

/// Chooses the code for a file that is brought out of an image.
pub fn of_export(error: &export::Error, signal: Option<u8>) -> Code {
    match error {
        export::Error::Image(error) => of_files(error, signal),
        export::Error::Target { source, .. } => of_io(source),
        export::Error::Exists { .. } => Code::Refused,
        export::Error::SameFile => Code::Damaged,
        export::Error::Interrupted => signal.map_or(Code::Failure, Code::Signal),
        export::Error::Fault => Code::Failure,
    }
}

fn of_source(error: &source::Error) -> Code {
    match error {
        source::Error::Io { source, .. } => of_io(source),
        source::Error::NotAnImage { .. } => Code::Usage,
        source::Error::Exists { .. }
        | source::Error::DanglingLink { .. }
        | source::Error::InUse { .. }
        | source::Error::TooSmall { .. } => Code::Refused,
    }
}

fn of_tree(error: &tree::Error, signal: Option<u8>) -> Code {
    match error {
        tree::Error::Store(error) => return of_store(error, signal),
        tree::Error::File { source, .. } => return of_io(source),
        _ => {}
    }
    match error.kind() {
        tree::Kind::NotFound => Code::NotFound,
        tree::Kind::Exists | tree::Kind::Busy | tree::Kind::NotPermitted => Code::Refused,
        tree::Kind::NoSpace | tree::Kind::Quota => Code::NoSpace,
        tree::Kind::Damaged | tree::Kind::Inconsistent => Code::Damaged,
        tree::Kind::ReadOnly => Code::Denied,
        tree::Kind::Unsupported => Code::Unsupported,
        tree::Kind::Invalid | tree::Kind::NameTooLong | tree::Kind::TooLarge => Code::Usage,
        tree::Kind::NotADirectory
        | tree::Kind::IsADirectory
        | tree::Kind::Io
        | tree::Kind::NoData
        | tree::Kind::NoSuchPlace
        | tree::Kind::TooMuch => Code::Failure,
    }
}

fn of_mount(error: &fuse::Error, signal: Option<u8>) -> Code {
    match error {
        // A place that is not there, or one that is refused for where it lies.
        fuse::Error::Place(refusal) => std::error::Error::source(refusal)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .map_or(Code::Refused, of_io),
        fuse::Error::Tree(error) => of_tree(error, signal),
        fuse::Error::Store(error) => of_store(error, signal),
        fuse::Error::Mount { source, .. } => of_io(source),
    }
}

fn of_io(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => Code::Refused,
        // `io::ErrorKind` is open: all else is a plain failure.
        _ => Code::Failure,
    }
}

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        Self::Store(error.into())
    }
}
