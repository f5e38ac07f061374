//! Volumes that mtools writes: long names, attributes and tables of its own making.

use crate::support::reader::{FileImage, content, find, names, open};
use crate::support::{Scratch, measured, needs, shell_ok};
use std::path::{Path, PathBuf};
use tintype::filesystem::{FileSystem, FileType, NodeId};

/// Makes a volume with mtools and copies a tree into it.
fn make(scratch: &Scratch, format: &str) -> (PathBuf, PathBuf) {
    let (image, tree) = (scratch.join("image"), scratch.dir("tree"));
    let script = format!(
        r"
        export LC_ALL=C.UTF-8 MTOOLS_SKIP_CHECK=1
        cd $TREE
        mkdir -p sub/deeper/deepest empty many
        for n in $(seq 200); do echo $n >many/file-number-$n.text; done
        echo upper >UPPER.TXT; echo lower >lower.txt; echo mixed >'Mixed Case.Name'
        : >nothing; seq 30000 >numbers; seq 5000 >sub/deeper/deepest/bottom
        echo $(printf 'n%.0s' $(seq 240)) >$(printf 'n%.0s' $(seq 240))
        printf umlaut >'gruen-ü-ñ'; printf dots >'a.b.c'
        {format}
        mcopy -s -m -i $IMAGE * ::
        mcopy -i $IMAGE numbers ::deleted
        mcopy -i $IMAGE numbers ::behind; cp numbers behind
        mdel -i $IMAGE ::deleted
        mcopy -i $IMAGE numbers ::in-the-gap; cp numbers in-the-gap
        mattrib -i $IMAGE +h +s ::lower.txt; mattrib -i $IMAGE +r ::UPPER.TXT
        "
    );
    let variables = [("TREE", tree.as_os_str()), ("IMAGE", image.as_os_str())];
    shell_ok(&script, &variables);
    (image, tree)
}

/// Compares a directory of the host with one of ours; returns the number of entries.
fn compare(fs: &dyn FileSystem, node: NodeId, tree: &Path) -> usize {
    let mut expected: Vec<String> = std::fs::read_dir(tree)
        .expect("a directory")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let (mut found, result) = names(fs, node);
    result.expect("a directory");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let mut count = expected.len();
    for name in expected {
        let child = lookup(fs, node, &name);
        let metadata = fs.metadata(child).unwrap();
        let path = tree.join(&name);
        let host = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.file_type == FileType::Directory, host.is_dir());
        if host.is_dir() {
            count += compare(fs, child, &path);
        } else {
            assert!(content(fs, child).unwrap() == std::fs::read(&path).unwrap());
        }
    }
    count
}

fn lookup(fs: &dyn FileSystem, node: NodeId, name: &str) -> NodeId {
    let name = tintype::filesystem::Name::new(name.as_bytes()).unwrap();
    fs.lookup(node, name).unwrap().expect("a name")
}

fn check(test: &str, format: &str, expected: &str) {
    let scratch = Scratch::new();
    let (image, tree) = make(&scratch, format);
    let fs = open(FileImage::open(&image)).expect("opened");
    assert_eq!(fs.summary().format, expected);
    assert_eq!(fs.summary().label, b"MTOOLS");
    let count = compare(&*fs, fs.root(), &tree);
    let permissions = |path| {
        let node = find(&*fs, path).unwrap().expect(path);
        fs.metadata(node).unwrap().permissions
    };
    assert_eq!(permissions("UPPER.TXT"), 0o555);
    assert_eq!(permissions("lower.txt"), 0o755);
    let by_short_name = find(&*fs, "MANY/FILE-N~1.TEX").unwrap();
    assert!(by_short_name.is_some(), "the short name");
    measured!("filesystem_fat::{test}: {count} entries equal to what mtools copied");
}

#[test]
fn floppy_of_mtools() {
    needs!("mformat");
    let format = "mformat -C -f 1440 -v MTOOLS -i $IMAGE ::";
    check("floppy_of_mtools", format, "fat12");
}

#[test]
fn disk_of_mtools() {
    needs!("mformat");
    let format = "mformat -C -F -T 200000 -c 2 -v MTOOLS -i $IMAGE ::";
    check("disk_of_mtools", format, "fat32");
}
