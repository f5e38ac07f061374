//! `tintype ls`.

use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::file_text::escape_bytes;
use crate::cli::file_view::{FileView, link_target, write_long};
use crate::cli::listing::{Listing, join};
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::contents::{Follow, View, ViewNode};
use crate::export::{DEPTH_MAX, Found, PATH_LEN_MAX, path_too_long};
use crate::filesystem::{self, FileType};
use clap::Args;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::rc::Rc;

/// List files inside a snapshot, or inside an image file.
///
/// Paths are those of the machine while it runs: its root, with the other file systems
/// of the image where /etc/fstab mounts them. Owners are numbers and times UTC, because
/// the names and the time zone of this machine mean nothing there. Sorted by name, byte by
/// byte.
///
/// With --json, one object a line. A path that is not UTF-8 has replacement characters in
/// "path", and its bytes as hexadecimal digits in "path_hex".
///
/// A directory that is damaged is told, the rest is listed, and the exit code is 4. So is
/// what /etc/fstab mounts there and cannot be shown; with -R, the exit code is then 8, or 4
/// for damage.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype ls web                                what is in / of the latest snapshot
  tintype ls -l web@monday:/etc/nginx
  tintype ls -Ra --json web | jq -r 'select(.size > 1e9).path'
  tintype ls --partition 1-ESP web:/EFI
  tintype ls -l --image disk.img /home")]
pub struct LsArguments {
    /// SNAPSHOT or SNAPSHOT:PATH; with --image, a path [default: /]
    #[arg(value_name = "SNAPSHOT[:PATH]", required_unless_present = "image")]
    places: Vec<OsString>,
    /// Show mode, links, owner, group, size and time
    #[arg(long, short)]
    long: bool,
    /// Show names that begin with a dot, too
    #[arg(long, short)]
    all: bool,
    /// Show what is in directories below, too
    #[arg(long, short = 'R')]
    recursive: bool,
    /// Show directories themselves, and not what is in them
    #[arg(long, short)]
    directory: bool,
    #[command(flatten)]
    image: ImageArguments,
}

/// Lists files.
pub fn run(arguments: &LsArguments, context: &Context) -> Result<()> {
    let problems = Problems::new(context);
    let mut opener = Opener::new(context, &arguments.image);
    let root = OsString::from("/");
    let texts = if arguments.places.is_empty() {
        std::slice::from_ref(&root)
    } else {
        &arguments.places
    };
    let mut files = vec![];
    let mut directories = vec![];
    let follow = if arguments.long || arguments.directory {
        Follow::No
    } else {
        Follow::Yes
    };
    for text in texts {
        let opened = opener.open(text);
        let walked = opened.and_then(|place| Ok((place.walk(follow)?, place)));
        match walked {
            Ok(((node, metadata), place)) => {
                let found = Found {
                    name: place.path.clone(),
                    node,
                    metadata,
                };
                if metadata.file_type == FileType::Directory && !arguments.directory {
                    if arguments.recursive {
                        problems.lacks_parts(&place);
                    }
                    directories.push((place, node));
                } else {
                    files.push((place, found));
                }
            }
            // With one place there is nothing else to do.
            Err(error) if texts.len() == 1 => return Err(error),
            Err(error) => problems.tell(&error),
        }
    }
    let printer = Printer {
        arguments,
        json: context.output.is_json(),
        has_headers: arguments.recursive || texts.len() > 1,
        problems: &problems,
    };
    let listed = context.output.stream(|target| {
        for (place, found) in &files {
            printer.write(target, &place.view, b"", &[(&place.absolute(), found)])?;
        }
        let mut is_first = files.is_empty();
        for (place, node) in &directories {
            printer.directory(target, place, *node, &mut is_first)?;
        }
        Ok(())
    });
    problems.end_after(listed, "the rest was listed")
}

struct Printer<'a> {
    arguments: &'a LsArguments,
    json: bool,
    has_headers: bool,
    problems: &'a Problems<'a>,
}

impl Printer<'_> {
    /// Lists a directory and, if asked for, those below it.
    fn directory(
        &self,
        target: &mut dyn Write,
        place: &Place,
        node: ViewNode,
        is_first: &mut bool,
    ) -> io::Result<()> {
        let listing = Listing {
            view: &place.view,
            image: place.image_label(),
            all: self.arguments.all,
            problems: self.problems,
        };
        // A damaged image may have a directory in two places, or inside itself.
        let mut seen = HashSet::from([node]);
        // A directory of many directories has its path in memory once, and not in each.
        let mut pending = vec![(Rc::new(place.absolute()), None::<Vec<u8>>, node, 0_usize)];
        while let Some((above, name, node, depth)) = pending.pop() {
            let path = match name {
                Some(name) => Rc::new(join(&above, &name)),
                None => above,
            };
            let found = listing.read(node, &path);
            if self.has_headers && !self.json {
                let blank = if std::mem::take(is_first) { "" } else { "\n" };
                writeln!(target, "{blank}{}:", escape_bytes(&path))?;
            }
            let names: Vec<(&[u8], &Found)> =
                found.iter().map(|entry| (&*entry.name, entry)).collect();
            self.write(target, &place.view, &path, &names)?;
            if !self.arguments.recursive {
                continue;
            }
            for entry in found.into_iter().rev() {
                if entry.metadata.file_type != FileType::Directory {
                    continue;
                }
                let error = if path.len() + entry.name.len() >= PATH_LEN_MAX {
                    path_too_long()
                } else if depth < DEPTH_MAX && seen.insert(entry.node) {
                    pending.push((Rc::clone(&path), Some(entry.name), entry.node, depth + 1));
                    continue;
                } else {
                    loops(&entry)
                };
                let label = listing.label(&join(&path, &entry.name));
                self.problems.tell_file(label, error);
            }
        }
        Ok(())
    }

    /// Writes files of the directory at `folder`; for JSON, which has whole paths.
    fn write(
        &self,
        target: &mut dyn Write,
        view: &View,
        folder: &[u8],
        files: &[(&[u8], &Found)],
    ) -> io::Result<()> {
        if self.json {
            for (name, found) in files {
                let path = match name.first() {
                    Some(b'/') => name.to_vec(),
                    _ => join(folder, name),
                };
                write_json(target, view, &path, found)?;
            }
            return Ok(());
        }
        if self.arguments.long {
            return write_long(target, view, files);
        }
        for (name, _) in files {
            writeln!(target, "{}", escape_bytes(name))?;
        }
        Ok(())
    }
}

/// Writes a file as one line of JSON.
pub fn write_json(
    target: &mut dyn Write,
    view: &View,
    path: &[u8],
    found: &Found,
) -> io::Result<()> {
    let link = link_target(view, found.node, &found.metadata);
    let file = FileView::new(path, found.node, &found.metadata, link.as_deref());
    serde_json::to_writer(&mut *target, &file)?;
    writeln!(target)
}

/// Returns the error of a directory that was seen before, or lies too deep.
pub fn loops(found: &Found) -> filesystem::Error {
    let expected = "each directory in one place, at most 4,096 in each other";
    filesystem::Error::corrupt("directory tree", 0, expected, found.node.node.inode)
}
