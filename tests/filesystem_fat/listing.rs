//! Everything that can be told of each entry of a tree: by `find` and `sha256sum` over
//! a mount, and by our readers.

use crate::support::reader::FileImage;
use crate::support::{Scratch, shell_ok};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{
    DirCursor, ExtentPlace, FileSystem, FileTime, FileType, Metadata, Name, NodeId,
};

/// Properties by path; the root's is empty.
pub type Listing = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Entry {
    /// Letter of `find`, and the mode.
    pub mode: String,
    pub owner: String,
    pub link_count: u64,
    pub size: u64,
    pub block_count: u64,
    /// Modified, accessed, changed, made.
    pub times: [(i64, u32); 4],
    pub sha256: String,
}

/// Lists the tree in `$ROOT` into `$OUT.stat`, `$OUT.born` and `$OUT.sums`.
pub const SCRIPT: &str = r"
    cd $ROOT
    find . -printf '%P\0%y%m\0%U:%G\0%n\0%s\0%b\0%T@\0%A@\0%C@\0' >$OUT.stat
    find . -print0 | xargs -0 stat --printf '%n\0%.9W\0' >$OUT.born
    find . -type f -print0 | xargs -0 -r sha256sum -z >$OUT.sums
    cd /
";

fn time(text: &[u8]) -> (i64, u32) {
    let text = String::from_utf8_lossy(text);
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let nanoseconds = fraction.get(..9).unwrap_or("0");
    (
        seconds.parse().unwrap_or(0),
        nanoseconds.parse().unwrap_or(0),
    )
}

/// Reads what [`SCRIPT`] wrote.
pub fn parse(out: &Path) -> Listing {
    let stat = std::fs::read(out.with_extension("stat")).expect("a listing");
    let sums = std::fs::read(out.with_extension("sums")).expect("checksums");
    let mut listing = Listing::new();
    let born = std::fs::read(out.with_extension("born")).expect("times");
    let born: Vec<&[u8]> = born.split(|byte| *byte == 0).collect();
    let born: BTreeMap<&[u8], &[u8]> = born
        .chunks_exact(2)
        .map(|pair| (pair[0].strip_prefix(b"./").unwrap_or(b""), pair[1]))
        .collect();
    let fields: Vec<&[u8]> = stat.split(|byte| *byte == 0).collect();
    for entry in fields.chunks_exact(9) {
        let text = |index: usize| String::from_utf8_lossy(entry[index]).into_owned();
        let number = |index: usize| text(index).parse().expect("a number");
        listing.insert(
            entry[0].to_vec(),
            Entry {
                mode: text(1),
                owner: text(2),
                link_count: number(3),
                size: number(4),
                block_count: number(5),
                times: [entry[6], entry[7], entry[8], born[entry[0]]].map(time),
                sha256: String::new(),
            },
        );
    }
    for line in sums.split(|byte| *byte == 0).filter(|line| line.len() > 68) {
        let entry = listing
            .get_mut(&line[68..])
            .expect("a file that was listed");
        entry.sha256 = String::from_utf8_lossy(&line[..64]).into_owned();
    }
    listing
}

