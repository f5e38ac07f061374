//! Makes the checksums of changed structures right again, so that changes are not
//! stopped by the first check. Written from the formats' documentation, not from the
//! readers.

mod btrfs;
mod exfat;
mod ext;
mod journal;
mod ntfs;
mod partition;
mod xfs;

use crate::image::{Base, Image, Place};
use std::sync::Arc;

/// Knows where the structures of one image lie.
pub trait Repair {
    /// Makes the checksums of all structures right that one of `edited` touches.
    fn repair(&self, image: &mut Image, edited: &[Place]);
}

/// For formats without checksums.
pub struct Nothing;

impl Repair for Nothing {
    fn repair(&self, _: &mut Image, _: &[Place]) {}
}

pub fn nothing(_: &Arc<Base>) -> Box<dyn Repair> {
    Box::new(Nothing)
}

pub fn ext(base: &Arc<Base>) -> Box<dyn Repair> {
    match ext::Ext::new(base) {
        Some(ext) => Box::new(ext),
        None => Box::new(Nothing),
    }
}

pub fn exfat(base: &Arc<Base>) -> Box<dyn Repair> {
    Box::new(exfat::Exfat::new(base))
}

pub fn ntfs(base: &Arc<Base>) -> Box<dyn Repair> {
    Box::new(ntfs::Ntfs::new(base))
}

pub fn xfs(base: &Arc<Base>) -> Box<dyn Repair> {
    match xfs::Xfs::new(base) {
        Some(xfs) => Box::new(xfs),
        None => Box::new(Nothing),
    }
}

pub fn btrfs(base: &Arc<Base>) -> Box<dyn Repair> {
    match btrfs::Btrfs::new(base) {
        Some(btrfs) => Box::new(btrfs),
        None => Box::new(Nothing),
    }
}

pub fn partition(base: &Arc<Base>) -> Box<dyn Repair> {
    Box::new(partition::Tables::new(base))
}

fn le16(bytes: &[u8], at: usize) -> u64 {
    number(bytes, at, 2, true)
}

fn le32(bytes: &[u8], at: usize) -> u64 {
    number(bytes, at, 4, true)
}

fn be32(bytes: &[u8], at: usize) -> u64 {
    number(bytes, at, 4, false)
}

/// Returns the number of `len` bytes at `at`; what is not there is 0.
fn number(bytes: &[u8], at: usize, len: usize, is_little: bool) -> u64 {
    let part = bytes.get(at..at + len).unwrap_or_default();
    let mut wide = [0; 8];
    if part.len() < len {
        return 0;
    }
    if is_little {
        wide[..len].copy_from_slice(part);
        u64::from_le_bytes(wide)
    } else {
        wide[8 - len..].copy_from_slice(part);
        u64::from_be_bytes(wide)
    }
}
