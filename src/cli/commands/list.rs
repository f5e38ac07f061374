//! `tintype list`.

use super::create::Kind;
use crate::base::format_byte_len;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::table::{Align, Table};
use crate::cli::view::{SnapshotView, kind_text};
use crate::snapshot::{Snapshot, SnapshotKind};
use clap::Args;
use std::sync::Arc;

/// List snapshots, in the order in which they were made in this store.
///
/// CREATED is the moment that an image shows; it may be earlier (`create --time`, `copy`).
/// SIZE is the length of the image, DATA what of it is not zero, ADDED what the store
/// grew by when the snapshot was made.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype list
  tintype list --resource web --tag keep
  tintype list --json | jq -r '.[].reference'")]
pub struct ListArguments {
    /// Only machines, or only volumes
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only snapshots with this tag; given several times, with all of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only snapshots of this machine or volume
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
}

impl ListArguments {
    fn selects(&self, snapshot: &Snapshot) -> bool {
        let manifest = &snapshot.manifest;
        let kind = self.kind.map(SnapshotKind::from);
        kind.is_none_or(|kind| kind == manifest.kind)
            && self
                .resource
                .as_ref()
                .is_none_or(|resource| *resource == manifest.resource)
            && self
                .tag
                .iter()
                .all(|tag| snapshot.labels.tags.contains(tag))
    }
}

/// Lists snapshots.
pub fn run(arguments: &ListArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let state = catalog.state();
    let snapshots: Vec<&Arc<Snapshot>> = state
        .snapshots()
        .filter(|snapshot| arguments.selects(snapshot))
        .collect();
    let views: Vec<_> = snapshots
        .iter()
        .map(|snapshot| SnapshotView::new(snapshot))
        .collect();
    context.output.result(&views, |target| {
        let mut table = Table::new(&[
            ("SNAPSHOT", Align::Left),
            ("ID", Align::Left),
            ("KIND", Align::Left),
            ("CREATED", Align::Left),
            ("SIZE", Align::Right),
            ("DATA", Align::Right),
            ("ADDED", Align::Right),
            ("TAGS", Align::Left),
        ]);
        for snapshot in &snapshots {
            table.push(row(snapshot));
        }
        table.write(target)
    })
}

fn row(snapshot: &Snapshot) -> Vec<String> {
    let manifest = &snapshot.manifest;
    let mut id = manifest.id.to_string();
    id.truncate(12);
    let mut tags = snapshot.labels.tags.join(",");
    if !manifest.warnings.is_empty() {
        // `show` tells what it is.
        tags.push_str(" (!)");
    }
    vec![
        snapshot.reference(),
        id,
        kind_text(manifest.kind).to_owned(),
        manifest.created_at.to_seconds(),
        format_byte_len(manifest.image_len_bytes),
        format_byte_len(manifest.allocated_len_bytes),
        format_byte_len(manifest.added_len_bytes),
        tags.trim().to_owned(),
    ]
}
