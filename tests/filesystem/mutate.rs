//! Damaged metadata: an error or data, soon, and never a panic.
