//! The nodes that the kernel holds, by number: at most 96 bytes each.

use crate::tree::node::{Node, ROOT};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

#[derive(Debug)]
struct Held {
    node: Node,
    look_up_count: u64,
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
                        look_up_count: 1,
                    });
                    return number;
                }
                Entry::Occupied(mut slot) if slot.get().node.is_same(node) => {
                    slot.get_mut().look_up_count += 1;
                    return number;
                }
                Entry::Occupied(_) => number = number.wrapping_add(1).max(1 << 10),
            }
        }
    }

    /// Takes `count` look-ups back; the kernel forgets the node with the last one.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut held = self.held.write();
        if let Entry::Occupied(mut slot) = held.entry(number) {
            let left = slot.get().look_up_count.saturating_sub(count);
            if left == 0 {
                slot.remove();
            } else {
                slot.get_mut().look_up_count = left;
            }
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
    fn a_number_that_is_taken_is_passed_over() {
        let table = NodeTable::default();
        let node = Node::Resource("web".into());
        let other = Held {
            node: Node::Snapshots,
            look_up_count: 1,
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
