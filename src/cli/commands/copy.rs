//! `tintype copy`.

use crate::base::format_byte_len;
use crate::cli::context::{Context, open_at, resolve};
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::progress_display::with_progress;
use crate::cli::view::SnapshotView;
use crate::snapshot;
use crate::store::OpenOptions;
use clap::Args;
use std::path::PathBuf;

/// Copy a snapshot to another store.
///
/// Only what the other store does not have is written there. Name, tags,
/// description, hold, times and warnings go along; the copy has an id of its own. Copy the
/// oldest first: the latest in the other store is what was copied last.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype init /usb/tintype
  tintype copy web@latest --to /usb/tintype")]
pub struct CopyArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Directory of the other store
    #[arg(long, value_name = "STORE")]
    to: PathBuf,
}

/// Copies a snapshot.
pub fn run(arguments: &CopyArguments, context: &Context) -> Result<()> {
    let from = context.open()?;
    let original = resolve(&from, &arguments.snapshot)?;
    let to = open_at(&arguments.to, &OpenOptions::default())?;
    if to.store().id() == from.store().id() {
        let message = "both are the same store; there is nothing to copy";
        return Err(Error::Usage(message.to_owned()));
    }
    let title = printable(&original.reference());
    let copy = with_progress(context, &title, |progress| {
        Ok(snapshot::copy(&from, &original, &to, progress)?)
    })?;
    context.output.result(&SnapshotView::new(&copy), |target| {
        writeln!(
            target,
            "copied {title} to {} as {} {}, {} added",
            printable(&arguments.to.display().to_string()),
            printable(&copy.reference()),
            copy.manifest.id,
            format_byte_len(copy.manifest.added_len_bytes),
        )
    })
}
