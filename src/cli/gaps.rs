//! What an image holds and its files do not show, as far as is known: mount points with
//! nothing in them, a root that is guessed, file systems that are not in order. Warned of
//! where somebody asks for files there.

use super::exit_code::Code;
use super::output::{Output, printable};
use crate::contents::{Assembly, Loss, View};
use crate::filesystem::{Consistency, Summary};
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines of a table that are warned of: there may be thousands.
const TOLD_COUNT_MAX: usize = 20;

/// Which paths something matters to.
enum Scope {
    /// All of the image.
    All,
    /// What lies below, and what leads there.
    Around(Vec<Vec<u8>>),
}

struct Gap {
    scope: Scope,
    text: String,
    /// What to end with if everything was asked for.
    code: Option<Code>,
    is_told: AtomicBool,
    is_counted: AtomicBool,
}

/// What the files of one image do not show.
#[derive(Default)]
pub struct Gaps {
    gaps: Vec<Gap>,
    /// Where file systems are shown.
    mounts: Vec<Vec<Vec<u8>>>,
}

impl Gaps {
    /// Returns what is missing in the files of an image.
    pub fn of(assembly: &Assembly) -> Self {
        let mut all = Self::default();
        if let Some(note) = assembly.note() {
            all.add(Scope::All, note.to_owned(), code_of(assembly.root_loss()));
        }
        for line in assembly.unplaced() {
            if line.loss == Loss::None {
                continue;
            }
            let text = format!(
                "{} on {} is not shown: {}",
                line.source, line.path, line.reason
            );
            let scope = Scope::Around(components(line.path.as_bytes()));
            all.add(scope, text, code_of(line.loss));
        }
        for (path, volume) in assembly.placed() {
            all.mounts.push(components(path));
            if let Some(file_system) = volume.opened() {
                all.add_disorder(path, volume.path_name(), file_system.summary());
            }
        }
        all
    }

    /// Returns what is missing in the files of one partition.
    pub fn of_one(view: &View, name: &str) -> Self {
        let mut all = Self::default();
        all.mounts.push(vec![]);
        if let Ok(file_system) = view.file_system(view.root()) {
            all.add_disorder(b"/", name, file_system.summary());
        }
        all
    }

    fn add(&mut self, scope: Scope, text: String, code: Option<Code>) {
        self.gaps.push(Gap {
            scope,
            text,
            code,
            is_told: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
        });
    }

    fn add_disorder(&mut self, path: &[u8], name: &str, summary: &Summary) {
        if let Consistency::Dirty { reason } = &summary.consistency {
            let partition = match name {
                "" => String::new(),
                name => format!("partition {name}: "),
            };
            let text = format!("{partition}it was not left in order: {reason}");
            self.add(Scope::Around(components(path)), text, None);
        }
    }

    /// Warns of what matters at `path` and was not told yet.
    pub fn tell(&self, path: &[u8], image: &str, output: &Output) {
        let path = components(path);
        let new =
            |gap: &&Gap| self.matters(gap, &path) && !gap.is_told.swap(true, Ordering::Relaxed);
        let new: Vec<_> = self.gaps.iter().filter(new).collect();
        for gap in new.iter().take(TOLD_COUNT_MAX) {
            output.warn(&printable(&format!("{image}: {}", gap.text)));
        }
        if let Some(more @ 1..) = new.len().checked_sub(TOLD_COUNT_MAX) {
            output.warn(&format!(
                "{image}: {more} more; `tintype inspect` lists them"
            ));
        }
    }

    /// Returns the codes of what is missing at `path`, if everything there was asked for.
    /// Each is returned once.
    pub fn count(&self, path: &[u8]) -> Vec<Code> {
        let path = components(path);
        let missing = self.gaps.iter().filter(|gap| match &gap.scope {
            // Whoever names a folder of what is shown has seen it.
            Scope::All => path.is_empty(),
            Scope::Around(_) => self.matters(gap, &path),
        });
        let new = missing
            .filter(|gap| gap.code.is_some() && !gap.is_counted.swap(true, Ordering::Relaxed));
        new.filter_map(|gap| gap.code).collect()
    }

    fn matters(&self, gap: &Gap, path: &[Vec<u8>]) -> bool {
        let Scope::Around(place) = &gap.scope else {
            return true;
        };
        if place.starts_with(path) {
            return true;
        }
        // Another file system may lie between the two.
        let lies_in = |mount: &&Vec<Vec<u8>>| path.starts_with(mount);
        let nearest = self.mounts.iter().filter(lies_in).map(Vec::len).max();
        path.starts_with(place) && nearest.is_none_or(|nearest| nearest <= place.len())
    }
}

/// Returns what to end with if this was asked for. What is on another disk is no part of
/// the image that was asked for.
const fn code_of(loss: Loss) -> Option<Code> {
    match loss {
        Loss::None | Loss::OtherDisk => None,
        Loss::Hidden => Some(Code::Unsupported),
        Loss::Damaged => Some(Code::Damaged),
    }
}

/// Returns the names in a path from the root.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = vec![];
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(found.pop()),
            name => found.push(name.to_vec()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_at_below_or_above_a_path_matters() {
        let mut all = Gaps::default();
        for mount in ["/", "/srv", "/srv/a/deep"] {
            all.mounts.push(components(mount.as_bytes()));
        }
        all.add(
            Scope::Around(components(b"/srv/a")),
            String::new(),
            Some(Code::Damaged),
        );
        let matters = |path: &str| all.matters(&all.gaps[0], &components(path.as_bytes()));
        for path in ["", "/", "srv", "/x/../srv/./a/", "/srv/a/b/c"] {
            assert!(matters(path), "{path}");
        }
        for path in ["/home", "/srv/ab", "/srv/a/deep/x"] {
            assert!(!matters(path), "{path}");
        }
        assert_eq!(all.count(b"/home"), []);
        assert_eq!(all.count(b"/"), [Code::Damaged]);
        assert_eq!(all.count(b"/"), []);
    }
}
