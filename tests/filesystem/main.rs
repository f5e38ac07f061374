//! Readers of file systems against the kernel, against damage and against time.
//!
//! Images are made with the usual tools and filled through the kernel's own mount,
//! which needs root and loop devices; without them those tests say SKIPPED. Set
//! `TINTYPE_LONG=1` for the long forms (30 dirty images, 10,000 corruptions).

mod dirty;
mod ext;
mod image;
mod mutate;
mod nasty;
mod record;

/// Tells whether the long forms of the tests are asked for.
fn is_long() -> bool {
    std::env::var_os("TINTYPE_LONG").is_some()
}
