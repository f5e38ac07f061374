//! What is shown of files in file systems that do not say it themselves.

use crate::filesystem::{CodePage, OpenOptions, Substitutes};
use clap::Args;

/// What FAT, exFAT and NTFS do not have, or not as Linux has it.
#[derive(Clone, Copy, Debug, Args)]
pub struct SubstituteArguments {
    /// Owner, as numbers, of files where the file system has none (FAT, exFAT, NTFS) and the
    /// machine's fstab does not say; without GID the group has the same number [default:
    /// root; in a mount who mounts]
    #[arg(long, value_name = "UID[:GID]", value_parser = owner)]
    default_owner: Option<Owner>,
    /// Permission bits that files do not get where the file system has none, in octal
    #[arg(long, value_name = "BITS", value_parser = umask, default_value = "022")]
    default_umask: u16,
    /// Code page of the short names of FAT: 437, 850, 852 or 866
    #[arg(long, value_name = "NUMBER", value_parser = code_page, default_value = "437")]
    fat_code_page: CodePage,
}

/// A user and, if it was said, a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: Option<u32>,
}

impl SubstituteArguments {
    /// Returns what was asked for; the owner is `user` and `group` if none was.
    pub fn or_owner(&self, user: u32, group: u32) -> Substitutes {
        let owner = self.default_owner;
        Substitutes {
            user: owner.map_or(user, |owner| owner.user),
            group: owner.map_or(group, |owner| owner.group.unwrap_or(owner.user)),
            file_umask: self.default_umask,
            directory_umask: self.default_umask,
            code_page: self.fat_code_page,
        }
    }

    /// Returns the arguments that say the same.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--default-umask={:03o}", self.default_umask),
            format!("--fat-code-page={}", number(self.fat_code_page)),
        ];
        if let Some(Owner { user, group }) = self.default_owner {
            words.push(format!("--default-owner={user}:{}", group.unwrap_or(user)));
        }
        words
    }

    /// Sets them in what readers of file systems get.
    pub fn apply(&self, options: OpenOptions) -> OpenOptions {
        let root = Substitutes::default();
        OpenOptions {
            substitutes: self.or_owner(root.user, root.group),
            ..options
        }
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id < u32::MAX);
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (id(user), id(group).map(Some)),
        None => (id(text), Some(None)),
    };
    match (user, group) {
        (Some(user), Some(group)) => Ok(Owner { user, group }),
        _ => Err("numbers are expected, like 1000 or 1000:1000".to_owned()),
    }
}

fn umask(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(|| "three octal digits are expected, like 077".to_owned())
}

const fn number(page: CodePage) -> u16 {
    match page {
        CodePage::UnitedStates => 437,
        CodePage::WesternEurope => 850,
        CodePage::CentralEurope => 852,
        CodePage::Cyrillic => 866,
    }
}

fn code_page(text: &str) -> Result<CodePage, String> {
    let pages = [
        CodePage::UnitedStates,
        CodePage::WesternEurope,
        CodePage::CentralEurope,
        CodePage::Cyrillic,
    ];
    let found = pages
        .into_iter()
        .find(|page| number(*page).to_string() == text);
    found.ok_or_else(|| "437, 850, 852 or 866 is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_said_again() {
        assert_eq!(
            owner("5"),
            Ok(Owner {
                user: 5,
                group: None
            })
        );
        assert_eq!(
            owner("5:0"),
            Ok(Owner {
                user: 5,
                group: Some(0)
            })
        );
        for text in ["", "ann", "1:", ":1", "-1", "4294967295", "1:2:3"] {
            assert!(owner(text).is_err(), "{text}");
        }
        assert_eq!(umask("077"), Ok(0o77));
        assert!(umask("8").is_err() && umask("1000").is_err() && umask("").is_err());
        assert_eq!(code_page("866"), Ok(CodePage::Cyrillic));
        assert!(code_page("1252").is_err());
        let arguments = SubstituteArguments {
            default_owner: owner("7").ok(),
            default_umask: 0o7,
            fat_code_page: CodePage::WesternEurope,
        };
        let words = [
            "--default-umask=007",
            "--fat-code-page=850",
            "--default-owner=7:7",
        ];
        assert_eq!(arguments.words(), words);
        let substitutes = arguments.or_owner(1, 2);
        assert_eq!((substitutes.user, substitutes.group), (7, 7));
    }
}
