//! `tintype cat`.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::contents::Follow;
use crate::filesystem;
use clap::Args;
use std::ffi::OsString;

const BUFFER_LEN: usize = 1 << 20;

/// Print files inside a snapshot, or inside an image file.
///
/// A file that is damaged is printed up to the damage; the others are printed all the
/// same, and the exit code is 4.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype cat web:/etc/fstab
  tintype cat web@monday:/var/log/syslog | grep -i error
  tintype cat --image disk.img /etc/hostname /etc/os-release")]
pub struct CatArguments {
    /// SNAPSHOT:PATH; with --image, a path
    #[arg(value_name = "SNAPSHOT:PATH", required = true)]
    places: Vec<OsString>,
    #[command(flatten)]
    image: ImageArguments,
}

/// Prints files.
pub fn run(arguments: &CatArguments, context: &Context) -> Result<()> {
    let problems = Problems::new(context);
    let mut opener = Opener::new(context, &arguments.image);
    for text in &arguments.places {
        let printed = opener.open(text).and_then(|place| print(&place, context));
        match printed {
            Ok(()) => {}
            Err(Error::OutputClosed) => {
                return problems.end_after(Err(Error::OutputClosed), "the reader has gone");
            }
            Err(error) if arguments.places.len() == 1 => return Err(error),
            Err(error) => problems.tell(&error),
        }
    }
    problems.end("the rest was printed")
}

fn print(place: &Place, context: &Context) -> Result<()> {
    let (node, metadata) = place.walk(Follow::Yes)?;
    let mut buffer = vec![0; BUFFER_LEN];
    let mut offset = 0;
    let mut failed = None;
    let printed = context.output.stream(|target| {
        loop {
            match place.view.read_at(node, offset, &mut buffer) {
                Ok(0) if offset < metadata.size => {
                    let (field, expected) = ("file content", "as long as the file");
                    let error = filesystem::Error::corrupt(field, 0, expected, offset);
                    failed = Some(error);
                    return Ok(());
                }
                Ok(0) => return Ok(()),
                Ok(count) => {
                    target.write_all(buffer.get(..count).unwrap_or_default())?;
                    offset = offset.saturating_add(count as u64);
                }
                Err(error) => {
                    failed = Some(error);
                    return Ok(());
                }
            }
        }
    });
    match failed {
        // Also if the reader has gone before all in front of it was written.
        Some(error) => Err(place.error(error)),
        None => printed,
    }
}
