//! Visiting every node of a map, each once however often it is named.

use super::reader::wrong_level;
use crate::base::ChunkId;
use crate::format::map::Node;
use crate::store::{Result, Store};
use std::sync::Arc;

/// Calls `visit` for the nodes below `root`, whose level is `level`, from the top.
/// `visit` tells whether to go below the node. Memory is bounded by the height.
pub fn for_each_node(
    store: &Store,
    root: ChunkId,
    level: u8,
    visit: &mut dyn FnMut(&ChunkId, &Arc<Node>) -> Result<bool>,
) -> Result<()> {
    let mut stack = vec![(root, level)];
    while let Some((id, level)) = stack.pop() {
        let node = store.read_node(&id)?;
        let fits = match &*node {
            Node::Leaf(_) => level == 0,
            Node::Inner { level: found, .. } => *found == level && level > 0,
        };
        if !fits {
            return Err(wrong_level(&id, level));
        }
        if !visit(&id, &node)? {
            continue;
        }
        if let Node::Inner { children, .. } = &*node {
            stack.extend(
                children
                    .iter()
                    .rev()
                    .map(|(_, child)| (child.node, level - 1)),
            );
        }
    }
    Ok(())
}
