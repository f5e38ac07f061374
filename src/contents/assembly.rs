//! The files of an image as its machine shows them: which file system is the root, and
//! where the others are mounted.

use super::device::Device;
use super::fstab::{self, Line};
use super::loss::{self, Loss};
use super::operating_system::{RELEASE_FILES, WINDOWS_FOLDERS};
use super::owners::{self, List, Numbers};
use super::path::{Follow, Steps};
use super::view::{View, ViewNode};
use super::volume::Volume;
use super::{Error, ErrorKind, Result};
use crate::filesystem::{FileSystem, FileType, NodeId, RootSelector};
use std::collections::HashMap;
use std::sync::Arc;

/// Where distributions put their root in a file system with subvolumes, when it is not
/// the default one (Debian, Ubuntu, Fedora).
const ROOT_SUBVOLUMES: [&[u8]; 3] = [b"@", b"@rootfs", b"root"];

/// What every other system has.
const INIT: &[u8] = b"sbin/init";

/// A line of fstab that nothing could be shown for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unplaced {
    /// What should be mounted, as fstab has it.
    pub source: String,
    /// Where.
    pub path: String,
    /// Why it is not.
    pub reason: String,
    /// What is missing because of it.
    #[serde(skip)]
    pub loss: Loss,
}

/// A file system that is shown, and where.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) volume: Arc<Volume>,
    pub(super) path: Vec<u8>,
}

/// The files of an image as its machine shows them.
#[derive(Debug)]
pub struct Assembly {
    view: Option<Arc<View>>,
    pub(super) placed: Vec<Placed>,
    pub(super) unplaced: Vec<Unplaced>,
    pub(super) note: Option<String>,
    root_loss: Loss,
}

/// A file system that could be the root. Tables are read again of the one that is: all
/// of a thousand volumes could take gigabytes.
struct Candidate {
    volume: Arc<Volume>,
    file_system: Arc<dyn FileSystem>,
    root: NodeId,
    has_fstab: bool,
    /// Its table names itself as what is mounted on `/`.
    is_own_root: bool,
}

impl Assembly {
    /// Returns the files; `None` if the image has no file system that is read here.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Returns the lines of fstab that nothing could be shown for.
    pub fn unplaced(&self) -> &[Unplaced] {
        &self.unplaced
    }

    /// Returns what a person should know about the choice of the root.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Tells whether the root itself is likely to be in a volume that is not read.
    pub fn root_loss(&self) -> Loss {
        self.root_loss
    }

    /// Returns the file systems that are shown, and where.
    pub fn placed(&self) -> impl Iterator<Item = (&[u8], &Arc<Volume>)> {
        self.placed
            .iter()
            .map(|placed| (&*placed.path, &placed.volume))
    }

    /// Finds the root and mounts the rest on it.
    pub(super) fn of(volumes: &[Arc<Volume>]) -> Result<Self> {
        let candidates = candidates(volumes)?;
        let (root, note) = choose(&candidates)?;
        let (root_loss, note) = match root {
            Some(root) => loss::of_root(volumes, is_system(root)?, note)?,
            None => (Loss::None, note),
        };
        let Some(root) = root else {
            return Ok(Self {
                view: None,
                placed: vec![],
                unplaced: vec![],
                note,
                root_loss,
            });
        };
        let view = View::plain(Arc::clone(&root.file_system), root.root);
        let mut building = Building {
            volumes,
            view,
            placed: vec![Placed {
                volume: Arc::clone(&root.volume),
                path: b"/".to_vec(),
            }],
            unplaced: vec![],
            steps: Steps::default(),
            mounted: HashMap::from([((Arc::as_ptr(&root.volume), root.root), 1)]),
            users: None,
            groups: None,
        };
        let mut lines = table_in(&root.file_system, root.root)?.unwrap_or_default();
        lines.sort_by_key(Line::depth);
        for line in &lines {
            building.place(line)?;
        }
        Ok(Self {
            view: Some(Arc::new(building.view)),
            placed: building.placed,
            unplaced: building.unplaced,
            note,
            root_loss,
        })
    }
}

/// Returns every file system that can be read, with its table if it has one.
fn candidates(volumes: &[Arc<Volume>]) -> Result<Vec<Candidate>> {
    let mut found = vec![];
    for volume in volumes {
        let file_system = match volume.file_system() {
            Ok(file_system) => file_system,
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(_) => continue,
        };
        let (root, fstab) = match root_with_fstab(&file_system)? {
            (root, Some(fstab)) => own_root(&file_system, root, fstab)?,
            (root, None) => (root, None),
        };
        found.push(Candidate {
            volume: Arc::clone(volume),
            file_system,
            root,
            has_fstab: fstab.is_some(),
            is_own_root: is_own_root(&fstab.unwrap_or_default(), volume)?,
        });
    }
    Ok(found)
}

