//! A file in an image, as the command line names it: `SNAPSHOT:PATH`, or a path in the
//! image that `--image` names.

use super::context::Context;
use super::error::{Error, Result};
use super::exit_code::Code;
use super::file_text::escape_bytes;
use super::gaps::Gaps;
use super::output::printable;
use super::substitutes::SubstituteArguments;
use crate::base::{ReadAt, SnapshotId};
use crate::contents::{Contents, FolderSpill, Follow, View, ViewNode, Volume};
use crate::filesystem::{self, BlockCache, ErrorKind, Metadata, OpenOptions};
use crate::snapshot::{Catalog, Snapshot};
use crate::source::{self, SourceReader};
use crate::store;
use clap::Args;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for blocks of metadata.
const BLOCK_CACHE_LEN: usize = 32 << 20;

/// Which image, and what of it.
#[derive(Clone, Debug, Args)]
pub struct ImageArguments {
    /// Look into this image file or block device, which is in no store
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Show one partition alone: its number, or its name like 1-ESP (`tintype inspect`)
    #[arg(long, value_name = "PARTITION")]
    pub partition: Option<String>,
    #[command(flatten)]
    pub substitutes: SubstituteArguments,
}

/// Bytes of an image, and what to call it in messages.
pub struct OpenImage {
    pub bytes: Arc<dyn ReadAt>,
    pub label: String,
}

/// A path in an image whose file systems are open.
pub struct Place {
    /// The files of the image, or of one partition.
    pub view: Arc<View>,
    /// As it was given, without the snapshot.
    pub path: Vec<u8>,
    image_label: String,
    gaps: Arc<Gaps>,
}

impl Place {
    /// Returns image and path for messages, without control characters.
    pub fn label(&self) -> String {
        format!("{}:{}", self.image_label, escape_bytes(&self.absolute()))
    }

    /// Returns what the image is called in messages.
    pub fn image_label(&self) -> &str {
        &self.image_label
    }

    /// Returns the path from the root, without a slash at the end.
    pub fn absolute(&self) -> Vec<u8> {
        let mut path = vec![];
        for name in self.components() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() { b"/".to_vec() } else { path }
    }

    fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
    }

    /// Returns the last component, if it is a name.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back().filter(|name| *name != b"..")
    }

    /// Returns the node at the path; one that ends in a slash follows a link always.
    pub fn walk(&self, follow: Follow) -> Result<(ViewNode, Metadata)> {
        let found = self
            .view
            .walk(&self.path, follow)
            .and_then(|node| Ok((node, self.view.metadata(node)?)));
        found.map_err(|error| self.error(error))
    }

    /// Returns the codes of what belongs below this place and is not shown, once for each
    /// image; it was told when the place was opened.
    pub fn missing(&self) -> Vec<Code> {
        self.gaps.count(&self.path)
    }

    /// Returns an error about this place.
    pub fn error(&self, source: filesystem::Error) -> Error {
        Error::Files {
            place: self.label(),
            source,
        }
    }
}

/// The files of an image, and what they do not show.
#[derive(Clone)]
struct Opened {
    view: Arc<View>,
    gaps: Arc<Gaps>,
}

/// Opens images, each one once.
pub struct Opener<'a> {
    context: &'a Context,
    arguments: &'a ImageArguments,
    options: OpenOptions,
    catalog: Option<Arc<Catalog>>,
    /// By the id of the snapshot; `None` is the image that `--image` names. Labels do not
    /// tell them apart: different names may be printed alike.
    opened: Vec<(Option<SnapshotId>, Opened)>,
}

impl<'a> Opener<'a> {
    /// Opens nothing yet.
    pub fn new(context: &'a Context, arguments: &'a ImageArguments) -> Self {
        Self {
            context,
            arguments,
            options: arguments.substitutes.apply(open_options(context)),
            catalog: None,
            opened: vec![],
        }
    }

    /// Opens what `text` names: SNAPSHOT[:PATH], or with `--image` a path.
    pub fn open(&mut self, text: &OsStr) -> Result<Place> {
        let (id, image, path) = match &self.arguments.image {
            Some(file) => {
                let path = text.as_bytes().to_vec();
                let label = printable(&file.display().to_string());
                match self.known(None) {
                    Some(opened) => return Ok(self.place(opened, label, path)),
                    None => (None, open_file(self.context, file)?, path),
                }
            }
            None => {
                let catalog = match &self.catalog {
                    Some(catalog) => Arc::clone(catalog),
                    None => self.context.open()?,
                };
                self.catalog = Some(Arc::clone(&catalog));
                let (snapshot, path) = split(&catalog, text)?;
                let label = printable(&snapshot.reference());
                let id = Some(snapshot.manifest.id);
                match self.known(id) {
                    Some(opened) => return Ok(self.place(opened, label, path)),
                    None => {
                        let bytes: Arc<dyn ReadAt> = Arc::new(catalog.image(&snapshot));
                        (id, OpenImage { bytes, label }, path)
                    }
                }
            }
        };
        let opened = self.view(&image)?;
        self.opened.push((id, opened.clone()));
        Ok(self.place(opened, image.label, path))
    }

