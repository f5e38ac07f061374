//! How much a tree is, for those who wait for it.

use super::walk::{Step, Walk};
use crate::contents::{View, ViewNode};
use crate::filesystem::FileType;
use std::collections::HashSet;

/// Returns the bytes of content below a directory, holes included and files with several
/// names counted once; `None` if `is_over` tells that nobody waits any more. What cannot
/// be read counts nothing.
pub fn measure(view: &View, start: ViewNode, is_over: &dyn Fn() -> bool) -> Option<u64> {
    let mut walk = Walk::new(view, start);
    let mut several = HashSet::new();
    let mut len_bytes = 0_u64;
    while let Some(step) = walk.next() {
        if is_over() {
            return None;
        }
        if let Step::Other(found) = step
            && found.metadata.file_type == FileType::Regular
            && (found.metadata.link_count <= 1 || several.insert(found.node))
        {
            len_bytes = len_bytes.saturating_add(found.metadata.size);
        }
    }
    Some(len_bytes)
}
