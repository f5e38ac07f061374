//! A set of block numbers in sparse bitmaps, each for 4 MiB of an image and dropped
//! when it is empty: 1 bit for a block of a draft that waits in the spool.

use std::collections::BTreeMap;
use std::ops::Range;

const WORD_BITS: u64 = 64;
const LEAF_WORDS: usize = 16;
const LEAF_BITS: u64 = 1024;

/// A set of block numbers.
#[derive(Debug, Default)]
pub(super) struct BlockSet {
    leaves: BTreeMap<u64, [u64; LEAF_WORDS]>,
    count: u64,
}

/// The bits of one word that lie in a range.
struct Piece {
    leaf: u64,
    word: usize,
    mask: u64,
    end: u64,
}

fn piece_at(start: u64, end: u64) -> Piece {
    let bit = start % WORD_BITS;
    let count = (WORD_BITS - bit).min(end - start);
    let ones = if count == WORD_BITS {
        u64::MAX
    } else {
        (1_u64 << count) - 1
    };
    let word = usize::try_from((start % LEAF_BITS) / WORD_BITS).unwrap_or(0);
    Piece {
        leaf: start / LEAF_BITS,
        word,
        mask: ones << bit,
        end: start + count,
    }
}

impl BlockSet {
    /// Returns how many blocks are in the set.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Tells whether the block is in the set.
    pub(super) fn contains(&self, block: u64) -> bool {
        let piece = piece_at(block, block + 1);
        self.word(&piece) & piece.mask != 0
    }

    /// Adds all of `blocks`.
    pub(super) fn insert(&mut self, blocks: Range<u64>) {
        let mut next = blocks.start;
        while next < blocks.end {
            let piece = piece_at(next, blocks.end);
            let leaf = self.leaves.entry(piece.leaf).or_insert([0; LEAF_WORDS]);
            if let Some(word) = leaf.get_mut(piece.word) {
                self.count += u64::from((piece.mask & !*word).count_ones());
                *word |= piece.mask;
            }
            next = piece.end;
        }
    }

    /// Removes all of `blocks`; cheap for ranges that are large and empty.
    pub(super) fn remove(&mut self, blocks: Range<u64>) {
        if blocks.is_empty() {
            return;
        }
        let leaves: Vec<u64> = self
            .leaves
            .range(blocks.start / LEAF_BITS..=(blocks.end - 1) / LEAF_BITS)
            .map(|(leaf, _)| *leaf)
            .collect();
        for leaf in leaves {
            let first = leaf * LEAF_BITS;
            let part = blocks.start.max(first)..blocks.end.min(first + LEAF_BITS);
            self.remove_in_leaf(leaf, part);
        }
    }

    fn remove_in_leaf(&mut self, leaf: u64, blocks: Range<u64>) {
        let Some(words) = self.leaves.get_mut(&leaf) else {
            return;
        };
        let mut next = blocks.start;
        while next < blocks.end {
            let piece = piece_at(next, blocks.end);
            if let Some(word) = words.get_mut(piece.word) {
                self.count -= u64::from((piece.mask & *word).count_ones());
                *word &= !piece.mask;
            }
            next = piece.end;
        }
        if words.iter().all(|word| *word == 0) {
            self.leaves.remove(&leaf);
        }
    }

    /// Returns how many of `blocks` are in the set.
    pub(super) fn count_in(&self, blocks: Range<u64>) -> u64 {
        let mut next = blocks.start;
        let mut count = 0;
        while next < blocks.end {
            let piece = piece_at(next, blocks.end);
            count += u64::from((self.word(&piece) & piece.mask).count_ones());
            next = piece.end;
        }
        count
    }

    /// Returns the first block of the set at or after `block`.
    pub(super) fn next(&self, block: u64) -> Option<u64> {
        for (leaf, words) in self.leaves.range(block / LEAF_BITS..) {
            let first = leaf * LEAF_BITS;
            let mut start = block.max(first);
            while start < first + LEAF_BITS {
                let piece = piece_at(start, first + LEAF_BITS);
                let found = words.get(piece.word).copied().unwrap_or(0) & piece.mask;
                if found != 0 {
                    return Some(start - start % WORD_BITS + u64::from(found.trailing_zeros()));
                }
                start = piece.end;
            }
        }
        None
    }

    /// Returns the first block at or after `block` that is not in the set.
    pub(super) fn next_absent(&self, block: u64) -> u64 {
        let mut start = block;
        loop {
            let piece = piece_at(start, (start / LEAF_BITS + 1) * LEAF_BITS);
            let absent = !self.word(&piece) & piece.mask;
            if absent != 0 {
                return start - start % WORD_BITS + u64::from(absent.trailing_zeros());
            }
            start = piece.end;
        }
    }

    /// Returns the runs of blocks of the set inside `blocks`, in order.
    pub(super) fn runs(&self, blocks: Range<u64>) -> Vec<Range<u64>> {
        let mut runs = vec![];
        let mut next = blocks.start;
        while let Some(start) = self.next(next).filter(|start| *start < blocks.end) {
            let end = self.next_absent(start).min(blocks.end);
            runs.push(start..end);
            next = end;
        }
        runs
    }

    fn word(&self, piece: &Piece) -> u64 {
        self.leaves
            .get(&piece.leaf)
            .and_then(|words| words.get(piece.word))
            .copied()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn empty_leaves_are_dropped() {
        let mut set = BlockSet::default();
        set.insert(1000..3000);
        assert_eq!(set.count(), 2000);
        set.remove(0..u64::MAX);
        assert_eq!(set.count(), 0);
        assert!(set.leaves.is_empty());
    }

    proptest! {
        #[test]
        fn is_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..5000, 0_u64..1500), 0..30),
                    probe in 0_u64..5000) {
            let mut set = BlockSet::default();
            let mut model = BTreeSet::new();
            for (insert, start, len) in steps {
                if insert {
                    set.insert(start..start + len);
                    model.extend(start..start + len);
                } else {
                    set.remove(start..start + len);
                    model.retain(|block| !(start..start + len).contains(block));
                }
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert_eq!(set.contains(probe), model.contains(&probe));
            prop_assert_eq!(set.next(probe), model.range(probe..).next().copied());
            let absent = (probe..).find(|block| !model.contains(block)).unwrap();
            prop_assert_eq!(set.next_absent(probe), absent);
            let blocks: Vec<u64> = set.runs(probe..probe + 999).into_iter().flatten().collect();
            let expected: Vec<u64> = model.range(probe..probe + 999).copied().collect();
            prop_assert_eq!(set.count_in(probe..probe + 999), expected.len() as u64);
            prop_assert_eq!(blocks, expected);
        }
    }
}
