//! `tintype tar`.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::cli::progress_display::with_progress_only;
use crate::contents::Follow;
use crate::export::{self, Source, write_tar};
use crate::filesystem::FileType;
use clap::Args;
use std::ffi::OsString;
use std::io::{self, BufWriter};

/// Bytes of headers that are written together.
const BUFFER_LEN: usize = 256 << 10;

/// Write files of a snapshot, or of an image file, to standard output as a tar archive.
///
/// The archive is pax: nanoseconds, owners as numbers, extended attributes, ACLs, hard
/// links, devices, and sparse files with their holes. Sockets are left out. The members are
/// named as `tintype cp` would name them: /etc/nginx becomes nginx/, and / becomes ./
///
/// A file that cannot be read is left out; one that turns out damaged in the middle is
/// filled up with zeros. Both are told, and the exit code is 4. What /etc/fstab mounts below
/// the place and cannot be shown is told too; the exit code is 8, or 4 for damage. It is 1 if
/// whoever reads the archive goes before its end.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype tar web:/etc | tar tv
  tintype tar web@monday:/ | ssh new 'tar x --xattrs --xattrs-include=* --acls -C /mnt'
  tintype tar --image disk.img /home | zstd > home.tar.zst")]
pub struct TarArguments {
    /// SNAPSHOT or SNAPSHOT:PATH; with --image, a path [default: /]
    #[arg(value_name = "SNAPSHOT[:PATH]", required_unless_present = "image")]
    place: Option<OsString>,
    #[command(flatten)]
    image: ImageArguments,
}

/// Writes an archive.
pub fn run(arguments: &TarArguments, context: &Context) -> Result<()> {
    if context.settings.output_is_terminal {
        let message = "an archive on a terminal helps nobody; redirect standard output";
        return Err(Error::Usage(message.to_owned()));
    }
    let root = OsString::from("/");
    let text = arguments.place.as_ref().unwrap_or(&root);
    let place = Opener::new(context, &arguments.image).open(text)?;
    let (node, metadata) = place.walk(Follow::No)?;
    let problems = Problems::new(context);
    if metadata.file_type == FileType::Directory {
        problems.lacks_parts(&place);
    }
    let label = place.label();
    let written = with_progress_only(context, &label, |progress| {
        let mut output = BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock());
        let source = Source {
            view: &place.view,
            node,
        };
        let name = place.name().unwrap_or(b".");
        let report = problems.below(label.clone());
        write_tar(source, name, &mut output, &report, progress)
            .map_err(|error| failed(&place, error))
    });
    problems.end_after(written.map(drop), "the rest was written")
}

fn failed(place: &Place, error: export::Error) -> Error {
    match error {
        // Also if its reader has gone: half an archive is none.
        export::Error::Target { source, .. } => Error::Io {
            action: "writing to standard output".to_owned(),
            source,
        },
        source => Error::Export {
            place: place.label(),
            source,
        },
    }
}
