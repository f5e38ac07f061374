//! The nodes that the kernel holds, by number: at most 96 bytes each.

use crate::tree::node::{Node, ROOT};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

#[derive(Debug)]
struct Held {
    node: Node,
    look_ups: u64,
}

impl Held {
    /// Set among the look-ups once the file was opened: a field of its own would make
    /// an entry larger than 96 bytes.
    const OPENED: u64 = 1 << 63;

    fn look_up_count(&self) -> u64 {
        self.look_ups & !Self::OPENED
    }

    /// Takes look-ups back, and returns how many are left.
    fn forget(&mut self, count: u64) -> u64 {
        let left = self.look_up_count().saturating_sub(count);
        self.look_ups = self.look_ups & Self::OPENED | left;
        left
    }
}

// The table may have 2.3 slots an entry just after it has grown.
const _: () = assert!((size_of::<Held>() + size_of::<u64>() + 1) * 16 / 7 <= 96);

/// Nodes by number.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    held: RwLock<HashMap<u64, Held>>,
}

impl NodeTable {
    /// Counts a look-up of the node and returns its number. Numbers that are taken by
    /// another node are passed over.
    pub(super) fn hold(&self, node: &Node) -> u64 {
        let mut number = node.number();
        if number == ROOT {
            return number;
        }
        let mut held = self.held.write();
        loop {
            match held.entry(number) {
                Entry::Vacant(slot) => {
                    slot.insert(Held {
                        node: node.clone(),
                        look_ups: 1,
                    });
                    return number;
                }
                Entry::Occupied(mut slot) if slot.get().node.is_same(node) => {
                    slot.get_mut().look_ups += 1;
                    return number;
                }
                Entry::Occupied(_) => number = number.wrapping_add(1).max(1 << 10),
            }
        }
    }

    /// Takes `count` look-ups back; the kernel forgets the node with the last one.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut held = self.held.write();
        if let Entry::Occupied(mut slot) = held.entry(number)
            && slot.get_mut().forget(count) == 0
        {
            slot.remove();
        }
        if held.capacity() > 1024 && held.len() < held.capacity() / 8 {
            held.shrink_to_fit();
        }
    }

    /// Returns the node with this number.
    pub(super) fn get(&self, number: u64) -> Option<Node> {
        if number == ROOT {
            return Some(Node::Root);
        }
        self.held.read().get(&number).map(|held| held.node.clone())
    }

    /// Remembers that a file was opened; true the first time since the kernel holds it.
    pub(super) fn mark_opened(&self, number: u64) -> bool {
        let mut held = self.held.write();
        let Some(held) = held.get_mut(&number) else {
            return false;
        };
        let is_first = held.look_ups & Held::OPENED == 0;
        held.look_ups |= Held::OPENED;
        is_first
    }

    /// Returns how many nodes are held.
    pub(super) fn len(&self) -> usize {
        self.held.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SnapshotId;
    use crate::tree::open_contents::Part;
    use crate::tree::space::{SpaceKey, Spaces};
    use std::sync::Arc;

    #[test]
    fn a_node_stays_until_the_last_look_up_is_forgotten() {
        let table = NodeTable::default();
        let node = Node::Resource("web".into());
        let number = table.hold(&node);
        assert_eq!(table.hold(&node), number);
        table.forget(number, 1);
        assert!(table.get(number).is_some());
        table.forget(number, 1);
        assert!(table.get(number).is_none());
        assert!(matches!(table.get(ROOT), Some(Node::Root)));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_first_opening_is_known_until_the_node_is_forgotten() {
        let table = NodeTable::default();
        let node = Node::Resource("web".into());
        let number = table.hold(&node);
        assert!(table.mark_opened(number));
        assert!(!table.mark_opened(number));
        assert_eq!(table.hold(&node), number);
        table.forget(number, 1);
        assert!(!table.mark_opened(number));
        table.forget(number, 1);
        assert!(!table.mark_opened(number), "nobody holds it");
        assert_eq!(table.hold(&node), number);
        assert!(table.mark_opened(number));
    }

    #[test]
    fn a_number_that_is_taken_is_passed_over() {
        let table = NodeTable::default();
        let node = Node::Resource("web".into());
        let other = Held {
            node: Node::Snapshots,
            look_ups: 1,
        };
        table.held.write().insert(node.number(), other);
        let number = table.hold(&node);
        assert_eq!(number, node.number() + 1);
        assert_eq!(table.hold(&node), number);
    }

    #[test]
    fn a_table_that_was_large_becomes_small_again() {
        let spaces = Spaces::default();
        let space = spaces.get(SpaceKey {
            snapshot: SnapshotId([7; 16]),
            part: Part::ASSEMBLED,
            mount: 0,
            subvolume: 0,
        });
        let table = NodeTable::default();
        let file = |inode| Node::File(Arc::clone(&space), inode);
        let numbers: Vec<u64> = (0..20_000).map(|inode| table.hold(&file(inode))).collect();
        assert_eq!(table.len(), 20_000);
        assert!(table.held.read().capacity() * size_of::<(u64, Held)>() <= 20_000 * 96);
        assert_eq!(table.hold(&file(7)), numbers[7]);
        table.forget(numbers[7], 1);
        for number in numbers {
            table.forget(number, 1);
        }
        assert_eq!(table.len(), 0);
        assert!(table.held.read().capacity() <= 2048);
        assert_eq!(Arc::strong_count(&space), 1);
    }
}