    fn known(&self, id: Option<SnapshotId>) -> Option<Opened> {
        let found = self.opened.iter().find(|(known, _)| *known == id);
        found.map(|(_, opened)| opened.clone())
    }

    fn place(&self, opened: Opened, image_label: String, path: Vec<u8>) -> Place {
        opened.gaps.tell(&path, &image_label, &self.context.output);
        Place {
            view: opened.view,
            path,
            image_label,
            gaps: opened.gaps,
        }
    }

    fn view(&self, image: &OpenImage) -> Result<Opened> {
        let failed = |source| Error::Files {
            place: image.label.clone(),
            source,
        };
        let contents = Contents::open(Arc::clone(&image.bytes), &self.options).map_err(failed)?;
        if let Some(wanted) = &self.arguments.partition {
            let volume = find_volume(&contents, wanted, &image.label)?;
            let view = volume.view().map_err(|source| Error::Files {
                place: format!("{}, partition {}", image.label, volume.path_name()),
                source,
            })?;
            return Ok(Opened {
                gaps: Arc::new(Gaps::of_one(&view, volume.path_name())),
                view: Arc::new(view),
            });
        }
        let assembly = contents.assembly().map_err(failed)?;
        match assembly.view() {
            Some(view) => Ok(Opened {
                view: Arc::clone(view),
                gaps: Arc::new(Gaps::of(&assembly)),
            }),
            None => Err(nothing_to_show(&contents, &image.label)),
        }
    }
}

/// Returns what readers of file systems get.
pub fn open_options(context: &Context) -> OpenOptions {
    OpenOptions {
        spill: Arc::new(FolderSpill::new(context.settings.temporary_folder())),
        ..OpenOptions::new(BlockCache::new(BLOCK_CACHE_LEN))
    }
}

/// Opens an image that is in no store.
pub fn open_file(context: &Context, path: &Path) -> Result<OpenImage> {
    let source = source::open(path)?;
    for warning in source.warnings() {
        context.output.warn(&printable(&warning));
    }
    Ok(OpenImage {
        bytes: Arc::new(SourceReader::new(source)),
        label: printable(&path.display().to_string()),
    })
}

/// Cuts SNAPSHOT[:PATH] in two. A snapshot of that whole name comes first; else the first
/// colon counts that has a snapshot before it.
fn split(catalog: &Catalog, text: &OsStr) -> Result<(Arc<Snapshot>, Vec<u8>)> {
    let bytes = text.as_bytes();
    let state = catalog.state();
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let ends = std::iter::once(bytes.len()).chain(colons.map(|(place, _)| place));
    let mut refused = None;
    for end in ends {
        let Some(name) = bytes
            .get(..end)
            .and_then(|name| std::str::from_utf8(name).ok())
        else {
            continue;
        };
        match state.resolve(name) {
            Ok(snapshot) => {
                let path = bytes.get(end.saturating_add(1)..).unwrap_or_default();
                return Ok((Arc::clone(snapshot), path.to_vec()));
            }
            // What is written before the first colon is what was meant most likely.
            Err(error) if refused.is_none() || end < bytes.len() => {
                let is_first = refused
                    .as_ref()
                    .is_none_or(|(place, _)| *place == bytes.len());
                if is_first {
                    refused = Some((end, error));
                }
            }
            Err(_) => {}
        }
    }
    Err(match refused {
        Some((_, error)) => error.into(),
        None => store::Error::Invalid(format!(
            "{:?} names no snapshot: names are UTF-8",
            text.to_string_lossy()
        ))
        .into(),
    })
}

fn find_volume<'a>(contents: &'a Contents, wanted: &str, label: &str) -> Result<&'a Arc<Volume>> {
    let number = wanted.parse::<u32>().ok();
    let by_name = contents.volume(wanted);
    let is_wanted = |volume: &&Arc<Volume>| {
        volume
            .partition()
            .is_some_and(|partition| Some(partition.index) == number)
    };
    by_name
        .or_else(|| contents.volumes().iter().find(is_wanted))
        .filter(|volume| volume.partition().is_some())
        .ok_or_else(|| {
            let names: Vec<_> = contents.volumes().iter().map(|v| v.path_name()).collect();
            let there = if contents.has_partitions() {
                format!("there are {}", printable(&names.join(", ")))
            } else {
                "it has none".to_owned()
            };
            Error::NotFound(format!("{label} has no partition {wanted:?}; {there}"))
        })
}

/// Returns why no file of an image can be shown: damage, if there is any.
fn nothing_to_show(contents: &Contents, label: &str) -> Error {
    let mut reasons = vec![];
    for volume in contents.volumes() {
        let Err(error) = volume.file_system() else {
            continue;
        };
        let name = printable(volume.path_name());
        if error.kind() == ErrorKind::Corrupt {
            let place = match &*name {
                "" => label.to_owned(),
                name => format!("{label}, partition {name}"),
            };
            return Error::Files {
                place,
                source: error,
            };
        }
        let reason = printable(&store::chain(&error));
        match &*name {
            "" => reasons.push(reason),
            name => reasons.push(format!("{name}: {reason}")),
        }
    }
    let feature = format!("no files to show: {}", reasons.join("; "));
    Error::Files {
        place: label.to_owned(),
        source: filesystem::Error::unsupported(feature),
    }
}
