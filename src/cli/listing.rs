//! One directory of an image, sorted, with everything that `stat` tells of its entries.

use super::file_text::escape_bytes;
use super::problems::Problems;
use crate::contents::{View, ViewNode};
use crate::export::Found;
use crate::filesystem::DirCursor;
use std::ops::ControlFlow;

/// Which entries are shown, and where problems are told.
pub struct Listing<'a> {
    /// The files of the image.
    pub view: &'a View,
    /// The image, for messages.
    pub image: &'a str,
    /// Show names that begin with a dot.
    pub all: bool,
    /// Where problems are told.
    pub problems: &'a Problems<'a>,
}

impl Listing<'_> {
    /// Returns the entries of the directory at `path`, by name. What cannot be read is
    /// told and left out.
    pub fn read(&self, node: ViewNode, path: &[u8]) -> Vec<Found> {
        let mut names = vec![];
        let result = self.view.read_dir(node, DirCursor::START, &mut |entry| {
            let name = entry.name.bytes();
            if self.all || !name.starts_with(b".") {
                names.push((name.to_vec(), entry.node));
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = result {
            self.problems.tell_file(self.label(path), error);
        }
        names.sort();
        let mut found = Vec::with_capacity(names.len());
        for (name, node) in names {
            match self.view.metadata(node) {
                Ok(metadata) => found.push(Found {
                    name,
                    node,
                    metadata,
                }),
                Err(error) => {
                    let label = self.label(&join(path, &name));
                    self.problems.tell_file(label, error);
                }
            }
        }
        found
    }

    /// Returns image and path for messages.
    pub fn label(&self, path: &[u8]) -> String {
        format!("{}:{}", self.image, escape_bytes(path))
    }
}

/// Returns the path of an entry.
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if folder.ends_with(b"/") { b"" } else { b"/" };
    [folder, slash, name].concat()
}
