//! Owner and modes that a line of fstab gives the files of a file system that has none:
//! FAT, exFAT and NTFS.
//!
//! Source: mount(8), "Mount options for fat"; Linux, `Documentation/filesystems/vfat.rst`.

use super::Result;
use super::fstab::Line;
use crate::filesystem::Substitutes;
use std::collections::HashMap;

/// Bytes of a list of users or groups that are looked at.
pub(super) const TABLE_LEN_MAX: usize = 1 << 20;

/// Bits that a mask can take away.
const PERMISSIONS: u16 = 0o777;

/// A list that names have their numbers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Users,
    Groups,
}

impl List {
    /// Returns where the machine has it.
    pub(super) const fn path(self) -> &'static [u8] {
        match self {
            Self::Users => b"etc/passwd",
            Self::Groups => b"etc/group",
        }
    }
}

/// Finds the number of a name; `None` if there is none.
pub(super) type Finder<'a> = dyn FnMut(List, &[u8]) -> Result<Option<u32>> + 'a;

/// Tells whether files of a format have no owners and modes of their own.
pub(super) fn are_missing_in(format: &str) -> bool {
    matches!(format, "fat12" | "fat16" | "fat32" | "exfat" | "ntfs")
}

/// Returns what the options of a line ask for; `usual` for what they do not say, or in a
/// way that is not understood. Of options that contradict each other the last one counts.
///
/// # Errors
///
/// Those of `find`.
pub(super) fn substitutes(
    line: &Line,
    usual: &Substitutes,
    find: &mut Finder<'_>,
) -> Result<Substitutes> {
    let mut wanted = *usual;
    for option in line.options() {
        let mut parts = option.splitn(2, |byte| *byte == b'=');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        match name {
            b"uid" => wanted.user = owner(value, List::Users, find)?.unwrap_or(wanted.user),
            b"gid" => wanted.group = owner(value, List::Groups, find)?.unwrap_or(wanted.group),
            b"umask" => {
                wanted.file_umask = mask(value).unwrap_or(wanted.file_umask);
                wanted.directory_umask = mask(value).unwrap_or(wanted.directory_umask);
            }
            b"fmask" => wanted.file_umask = mask(value).unwrap_or(wanted.file_umask),
            b"dmask" => wanted.directory_umask = mask(value).unwrap_or(wanted.directory_umask),
            _ => {}
        }
    }
    Ok(wanted)
}

fn owner(value: &[u8], list: List, find: &mut Finder<'_>) -> Result<Option<u32>> {
    match std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(number) => Ok(Some(number)),
        None => find(list, value),
    }
}

fn mask(value: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(value).ok()?;
    let bits = u16::from_str_radix(text, 8).ok()?;
    Some(bits & PERMISSIONS)
}

/// The numbers of a list by their names: a line of fstab may ask for 100,000 of them.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<Vec<u8>, Option<u32>>);

impl Numbers {
    /// Reads the text of a list: the third field of a line is the number of the first, and
    /// of lines with one name the first counts.
    pub(super) fn parse(table: &[u8]) -> Self {
        let mut numbers = HashMap::new();
        for line in table.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next().unwrap_or_default();
            let number = fields.nth(1).and_then(|number| {
                let number = std::str::from_utf8(number).ok()?;
                number.parse().ok()
            });
            numbers.entry(name.to_vec()).or_insert(number);
        }
        Self(numbers)
    }

    /// Returns the number of a name.
    pub(super) fn of(&self, name: &[u8]) -> Option<u32> {
        self.0.get(name).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fstab;
    use super::*;

    fn shown(options: &str) -> (u32, u32, u16, u16) {
        let lines = fstab::parse(format!("LABEL=x /x vfat {options}").as_bytes());
        let users = b"root:x:0:0::/:/bin/sh\nada:x:1815:100::/:\n";
        let mut find = |list, name: &[u8]| match list {
            List::Users => Ok(Numbers::parse(users).of(name)),
            List::Groups => Ok(Numbers::parse(b"disk:x:6:ada\nwheel:*:10:\n").of(name)),
        };
        let usual = Substitutes {
            user: 7,
            group: 8,
            ..Substitutes::default()
        };
        let found = substitutes(&lines[0], &usual, &mut find).unwrap();
        (
            found.user,
            found.group,
            found.file_umask,
            found.directory_umask,
        )
    }

    #[test]
    fn options_are_read_as_linux_reads_them() {
        for (options, expected) in [
            ("defaults", (7, 8, 0o022, 0o022)),
            ("umask=0077", (7, 8, 0o077, 0o077)),
            ("umask=077,dmask=0", (7, 8, 0o077, 0)),
            ("fmask=0177,dmask=0077", (7, 8, 0o177, 0o077)),
            ("fmask=0177,umask=7", (7, 8, 0o007, 0o007)),
            ("uid=1000,gid=1001", (1000, 1001, 0o022, 0o022)),
            ("uid=ada,gid=wheel", (1815, 10, 0o022, 0o022)),
            ("uid=nobody,gid=,umask=9,fmask=x,uid", (7, 8, 0o022, 0o022)),
            ("umask=7777777777", (7, 8, 0o022, 0o022)),
        ] {
            assert_eq!(shown(options), expected, "{options}");
        }
    }

    #[test]
    fn lists_that_are_none_have_no_names() {
        for table in [&b""[..], b"ada", b"ada:x", b"ada:x:y:", b"adam:x:7:\n:x:8:"] {
            assert_eq!(Numbers::parse(table).of(b"ada"), None);
        }
        let twice = Numbers::parse(b"ada:x:1:\nada:x:2:\nbob:x::\nbob:x:3:");
        assert_eq!((twice.of(b"ada"), twice.of(b"bob")), (Some(1), None));
    }
}
