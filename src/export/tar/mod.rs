//! A tree of an image as a tar archive: pax with nanoseconds, owners of any size, long
//! names, extended attributes, ACLs, hard links, devices and holes.
//!
//! Names are bytes as the image has them. A member whose names are not UTF-8 says so with
//! `hdrcharset=BINARY`: bsdtar needs it, GNU tar warns of it and does the right thing. Sockets
//! cannot be in an archive. A file that cannot be read is left out if that is found before
//! its header is written; later its blocks that cannot be read are zeros: the header
//! promises a length.

mod header;
mod pax;
mod sparse;

use super::acl::{acl_text, parse_acl};
use super::content::{read, read_what_can_be};
use super::copy::Source;
use super::error::{Error, Result};
use super::links::KEPT_LEN_MAX;
use super::report::{Counters, Property, Report, Totals, count};
use super::walk::{Found, Step, Walk};
use crate::base::Progress;
use crate::contents::{View, ViewNode};
use crate::filesystem::{FileType, Metadata};
use header::{BLOCK_LEN, Header, Kind, LARGE_MAX, NAME_LEN_MAX, SMALL_MAX};
use pax::Records;
use sparse::Map;
use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Bytes that are read at a time.
const BUFFER_LEN: usize = 1 << 20;
/// Archives end at a multiple of this length.
const RECORD_LEN: u64 = 10_240;

/// Writes a file or a tree to `output`. `name` is what the archive calls it: `.` gives
/// members that begin with `./`. What fails alone is told to `report`.
///
/// # Errors
///
/// Interrupted when `progress` is cancelled; Target if `output` fails.
pub fn write_tar(
    source: Source<'_>,
    name: &[u8],
    output: &mut dyn Write,
    report: &dyn Report,
    progress: &Progress,
) -> Result<Totals> {
    let metadata = source.view.metadata(source.node)?;
    let mut writer = Writer {
        view: source.view,
        output,
        report,
        progress,
        counters: Counters::default(),
        first_names: HashMap::new(),
        kept_len: 0,
        buffer: vec![0; BUFFER_LEN],
        written: 0,
    };
    let top = Found {
        name: name.to_vec(),
        node: source.node,
        metadata,
    };
    writer.add(&top, name, b"")?;
    if metadata.file_type == FileType::Directory {
        let mut walk = Walk::new(source.view, source.node);
        while let Some(step) = walk.next() {
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            match step {
                Step::Left => {}
                Step::Failed(error) => report.failed(walk.path(), &error.into()),
                Step::Directory(found) | Step::Other(found) => {
                    let member = [name, b"/", walk.path()].concat();
                    writer.add(&found, &member, walk.path())?;
                }
            }
        }
    }
    writer.end()?;
    Ok(writer.counters.totals())
}

struct Writer<'a> {
    view: &'a View,
    output: &'a mut dyn Write,
    report: &'a dyn Report,
    progress: &'a Progress,
    counters: Counters,
    /// Files with several names: the first one, and how many are to come.
    first_names: HashMap<ViewNode, (Vec<u8>, u32)>,
    /// Bytes of their names.
    kept_len: usize,
    buffer: Vec<u8>,
    written: u64,
}

