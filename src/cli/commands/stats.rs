//! `tintype stats`.

use crate::base::format_byte_len;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::progress_display::with_progress;
use crate::cli::table::{Align, Table, write_fields};
use crate::snapshot::{self, Stats};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// Show what the store holds, what it saves, and what each snapshot costs.
///
/// *Logical* counts every snapshot's data in full, *unique* counts each block once,
/// *stored* is what the store takes on disk. OWN is what only that snapshot holds,
/// and what deleting it will give back once there is `prune`; this version gives no space
/// back. Reads all maps, no data.
#[derive(Debug, Args)]
pub struct StatsArguments {
    /// Leave out what needs the maps: unique bytes, and what each snapshot holds alone
    #[arg(long)]
    quick: bool,
}

/// The figures with the ratio that people ask for.
#[derive(Serialize)]
struct View<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    /// Logical bytes for each stored one; null for an empty store.
    ratio: Option<f64>,
}

/// Shows what the store holds.
pub fn run(arguments: &StatsArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let stats = with_progress(context, "stats", |progress| {
        Ok(snapshot::stats(&catalog, !arguments.quick, progress)?)
    })?;
    let ratio = (stats.stored_len_bytes > 0 && stats.allocated_len_bytes > 0)
        .then(|| stats.allocated_len_bytes as f64 / stats.stored_len_bytes as f64);
    let view = View {
        stats: &stats,
        ratio,
    };
    context.output.result(&view, |target| write(&view, target))
}

fn write(view: &View<'_>, target: &mut dyn Write) -> io::Result<()> {
    let stats = view.stats;
    let mut fields = vec![
        ("snapshots", stats.snapshot_count.to_string()),
        ("images", format_byte_len(stats.image_len_bytes)),
        ("logical", format_byte_len(stats.allocated_len_bytes)),
    ];
    if let Some(unique) = stats.unique_len_bytes {
        fields.push(("unique", format_byte_len(unique)));
    }
    let count = |len, count, what: &str| format!("{} in {count} {what}", format_byte_len(len));
    fields.push(("stored", format_byte_len(stats.stored_len_bytes)));
    fields.push((
        "  packs",
        count(stats.pack_len_bytes, stats.pack_count, "packs"),
    ));
    fields.push((
        "  indexes",
        count(stats.index_len_bytes, stats.index_count, "indexes"),
    ));
    fields.push(("  catalog", format_byte_len(stats.catalog_len_bytes)));
    fields.push(("chunks", stats.chunk_count.to_string()));
    if let Some(ratio) = view.ratio {
        fields.push(("ratio", format!("{ratio:.2} logical bytes in a stored one")));
    }
    write_fields(target, &fields)?;
    if stats.snapshots.is_empty() {
        return Ok(());
    }
    writeln!(target)?;
    let mut table = Table::new(&[
        ("SNAPSHOT", Align::Left),
        ("SIZE", Align::Right),
        ("DATA", Align::Right),
        ("OWN", Align::Right),
        ("OWN STORED", Align::Right),
    ]);
    for snapshot in &stats.snapshots {
        table.push(vec![
            snapshot.reference.clone(),
            format_byte_len(snapshot.image_len_bytes),
            format_byte_len(snapshot.allocated_len_bytes),
            format_byte_len(snapshot.exclusive_len_bytes),
            format_byte_len(snapshot.exclusive_stored_len_bytes),
        ]);
    }
    table.write(target)
}
