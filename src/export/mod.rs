//! Files out of an image: a tree walked in bounded memory, copied to a folder of this
//! machine from several threads, or written as a tar stream.
//!
//! Everything that comes from the image is taken as hostile. Names are validated, each
//! directory of the target is opened relative to its parent and never through a symbolic
//! link, and a directory that is its own ancestor is refused, so nothing is written
//! outside the target and every walk ends. Prints nothing: what fails is told to a
//! [`Report`], and the rest goes on.

mod acl;
mod content;
mod copy;
mod error;
mod file;
mod folder;
mod hard_link;
mod links;
mod measure;
mod properties;
mod report;
mod special;
mod sys;
mod tar;
mod target;
mod walk;

pub use acl::{AclEntry, AclTag, acl_text, parse_acl};
pub use copy::{CopyOptions, Source, Target, copy};
pub use error::{Error, Result};
pub use links::HardLinks;
pub use measure::measure;
pub use report::{Property, Report, Totals};
pub use tar::write_tar;
pub use walk::{DEPTH_MAX, Found, PATH_LEN_MAX, Step, Walk, path_too_long};
