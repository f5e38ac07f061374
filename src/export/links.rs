//! Files with several names: the first one that is met is copied, and the others become
//! hard links to it at once, while it is filled. If it fails, they go with it.

use crate::contents::ViewNode;
use parking_lot::Mutex;
use std::collections::HashMap;

/// The files with several names that copies out of one view into one directory have met:
/// what one copy has made, a later one links to.
#[derive(Default)]
pub struct HardLinks {
    pub(super) table: Mutex<Links>,
}

impl HardLinks {
    /// Returns a table for several copies, in which the same name may come again. Takes
    /// memory in proportion to all files with several names.
    pub fn lasting() -> Self {
        Self {
            table: Mutex::new(Links {
                forgets_never: true,
                ..Links::default()
            }),
        }
    }
}

impl std::fmt::Debug for HardLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HardLinks").finish_non_exhaustive()
    }
}

enum State {
    /// It is being filled, and these links to it were made.
    Copying(Vec<Vec<u8>>),
    Done,
    Failed,
}

struct Link {
    first: Vec<u8>,
    /// Names that are still to come, by what the image says.
    left: u32,
    state: State,
}

/// What is known of a file with several names.
pub(super) enum Known {
    /// This is the first.
    Nothing,
    /// The first one failed.
    Failed,
    /// The first one is at this path.
    At(Vec<u8>),
}

/// Files with several names that have not all been met. Takes memory in proportion to
/// their number.
#[derive(Default)]
pub(super) struct Links {
    by_node: HashMap<ViewNode, Link>,
    forgets_never: bool,
}

impl Links {
    /// Returns what is known of `node`, of which one more name was met.
    pub(super) fn meet(&mut self, node: ViewNode) -> Known {
        let Some(link) = self.by_node.get_mut(&node) else {
            return Known::Nothing;
        };
        link.left = link.left.saturating_sub(1);
        match link.state {
            State::Failed => Known::Failed,
            State::Copying(_) => Known::At(link.first.clone()),
            State::Done => {
                let known = Known::At(link.first.clone());
                self.forget_if_met(node);
                known
            }
        }
    }

    /// Remembers that the first of `count` names is being made at `path`.
    pub(super) fn begin(&mut self, node: ViewNode, path: &[u8], count: u32) {
        let link = Link {
            first: path.to_vec(),
            left: count.saturating_sub(1),
            state: State::Copying(vec![]),
        };
        self.by_node.insert(node, link);
    }

    /// Remembers a link that was made; false if the first one failed meanwhile.
    pub(super) fn made(&mut self, node: ViewNode, path: &[u8]) -> bool {
        match self.by_node.get_mut(&node).map(|link| &mut link.state) {
            Some(State::Copying(made)) => made.push(path.to_vec()),
            Some(State::Failed) => return false,
            Some(State::Done) | None => {}
        }
        true
    }

    /// Remembers that the first one is whole.
    pub(super) fn done(&mut self, node: ViewNode) {
        if let Some(link) = self.by_node.get_mut(&node) {
            link.state = State::Done;
            self.forget_if_met(node);
        }
    }

    /// Remembers that the first one failed, and returns the links that were made to it.
    pub(super) fn fail(&mut self, node: ViewNode) -> Vec<Vec<u8>> {
        let Some(link) = self.by_node.get_mut(&node) else {
            return vec![];
        };
        match std::mem::replace(&mut link.state, State::Failed) {
            State::Copying(made) => made,
            State::Done | State::Failed => vec![],
        }
    }

    fn forget_if_met(&mut self, node: ViewNode) {
        let is_met = self.by_node.get(&node).is_some_and(|link| link.left == 0);
        if is_met && !self.forgets_never {
            self.by_node.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::NodeId;

    const NODE: ViewNode = ViewNode {
        mount: 0,
        node: NodeId::new(12),
    };

    #[test]
    fn a_file_is_forgotten_with_its_last_name() {
        let mut links = Links::default();
        assert!(matches!(links.meet(NODE), Known::Nothing));
        links.begin(NODE, b"a", 3);
        assert!(matches!(links.meet(NODE), Known::At(first) if first == b"a"));
        assert!(links.made(NODE, b"b"));
        links.done(NODE);
        assert!(matches!(links.meet(NODE), Known::At(_)));
        assert!(links.by_node.is_empty());
    }

    #[test]
    fn links_go_with_the_file_that_failed() {
        let mut links = Links::default();
        links.begin(NODE, b"a", 3);
        assert!(links.made(NODE, b"b"));
        assert_eq!(links.fail(NODE), [b"b"]);
        assert!(!links.made(NODE, b"c"));
        assert!(matches!(links.meet(NODE), Known::Failed));
    }
}
