//! Behaviour of drafts, without a mount.