impl Writer<'_> {
    /// Adds a member. Only failures of the output are returned.
    fn add(&mut self, found: &Found, member: &[u8], path: &[u8]) -> Result<()> {
        let metadata = &found.metadata;
        if metadata.link_count > 1
            && metadata.file_type != FileType::Directory
            && let Some(first) = self.first_name(found.node)
        {
            self.count(metadata.file_type);
            let mut member = Member::new(Kind::HardLink, member, metadata);
            member.link = first;
            return self.write_header(&member);
        }
        let result = match metadata.file_type {
            FileType::Regular => self.add_file(found, member, path),
            FileType::Socket => {
                let error = io::Error::other("a tar archive has no sockets");
                self.report.lacks(path, Property::Socket, &error);
                return Ok(());
            }
            _ => self.add_other(found, member),
        };
        match result {
            Ok(()) => {
                let has_links = metadata.link_count > 1;
                // Beyond, a file is in the archive once for each name.
                let has_room = self.kept_len + member.len() <= KEPT_LEN_MAX;
                if has_links && metadata.file_type != FileType::Directory && has_room {
                    let left = metadata.link_count - 1;
                    self.first_names.insert(found.node, (member.to_vec(), left));
                    self.kept_len += member.len();
                }
                self.count(metadata.file_type);
                Ok(())
            }
            Err(Error::Image(error)) => {
                self.report.failed(path, &error.into());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn first_name(&mut self, node: ViewNode) -> Option<Vec<u8>> {
        let (name, left) = self.first_names.get_mut(&node)?;
        *left -= 1;
        if *left > 0 {
            return Some(name.clone());
        }
        let (name, _) = self.first_names.remove(&node)?;
        self.kept_len -= name.len();
        Some(name)
    }

    fn count(&self, file_type: FileType) {
        count(match file_type {
            FileType::Regular => &self.counters.files,
            FileType::Directory => &self.counters.directories,
            _ => &self.counters.others,
        });
    }

    fn add_other(&mut self, found: &Found, name: &[u8]) -> Result<()> {
        let metadata = &found.metadata;
        let mut member = match metadata.file_type {
            FileType::Directory => {
                let name = [name, b"/"].concat();
                Member::new(Kind::Directory, &name, metadata)
            }
            FileType::Symlink => {
                let mut member = Member::new(Kind::Symlink, name, metadata);
                member.link = self.view.read_link(found.node)?;
                member
            }
            FileType::CharacterDevice => Member::new(Kind::CharacterDevice, name, metadata),
            FileType::BlockDevice => Member::new(Kind::BlockDevice, name, metadata),
            FileType::Fifo | FileType::Socket | FileType::Regular => {
                Member::new(Kind::Fifo, name, metadata)
            }
        };
        self.add_attributes(&mut member, found.node)?;
        self.write_header(&member)
    }

    fn add_file(&mut self, found: &Found, name: &[u8], path: &[u8]) -> Result<()> {
        let map = Map::of(self.view, found.node, found.metadata.size)?;
        let mut member = Member::new(Kind::Regular, name, &found.metadata);
        self.add_attributes(&mut member, found.node)?;
        // Damage is found most often here, while the file can still be left out.
        if let Some(first) = map.pieces.first() {
            let len = (first.end - first.start).min(BUFFER_LEN as u64) as usize;
            read(self.view, found.node, first.start, &mut self.buffer[..len])?;
        }
        let encoded = map.is_sparse().then(|| map.encode());
        member.size = map.data_len();
        if let Some(encoded) = &encoded {
            member.size += encoded.len() as u64;
            member.set_sparse(map.size);
        }
        self.write_header(&member)?;
        self.write(encoded.as_deref().unwrap_or_default())?;
        let mut is_first = true;
        for piece in &map.pieces {
            self.write_piece(found.node, piece.clone(), path, is_first)?;
            is_first = false;
        }
        self.pad(BLOCK_LEN as u64)?;
        self.progress.add_hole(map.size - map.data_len());
        self.counters
            .len_bytes
            .fetch_add(map.size, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a range of a file. The first bytes of the first piece are in the buffer.
    fn write_piece(
        &mut self,
        node: ViewNode,
        piece: Range<u64>,
        path: &[u8],
        is_first: bool,
    ) -> Result<()> {
        let mut offset = piece.start;
        while offset < piece.end {
            if self.progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let len = (piece.end - offset).min(BUFFER_LEN as u64) as usize;
            let is_read = is_first && offset == piece.start;
            if !is_read && let Err(error) = read(self.view, node, offset, &mut self.buffer[..len]) {
                self.report.failed(path, &error);
                read_what_can_be(self.view, node, offset, &mut self.buffer[..len]);
            }
            write_to(self.output, &self.buffer[..len])?;
            self.written += len as u64;
            self.progress.add_done(len as u64);
            offset += len as u64;
        }
        Ok(())
    }

    fn add_attributes(&self, member: &mut Member, node: ViewNode) -> Result<()> {
        let file_system = self.view.file_system(node)?;
        for name in file_system.xattr_names(node.node)? {
            let Some(value) = file_system.xattr(node.node, &name)? else {
                continue;
            };
            let acl = match name.as_slice() {
                b"system.posix_acl_access" => Some("SCHILY.acl.access"),
                b"system.posix_acl_default" => Some("SCHILY.acl.default"),
                _ => None,
            };
            match (acl, acl.and_then(|_| parse_acl(&value))) {
                (Some(keyword), Some(entries)) => member
                    .records
                    .push(keyword.as_bytes(), acl_text(&entries).as_bytes()),
                _ => member.records.push_attribute(&name, &value),
            }
        }
        Ok(())
    }

    fn write_header(&mut self, member: &Member) -> Result<()> {
        let records = member.finish();
        if !records.bytes().is_empty() {
            let header = Header {
                kind: Kind::Extended,
                name: b"PaxHeaders/member",
                link: b"",
                mode: 0o644,
                user: 0,
                group: 0,
                size: records.bytes().len() as u64,
                seconds: 0,
                device: (0, 0),
            };
            self.write(&header.encode())?;
            self.write(records.bytes())?;
            self.pad(BLOCK_LEN as u64)?;
        }
        self.write(&member.header().encode())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        write_to(self.output, bytes)
    }

    fn pad(&mut self, unit: u64) -> Result<()> {
        let rest = self.written.next_multiple_of(unit) - self.written;
        self.write(&vec![0; rest as usize])
    }

    fn end(&mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK_LEN])?;
        self.pad(RECORD_LEN)?;
        self.output.flush().map_err(failed)
    }
}

/// A member while its records are collected.
struct Member {
    kind: Kind,
    name: Vec<u8>,
    link: Vec<u8>,
    /// Bytes behind the header.
    size: u64,
    metadata: Metadata,
    records: Records,
    is_sparse: bool,
}

impl Member {
    fn new(kind: Kind, name: &[u8], metadata: &Metadata) -> Self {
        Self {
            kind,
            name: name.to_vec(),
            link: vec![],
            size: 0,
            metadata: *metadata,
            records: Records::default(),
            is_sparse: false,
        }
    }

    /// Says that a map comes before the data. Its name moves to a record, so that a
    /// program that knows no maps does not take what it writes for the file.
    fn set_sparse(&mut self, real_size: u64) {
        self.is_sparse = true;
        self.records.push_number("GNU.sparse.major", 1);
        self.records.push_number("GNU.sparse.minor", 0);
        self.records.push(b"GNU.sparse.name", &self.name);
        self.records.push_number("GNU.sparse.realsize", real_size);
        let split = self.name.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = self.name.split_at(split.map_or(0, |place| place + 1));
        self.name = [folder, b"GNUSparseFile.0/", name].concat();
    }

    /// Returns all records: the header's fields that have no room for a value, first.
    fn finish(&self) -> Records {
        let mut records = Records::default();
        let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok();
        if !is_text(&self.name) || !is_text(&self.link) {
            records.push(b"hdrcharset", b"BINARY");
        }
        let fits = |text: &[u8]| text.len() <= NAME_LEN_MAX && text.is_ascii();
        if !self.is_sparse && !fits(&self.name) {
            records.push(b"path", &self.name);
        }
        if !fits(&self.link) {
            records.push(b"linkpath", &self.link);
        }
        if self.size > LARGE_MAX {
            records.push_number("size", self.size);
        }
        for (keyword, number) in [("uid", self.metadata.user), ("gid", self.metadata.group)] {
            if u64::from(number) > SMALL_MAX {
                records.push_number(keyword, number.into());
            }
        }
        records.push_time("mtime", self.metadata.modified);
        records.push_time("atime", self.metadata.accessed);
        records.append(&self.records);
        records
    }

    fn header(&self) -> Header<'_> {
        let device = self
            .metadata
            .device
            .map_or((0, 0), |device| (device.major, device.minor));
        Header {
            kind: self.kind,
            name: &self.name,
            link: &self.link,
            mode: self.metadata.permissions & 0o7777,
            user: self.metadata.user,
            group: self.metadata.group,
            size: self.size,
            seconds: self.metadata.modified.seconds,
            device,
        }
    }
}

fn failed(source: io::Error) -> Error {
    Error::Target {
        action: "writing the archive".into(),
        source,
    }
}

fn write_to(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).map_err(failed)
}
