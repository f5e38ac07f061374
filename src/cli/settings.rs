//! What the environment says. Nothing else in the program reads it.

use std::env;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Where the store of the system is, for root.
const SYSTEM_STORE: &str = "/var/lib/tintype";
/// Where logs of background mounts go, for root.
const SYSTEM_LOGS: &str = "/var/log/tintype";

/// Where temporary files go that may be large, unless `TMPDIR` says otherwise.
const TEMPORARY_FOLDER: &str = "/var/tmp";

/// What the environment of the process says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `TINTYPE_STORE`.
    pub store: Option<PathBuf>,
    /// `XDG_DATA_HOME`, if it is an absolute path, as its specification demands.
    pub data_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`, likewise.
    pub state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `TMPDIR`.
    pub temporary_folder: Option<PathBuf>,
    /// Whether the user is root.
    pub is_root: bool,
    /// Whether standard error is a terminal.
    pub error_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub output_is_terminal: bool,
}

impl Settings {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        let path = |name: &str| {
            env::var_os(name)
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)
        };
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        Self {
            store: path("TINTYPE_STORE"),
            data_home: absolute("XDG_DATA_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            temporary_folder: absolute("TMPDIR"),
            is_root: rustix::process::geteuid().is_root(),
            error_is_terminal: std::io::stderr().is_terminal(),
            output_is_terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Returns where the store is when nobody says: `TINTYPE_STORE`, or the data
    /// directory of the platform. `None` if the user has no home.
    pub fn store_path(&self) -> Option<PathBuf> {
        self.store.clone().or_else(|| {
            if self.is_root {
                return Some(PathBuf::from(SYSTEM_STORE));
            }
            let home = || self.home.as_ref().map(|home| home.join(".local/share"));
            Some(self.data_home.clone().or_else(home)?.join("tintype"))
        })
    }

    /// Returns where large temporary files go.
    pub fn temporary_folder(&self) -> PathBuf {
        let default = || PathBuf::from(TEMPORARY_FOLDER);
        self.temporary_folder.clone().unwrap_or_else(default)
    }

    /// Returns the folder of the logs of background mounts.
    pub fn log_folder(&self) -> Option<PathBuf> {
        if self.is_root {
            return Some(PathBuf::from(SYSTEM_LOGS));
        }
        let home = || self.home.as_ref().map(|home| home.join(".local/state"));
        Some(self.state_home.clone().or_else(home)?.join("tintype"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_found_in_order() {
        let path = |text: &str| Some(PathBuf::from(text));
        let mut settings = Settings {
            home: path("/home/a"),
            ..Settings::default()
        };
        assert_eq!(settings.store_path(), path("/home/a/.local/share/tintype"));
        settings.data_home = path("/data");
        assert_eq!(settings.store_path(), path("/data/tintype"));
        settings.is_root = true;
        assert_eq!(settings.store_path(), path("/var/lib/tintype"));
        settings.store = path("relative");
        assert_eq!(settings.store_path(), path("relative"));
        assert_eq!(Settings::default().store_path(), None);
    }
}
