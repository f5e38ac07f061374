//! What tests of file systems share: the kernel's mount as the oracle, a tree that is
//! hard to read, damage, and random work on a live file system.

// Each test binary uses another part of it.
#![allow(dead_code)]

pub mod churn;
pub mod hostile;
pub mod image;
pub mod nasty;
pub mod support;
pub mod walk;
