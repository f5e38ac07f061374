//! `tintype tag`.

use crate::cli::context::{Context, resolve};
use crate::cli::error::Result;
use crate::cli::view::SnapshotView;
use crate::snapshot::Labels;
use clap::Args;

/// Change tags, description and hold of a snapshot; without changes, show them.
///
/// A snapshot on hold cannot be deleted until it is released.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype tag web@latest keep tested        add two tags
  tintype tag web@latest --remove tested    remove one
  tintype tag web@latest --hold --description 'the last good one'")]
pub struct TagArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Tags to add
    #[arg(value_name = "TAG")]
    add: Vec<String>,
    /// Tag to remove; may be given several times
    #[arg(long, short, value_name = "TAG")]
    remove: Vec<String>,
    /// New description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Forbid deleting
    #[arg(long)]
    hold: bool,
    /// Allow deleting again
    #[arg(long, conflicts_with = "hold")]
    release: bool,
}

impl TagArguments {
    fn changes_something(&self) -> bool {
        let tags = !self.add.is_empty() || !self.remove.is_empty();
        tags || self.description.is_some() || self.hold || self.release
    }

    fn change(&self, labels: &mut Labels) {
        labels.tags.retain(|tag| !self.remove.contains(tag));
        for tag in &self.add {
            if !labels.tags.contains(tag) {
                labels.tags.push(tag.clone());
            }
        }
        if let Some(description) = &self.description {
            labels.description.clone_from(description);
        }
        labels.hold = (labels.hold || self.hold) && !self.release;
    }
}

/// Changes the labels of a snapshot.
pub fn run(arguments: &TagArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let mut snapshot = resolve(&catalog, &arguments.snapshot)?;
    if arguments.changes_something() {
        let mut change = |labels: &mut Labels| arguments.change(labels);
        snapshot = catalog.revise(&snapshot.manifest.id, &mut change)?;
    }
    let view = SnapshotView::new(&snapshot);
    context.output.result(&view, |target| view.write(target))
}
