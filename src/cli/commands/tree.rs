//! `tintype tree`.

use super::ls::{loops, write_json};
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::file_text::escape_bytes;
use crate::cli::file_view::name_with_target;
use crate::cli::listing::{Listing, join};
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::contents::{Follow, ViewNode};
use crate::export::{DEPTH_MAX, Found, PATH_LEN_MAX, path_too_long};
use crate::filesystem::FileType;
use clap::Args;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};

/// Draw the directories inside a snapshot, or inside an image file, as a tree.
///
/// With --json, one object a line, as `tintype ls -R --json` prints them, each directory
/// before what is in it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype tree -L 2 web
  tintype tree web@monday:/etc/nginx
  tintype tree --image disk.img /boot")]
pub struct TreeArguments {
    /// SNAPSHOT or SNAPSHOT:PATH; with --image, a path [default: /]
    #[arg(value_name = "SNAPSHOT[:PATH]", required_unless_present = "image")]
    place: Option<OsString>,
    /// Levels of directories to show
    #[arg(long, short = 'L', value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    level: Option<u32>,
    /// Show names that begin with a dot, too
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    image: ImageArguments,
}

/// Draws a tree.
pub fn run(arguments: &TreeArguments, context: &Context) -> Result<()> {
    let root = OsString::from("/");
    let text = arguments.place.as_ref().unwrap_or(&root);
    let place = Opener::new(context, &arguments.image).open(text)?;
    let (node, _) = place.walk(Follow::Yes)?;
    let problems = Problems::new(context);
    problems.lacks_parts(&place);
    let level_max = arguments
        .level
        .and_then(|level| usize::try_from(level).ok());
    let drawing = Drawing {
        place: &place,
        problems: &problems,
        all: arguments.all,
        json: context.output.is_json(),
        level_max,
    };
    let drawn = context.output.stream(|target| drawing.draw(target, node));
    problems.end_after(drawn, "the rest was shown")
}

struct Drawing<'a> {
    place: &'a Place,
    problems: &'a Problems<'a>,
    all: bool,
    json: bool,
    /// What lies deeper is not asked for.
    level_max: Option<usize>,
}

/// A directory that is being drawn.
struct Level {
    path: Vec<u8>,
    entries: std::vec::IntoIter<Found>,
}

impl Drawing<'_> {
    fn draw(&self, target: &mut dyn Write, node: ViewNode) -> io::Result<()> {
        let listing = Listing {
            view: &self.place.view,
            image: self.place.image_label(),
            all: self.all,
            problems: self.problems,
        };
        let path = self.place.absolute();
        if !self.json {
            writeln!(target, "{}", escape_bytes(&path))?;
        }
        // A damaged image may have a directory in two places, or inside itself.
        let mut seen = HashSet::from([node]);
        let (mut directory_count, mut other_count) = (0_u64, 0_u64);
        let mut levels = vec![Level {
            entries: listing.read(node, &path).into_iter(),
            path,
        }];
        while let Some(level) = levels.last_mut() {
            let Some(found) = level.entries.next() else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, &found.name);
            self.line(target, &levels, &found, &path)?;
            if found.metadata.file_type != FileType::Directory {
                other_count += 1;
                continue;
            }
            directory_count += 1;
            if self.level_max.is_some_and(|level| levels.len() >= level) {
                continue;
            }
            if path.len() > PATH_LEN_MAX {
                self.problems
                    .tell_file(listing.label(&path), path_too_long());
            } else if levels.len() < DEPTH_MAX && seen.insert(found.node) {
                let entries = listing.read(found.node, &path).into_iter();
                levels.push(Level { path, entries });
            } else {
                self.problems.tell_file(listing.label(&path), loops(&found));
            }
        }
        if self.json {
            return Ok(());
        }
        writeln!(
            target,
            "\n{directory_count} directories, {other_count} files"
        )
    }

    fn line(
        &self,
        target: &mut dyn Write,
        levels: &[Level],
        found: &Found,
        path: &[u8],
    ) -> io::Result<()> {
        if self.json {
            return write_json(target, &self.place.view, path, found);
        }
        let Some((last, above)) = levels.split_last() else {
            return Ok(());
        };
        for level in above {
            let is_open = level.entries.len() > 0;
            target.write_all(if is_open { "\u{2502}   " } else { "    " }.as_bytes())?;
        }
        let is_open = last.entries.len() > 0;
        let branch = if is_open { "\u{251c}" } else { "\u{2514}" };
        let name = name_with_target(&self.place.view, found, &found.name);
        writeln!(target, "{branch}\u{2500}\u{2500} {name}")
    }
}
