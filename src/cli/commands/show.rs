//! `tintype show`.

use crate::cli::context::{Context, resolve};
use crate::cli::error::Result;
use crate::cli::view::SnapshotView;
use clap::Args;

/// Show everything known about a snapshot.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype show web@latest
  tintype show --json 4f1c | jq .warnings")]
pub struct ShowArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

/// Shows a snapshot.
pub fn run(arguments: &ShowArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let snapshot = resolve(&catalog, &arguments.snapshot)?;
    let view = SnapshotView::new(&snapshot);
    context.output.result(&view, |target| view.write(target))
}
