//! Files with several names: the first one that is met is copied, and the others become
//! hard links to it, where nothing is in the way at once, while it is filled. If it fails,
//! they go with it.

use super::error::{Error, Result};
use super::target::Identity;
use crate::contents::ViewNode;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::time::Duration;

/// Bytes of paths that are kept. Files that are met beyond are copied once for each name:
/// only an image that was made to take memory has as many.
pub(super) const KEPT_LEN_MAX: usize = 1 << 30;
/// How long a wait lasts before it is seen whether all is to stop.
const WAIT: Duration = Duration::from_millis(50);

/// The files with several names that copies out of one view into one directory have met:
/// what one copy has made, a later one links to.
#[derive(Default)]
pub struct HardLinks {
    table: Mutex<Links>,
    /// Told when a file is whole, or failed.
    ended: Condvar,
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
            ended: Condvar::new(),
        }
    }

    /// Returns what is known of `node`, of which one more name was met.
    pub(super) fn meet(&self, node: ViewNode) -> Known {
        self.table.lock().meet(node)
    }

    /// Remembers the first of `count` names, which is being filled; none if there are too
    /// many already.
    pub(super) fn begin(&self, node: ViewNode, first: First, count: u32) -> Option<LinkId> {
        self.table.lock().begin(node, first, count)
    }

    /// Remembers that the first of `count` names could not be made.
    pub(super) fn refuse(&self, node: ViewNode, count: u32) {
        self.table.lock().insert(node, State::Failed, count);
    }

    /// Remembers a link that was made.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait), which is what is done if there is no room.
    pub(super) fn made(&self, node: ViewNode, path: &[u8], stops: &dyn Fn() -> bool) -> Result<()> {
        if self.table.lock().made(node, path) {
            return Ok(());
        }
        self.wait(node, stops)
    }

    /// Waits until the file is whole.
    ///
    /// # Errors
    ///
    /// SameFile if it failed; Interrupted if all is to stop.
    pub(super) fn wait(&self, node: ViewNode, stops: &dyn Fn() -> bool) -> Result<()> {
        let mut table = self.table.lock();
        loop {
            match table.by_node.get(&node).map(|link| &link.state) {
                Some(State::Copying { .. }) if stops() => return Err(Error::Interrupted),
                Some(State::Copying { .. }) => {}
                Some(State::Failed) => return Err(Error::SameFile),
                Some(State::Done(_)) | None => return Ok(()),
            }
            self.ended.wait_for(&mut table, WAIT);
        }
    }

    /// Remembers that the first one is whole.
    pub(super) fn done(&self, node: ViewNode, link: LinkId) {
        self.table.lock().done(node, link);
        self.ended.notify_all();
    }

    /// Remembers that the first one failed, and returns the links that were made to it.
    pub(super) fn fail(&self, node: ViewNode, link: LinkId) -> Vec<Vec<u8>> {
        let made = self.table.lock().fail(node, link);
        self.ended.notify_all();
        made
    }
}

impl std::fmt::Debug for HardLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HardLinks").finish_non_exhaustive()
    }
}

/// One record. A file may be recorded anew, and the copy that an older record is of does
/// not speak for the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId(u64);

/// The name that others are linked to.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) path: Vec<u8>,
    pub(super) identity: Identity,
    /// It has a temporary name until it is whole.
    pub(super) is_hidden: bool,
}

enum State {
    /// It is being filled, and these links to it were made.
    Copying {
        first: First,
        made: Vec<Vec<u8>>,
    },
    Done(First),
    Failed,
}

impl State {
    fn kept_len(&self) -> usize {
        match self {
            Self::Copying { first, made } => {
                first.path.len() + made.iter().map(Vec::len).sum::<usize>()
            }
            Self::Done(first) => first.path.len(),
            Self::Failed => 0,
        }
    }
}

struct Link {
    id: LinkId,
    /// Names that are still to come, by what the image says.
    left: u32,
    state: State,
}

/// What is known of a file with several names.
#[derive(Debug)]
pub(super) enum Known {
    /// This is the first.
    Nothing,
    /// The first one failed.
    Failed,
    /// The first one was made.
    At(First),
}

/// Files with several names that have not all been met. Takes memory in proportion to
/// their number.
#[derive(Default)]
struct Links {
    by_node: HashMap<ViewNode, Link>,
    kept_len: usize,
    next_id: u64,
    forgets_never: bool,
}

impl Links {
    fn meet(&mut self, node: ViewNode) -> Known {
        let Some(link) = self.by_node.get_mut(&node) else {
            return Known::Nothing;
        };
        link.left = link.left.saturating_sub(1);
        match &link.state {
            State::Failed => Known::Failed,
            State::Copying { first, .. } => Known::At(first.clone()),
            State::Done(first) => {
                let known = Known::At(first.clone());
                self.forget_if_met(node);
                known
            }
        }
    }

    fn begin(&mut self, node: ViewNode, first: First, count: u32) -> Option<LinkId> {
        if self.kept_len + first.path.len() > KEPT_LEN_MAX {
            self.forget(node);
            return None;
        }
        let state = State::Copying {
            first,
            made: vec![],
        };
        Some(self.insert(node, state, count))
    }

