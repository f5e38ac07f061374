//! `tintype stat`.

use crate::base::format_byte_len;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::file_text::{escape_bytes, hex, mode_text, time_rfc3339, type_word};
use crate::cli::file_view::{FileView, link_target};
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::cli::table::write_fields;
use crate::contents::{Follow, ViewNode};
use crate::export::{acl_text, parse_acl};
use crate::filesystem::{self, FileType, Metadata, NodeFlags};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Bytes of an attribute that are shown to people.
const VALUE_SHOWN_LEN_MAX: usize = 256;

/// Show everything known about files inside a snapshot, or inside an image file.
///
/// Owner, mode, times to the nanosecond, inode number, extents, extended attributes and
/// ACLs. A symbolic link is shown itself unless -L is given or the path ends in a slash.
///
/// With --json, one object a line, with the fields that `tintype ls --json` has, and the
/// values of attributes as hexadecimal digits.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype stat web:/etc/shadow
  tintype stat -L web:/etc/localtime
  tintype stat --json --image disk.img / | jq .inode")]
pub struct StatArguments {
    /// SNAPSHOT:PATH; with --image, a path
    #[arg(value_name = "SNAPSHOT:PATH", required = true)]
    places: Vec<OsString>,
    /// Show what a symbolic link leads to
    #[arg(long, short = 'L')]
    dereference: bool,
    #[command(flatten)]
    image: ImageArguments,
}

/// Shows files.
pub fn run(arguments: &StatArguments, context: &Context) -> Result<()> {
    let problems = Problems::new(context);
    let mut opener = Opener::new(context, &arguments.image);
    let follow = if arguments.dereference {
        Follow::Yes
    } else {
        Follow::No
    };
    let mut is_first = true;
    for text in &arguments.places {
        let found = opener.open(text).and_then(|place| {
            let (node, metadata) = place.walk(follow)?;
            Details::read(&place, node, &metadata).map_err(|error| place.error(error))
        });
        match found {
            Ok(details) => {
                let printed = print(&details, &mut is_first, context);
                if printed.is_err() {
                    return problems.end_after(printed, "the rest was not shown");
                }
            }
            Err(error) if arguments.places.len() == 1 => return Err(error),
            Err(error) => problems.tell(&error),
        }
    }
    problems.end("the rest was shown")
}

fn print(details: &Details, is_first: &mut bool, context: &Context) -> Result<()> {
    context.output.stream(|target| {
        if context.output.is_json() {
            serde_json::to_writer(&mut *target, details)?;
            return writeln!(target);
        }
        if !std::mem::take(is_first) {
            writeln!(target)?;
        }
        details.write(target)
    })
}

