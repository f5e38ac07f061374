//! Directories: entries with their names, and finding one by any of its two names in
//! any case.

use super::Fat;
use super::inode::{self, Node, SlotKind};
use super::long_name::LongName;
use super::short_name;
use super::slots::{Slot, Slots};
use crate::filesystem::damage::Damage;
use crate::filesystem::name_hashes::SLOT_COUNT_MIN;
use crate::filesystem::{DirCursor, DirEntry, DirVisitor, Error, FileType, Name, NodeId, Result};
use std::ops::ControlFlow;

/// An entry and its names.
struct Entry {
    /// What is shown: the long name if there is one.
    name: Vec<u8>,
    short: Vec<u8>,
    /// Number of the first slot that belongs to it.
    first_index: u64,
    slot: Slot,
}

impl Entry {
    fn node(&self) -> NodeId {
        NodeId::new(inode::inode_at(self.slot.offset))
    }
}

/// The entries of a directory from a slot on.
struct Entries<'a> {
    fat: &'a Fat,
    slots: Slots<'a>,
}

impl<'a> Entries<'a> {
    fn new(fat: &'a Fat, directory: &Node, first: u64) -> Result<Self> {
        let slots = Slots::new(&fat.clusters, fat.place(directory), first)?;
        Ok(Self { fat, slots })
    }

    /// Returns the next entry; `None` at the end.
    fn next(&mut self) -> Result<Option<Entry>> {
        let mut long = LongName::default();
        while let Some(slot) = self.slots.next()? {
            match inode::kind_of(&slot.bytes) {
                SlotKind::End => return Ok(None),
                SlotKind::LongName => long.push(&slot.bytes, slot.index),
                SlotKind::Deleted | SlotKind::VolumeLabel | SlotKind::Dots => long.clear(),
                SlotKind::Entry => {
                    let (raw, case_bits) = inode::short_name_of(&slot.bytes);
                    let short = short_name::decode(&raw, case_bits, self.fat.substitutes.code_page);
                    let long = long
                        .take(&raw)
                        .filter(|(name, _)| Name::new(name).is_some());
                    let (name, first_index) = long.unwrap_or((short.clone(), slot.index));
                    return Ok(Some(Entry {
                        name,
                        short,
                        first_index,
                        slot,
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// Gives the entries behind `cursor` to `visit`. An entry whose name no file can have
/// is passed over, and an error at the end.
pub(super) fn read(
    fat: &Fat,
    directory: &Node,
    cursor: DirCursor,
    visit: &mut DirVisitor<'_>,
) -> Result<()> {
    let mut entries = Entries::new(fat, directory, cursor.0)?;
    let mut damage = Damage::default();
    while let Some(entry) = entries.next()? {
        let name = Name::of_image(&entry.name, entry.slot.offset);
        let Some(name) = damage.pass(name)? else {
            continue;
        };
        let given = visit(DirEntry {
            name,
            node: entry.node(),
            file_type: Some(inode::type_of(&entry.slot.bytes)),
            next: DirCursor(entry.slot.index.saturating_add(1)),
        });
        if given.is_break() {
            break;
        }
    }
    damage.end()
}

/// Finds a name: the first that has these bytes, otherwise the first that has them in
/// another case or is the short name of another.
pub(super) fn lookup(fat: &Fat, directory: &Node, name: Name<'_>) -> Result<Option<NodeId>> {
    let found = find(fat, directory, name.bytes())?;
    // Windows and Linux write no dots at the end, and look up without them.
    let stem = without_dots(name.bytes());
    if found.is_some() || stem.len() == name.bytes().len() || stem.is_empty() {
        return Ok(found);
    }
    find(fat, directory, stem)
}

fn without_dots(name: &[u8]) -> &[u8] {
    let last = name.iter().rposition(|byte| *byte != b'.');
    let len = last.map_or(0, |last| last.saturating_add(1));
    name.get(..len).unwrap_or_default()
}

/// The best of what was looked at.
struct Search<'a> {
    name: &'a [u8],
    exact: Option<NodeId>,
    folded: Option<NodeId>,
}

impl Search<'_> {
    /// Looks at an entry; `Break` if there is no better one.
    fn consider(&mut self, entry: &Entry) -> ControlFlow<()> {
        if entry.name == self.name {
            self.exact = Some(entry.node());
            return ControlFlow::Break(());
        }
        let is_like = |other: &[u8]| other.eq_ignore_ascii_case(self.name);
        if self.folded.is_none() && (is_like(&entry.name) || is_like(&entry.short)) {
            self.folded = Some(entry.node());
        }
        ControlFlow::Continue(())
    }

    fn result(self) -> Option<NodeId> {
        self.exact.or(self.folded)
    }
}

fn find(fat: &Fat, directory: &Node, name: &[u8]) -> Result<Option<NodeId>> {
    let mut search = Search {
        name,
        exact: None,
        folded: None,
    };
    let is_large = fat.names.knows(directory.inode);
    if !is_large && scan(fat, directory, &mut search, SLOT_COUNT_MIN)?.is_break() {
        return Ok(search.result());
    }
    let hash = fat.names.hash(name.to_ascii_lowercase());
    let places = fat.names.places(directory.inode, hash, |visit| {
        let mut entries = Entries::new(fat, directory, 0)?;
        while let Some(entry) = entries.next()? {
            let place = u32::try_from(entry.first_index).unwrap_or(u32::MAX);
            for name in [&entry.name, &entry.short] {
                if visit(fat.names.hash(name.to_ascii_lowercase()), place).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    })?;
    let Some(places) = places else {
        let _ = scan(fat, directory, &mut search, u64::MAX)?;
        return Ok(search.result());
    };
    for place in places {
        let mut entries = Entries::new(fat, directory, place.into())?;
        if let Some(entry) = entries.next()?
            && search.consider(&entry).is_break()
        {
            break;
        }
    }
    Ok(search.result())
}

/// Looks at all entries that begin before slot `end`; `Break` if no other can be better.
fn scan(fat: &Fat, directory: &Node, search: &mut Search<'_>, end: u64) -> Result<ControlFlow<()>> {
    let mut entries = Entries::new(fat, directory, 0)?;
    loop {
        match entries.next() {
            Ok(Some(entry)) if entry.slot.index > end => return Ok(ControlFlow::Continue(())),
            Ok(Some(entry)) if search.consider(&entry).is_continue() => {}
            Ok(_) => return Ok(ControlFlow::Break(())),
            // A name that was found before the damage is found.
            Err(Error::Corrupt { .. }) if search.folded.is_some() => {
                return Ok(ControlFlow::Break(()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the label in the root directory, if it is among its first slots.
pub(super) fn label(fat: &Fat, root: &Node) -> Result<Option<Vec<u8>>> {
    let mut slots = Slots::new(&fat.clusters, fat.place(root), 0)?;
    while let Some(slot) = slots.next()? {
        match inode::kind_of(&slot.bytes) {
            SlotKind::End => break,
            SlotKind::VolumeLabel => {
                let (raw, _) = inode::short_name_of(&slot.bytes);
                return Ok(Some(short_name::decode_label(
                    &raw,
                    fat.substitutes.code_page,
                )));
            }
            _ if slot.index >= SLOT_COUNT_MIN => break,
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the node with this number if it is a directory.
pub(super) fn directory(fat: &Fat, node: NodeId) -> Result<Node> {
    fat.node_of_type(node, FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_at_the_end_do_not_count() {
        assert_eq!(without_dots(b"name..."), b"name");
        assert_eq!(without_dots(b"a.b"), b"a.b");
        assert_eq!(without_dots(b"..."), b"");
    }
}