/// Returns the root of a file system that has `/etc/fstab`, and the table; or its
/// default root without one.
fn root_with_fstab(file_system: &Arc<dyn FileSystem>) -> Result<(NodeId, Option<Vec<Line>>)> {
    let default = file_system.root();
    let mut roots = vec![default];
    for path in ROOT_SUBVOLUMES {
        let selector = RootSelector::Path(path.to_vec());
        roots.extend(View::root_like(file_system, &selector)?);
    }
    for root in roots {
        if let Some(lines) = table_in(file_system, root)? {
            return Ok((root, Some(lines)));
        }
    }
    Ok((default, None))
}

/// Returns the table of a file system, seen from `root`.
fn table_in(file_system: &Arc<dyn FileSystem>, root: NodeId) -> Result<Option<Vec<Line>>> {
    let view = View::plain(Arc::clone(file_system), root);
    let bytes = view.read_small(b"etc/fstab", fstab::FSTAB_LEN_MAX)?;
    Ok(bytes.map(|bytes| fstab::parse(&bytes)))
}

/// Returns the root that the table of a file system asks for, with the table that is
/// there: an old one may lie beside the subvolume that is the root.
fn own_root(
    file_system: &Arc<dyn FileSystem>,
    root: NodeId,
    fstab: Vec<Line>,
) -> Result<(NodeId, Option<Vec<Line>>)> {
    let line = fstab.iter().find(|line| line.place == b"/");
    let Some(selector) = line.and_then(|line| selector(line).ok()) else {
        return Ok((root, Some(fstab)));
    };
    let asked_for = match selector {
        RootSelector::Default => None,
        selector => View::root_like(file_system, &selector)?,
    };
    if let Some(other) = asked_for.filter(|other| *other != root)
        && let Some(lines) = table_in(file_system, other)?
    {
        return Ok((other, Some(lines)));
    }
    Ok((root, Some(fstab)))
}

/// Returns the root, and what a person should know about the choice.
fn choose(candidates: &[Candidate]) -> Result<(Option<&Candidate>, Option<String>)> {
    let mut with_fstab = candidates.iter().filter(|candidate| candidate.has_fstab);
    if let Some(first) = with_fstab.next() {
        let note = "more than one file system has /etc/fstab; the first one that names \
                    itself as the root is shown";
        let others = with_fstab.count();
        let own = candidates.iter().find(|candidate| candidate.is_own_root);
        return Ok((own.or(Some(first)), (others > 0).then(|| note.to_owned())));
    }
    match candidates {
        [] => Ok((None, None)),
        [only] => Ok((Some(only), None)),
        several => {
            let (root, how) = without_fstab(several)?;
            let note = format!("no file system has /etc/fstab; {how}");
            Ok((Some(root), Some(note)))
        }
    }
}

