//! What every command has at hand: settings, output, and the way to the store.

use super::args::GlobalArguments;
use super::error::{Error, Result};
use super::output::Output;
use super::settings::Settings;
use crate::backend::{Backend, LocalBackend, TEMPORARY_FOLDER, holds_only_temporaries};
use crate::snapshot::{Catalog, Snapshot};
use crate::store::{CONFIG_NAME, InitOptions, KEY_NAME, OpenOptions, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    /// What the environment says.
    pub settings: Settings,
    /// Where to print.
    pub output: Output,
    /// How often `--verbose` was given.
    pub verbose: u8,
    store: Option<PathBuf>,
}

impl Context {
    /// Returns a context for the arguments of every command.
    pub fn new(settings: Settings, arguments: GlobalArguments) -> Self {
        Self {
            settings,
            output: Output::new(arguments.json, arguments.quiet),
            verbose: arguments.verbose,
            store: arguments.store,
        }
    }

    /// Returns where the store is.
    pub fn store_path(&self) -> Result<PathBuf> {
        self.store
            .clone()
            .or_else(|| self.settings.store_path())
            .ok_or_else(|| {
                let message = "no store is named and HOME is not set; name one with --store DIR \
                           or TINTYPE_STORE";
                Error::Usage(message.to_owned())
            })
    }

    /// Opens the store, which must be there.
    pub fn open(&self) -> Result<Arc<Catalog>> {
        open_at(&self.store_path()?, &OpenOptions::default())
    }

    /// Makes the store if there is none, with a line that says so.
    pub fn ensure_store(&self) -> Result<()> {
        let path = self.store_path()?;
        if !has_store(&path)? {
            init_at(&path, &InitOptions::default())?;
            self.output
                .note(&format!("made a new store in {}", path.display()));
        }
        Ok(())
    }

    /// Opens the store, and makes it first if there is none.
    pub fn open_or_init(&self) -> Result<Arc<Catalog>> {
        self.ensure_store()?;
        self.open()
    }
}

/// Opens the store in `path`.
pub fn open_at(path: &Path, options: &OpenOptions) -> Result<Arc<Catalog>> {
    if !has_store(path)? {
        return Err(Error::NotFound(format!(
            "there is no store in {}; make one with `tintype init {}`, or name another with \
             --store DIR or TINTYPE_STORE",
            path.display(),
            path.display()
        )));
    }
    let backend = Arc::new(LocalBackend::open(path)?);
    let store = Store::open(Arc::clone(&backend) as Arc<dyn Backend>, options)?;
    // Only now is it certain that the folder is a store.
    backend.remove_stale_temporaries();
    Ok(Catalog::open(store)?)
}

/// Tells whether `path` holds a store. Nothing is opened in it, which may be anybody's.
fn has_store(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let config = path.join(CONFIG_NAME);
            let context = Error::io(format!("looking at {}", config.display()));
            config.try_exists().map_err(context)
        }
        Ok(_) => Err(Error::Usage(format!(
            "{} is not a directory; a store is a directory",
            path.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("looking at {}", path.display()))(error)),
    }
}

/// Makes a store in `path`, which is made if need be and must be empty otherwise.
pub fn init_at(path: &Path, options: &InitOptions) -> Result<()> {
    if has_store(path)? {
        let message = format!(
            "there is a store in {} already; nothing was done",
            path.display()
        );
        return Err(Error::Refused(message));
    }
    let context = Error::io(format!("looking into {}", path.display()));
    match std::fs::read_dir(path) {
        Ok(mut entries) => {
            if entries.any(|entry| !entry.is_ok_and(|entry| is_left_by_init(&entry.path()))) {
                return Err(Error::Refused(format!(
                    "{} is not empty; choose an empty or a new directory",
                    path.display()
                )));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(context(error)),
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let context = Error::io(format!("making {}", parent.display()));
        std::fs::create_dir_all(parent).map_err(context)?;
    }
    let backend = LocalBackend::create(path)?;
    match Store::init(&backend, options) {
        // Somebody else made it in the same moment.
        Err(_) if backend.exists(CONFIG_NAME).is_ok_and(|exists| exists) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Tells whether a killed `init` may have left this, which is no obstacle to the next.
fn is_left_by_init(path: &Path) -> bool {
    if !std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return false;
    }
    if path.ends_with(TEMPORARY_FOLDER) {
        return holds_only_temporaries(path).unwrap_or(false);
    }
    let key = Path::new(KEY_NAME);
    let is_key = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| Some(&*entry.file_name()) == key.file_name())
    };
    key.parent().is_some_and(|folder| path.ends_with(folder))
        && std::fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_key))
}

/// Finds the snapshot that `text` names.
pub fn resolve(catalog: &Catalog, text: &str) -> Result<Arc<Snapshot>> {
    Ok(Arc::clone(catalog.state().resolve(text)?))
}
