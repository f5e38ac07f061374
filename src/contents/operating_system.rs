//! Which operating system an image holds, by its own account.
//!
//! Source: os-release(5): `KEY=value` lines as a shell reads them.

use super::view::View;
use super::{Follow, Result};

/// Where a system says what it is.
pub(super) const RELEASE_FILES: [&[u8]; 2] = [b"etc/os-release", b"usr/lib/os-release"];

/// Folders that every Windows has one of: since Vista, XP and 2003, NT and 2000.
pub(super) const WINDOWS_FOLDERS: [&[u8]; 3] =
    [b"Windows/System32", b"WINDOWS/system32", b"WINNT/system32"];

const LEN_MAX: usize = 64 << 10;
const VALUE_LEN_MAX: usize = 256;

/// What `os-release` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OperatingSystem {
    /// `debian`, `fedora`, `windows`.
    pub id: String,
    /// A name for people: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// `12`; empty for rolling ones.
    pub version: String,
}

impl OperatingSystem {
    /// Looks for the operating system in a root; `None` if nothing tells.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub(super) fn of(view: &View) -> Result<Option<Self>> {
        for path in RELEASE_FILES {
            if let Some(bytes) = view.read_small(path, LEN_MAX)? {
                return Ok(Some(Self::parse(&bytes)));
            }
        }
        for path in WINDOWS_FOLDERS {
            match view.walk(path, Follow::Yes) {
                Ok(_) => {
                    return Ok(Some(Self {
                        id: "windows".to_owned(),
                        name: "Microsoft Windows".to_owned(),
                        version: String::new(),
                    }));
                }
                Err(super::Error::Io(error)) => return Err(super::Error::Io(error)),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut found = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = plain(value);
            match key.trim() {
                "ID" => found.id = value,
                "PRETTY_NAME" => found.name = value,
                "VERSION_ID" => found.version = value,
                "NAME" if found.name.is_empty() => found.name = value,
                _ => {}
            }
        }
        found
    }
}

/// Takes quotes and backslashes away, and what is too long.
fn plain(value: &str) -> String {
    let value = value.trim();
    let inner = [('"', '"'), ('\'', '\'')]
        .iter()
        .find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close))
        .unwrap_or(value);
    let mut plain = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        let shown = if character == '\\' {
            characters.next()
        } else {
            Some(character)
        };
        plain.extend(shown.filter(|shown| !shown.is_control()));
        if plain.len() >= VALUE_LEN_MAX {
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let found = OperatingSystem::parse(
            b"NAME=Debian\nPRETTY_NAME=\"Debian \\\"GNU\\\"\"\nID=debian\nVERSION_ID='12'\n=\n\xff\n",
        );
        assert_eq!(found.name, "Debian \"GNU\"");
        assert_eq!(
            (found.id.as_str(), found.version.as_str()),
            ("debian", "12")
        );
        assert_eq!(plain(&"x".repeat(1000)).len(), VALUE_LEN_MAX);
    }
}
