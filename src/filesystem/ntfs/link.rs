//! Targets of links, as paths that lead there from where the link is. Windows has paths
//! with letters of drives and in any case; here, as ntfs-3g does it, what is found on the
//! volume itself is taken for it, in the case that it is written in. All else leads into
//! `.NTFS-3G/` of the root, a folder that does not exist unless somebody makes it.

use super::dir::Directory;
use super::inode::{Inode, Node};
use super::record::number;
use super::reparse::Reparse;
use super::volume::Volume;
use crate::filesystem::{Error, FileType, Result, utf16};

/// Names of a path that are gone through, and levels up to the root.
const DEPTH_MAX: usize = 256;

/// Where paths lead that are not on the volume.
const ELSEWHERE: &[u8] = b".NTFS-3G/";

/// What a target in Windows' form names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A path from the root of a drive; without a letter of this one.
    Drive(Option<u16>, Vec<Vec<u16>>),
    /// A volume by its number, with what follows.
    Volume(Vec<u16>),
    /// A path from where the link is.
    Relative(Vec<Vec<u16>>),
}

/// Returns the target of a link.
///
/// # Errors
///
/// WrongType if it is none; Io.
pub(super) fn target(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    if let Some(target) = &inode.interix_target {
        return Ok(utf16::to_bytes(target));
    }
    match &inode.reparse {
        Some(Reparse::LinuxSymlink { target }) => Ok(target.clone()),
        Some(Reparse::Junction { target } | Reparse::Symlink { target }) => {
            translate(volume, inode, target)
        }
        _ => Err(Error::WrongType {
            expected: FileType::Symlink,
            actual: inode.file_type,
        }),
    }
}

fn translate(volume: &Volume, inode: &Inode, target: &[u16]) -> Result<Vec<u8>> {
    match place_of(target) {
        Place::Relative(names) => relative(volume, inode, names),
        Place::Drive(letter, names) => {
            let mut path = up_to_root(volume, inode)?;
            let found = match names.as_slice() {
                [] => None,
                names => on_volume(volume, names)?,
            };
            match (found, letter) {
                (Some(names), _) => path.extend(join(&names)),
                (None, None) => path.extend(join(&names)),
                (None, Some(letter)) => {
                    path.extend_from_slice(ELSEWHERE);
                    path.extend(utf16::to_bytes(&[letter]).to_ascii_uppercase());
                    path.extend_from_slice(b":/");
                    path.extend(join(&names));
                }
            }
            Ok(path)
        }
        Place::Volume(rest) => {
            let mut path = up_to_root(volume, inode)?;
            path.extend_from_slice(ELSEWHERE);
            path.extend(join(&split(&rest)));
            Ok(path)
        }
    }
}

const fn unit(byte: u8) -> u16 {
    u16::from_le_bytes([byte, 0])
}

fn place_of(target: &[u16]) -> Place {
    let prefixes = [r"\??\", r"\\?\"].map(|text| text.encode_utf16().collect::<Vec<u16>>());
    let inner = prefixes
        .iter()
        .find_map(|prefix| target.strip_prefix(prefix.as_slice()));
    let path = inner.unwrap_or(target);
    match path {
        [letter, colon, rest @ ..] if *colon == unit(b':') => {
            Place::Drive(Some(*letter), split(rest))
        }
        path if inner.is_some() => Place::Volume(path.to_vec()),
        [first, rest @ ..] if *first == unit(b'\\') => Place::Drive(None, split(rest)),
        path => Place::Relative(split(path)),
    }
}

/// Returns the names of a path, which backslashes are between.
fn split(path: &[u16]) -> Vec<Vec<u16>> {
    let names = path.split(|found| *found == unit(b'\\') || *found == unit(b'/'));
    names
        .filter(|name| !name.is_empty())
        .map(<[u16]>::to_vec)
        .collect()
}

fn join(names: &[Vec<u16>]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(|name| utf16::to_bytes(name)).collect();
    names.join(&b'/')
}

/// Returns `../` for each level above the link.
fn up_to_root(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    let mut path = vec![];
    let mut parent = inode.parent;
    for _ in 0..DEPTH_MAX {
        let Some(found) = parent.filter(|found| found.number != number::ROOT) else {
            break;
        };
        path.extend_from_slice(b"../");
        parent = match ignore_damage(volume.inode_by(found))? {
            Some(node) => node.parent,
            None => break,
        };
    }
    Ok(path)
}

/// A place that is damaged or not there is none; reading may still fail.
fn ignore_damage<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(None),
    }
}

/// Returns the names of a path as they are written on the volume; `None` if it does not
/// lead to something. Behind another link they stay as they are.
fn on_volume(volume: &Volume, names: &[Vec<u16>]) -> Result<Option<Vec<Vec<u16>>>> {
    let Some(root) = ignore_damage(volume.inode(number::ROOT))? else {
        return Ok(None);
    };
    follow(volume, root, names)
}

/// Goes along `names` from a directory on.
fn follow(volume: &Volume, start: Node, names: &[Vec<u16>]) -> Result<Option<Vec<Vec<u16>>>> {
    let (mut node, mut written) = (start, vec![]);
    for (index, name) in names.iter().enumerate() {
        if index >= DEPTH_MAX {
            return Ok(None);
        }
        if node.file_type == FileType::Symlink {
            written.extend(names.iter().skip(index).cloned());
            return Ok(Some(written));
        }
        if name.as_slice() == [unit(b'.')] {
            written.push(name.clone());
            continue;
        }
        if name.as_slice() == [unit(b'.'); 2] {
            let parent = node.parent;
            let found = parent.map(|parent| ignore_damage(volume.inode_by(parent)));
            let Some(found) = found.transpose()?.flatten() else {
                return Ok(None);
            };
            node = found;
            written.push(name.clone());
            continue;
        }
        let found = Directory::open(volume, &node).and_then(|found| found.find_folded(name));
        let Some((reference, name)) = ignore_damage(found)?.flatten() else {
            return Ok(None);
        };
        written.push(name);
        match ignore_damage(volume.inode_by(reference))? {
            Some(found) => node = found,
            None => return Ok(None),
        }
    }
    Ok(Some(written))
}

/// Returns a path from the link on, in the case that it is written in if it leads to
/// something.
fn relative(volume: &Volume, inode: &Inode, names: Vec<Vec<u16>>) -> Result<Vec<u8>> {
    let found = match inode.parent {
        Some(parent) => match ignore_damage(volume.inode_by(parent))? {
            Some(parent) => follow(volume, parent, &names)?,
            None => None,
        },
        None => None,
    };
    Ok(join(&found.unwrap_or(names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> Vec<u16> {
        path.encode_utf16().collect()
    }

    fn names(path: &str) -> Vec<Vec<u16>> {
        split(&text(path))
    }

    #[test]
    fn paths_of_windows_are_told_apart() {
        let found = |path: &str| place_of(&text(path));
        let c = Some(unit(b'C'));
        assert_eq!(found(r"\??\C:\Users\x"), Place::Drive(c, names(r"Users\x")));
        assert_eq!(found(r"C:\"), Place::Drive(c, vec![]));
        assert_eq!(found(r"\Users"), Place::Drive(None, names("Users")));
        assert_eq!(found(r"..\a\b"), Place::Relative(names(r"..\a\b")));
        assert_eq!(found(r"\??\Volume{1}\"), Place::Volume(text(r"Volume{1}\")));
        assert_eq!(found(""), Place::Relative(vec![]));
        assert_eq!(join(&names(r"a\b\\c")), b"a/b/c");
    }
}