    fn insert(&mut self, node: ViewNode, state: State, count: u32) -> LinkId {
        self.forget(node);
        let id = LinkId(self.next_id);
        self.next_id += 1;
        self.kept_len += state.kept_len();
        let left = count.saturating_sub(1);
        self.by_node.insert(node, Link { id, left, state });
        id
    }

    /// Returns false if the file failed meanwhile, or if there is no room.
    fn made(&mut self, node: ViewNode, path: &[u8]) -> bool {
        match self.by_node.get_mut(&node).map(|link| &mut link.state) {
            Some(State::Copying { made, .. }) if self.kept_len + path.len() <= KEPT_LEN_MAX => {
                made.push(path.to_vec());
                self.kept_len += path.len();
                true
            }
            Some(State::Copying { .. } | State::Failed) => false,
            Some(State::Done(_)) | None => true,
        }
    }

    fn done(&mut self, node: ViewNode, id: LinkId) {
        if let State::Copying { first, .. } = self.end(node, id, State::Failed) {
            self.end(node, id, State::Done(first));
            self.forget_if_met(node);
        }
    }

    fn fail(&mut self, node: ViewNode, id: LinkId) -> Vec<Vec<u8>> {
        match self.end(node, id, State::Failed) {
            State::Copying { made, .. } => made,
            State::Done(_) | State::Failed => vec![],
        }
    }

    /// Puts a state in the place of another, which is returned.
    fn end(&mut self, node: ViewNode, id: LinkId, state: State) -> State {
        let Some(link) = self.by_node.get_mut(&node).filter(|link| link.id == id) else {
            return State::Failed;
        };
        self.kept_len += state.kept_len();
        let before = std::mem::replace(&mut link.state, state);
        self.kept_len -= before.kept_len();
        before
    }

    fn forget(&mut self, node: ViewNode) {
        if let Some(link) = self.by_node.remove(&node) {
            self.kept_len -= link.state.kept_len();
        }
    }

    fn forget_if_met(&mut self, node: ViewNode) {
        let is_met = self.by_node.get(&node).is_some_and(|link| link.left == 0);
        if is_met && !self.forgets_never {
            self.forget(node);
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

    fn first(path: &[u8]) -> First {
        First {
            path: path.to_vec(),
            identity: Identity::of(std::io::stderr()).unwrap(),
            is_hidden: false,
        }
    }

    #[test]
    fn a_file_is_forgotten_with_its_last_name() {
        let mut links = Links::default();
        assert!(matches!(links.meet(NODE), Known::Nothing));
        let id = links.begin(NODE, first(b"a"), 3).unwrap();
        assert!(matches!(links.meet(NODE), Known::At(first) if first.path == b"a"));
        assert!(links.made(NODE, b"b"));
        assert_eq!(links.kept_len, 2);
        links.done(NODE, id);
        assert_eq!(links.kept_len, 1);
        assert!(matches!(links.meet(NODE), Known::At(_)));
        assert!(links.by_node.is_empty());
        assert_eq!(links.kept_len, 0);
    }

    #[test]
    fn links_go_with_the_file_that_failed() {
        let mut links = Links::default();
        let id = links.begin(NODE, first(b"a"), 3).unwrap();
        assert!(links.made(NODE, b"b"));
        assert_eq!(links.fail(NODE, id), [b"b"]);
        assert!(!links.made(NODE, b"c"));
        assert!(matches!(links.meet(NODE), Known::Failed));
    }

    #[test]
    fn a_copy_does_not_speak_for_the_next_one_of_the_same_file() {
        let mut links = Links::default();
        let old = links.begin(NODE, first(b"a"), 3).unwrap();
        let new = links.begin(NODE, first(b"b"), 3).unwrap();
        assert!(links.made(NODE, b"c"));
        links.done(NODE, old);
        assert!(links.fail(NODE, old).is_empty());
        assert_eq!(links.fail(NODE, new), [b"c"]);
    }

    #[test]
    fn paths_are_kept_up_to_a_length() {
        let mut links = Links {
            kept_len: KEPT_LEN_MAX - 3,
            ..Links::default()
        };
        assert!(links.begin(NODE, first(b"long"), 3).is_none());
        assert!(matches!(links.meet(NODE), Known::Nothing));
        assert!(links.begin(NODE, first(b"ab"), 3).is_some());
        assert!(links.made(NODE, b"c"));
        assert!(!links.made(NODE, b"d"));
    }

    #[test]
    fn who_waits_hears_how_it_ended() {
        let links = HardLinks::default();
        let never = || false;
        let id = links.begin(NODE, first(b"a"), 3).unwrap();
        let stopped = links.wait(NODE, &|| true);
        assert!(matches!(stopped, Err(Error::Interrupted)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| links.wait(NODE, &never));
            links.fail(NODE, id);
            assert!(matches!(waiting.join(), Ok(Err(Error::SameFile))));
        });
        let id = links.begin(NODE, first(b"a"), 3).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| links.wait(NODE, &never));
            links.done(NODE, id);
            assert!(matches!(waiting.join(), Ok(Ok(()))));
        });
    }
}
