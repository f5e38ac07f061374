//! `tintype create`.

use crate::base::{Progress, Timestamp, format_byte_len};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::place::open_options;
use crate::cli::progress_display::with_progress;
use crate::cli::stdin::Stdin;
use crate::cli::view::SnapshotView;
use crate::contents::VolumeSpace;
use crate::snapshot::{self, Discard, IngestOptions, Labels, Snapshot, SnapshotKind, SnapshotType};
use crate::source;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Make a snapshot of a file, a block device, or standard input.
///
/// Only blocks that the store does not have are stored. Holes of a sparse file are not
/// even read. When the command returns, the snapshot is durable and listed; when it
/// fails or is interrupted, there is no snapshot.
///
/// A source that is mounted read-write, or that changes while it is read, is warned
/// about: the image may not be consistent, and the snapshot says so for ever.
///
/// An image is bit-exact, deleted files included, unless --discard-free asks for less: then
/// blocks that a file system says are free are not read, not stored, and zeros when the
/// image is read. Only file systems that were unmounted and are fully understood take
/// part; of everything else (swap, gaps, unknown formats, a file system in use) each byte
/// is kept, and it is said why. The snapshot says for ever what it was made without. The
/// source must not change meanwhile, and cannot be standard input.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype create web.img                          resource \"web\"
  tintype create --name before-upgrade --tag keep web.img
  tintype create --resource db --kind volume /dev/vg0/db-snap
  tintype create --discard-free --resource web /dev/vg0/web-frozen
  zcat old.img.gz | tintype create --resource old --time 2024-02-29T12:00:00Z -")]
pub struct CreateArguments {
    /// File or block device to read; - for standard input
    #[arg(value_name = "SOURCE|-")]
    source: PathBuf,
    /// Machine or volume that the image is of [default: the name of SOURCE without .img, .raw ...]
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Name of the snapshot [default: its time]
    #[arg(long, value_name = "LABEL")]
    name: Option<String>,
    /// What the image is of
    #[arg(long, value_enum, default_value_t = Kind::Machine)]
    kind: Kind,
    /// How it comes to be
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value_t = Type::Snapshot)]
    snapshot_type: Type,
    /// Tag to find it by; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Free text
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Leave out blocks that a file system in the image says are free; they read as zeros
    #[arg(long)]
    discard_free: bool,
    /// The moment that the image shows, like 2026-11-23T07:44:12Z [default: now]
    #[arg(long, value_name = "TIME")]
    time: Option<Timestamp>,
}

/// What an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A whole machine: a disk that boots
    Machine,
    /// A volume of data
    Volume,
}

/// How a snapshot comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Type {
    /// On demand
    Snapshot,
    /// By a schedule
    Backup,
    /// Brought in from elsewhere
    Custom,
}

impl From<Kind> for SnapshotKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Machine => Self::Machine,
            Kind::Volume => Self::Volume,
        }
    }
}

impl From<Type> for SnapshotType {
    fn from(snapshot_type: Type) -> Self {
        match snapshot_type {
            Type::Snapshot => Self::Snapshot,
            Type::Backup => Self::Backup,
            Type::Custom => Self::Custom,
        }
    }
}

/// Makes a snapshot.
pub fn run(arguments: CreateArguments, context: &Context) -> Result<()> {
    let is_stream = arguments.source == Path::new("-");
    // Everything that can be wrong with the arguments is found before a store is made.
    let options = options(&arguments, is_stream)?;
    let source = if is_stream {
        None
    } else {
        Some(source::open(&arguments.source)?)
    };
    let start = Instant::now();
    let discard = match &source {
        Some(source) if arguments.discard_free => {
            Some(Discard::find(source, open_options(context))?)
        }
        _ => None,
    };
    let catalog = context.open_or_init()?;
    let title = options.resource.clone();
    let (snapshot, progress) = with_progress(context, &printable(&title), |progress| {
        let snapshot = match &source {
            Some(source) => match &discard {
                Some(discard) => {
                    snapshot::ingest_without_free(&catalog, discard, options, progress)?
                }
                None => snapshot::ingest(&catalog, source, options, progress)?,
            },
            None => {
                let mut input = Stdin::new(progress);
                snapshot::ingest_stream(&catalog, &mut input, options, progress)?
            }
        };
        Ok((snapshot, Arc::clone(progress)))
    })?;
    for warning in &snapshot.manifest.warnings {
        context.output.warn(&printable(warning));
    }
    let volumes = discard
        .as_ref()
        .map(|discard| &*discard.free_space().volumes);
    report(context, &snapshot, &progress, volumes, start)
}

