//! `tintype diff-blocks`.

use crate::cli::context::{Context, resolve};
use crate::cli::error::{Error, Result};
use crate::image::{Image, changed_ranges};
use crate::store;
use clap::Args;
use std::io::{self, Write};
use std::ops::Range;

/// Print the byte ranges in which two snapshots differ.
///
/// Exact to a block of 4 KiB, computed from maps and fingerprints: no data is read.
/// Each line is an offset and a length in bytes. Where one image is longer, all beyond
/// the end of the shorter differs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype diff-blocks web@before-upgrade web@latest
  tintype diff-blocks --json web@a web@b | jq .changed_len_bytes")]
pub struct DiffBlocksArguments {
    /// RESOURCE@NAME, RESOURCE@latest, or the beginning of an id
    #[arg(value_name = "A")]
    a: String,
    /// The one to compare with
    #[arg(value_name = "B")]
    b: String,
}

/// Compares two snapshots.
pub fn run(arguments: &DiffBlocksArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    let a = resolve(&catalog, &arguments.a)?;
    let b = resolve(&catalog, &arguments.b)?;
    let images = (catalog.image(&a), catalog.image(&b));
    let mut failed = None;
    let printed = context.output.stream(|target| {
        let result = if context.output.is_json() {
            let ids = (a.manifest.id.to_string(), b.manifest.id.to_string());
            print_json(&images, &ids, target)
        } else {
            print_text(&images, target)
        };
        result.unwrap_or_else(|error| {
            failed = Some(error);
            Ok(())
        })
    });
    match failed {
        Some(error) => Err(Error::Store(error)),
        None => printed,
    }
}

/// The outer error is one of the store, the inner one of the output.
type Printed = store::Result<io::Result<()>>;

/// Calls `print` with each range, and prints nothing more after the output failed.
fn each_range(
    images: &(Image, Image),
    print: &mut dyn FnMut(&Range<u64>) -> io::Result<()>,
) -> Printed {
    let mut printed = Ok(());
    changed_ranges(&images.0, &images.1, &mut |range| {
        if printed.is_ok() {
            printed = print(&range);
        }
    })?;
    Ok(printed)
}

fn print_text(images: &(Image, Image), target: &mut dyn Write) -> Printed {
    each_range(images, &mut |range| {
        writeln!(target, "{} {}", range.start, range.end - range.start)
    })
}

/// Prints ranges as they are found: there may be millions.
fn print_json(images: &(Image, Image), ids: &(String, String), target: &mut dyn Write) -> Printed {
    let (mut count, mut sum) = (0_u64, 0_u64);
    let begun = write!(
        target,
        "{{\n  \"a\": \"{}\",\n  \"b\": \"{}\",\n  \"ranges\": [",
        ids.0, ids.1
    );
    if begun.is_err() {
        return Ok(begun);
    }
    let printed = each_range(images, &mut |range| {
        let comma = if count == 0 { "" } else { "," };
        count += 1;
        sum += range.end - range.start;
        let len = range.end - range.start;
        write!(
            target,
            "{comma}\n    {{\"offset\": {}, \"len_bytes\": {len}}}",
            range.start
        )
    })?;
    let end = if count == 0 { "]" } else { "\n  ]" };
    Ok(printed.and_then(|()| {
        writeln!(
            target,
            "{end},\n  \"range_count\": {count},\n  \"changed_len_bytes\": {sum}\n}}"
        )
    }))
}
