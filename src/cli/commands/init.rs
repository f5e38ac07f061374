//! `tintype init`.

use crate::cli::context::{Context, init_at, open_at};
use crate::cli::error::Result;
use crate::cli::output::printable;
use crate::store::{DEFAULT_LEVEL, InitOptions, OpenOptions};
use clap::Args;
use std::path::PathBuf;

/// Make an empty store.
///
/// The directory is made if it is not there; it must be empty. `create`, and `mount`
/// without --read-only, make the store that they are given if there is none, and say so:
/// a name that was mistyped makes a new store. So this is needed only for another
/// compression level, or as the target of `copy`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype init                        the default store
  tintype init /backup/tintype        a store elsewhere; use it with --store
  tintype init --level 9 /archive/t   smaller and slower")]
pub struct InitArguments {
    /// Directory of the new store [default: --store, TINTYPE_STORE, or the data directory]
    #[arg(value_name = "STORE")]
    path: Option<PathBuf>,
    /// Compression level of zstd, 1 to 19, fixed for the life of the store
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
}

/// Makes a store.
pub fn run(arguments: &InitArguments, context: &Context) -> Result<()> {
    let path = match &arguments.path {
        Some(path) => path.clone(),
        None => context.store_path()?,
    };
    init_at(
        &path,
        &InitOptions {
            level: arguments.level,
        },
    )?;
    let id = open_at(&path, &OpenOptions::default())?.store().id();
    let text = path.display().to_string();
    let value = serde_json::json!({ "store": text, "id": id, "level": arguments.level });
    context.output.result(&value, |target| {
        writeln!(target, "made a new store in {}", printable(&text))
    })
}
