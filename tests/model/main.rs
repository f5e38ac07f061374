//! Random sequences of what can be done to images, against plain byte vectors: through
//! the library and through a real mount. Every snapshot is compared byte for byte, and
//! its holes with the aligned zero blocks of the model.
//!
//! `TINTYPE_MODEL_CASES` sets the number of sequences for long campaigns. A failing one
//! is shrunk and printed; proptest prints its seed.

#[path = "../support/mod.rs"]
mod support;

mod library;
mod mounted;
mod operations;
