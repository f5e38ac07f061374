//! Extents that the log promised to map or to unmap, laid over those that are stored:
//! what the kernel would finish at the next mount.

use super::extent::{Extent, Patch};
use std::collections::{BTreeMap, VecDeque};

/// What the patches of one fork come to: for each range that a patch names, what is
/// there in the end. The ranges do not overlap.
#[derive(Debug, Default)]
pub(super) struct PatchMap {
    /// By first file block: the extent, and whether it is mapped (else a hole).
    ranges: BTreeMap<u64, Patch>,
}

impl PatchMap {
    /// Lays `patch` over those before it.
    pub(super) fn add(&mut self, patch: &Patch) {
        let covered: Vec<Patch> = self
            .ranges
            .values()
            .filter(|old| overlaps(&old.extent, &patch.extent))
            .copied()
            .collect();
        for old in covered {
            self.ranges.remove(&old.extent.file_block);
            for part in cut(&old.extent, &patch.extent) {
                let part = Patch {
                    extent: part,
                    is_mapped: old.is_mapped,
                };
                self.ranges.insert(part.extent.file_block, part);
            }
        }
        self.ranges.insert(patch.extent.file_block, *patch);
    }

    /// Returns the parts of a stored extent that no patch names.
    pub(super) fn uncovered(&self, extent: &Extent) -> Vec<Extent> {
        let mut parts = vec![*extent];
        for patch in self.ranges.values() {
            parts = parts
                .iter()
                .flat_map(|part| match overlaps(part, &patch.extent) {
                    true => cut(part, &patch.extent),
                    false => vec![*part],
                })
                .collect();
        }
        parts
    }

    /// Returns what is mapped and ends behind `file_block`, rising.
    pub(super) fn mapped_from(&self, file_block: u64) -> VecDeque<Extent> {
        self.ranges
            .values()
            .filter(|patch| patch.is_mapped && patch.extent.end() > file_block)
            .map(|patch| patch.extent)
            .collect()
    }
}

fn overlaps(one: &Extent, other: &Extent) -> bool {
    one.file_block < other.end() && other.file_block < one.end()
}

/// Returns what is left of `extent` without `hole`.
fn cut(extent: &Extent, hole: &Extent) -> Vec<Extent> {
    let mut parts = Vec::new();
    if extent.file_block < hole.file_block {
        let count = hole
            .file_block
            .min(extent.end())
            .saturating_sub(extent.file_block);
        parts.push(Extent { count, ..*extent });
    }
    if hole.end() < extent.end() {
        let file_block = hole.end().max(extent.file_block);
        let skipped = file_block.saturating_sub(extent.file_block);
        parts.push(Extent {
            file_block,
            fs_block: extent.fs_block.saturating_add(skipped),
            count: extent.end().saturating_sub(file_block),
            ..*extent
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(file_block: u64, fs_block: u64, count: u64) -> Extent {
        Extent {
            file_block,
            fs_block,
            count,
            is_unwritten: false,
        }
    }

    fn patch(extent: Extent, is_mapped: bool) -> Patch {
        Patch { extent, is_mapped }
    }

    #[test]
    fn the_last_patch_wins() {
        let mut map = PatchMap::default();
        map.add(&patch(extent(10, 100, 10), false));
        map.add(&patch(extent(12, 500, 3), true));
        assert_eq!(map.mapped_from(0), [extent(12, 500, 3)]);
        assert_eq!(map.mapped_from(15), []);
        let left = map.uncovered(&extent(5, 200, 20));
        assert_eq!(left, [extent(5, 200, 5), extent(20, 215, 5)]);
        map.add(&patch(extent(0, 0, 100), false));
        assert_eq!(map.mapped_from(0), []);
        assert_eq!(map.uncovered(&extent(5, 200, 20)), []);
    }
}
