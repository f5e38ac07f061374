//! A file in an image as it is printed. The names of the JSON fields are a promise.

use super::file_text::{escape_bytes, hex, mode_text, time_rfc3339, time_text, type_word};
use crate::contents::{View, ViewNode};
use crate::export::Found;
use crate::filesystem::{FileTime, FileType, Metadata};
use serde::Serialize;
use std::io::{self, Write};

/// Bytes that are text, or not.
#[derive(Debug, Serialize)]
struct Bytes {
    text: String,
    hex: Option<String>,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self {
            text: String::from_utf8_lossy(bytes).into_owned(),
            hex: std::str::from_utf8(bytes).is_err().then(|| hex(bytes)),
        }
    }
}

/// A file as `--json` shows it; the same fields in `ls`, `tree` and `stat`.
#[derive(Debug, Serialize)]
pub struct FileView {
    /// From the root; bytes that are no UTF-8 are replaced.
    path: String,
    /// The bytes of `path`, if they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    file_type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    link_count: u32,
    size: u64,
    allocated_len_bytes: u64,
    inode: u64,
    accessed_at: String,
    modified_at: String,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_minor: Option<u32>,
}

impl FileView {
    /// Returns the view of a file; `target` is that of a symbolic link.
    pub fn new(path: &[u8], node: ViewNode, metadata: &Metadata, target: Option<&[u8]>) -> Self {
        let path = Bytes::of(path);
        let target = target.map(Bytes::of);
        let time = |time: FileTime| time_rfc3339(time);
        Self {
            path: path.text,
            path_hex: path.hex,
            file_type: type_word(metadata.file_type),
            mode: format!("{:04o}", metadata.permissions),
            uid: metadata.user,
            gid: metadata.group,
            link_count: metadata.link_count,
            size: metadata.size,
            allocated_len_bytes: metadata.block_count_512.saturating_mul(512),
            inode: node.node.inode,
            accessed_at: time(metadata.accessed),
            modified_at: time(metadata.modified),
            changed_at: time(metadata.changed),
            created_at: metadata.created.map(time),
            target_hex: target.as_ref().and_then(|target| target.hex.clone()),
            target: target.map(|target| target.text),
            device_major: metadata.device.map(|device| device.major),
            device_minor: metadata.device.map(|device| device.minor),
        }
    }
}

/// Returns the target of a symbolic link; none of anything else, or if it is damaged.
pub fn link_target(view: &View, node: ViewNode, metadata: &Metadata) -> Option<Vec<u8>> {
    (metadata.file_type == FileType::Symlink)
        .then(|| view.read_link(node).ok())
        .flatten()
}

/// Returns the name with its target behind it, for people.
pub fn name_with_target(view: &View, found: &Found, name: &[u8]) -> String {
    let name = escape_bytes(name);
    match found.metadata.file_type {
        FileType::Symlink => match link_target(view, found.node, &found.metadata) {
            Some(target) => format!("{name} -> {}", escape_bytes(&target)),
            None => format!("{name} -> ?"),
        },
        _ => name,
    }
}

/// Writes lines as `ls -l` does: mode, links, owner, group, size or device, time, name.
pub fn write_long(
    target: &mut dyn Write,
    view: &View,
    files: &[(&[u8], &Found)],
) -> io::Result<()> {
    let rows: Vec<[String; 4]> = files
        .iter()
        .map(|(_, found)| {
            let metadata = &found.metadata;
            [
                metadata.link_count.to_string(),
                metadata.user.to_string(),
                metadata.group.to_string(),
                match metadata.device {
                    Some(device) => format!("{}, {}", device.major, device.minor),
                    None => metadata.size.to_string(),
                },
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for ((name, found), row) in files.iter().zip(&rows) {
        write!(target, "{}", mode_text(&found.metadata))?;
        for (cell, width) in row.iter().zip(widths) {
            write!(target, " {cell:>width$}")?;
        }
        let time = time_text(found.metadata.modified);
        writeln!(target, " {time} {}", name_with_target(view, found, name))?;
    }
    Ok(())
}
