//! `tintype restore`.

use crate::base::{ReadAt, format_byte_len};
use crate::cli::context::{Context, resolve};
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::progress_display::{with_progress, with_progress_only};
use crate::{snapshot, source};
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Bring an image back: to a file, a block device, or standard output.
///
/// A file is sparse where the image has zeros. It is written under a temporary name
/// (DEST.PID.part) and appears, whole and durable, when all of it is there.
///
/// A block device must be at least as large as the image, and neither mounted nor used
/// in any other way. Zeros are written where zeros belong; what lies behind the end of
/// the image stays as it was.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype restore web@latest web.img
  tintype restore web@before-upgrade /dev/vg0/web
  tintype restore db - | ssh other 'dd of=/dev/vg0/db bs=1M'")]
pub struct RestoreArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// File to make, block device to overwrite, or - for standard output
    #[arg(value_name = "DEST|-")]
    destination: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Brings an image back.
pub fn run(arguments: &RestoreArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let snapshot = resolve(&catalog, &arguments.snapshot)?;
    let image = catalog.image(&snapshot);
    let title = printable(&snapshot.reference());
    if arguments.destination == Path::new("-") {
        if context.settings.output_is_terminal {
            let message = "an image on a terminal helps nobody; redirect standard output";
            return Err(Error::Usage(message.to_owned()));
        }
        return with_progress_only(context, &title, |progress| {
            let mut output = io::stdout().lock();
            Ok(snapshot::restore_stream(&image, &mut output, progress)?)
        });
    }
    let start = Instant::now();
    let mut is_in_place = false;
    let result = with_progress(context, &title, |progress| {
        // Opened and dropped while a signal does not end the program: a temporary file
        // is always removed.
        let target = source::open_target(&arguments.destination, image.len(), arguments.force)?;
        is_in_place = target.is_in_place();
        Ok(snapshot::restore(&image, &*target, progress)?)
    });
    if result.is_err() && is_in_place {
        context
            .output
            .warn("the device was partly overwritten; its content is of no use");
    }
    result?;
    let value = serde_json::json!({
        "snapshot": snapshot.reference(),
        "id": snapshot.manifest.id,
        "destination": arguments.destination.display().to_string(),
        "image_len_bytes": image.len(),
        "written_len_bytes": snapshot.manifest.allocated_len_bytes,
    });
    context.output.result(&value, |target| {
        let seconds = start.elapsed().as_secs_f64();
        let len = snapshot.manifest.allocated_len_bytes;
        writeln!(
            target,
            "restored {title} to {}: {}, {} of it data, {seconds:.1} s, {}/s",
            printable(&arguments.destination.display().to_string()),
            format_byte_len(image.len()),
            format_byte_len(len),
            format_byte_len((len as f64 / seconds.max(0.001)) as u64),
        )
    })
}
