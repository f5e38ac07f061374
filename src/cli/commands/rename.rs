//! `tintype rename`.

use crate::cli::context::{Context, resolve};
use crate::cli::error::Result;
use crate::cli::output::printable;
use crate::cli::view::SnapshotView;
use clap::Args;

/// Give a snapshot another name.
///
/// The resource and the id stay. A name that is taken gets a suffix (`~2`) where it is
/// shown. An empty name makes it unnamed: it goes by its time again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype rename web@latest before-upgrade
  tintype rename web@before-upgrade ''")]
pub struct RenameArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// The new name, free text
    #[arg(value_name = "LABEL")]
    name: String,
}

/// Renames a snapshot.
pub fn run(arguments: &RenameArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let before = resolve(&catalog, &arguments.snapshot)?;
    let name = Some(arguments.name.clone()).filter(|name| !name.is_empty());
    let after = catalog.revise(&before.manifest.id, &mut |labels| {
        labels.name.clone_from(&name)
    })?;
    context.output.result(&SnapshotView::new(&after), |target| {
        let (before, after) = (before.reference(), after.reference());
        writeln!(
            target,
            "{} is now {}",
            printable(&before),
            printable(&after)
        )
    })
}