#[derive(Debug, Serialize)]
struct Attribute {
    name: String,
    value_hex: String,
    /// As `getfacl` prints it, if it is an ACL.
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<String>,
    #[serde(skip)]
    value: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Details {
    #[serde(flatten)]
    file: FileView,
    filesystem: &'static str,
    subvolume: u64,
    generation: u64,
    /// Regular files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    extent_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_len_bytes: Option<u64>,
    flags: Vec<&'static str>,
    attributes: Vec<Attribute>,
    #[serde(skip)]
    shown: Vec<(&'static str, String)>,
}

impl Details {
    fn read(place: &Place, node: ViewNode, metadata: &Metadata) -> filesystem::Result<Self> {
        let file_system = place.view.file_system(node)?;
        let mut attributes = vec![];
        for name in file_system.xattr_names(node.node)? {
            let value = file_system.xattr(node.node, &name)?.unwrap_or_default();
            let is_acl = name.starts_with(b"system.posix_acl_");
            let acl = is_acl.then(|| parse_acl(&value)).flatten();
            attributes.push(Attribute {
                name: escape_bytes(&name),
                value_hex: hex(&value),
                acl: acl.map(|entries| acl_text(&entries)),
                value,
            });
        }
        let (mut extent_count, mut data_len) = (0_u64, 0_u64);
        let is_file = metadata.file_type == FileType::Regular;
        if is_file {
            file_system.extents(node.node, 0, &mut |extent| {
                extent_count = extent_count.saturating_add(1);
                let rest = metadata.size.saturating_sub(extent.offset);
                data_len = data_len.saturating_add(extent.len.min(rest));
                ControlFlow::Continue(())
            })?;
        }
        let target = link_target(&place.view, node, metadata);
        let path = place.absolute();
        let mut details = Self {
            file: FileView::new(&path, node, metadata, target.as_deref()),
            filesystem: file_system.summary().format,
            subvolume: node.node.subvolume,
            generation: metadata.generation,
            extent_count: is_file.then_some(extent_count),
            data_len_bytes: is_file.then_some(data_len),
            flags: flag_words(metadata.flags),
            attributes,
            shown: vec![],
        };
        details.shown = details.fields(place, node, metadata, target.as_deref());
        Ok(details)
    }

    fn fields(
        &self,
        place: &Place,
        node: ViewNode,
        metadata: &Metadata,
        target: Option<&[u8]>,
    ) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("file", place.label()),
            ("type", type_word(metadata.file_type).replace('_', " ")),
        ];
        if let Some(target) = target {
            fields.push(("target", escape_bytes(target)));
        }
        if let Some(device) = metadata.device {
            fields.push(("device", format!("{}, {}", device.major, device.minor)));
        }
        let size = format!(
            "{} ({} bytes)",
            format_byte_len(metadata.size),
            metadata.size
        );
        let allocated = metadata.block_count_512.saturating_mul(512);
        let mode = format!("{:04o} ({})", metadata.permissions, mode_text(metadata));
        fields.extend([
            ("size", size),
            (
                "allocated",
                format!("{} ({allocated} bytes)", format_byte_len(allocated)),
            ),
            ("mode", mode),
            ("owner", format!("{}:{}", metadata.user, metadata.group)),
            ("links", metadata.link_count.to_string()),
            ("inode", node.node.inode.to_string()),
            ("file system", self.filesystem.to_owned()),
        ]);
        if let (Some(count), Some(len)) = (self.extent_count, self.data_len_bytes) {
            fields.push((
                "extents",
                format!("{count}, {} of data", format_byte_len(len)),
            ));
        }
        fields.extend([
            ("modified", time_rfc3339(metadata.modified)),
            ("accessed", time_rfc3339(metadata.accessed)),
            ("changed", time_rfc3339(metadata.changed)),
        ]);
        if let Some(created) = metadata.created {
            fields.push(("created", time_rfc3339(created)));
        }
        if !self.flags.is_empty() {
            fields.push(("flags", self.flags.join(", ")));
        }
        for attribute in &self.attributes {
            let value = match &attribute.acl {
                Some(acl) => acl.clone(),
                None => value_text(&attribute.value),
            };
            fields.push(("attribute", format!("{} = {value}", attribute.name)));
        }
        fields
    }

    fn write(&self, target: &mut dyn Write) -> io::Result<()> {
        write_fields(target, &self.shown)
    }
}

/// Returns the value of an attribute as text, or as digits if it is none.
fn value_text(value: &[u8]) -> String {
    let shown = value.get(..VALUE_SHOWN_LEN_MAX).unwrap_or(value);
    let is_text = std::str::from_utf8(value).is_ok_and(|text| !text.contains(char::is_control));
    let text = if is_text {
        format!("\"{}\"", escape_bytes(shown))
    } else {
        format!("0x{}", hex(shown))
    };
    if shown.len() < value.len() {
        format!("{text}... ({} bytes)", value.len())
    } else {
        text
    }
}

fn flag_words(flags: NodeFlags) -> Vec<&'static str> {
    [
        (flags.is_encrypted, "encrypted"),
        (flags.has_verity, "verity"),
        (flags.is_casefold, "casefold"),
        (flags.is_compressed, "compressed"),
        (flags.is_immutable, "immutable"),
        (flags.is_append_only, "append_only"),
    ]
    .into_iter()
    .filter_map(|(is_set, word)| is_set.then_some(word))
    .collect()
}
