//! `tintype inspect`.

use crate::base::{ReadAt, format_byte_len};
use crate::cli::context::{Context, resolve};
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::place::{OpenImage, open_file, open_options};
use crate::cli::table::{Align, Table, write_fields};
use crate::contents::{Contents, FileSystemReport, Inspection};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Say what is inside an image: partitions, file systems, operating system.
///
/// STATE is *clean* (the file system was unmounted), *replayed* (it was not, and is shown
/// as a mount would show it after its own recovery), *dirty* (what is shown may not be
/// consistent; the line "dirty" below says why) or *not shown* (no files of it can be
/// shown; the line below says why). SHOWN AT is where files/ and `tintype ls` have its
/// files, by /etc/fstab.
///
/// A text with a slash that is the path of a file is an image file, anything else a
/// snapshot. Nothing is ever written to the image.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype inspect web@latest
  tintype inspect ./disk.img
  tintype inspect --image /dev/vg0/web
  tintype inspect --json web | jq '.partitions[].filesystem.uuid'")]
pub struct InspectArguments {
    /// Snapshot, or path of an image file with a slash in it
    #[arg(value_name = "SNAPSHOT|IMAGE", required_unless_present = "image")]
    what: Option<String>,
    /// Image file or block device, which is in no store
    #[arg(long, value_name = "FILE", conflicts_with = "what")]
    image: Option<PathBuf>,
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    image: &'a str,
    image_len_bytes: u64,
    #[serde(flatten)]
    inspection: &'a Inspection,
}

/// Inspects an image.
pub fn run(arguments: &InspectArguments, context: &Context) -> Result<()> {
    let image = open(arguments, context)?;
    let failed = |source| Error::Files {
        place: image.label.clone(),
        source,
    };
    let contents =
        Contents::open(Arc::clone(&image.bytes), &open_options(context)).map_err(failed)?;
    let inspection = contents.inspect().map_err(failed)?;
    let report = Report {
        image: &image.label,
        image_len_bytes: image.bytes.len(),
        inspection: &inspection,
    };
    context
        .output
        .result(&report, |target| write(&report, target))
}

fn open(arguments: &InspectArguments, context: &Context) -> Result<OpenImage> {
    if let Some(path) = &arguments.image {
        return open_file(context, path);
    }
    let text = arguments.what.as_deref().unwrap_or_default();
    let path = Path::new(text);
    if text.contains('/') && path.exists() {
        return open_file(context, path);
    }
    let found = context
        .open()
        .and_then(|catalog| Ok((resolve(&catalog, text)?, catalog)));
    match found {
        Ok((snapshot, catalog)) => Ok(OpenImage {
            label: printable(&snapshot.reference()),
            bytes: Arc::new(catalog.image(&snapshot)),
        }),
        Err(_) if path.exists() => Err(Error::NotFound(format!(
            "there is no snapshot {text:?}, but a file of that name; \
             write ./{text} or --image {text}"
        ))),
        Err(error) => Err(error),
    }
}

fn write(report: &Report<'_>, target: &mut dyn Write) -> io::Result<()> {
    let inspection = report.inspection;
    let size = format!(
        "{} ({} bytes)",
        format_byte_len(report.image_len_bytes),
        report.image_len_bytes
    );
    let mut fields = vec![("image", report.image.to_owned()), ("size", size)];
    let table = match (inspection.partition_table, &inspection.disk_uuid) {
        (Some(table), Some(uuid)) => format!("{table}, {uuid}"),
        (Some(table), None) => table.to_owned(),
        (None, _) => "none".to_owned(),
    };
    fields.push(("partitions", table));
    if let Some(system) = &inspection.operating_system {
        let name = if system.name.is_empty() {
            &system.id
        } else {
            &system.name
        };
        fields.push(("system", name.clone()));
    }
    write_fields(target, &fields)?;
    writeln!(target)?;
    volumes(inspection).write(target)?;
    let notes = notes(inspection);
    if !notes.is_empty() {
        writeln!(target)?;
        write_fields(target, &notes)?;
    }
    Ok(())
}

/// Returns the file systems with the names of their partitions.
fn reports(inspection: &Inspection) -> Vec<(&str, Option<u64>, &FileSystemReport)> {
    let partitions = inspection.partitions.iter().map(|found| {
        (
            found.name.as_str(),
            Some(found.len_bytes),
            &found.filesystem,
        )
    });
    let whole = inspection
        .filesystem
        .iter()
        .map(|found| ("", found.len_bytes, found));
    partitions.chain(whole).collect()
}

fn volumes(inspection: &Inspection) -> Table {
    let mut table = Table::new(&[
        ("PARTITION", Align::Left),
        ("TYPE", Align::Left),
        ("SIZE", Align::Right),
        ("USED", Align::Right),
        ("LABEL", Align::Left),
        ("UUID", Align::Left),
        ("STATE", Align::Left),
        ("SHOWN AT", Align::Left),
    ]);
    let len_or_dash = |len: Option<u64>| len.map_or_else(|| "-".to_owned(), format_byte_len);
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    for (name, len, found) in reports(inspection) {
        let places: Vec<_> = inspection
            .mounts
            .iter()
            .filter(|mount| mount.partition == name)
            .map(|mount| mount.path.as_str())
            .collect();
        let state = match (found.browsable, found.consistency) {
            (false, _) => "not shown",
            (true, consistency) => consistency.unwrap_or_default(),
        };
        table.push(vec![
            if name.is_empty() {
                "(whole image)".to_owned()
            } else {
                name.to_owned()
            },
            or_dash(&found.format),
            len_or_dash(len),
            len_or_dash(found.used_len_bytes),
            or_dash(&found.label),
            found.uuid.clone().unwrap_or_else(|| "-".to_owned()),
            state.to_owned(),
            or_dash(&places.join(", ")),
        ]);
    }
    table
}

/// Returns what a person should know: why something is not shown, what is wrong.
fn notes(inspection: &Inspection) -> Vec<(&'static str, String)> {
    let mut notes = vec![];
    for (name, _, found) in reports(inspection) {
        let name = if name.is_empty() { "the image" } else { name };
        if let Some(reason) = &found.reason {
            notes.push(("not shown", format!("{name}: {reason}")));
        }
        if let Some(reason) = found.consistency_reason {
            notes.push(("dirty", format!("{name}: {reason}")));
        }
        for warning in &found.warnings {
            notes.push(("warning", format!("{name}: {warning}")));
        }
    }
    for line in &inspection.unplaced {
        let (source, path, reason) = (&line.source, &line.path, &line.reason);
        notes.push(("not placed", format!("{source} on {path}: {reason}")));
    }
    let warnings = inspection.warnings.iter();
    notes.extend(warnings.map(|warning| ("note", warning.clone())));
    notes
}