fn options(arguments: &CreateArguments, is_stream: bool) -> Result<IngestOptions> {
    if arguments.discard_free && is_stream {
        let message = "--discard-free has to look at all of the image before it is read, \
                       which standard input does not allow; write it to a file first";
        return Err(Error::Usage(message.to_owned()));
    }
    let resource = match &arguments.resource {
        Some(resource) => resource.clone(),
        None if is_stream => {
            let message = "standard input has no name; say what it is of with --resource NAME";
            return Err(Error::Usage(message.to_owned()));
        }
        None => resource_name(&arguments.source).ok_or_else(|| {
            Error::Usage(format!(
                "no name follows from {}; give one with --resource NAME",
                arguments.source.display()
            ))
        })?,
    };
    let labels = Labels {
        name: arguments.name.clone(),
        tags: arguments.tag.clone(),
        description: arguments.description.clone(),
        hold: false,
    };
    Ok(IngestOptions {
        resource,
        labels: labels.normalize()?,
        kind: arguments.kind.into(),
        snapshot_type: arguments.snapshot_type.into(),
        created_at: arguments.time.unwrap_or_else(Timestamp::now),
        warnings: vec![],
        discarded_len_bytes: None,
    })
}

/// Ends of names that say what the file is, and not what the image is of.
const EXTENSIONS: [&str; 8] = ["img", "raw", "iso", "disk", "dd", "bin", "image", "vol"];

/// Returns the name of the resource that a path suggests.
fn resource_name(path: &Path) -> Option<String> {
    let mut name = path.file_name().and_then(OsStr::to_str)?;
    while let Some((stem, extension)) = name.rsplit_once('.') {
        let is_known = EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known));
        if stem.is_empty() || !is_known {
            break;
        }
        name = stem;
    }
    Some(name.to_owned())
}

fn report(
    context: &Context,
    snapshot: &Snapshot,
    progress: &Progress,
    volumes: Option<&[VolumeSpace]>,
    start: Instant,
) -> Result<()> {
    let view = Created {
        snapshot: SnapshotView::new(snapshot),
        volumes,
    };
    context.output.result(&view, |target| {
        writeln!(
            target,
            "{}  {}",
            printable(&snapshot.reference()),
            snapshot.manifest.id
        )
    })?;
    let manifest = &snapshot.manifest;
    let seconds = start.elapsed().as_secs_f64();
    let rate = manifest.allocated_len_bytes as f64 / seconds.max(0.001);
    context.output.note(&format!(
        "{} image, {} data, {} new, {} added to the store, {seconds:.1} s, {}/s",
        format_byte_len(manifest.image_len_bytes),
        format_byte_len(manifest.allocated_len_bytes),
        format_byte_len(progress.read().new_len_bytes),
        format_byte_len(manifest.added_len_bytes),
        format_byte_len(rate as u64),
    ));
    if let (Some(volumes), Some(len)) = (volumes, manifest.discarded_len_bytes) {
        let len = format_byte_len(len);
        context
            .output
            .note(&format!("{len} of free blocks left out"));
        for volume in volumes {
            context.output.note(&printable(&volume_text(volume)));
        }
    }
    Ok(())
}

/// What is printed: the snapshot, and of a creation without free blocks what is free.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    snapshot: SnapshotView<'a>,
    #[serde(rename = "free_space", skip_serializing_if = "Option::is_none")]
    volumes: Option<&'a [VolumeSpace]>,
}

/// Says what of a volume was left out, or why all of it was kept.
fn volume_text(volume: &VolumeSpace) -> String {
    let name = match volume.name.as_str() {
        "" => "the image",
        name => name,
    };
    let format = match volume.format.as_str() {
        "" => String::new(),
        format => format!(" ({format})"),
    };
    match &volume.kept {
        Some(reason) => format!("  {name}{format}: kept: {reason}"),
        None => format!(
            "  {name}{format}: {} free",
            format_byte_len(volume.free_len_bytes)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_follows_from_the_path() {
        let name = |path: &str| resource_name(Path::new(path));
        assert_eq!(name("/images/web.img").as_deref(), Some("web"));
        assert_eq!(name("web.raw.IMG").as_deref(), Some("web"));
        assert_eq!(
            name("db.example.org.img").as_deref(),
            Some("db.example.org")
        );
        assert_eq!(name("/dev/vda1").as_deref(), Some("vda1"));
        assert_eq!(name(".img").as_deref(), Some(".img"));
        assert_eq!(name("/").as_deref(), None);
    }
}