/// Tells whether the table of a file system names itself as what is mounted on `/`.
fn is_own_root(table: &[Line], volume: &Volume) -> Result<bool> {
    for line in table.iter().filter(|line| line.place == b"/") {
        if Device::parse(&line.source).is(volume)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns what tells a system.
fn marks() -> impl Iterator<Item = &'static &'static [u8]> {
    RELEASE_FILES.iter().chain(&WINDOWS_FOLDERS).chain([&INIT])
}

fn has(candidate: &Candidate, path: &[u8]) -> Result<bool> {
    let view = View::plain(Arc::clone(&candidate.file_system), candidate.root);
    match view.walk(path, Follow::Yes) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Io => Err(error),
        Err(_) => Ok(false),
    }
}

/// Tells whether a candidate is the root of a system.
fn is_system(candidate: &Candidate) -> Result<bool> {
    if candidate.has_fstab {
        return Ok(true);
    }
    for path in marks() {
        if has(candidate, path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Chooses by what a system has, and else by size.
fn without_fstab(candidates: &[Candidate]) -> Result<(&Candidate, &'static str)> {
    for path in marks() {
        for candidate in candidates {
            if has(candidate, path)? {
                return Ok((candidate, "the one with an operating system is shown"));
            }
        }
    }
    // The first of the largest: `max_by_key` would return the last one.
    let largest = candidates
        .iter()
        .rev()
        .max_by_key(|candidate| candidate.file_system.summary().len)
        .ok_or_else(|| Error::unsupported("no file system"))?;
    Ok((largest, "the largest one is shown"))
}

/// How often one tree is mounted at most: each time is a copy of all its files for whoever
/// copies, and a table may name it at every place.
const SAME_COUNT_MAX: u8 = 8;

struct Building<'a> {
    volumes: &'a [Arc<Volume>],
    view: View,
    placed: Vec<Placed>,
    unplaced: Vec<Unplaced>,
    /// What the paths of all lines may still lead through.
    steps: Steps,
    /// How often the tree of a volume with this root is mounted.
    mounted: HashMap<(*const Volume, NodeId), u8>,
    /// The machine's own users and groups, when they are asked for.
    users: Option<Numbers>,
    groups: Option<Numbers>,
}

impl Building<'_> {
    /// Mounts what a line says, or remembers why not.
    fn place(&mut self, line: &Line) -> Result<()> {
        if line.is_virtual() || line.place.iter().all(|byte| *byte == b'/') {
            return Ok(());
        }
        match self.try_place(line) {
            Ok(volume) => {
                self.placed.push(Placed {
                    volume,
                    path: line.place.clone(),
                });
                Ok(())
            }
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(error) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.unplaced.push(Unplaced {
                    source: text(&line.source),
                    path: text(&line.place),
                    reason: error.to_string(),
                    loss: loss::of_line(line, self.volumes, &error)?,
                });
                Ok(())
            }
        }
    }

    fn try_place(&mut self, line: &Line) -> Result<Arc<Volume>> {
        let missing = |what: &'static str| Error::NotFound { what: what.into() };
        if line.is_remote() {
            return Err(missing("its content, which is on another machine"));
        }
        if line.is_manual() {
            return Err(Error::unsupported("it is not mounted by itself (noauto)"));
        }
        if line.is_bind() {
            return Err(Error::unsupported("bind mounts"));
        }
        let device = Device::parse(&line.source);
        let volume = match (device.find(self.volumes)?, device) {
            (Some(volume), _) => Arc::clone(volume),
            (None, Device::OtherDisk) => return Err(missing("the device, which is another disk")),
            (None, Device::Unknown) => return Err(missing("a device of this name")),
            (None, _) => return Err(missing("the device in this image")),
        };
        let file_system = volume.file_system()?;
        let selector = selector(line)?;
        let tree = (Arc::as_ptr(&volume), file_system.root_of(&selector)?);
        if self
            .mounted
            .get(&tree)
            .is_some_and(|count| *count >= SAME_COUNT_MAX)
        {
            return Err(Error::unsupported(
                "mounting the same files more than eight times",
            ));
        }
        let on = self
            .view
            .walk_within(&line.place, Follow::Yes, &mut self.steps)?;
        self.expect_directory(on)?;
        // Only now is it opened, perhaps once more, and owners are looked for.
        let _ = self.view.next_mount()?;
        let file_system = self.open(file_system, &volume, line)?;
        let root = file_system.root_of(&selector)?;
        self.view.mount(on, file_system, root)?;
        let count = self.mounted.entry(tree).or_default();
        *count = count.saturating_add(1);
        if line.place.starts_with(b"/etc") {
            (self.users, self.groups) = (None, None);
        }
        Ok(volume)
    }

    /// Opens what a line mounts once more if its options ask for other owners or modes.
    fn open(
        &mut self,
        file_system: Arc<dyn FileSystem>,
        volume: &Volume,
        line: &Line,
    ) -> Result<Arc<dyn FileSystem>> {
        if !owners::are_missing_in(file_system.summary().format) {
            return Ok(file_system);
        }
        let usual = volume.substitutes();
        let wanted = owners::substitutes(line, usual, &mut |list, name| {
            Ok(self.numbers(list)?.of(name))
        })?;
        match wanted == *usual {
            true => Ok(file_system),
            false => volume.file_system_with(wanted),
        }
    }

    /// Returns the users or groups of the machine.
    fn numbers(&mut self, list: List) -> Result<&Numbers> {
        let known = match list {
            List::Users => &mut self.users,
            List::Groups => &mut self.groups,
        };
        if known.is_none() {
            let table = self.view.read_small(list.path(), owners::TABLE_LEN_MAX)?;
            *known = Some(Numbers::parse(&table.unwrap_or_default()));
        }
        Ok(known.get_or_insert_default())
    }

    fn expect_directory(&self, on: ViewNode) -> Result<()> {
        match self.view.metadata(on)?.file_type {
            FileType::Directory => Ok(()),
            actual => Err(Error::WrongType {
                expected: FileType::Directory,
                actual,
            }),
        }
    }
}

/// Returns the root that the options of a line ask for (btrfs(5), "subvol", "subvolid").
fn selector(line: &Line) -> Result<RootSelector> {
    if let Some(path) = line.value(b"subvol") {
        let start = path.iter().position(|byte| *byte != b'/');
        let path = start
            .and_then(|start| path.get(start..))
            .unwrap_or_default();
        return Ok(match path {
            [] => RootSelector::TopLevel,
            path => RootSelector::Path(path.to_vec()),
        });
    }
    let Some(text) = line.value(b"subvolid") else {
        return Ok(RootSelector::Default);
    };
    let id = std::str::from_utf8(text).ok().and_then(|text| {
        text.strip_prefix("0x").map_or_else(
            || text.parse::<u64>().ok(),
            |digits| u64::from_str_radix(digits, 16).ok(),
        )
    });
    match id {
        Some(0 | 5) => Ok(RootSelector::TopLevel),
        Some(id) => Ok(RootSelector::Id(id)),
        None => Err(Error::unsupported("a subvolid that is no number")),
    }
}
