//! Directories: sets of entries, and finding one by its name in any case.

use super::ExFat;
use super::entry_set::{EntrySet, Read, kind, type_of};
use super::inode::{self, Node};
use crate::filesystem::damage::Damage;
use crate::filesystem::fat::slots::{Slot, Slots};
use crate::filesystem::name_hashes::SLOT_COUNT_MIN;
use crate::filesystem::{
    DirCursor, DirEntry, DirVisitor, Error, FileType, Name, NodeId, Result, utf16,
};
use std::ops::ControlFlow;

/// The sets of a directory from a slot on.
struct Sets<'a> {
    slots: Slots<'a>,
    /// Read and not yet looked at.
    pushed: Option<Slot>,
    /// The first set that is none.
    damage: Damage,
}

impl<'a> Sets<'a> {
    fn new(exfat: &'a ExFat, directory: &Node, first: u64) -> Result<Self> {
        let slots = Slots::new(&exfat.clusters, ExFat::place(directory)?, first)?;
        Ok(Self {
            slots,
            pushed: None,
            damage: Damage::default(),
        })
    }

    /// Returns the next set; what is none is passed over.
    fn next(&mut self) -> Result<Option<EntrySet>> {
        loop {
            let slot = match self.pushed.take() {
                Some(slot) => slot,
                None => match self.slots.next()? {
                    Some(slot) => slot,
                    None => return Ok(None),
                },
            };
            match type_of(&slot) {
                kind::END => return Ok(None),
                kind::FILE => match EntrySet::read(&mut self.slots, &slot)? {
                    Read::Whole(set) => return Ok(Some(*set)),
                    Read::Broken(error, rest) => {
                        self.pushed = rest;
                        self.damage.note(error)?;
                    }
                },
                _ => {}
            }
        }
    }
}

/// Gives the entries behind `cursor` to `visit`. What is no set, and a name that no
/// file can have, is passed over, and an error at the end.
pub(super) fn read(
    exfat: &ExFat,
    directory: &Node,
    cursor: DirCursor,
    visit: &mut DirVisitor<'_>,
) -> Result<()> {
    let mut sets = Sets::new(exfat, directory, cursor.0)?;
    let is_contiguous = directory.allocation.contiguous.is_some();
    while let Some(set) = sets.next()? {
        let bytes = utf16::to_bytes(&set.name);
        let name = Name::of_image(&bytes, set.offset);
        let Some(name) = sets.damage.pass(name)? else {
            continue;
        };
        let given = visit(DirEntry {
            name,
            node: NodeId::new(exfat.number_of(&set, is_contiguous)),
            file_type: Some(inode::file_type_of(&set)),
            next: DirCursor(set.next_index),
        });
        if given.is_break() {
            break;
        }
    }
    sets.damage.end()
}

/// Finds a name: the first that has these units, otherwise the first that has them in
/// another case.
pub(super) fn lookup(exfat: &ExFat, directory: &Node, name: Name<'_>) -> Result<Option<NodeId>> {
    let Some(units) = utf16::from_bytes(name.bytes()) else {
        return Ok(None);
    };
    let found = find(exfat, directory, &units)?;
    // Windows and Linux write no dots at the end, and look up without them.
    let dot = u16::from(b'.');
    let last = units.iter().rposition(|unit| *unit != dot);
    let stem = units.get(..last.map_or(0, |last| last.saturating_add(1)));
    match stem {
        Some(stem) if found.is_none() && stem.len() < units.len() && !stem.is_empty() => {
            find(exfat, directory, stem)
        }
        _ => Ok(found),
    }
}

/// The best of what was looked at.
struct Search<'a> {
    name: &'a [u16],
    folded_name: Vec<u16>,
    is_contiguous: bool,
    exact: Option<NodeId>,
    folded: Option<NodeId>,
}

impl Search<'_> {
    /// Looks at a set; `Break` if there is no better one.
    fn consider(&mut self, exfat: &ExFat, set: &EntrySet) -> ControlFlow<()> {
        if set.name.len() != self.name.len() {
            return ControlFlow::Continue(());
        }
        let number = || NodeId::new(exfat.number_of(set, self.is_contiguous));
        if set.name == self.name {
            self.exact = Some(number());
            return ControlFlow::Break(());
        }
        if self.folded.is_none() && exfat.system.upcase.fold(&set.name) == self.folded_name {
            self.folded = Some(number());
        }
        ControlFlow::Continue(())
    }

    fn result(self) -> Option<NodeId> {
        self.exact.or(self.folded)
    }
}

fn find(exfat: &ExFat, directory: &Node, name: &[u16]) -> Result<Option<NodeId>> {
    let mut search = Search {
        name,
        folded_name: exfat.system.upcase.fold(name),
        is_contiguous: directory.allocation.contiguous.is_some(),
        exact: None,
        folded: None,
    };
    let is_large = exfat.names.knows(directory.inode);
    if !is_large && scan(exfat, directory, &mut search, SLOT_COUNT_MIN)?.is_break() {
        return Ok(search.result());
    }
    let hash = exfat.names.hash(&search.folded_name);
    let places = exfat.names.places(directory.inode, hash, |visit| {
        let mut sets = Sets::new(exfat, directory, 0)?;
        while let Some(set) = sets.next()? {
            let place = u32::try_from(set.first_index).unwrap_or(u32::MAX);
            let hash = exfat.names.hash(exfat.system.upcase.fold(&set.name));
            if visit(hash, place).is_break() {
                break;
            }
        }
        Ok(())
    })?;
    let Some(places) = places else {
        let _ = scan(exfat, directory, &mut search, u64::MAX)?;
        return Ok(search.result());
    };
    for place in places {
        let mut sets = Sets::new(exfat, directory, place.into())?;
        if let Some(set) = sets.next()?
            && search.consider(exfat, &set).is_break()
        {
            break;
        }
    }
    Ok(search.result())
}

/// Looks at all sets that begin before slot `end`; `Break` if no other can be better.
fn scan(
    exfat: &ExFat,
    directory: &Node,
    search: &mut Search<'_>,
    end: u64,
) -> Result<ControlFlow<()>> {
    let mut sets = Sets::new(exfat, directory, 0)?;
    loop {
        match sets.next() {
            Ok(Some(set)) if set.first_index > end => return Ok(ControlFlow::Continue(())),
            Ok(Some(set)) if search.consider(exfat, &set).is_continue() => {}
            Ok(_) => return Ok(ControlFlow::Break(())),
            // A name that was found before the damage is found.
            Err(Error::Corrupt { .. }) if search.folded.is_some() => {
                return Ok(ControlFlow::Break(()));
            }
            Err(error) => return Err(error),
        }
    }
}

impl ExFat {
    /// Returns the links that Linux counts: two, and one of each directory in it. What
    /// is damaged counts for nothing.
    pub(super) fn link_count(&self, directory: &Node) -> Result<u32> {
        let mut count: u32 = 2;
        let counted = Sets::new(self, directory, 0).and_then(|mut sets| {
            while let Some(set) = sets.next()? {
                let is_directory = inode::file_type_of(&set) == FileType::Directory;
                count = count.saturating_add(u32::from(is_directory));
            }
            Ok(())
        });
        match counted {
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Ok(()) | Err(_) => Ok(count),
        }
    }
}

/// Returns the node with this number if it is a directory.
pub(super) fn directory(exfat: &ExFat, node: NodeId) -> Result<Node> {
    exfat.node_of_type(node, FileType::Directory)
}