/// Lists a directory in pieces of a few entries, so that every kind of cursor is used.
fn entries(fs: &dyn FileSystem, node: NodeId) -> Vec<(Vec<u8>, NodeId, Option<FileType>)> {
    let mut found = vec![];
    let mut cursor = DirCursor::START;
    loop {
        let before = found.len();
        fs.read_dir(node, cursor, &mut |entry| {
            assert!(entry.next > cursor);
            cursor = entry.next;
            found.push((entry.name.bytes().to_vec(), entry.node, entry.file_type));
            match found.len() - before {
                37 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .expect("a directory");
        if found.len() == before {
            return found;
        }
    }
}

/// Lists what our reader shows of the image at `path`. Names are also looked up, in
/// another case too, and content is also read from where the extents say it lies.
pub fn of_reader(fs: &dyn FileSystem, path: &Path) -> Listing {
    let scratch = Scratch::new();
    let image = FileImage::open(path);
    let mut listing = Listing::new();
    let mut files = vec![];
    let mut pending = vec![(vec![], fs.root())];
    while let Some((path, node)) = pending.pop() {
        let metadata = fs.metadata(node).expect("metadata");
        if metadata.file_type == FileType::Directory {
            for (name, child, file_type) in entries(fs, node) {
                look_up(fs, node, &name, child);
                assert_eq!(file_type, Some(fs.metadata(child).unwrap().file_type));
                let inner = match path.is_empty() {
                    true => name,
                    false => [&path[..], b"/", &name].concat(),
                };
                pending.push((inner, child));
            }
        } else {
            let target = scratch.join(&format!("{:08}", files.len()));
            copy(fs, node, &metadata, &image, &target);
            files.push(path.clone());
        }
        listing.insert(path, entry_of(&metadata));
    }
    let sums = shell_ok(
        "cd $DIR; find . -type f -print0 | sort -z | xargs -0 -r sha256sum",
        &[("DIR", scratch.path().as_os_str())],
    );
    for (line, path) in sums.lines().zip(&files) {
        listing.get_mut(path).expect("a file").sha256 = line[..64].to_owned();
    }
    listing
}

fn look_up(fs: &dyn FileSystem, node: NodeId, name: &[u8], child: NodeId) {
    let name = Name::new(name).expect("a name");
    let shown = name.bytes().escape_ascii();
    assert_eq!(fs.lookup(node, name).unwrap(), Some(child), "{shown}");
    let other = name.bytes().to_ascii_uppercase();
    let other = Name::new(&other).expect("a name");
    assert_eq!(fs.lookup(node, other).unwrap(), Some(child), "{shown}");
    if name.bytes().ends_with(b".") {
        return;
    }
    let dotted = [name.bytes(), b".."].concat();
    let dotted = Name::new(&dotted).expect("a name");
    assert_eq!(fs.lookup(node, dotted).unwrap(), Some(child), "{shown}");
}

fn entry_of(metadata: &Metadata) -> Entry {
    let letter = match metadata.file_type {
        FileType::Directory => 'd',
        _ => 'f',
    };
    let time = |time: FileTime| (time.seconds, time.nanoseconds);
    Entry {
        mode: format!("{letter}{:o}", metadata.permissions),
        owner: format!("{}:{}", metadata.user, metadata.group),
        link_count: metadata.link_count.into(),
        size: metadata.size,
        block_count: metadata.block_count_512,
        times: [
            time(metadata.modified),
            time(metadata.accessed),
            time(metadata.changed),
            time(metadata.created.unwrap_or_default()),
        ],
        sha256: String::new(),
    }
}

/// Copies a file by reads of an odd length, and compares with the extents.
fn copy(
    fs: &dyn FileSystem,
    node: NodeId,
    metadata: &Metadata,
    image: &Arc<dyn ReadAt>,
    target: &Path,
) {
    let mut bytes = vec![0; metadata.size as usize];
    for (number, piece) in bytes.chunks_mut(100_001).enumerate() {
        let offset = number as u64 * 100_001;
        assert_eq!(fs.read_at(node, offset, piece).unwrap(), piece.len());
    }
    assert_eq!(fs.read_at(node, metadata.size, &mut [0; 8]).unwrap(), 0);
    let mut direct = vec![0; bytes.len()];
    fs.extents(node, 0, &mut |extent| {
        let ExtentPlace::Image { offset } = extent.place else {
            panic!("{extent:?}");
        };
        let end = (extent.offset + extent.len).min(metadata.size);
        let part = &mut direct[extent.offset as usize..end as usize];
        image.read_exact_at(offset, part).expect("inside the image");
        ControlFlow::Continue(())
    })
    .expect("extents");
    assert!(direct == bytes, "extents are not what is read");
    let mut file = File::create(target).expect("a copy");
    file.write_all(&bytes).expect("a copy");
}

/// Tells every entry that differs.
pub fn difference(theirs: &Listing, ours: &Listing) -> Vec<String> {
    let mut differences = vec![];
    let only_ours = ours.keys().filter(|path| !theirs.contains_key(*path));
    for path in theirs.keys().chain(only_ours) {
        let (one, other) = (theirs.get(path), ours.get(path));
        if one != other {
            let name = path.escape_ascii();
            differences.push(format!("{name}\n  theirs {one:?}\n  ours   {other:?}"));
        }
    }
    differences
}

/// Fails with the first differences.
pub fn assert_same(what: &str, theirs: &Listing, ours: &Listing) {
    let mut differences = difference(theirs, ours);
    let count = differences.len();
    differences.truncate(8);
    assert!(
        count == 0,
        "{what}: {count} differences\n{}",
        differences.join("\n")
    );
}
