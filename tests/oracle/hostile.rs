//! Damaged images, and a walk that takes every answer.

use super::walk::entries;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tintype::base::ReadAt;
use tintype::filesystem::{FileSystem, FileType};

/// What changes are kept by.
pub const PAGE_LEN: usize = 4096;

/// Nodes and bytes of a file of one walk at most.
const NODES_MAX: usize = 4000;
const READ_LEN: usize = 1 << 16;
/// Nothing that is read may take longer.
pub const TIME_MAX: Duration = Duration::from_secs(20);

/// An image with some pages changed.
pub struct Mutated {
    base: Arc<Vec<u8>>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Mutated {
    pub fn new(base: &Arc<Vec<u8>>) -> Self {
        Self {
            base: Arc::clone(base),
            pages: BTreeMap::new(),
        }
    }

    /// Returns a page to change.
    pub fn page(&mut self, index: u64) -> &mut Vec<u8> {
        let start = index as usize * PAGE_LEN;
        let base = &self.base;
        self.pages
            .entry(index)
            .or_insert_with(|| base[start..start + PAGE_LEN].to_vec())
    }
}

impl ReadAt for Mutated {
    fn len(&self) -> u64 {
        ReadAt::len(&*self.base)
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> std::io::Result<()> {
        ReadAt::read_exact_at(&*self.base, offset, target)?;
        let end = offset + target.len() as u64;
        let first = offset / PAGE_LEN as u64;
        for (index, page) in self.pages.range(first..end.div_ceil(PAGE_LEN as u64)) {
            let start = index * PAGE_LEN as u64;
            let (from, to) = (start.max(offset), (start + PAGE_LEN as u64).min(end));
            let part = &page[(from - start) as usize..(to - start) as usize];
            target[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }
}

/// Reads everything; damage is an answer. Returns how many answers were errors.
pub fn read_everything(fs: &dyn FileSystem) -> usize {
    let mut errors = 0;
    let mut count = |is_error: bool| errors += usize::from(is_error);
    let mut seen = BTreeSet::from([fs.root()]);
    let mut pending = vec![fs.root()];
    let mut buffer = vec![0; READ_LEN];
    while let Some(node) = pending.pop() {
        let Ok(stat) = fs.metadata(node) else {
            count(true);
            continue;
        };
        match fs.xattr_names(node) {
            Ok(names) => names
                .iter()
                .take(20)
                .for_each(|name| count(fs.xattr(node, name).is_err())),
            Err(_) => count(true),
        }
        match stat.file_type {
            FileType::Directory => {
                let Ok(children) = entries(fs, node) else {
                    count(true);
                    continue;
                };
                for (_, child, _) in children {
                    if seen.len() < NODES_MAX && seen.insert(child) {
                        pending.push(child);
                    }
                }
            }
            FileType::Regular => {
                count(fs.read_at(node, 0, &mut buffer).is_err());
                count(fs.read_at(node, stat.size / 2, &mut buffer).is_err());
                let listed = fs.extents(node, 0, &mut |_| ControlFlow::Continue(()));
                count(listed.is_err());
            }
            FileType::Symlink => count(fs.read_link(node).is_err()),
            _ => {}
        }
    }
    count(fs.statfs().is_err());
    let mut ranges = 0;
    let free = fs.allocated_ranges(&mut |_| {
        ranges += 1;
        ControlFlow::Continue(())
    });
    count(free.is_err());
    errors
}
