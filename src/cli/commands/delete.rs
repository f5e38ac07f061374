//! `tintype delete`.

use crate::base::SnapshotId;
use crate::cli::context::{Context, resolve};
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::snapshot::Snapshot;
use clap::Args;
use std::sync::Arc;

/// Delete snapshots.
///
/// They are gone from lists and mounts at once. Their space is not given back by this
/// version. If one of the names is unknown, none is deleted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype delete web@2026-11-23T07-44-12Z
  tintype delete 4f1c 77ab")]
pub struct DeleteArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

/// Deletes snapshots.
pub fn run(arguments: &DeleteArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let names = arguments.snapshots.iter();
    let mut snapshots: Vec<Arc<Snapshot>> = names
        .map(|name| resolve(&catalog, name))
        .collect::<Result<_>>()?;
    snapshots.sort_by_key(|snapshot| snapshot.sequence);
    snapshots.dedup_by_key(|snapshot| snapshot.manifest.id);
    if let Some(held) = snapshots.iter().find(|snapshot| snapshot.labels.hold) {
        let reference = held.reference();
        return Err(Error::Refused(format!(
            "{reference} is on hold, nothing was deleted; allow it with \
             `tintype tag {reference} --release`"
        )));
    }
    let mut deleted = vec![];
    let mut result = Ok(());
    for snapshot in &snapshots {
        result = catalog.delete(&snapshot.manifest.id);
        if result.is_err() {
            break;
        }
        deleted.push((snapshot.manifest.id, snapshot.reference()));
    }
    // What is gone is told, whatever stopped the rest.
    let printed = print(&deleted, context);
    result?;
    printed
}

fn print(deleted: &[(SnapshotId, String)], context: &Context) -> Result<()> {
    let value = |(id, reference): &(SnapshotId, String)| serde_json::json!({ "id": id, "reference": reference });
    let values: Vec<_> = deleted.iter().map(value).collect();
    context.output.result(&values, |target| {
        for (_, reference) in deleted {
            writeln!(target, "deleted {}", printable(reference))?;
        }
        Ok(())
    })
}
