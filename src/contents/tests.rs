//! A view over file systems that exist in memory only, and images of bytes for the
//! rest. Real ones are in `tests/browse`.

use super::*;
use crate::base::ByteLen;
use crate::filesystem::{BlockCache, DirCursor, Name, NodeId};
use memory::{Asked, Content, Memory, directory, file, link};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

mod memory;

fn volume(image: &Arc<dyn ReadAt>, file_system: Memory) -> Arc<Volume> {
    let options = OpenOptions::new(BlockCache::new(0));
    Arc::new(Volume::with_file_system(
        Arc::clone(image),
        options,
        Arc::new(file_system),
    ))
}

/// Returns the files of an image with these file systems.
fn assemble(file_systems: Vec<Memory>) -> Assembly {
    let image: Arc<dyn ReadAt> = Arc::new(vec![0; 512]);
    let volumes: Vec<_> = file_systems
        .into_iter()
        .map(|file_system| volume(&image, file_system))
        .collect();
    Assembly::of(&volumes).unwrap()
}

fn text_at(view: &View, path: &str) -> Option<String> {
    let bytes = view.read_small(path.as_bytes(), 1 << 20).unwrap()?;
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn the_root_is_the_one_with_fstab_and_the_rest_lies_where_it_says() {
    let table = "LABEL=root / m\nLABEL=srv /srv/data m\nLABEL=deep /srv/data/deep m\n\
                 LABEL=gone /mnt m\n/dev/sdb1 /other m\nnas:/x /nas nfs\nLABEL=srv /man m noauto\n\
                 LABEL=srv /nowhere m\nLABEL=srv /etc/fstab m\nproc /proc proc\n";
    let root = Memory::new("root")
        .with("etc/fstab", file(table))
        .with("srv", link("var/srv"))
        .with("var/srv/data/hidden", file("below"))
        .with("mnt", directory())
        .with("other", directory())
        .with("man", directory());
    let srv = Memory::new("srv")
        .with("web", file("on srv"))
        .with("deep", directory());
    let deep = Memory::new("deep").with("bottom", file("on deep"));
    let assembly = assemble(vec![deep, srv, root]);
    let view = assembly.view().unwrap();
    assert_eq!(view.mount_count(), 3);
    assert_eq!(text_at(view, "/srv/data/web").as_deref(), Some("on srv"));
    assert_eq!(text_at(view, "var/srv/data/web").as_deref(), Some("on srv"));
    assert_eq!(text_at(view, "/srv/data/hidden"), None);
    let bottom = text_at(view, "/srv/data/deep/bottom");
    assert_eq!(bottom.as_deref(), Some("on deep"));
    let left: Vec<&str> = assembly
        .unplaced()
        .iter()
        .map(|line| line.path.as_str())
        .collect();
    assert_eq!(
        left,
        ["/mnt", "/other", "/nas", "/man", "/nowhere", "/etc/fstab"]
    );
    let why = |path: &str| {
        let line = assembly.unplaced().iter().find(|line| line.path == path);
        line.unwrap().reason.clone()
    };
    assert_eq!(
        why("/other"),
        "not found: the device, which is another disk"
    );
    assert_eq!(why("/nowhere"), "not found: \"nowhere\"");
    assert!(why("/etc/fstab").contains("expected a directory"));
}

#[test]
fn what_is_mounted_shows_in_listings_too() {
    let root = Memory::new("root")
        .with("etc/fstab", file("LABEL=root / m\nLABEL=srv /srv m\n"))
        .with("srv", directory());
    let assembly = assemble(vec![root, Memory::new("srv").with("x", file("1"))]);
    let view = assembly.view().unwrap();
    let mut listed = vec![];
    view.read_dir(view.root(), DirCursor::START, &mut |entry| {
        listed.push((entry.name.bytes().to_vec(), entry.node));
        ControlFlow::Continue(())
    })
    .unwrap();
    let name = Name::new(b"srv").unwrap();
    let looked_up = view.lookup(view.root(), name).unwrap().unwrap();
    assert_eq!(looked_up.mount, 1);
    assert!(listed.contains(&(b"srv".to_vec(), looked_up)));
}

#[test]
fn links_stay_inside_and_end() {
    let root = Memory::new("")
        .with("a/up", link("../../../etc/passwd"))
        .with("a/abs", link("/etc/passwd"))
        .with("a/self", link("self"))
        .with("a/dir", link("/etc/"))
        .with("etc/passwd", file("ours"));
    let view = View::plain(Arc::new(root), NodeId::new(2));
    assert_eq!(text_at(&view, "/a/up").as_deref(), Some("ours"));
    assert_eq!(text_at(&view, "/a/abs").as_deref(), Some("ours"));
    assert_eq!(text_at(&view, "/a/dir/passwd").as_deref(), Some("ours"));
    assert_eq!(text_at(&view, "/../../etc/passwd").as_deref(), Some("ours"));
    let kind = |path: &str, follow| view.walk(path.as_bytes(), follow).map_err(|e| e.kind());
    assert_eq!(kind("/a/self", Follow::Yes), Err(ErrorKind::Unsupported));
    assert!(kind("/a/self", Follow::No).is_ok());
    assert_eq!(kind("/etc/passwd/", Follow::Yes), Err(ErrorKind::WrongType));
    assert_eq!(
        kind("/etc/passwd/x", Follow::Yes),
        Err(ErrorKind::WrongType)
    );
    assert_eq!(
        kind("/etc/passwd/..", Follow::Yes),
        Err(ErrorKind::WrongType)
    );
    assert_eq!(kind("/no", Follow::Yes), Err(ErrorKind::NotFound));
    assert_eq!(
        kind(&"a/".repeat(20_000), Follow::Yes),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(kind("", Follow::Yes), Ok(view.root()));
}

#[test]
fn without_fstab_the_system_is_the_root_and_else_the_largest() {
    let data = || Memory::new("data").with("big", file("data"));
    let assembly = assemble(vec![data()]);
    assert!(assembly.note.is_none());
    assert!(text_at(assembly.view().unwrap(), "big").is_some());
    let windows = Memory::new("c").with("Windows/System32/ntdll", file(""));
    let assembly = assemble(vec![data(), windows]);
    assert!(
        assembly
            .note
            .as_deref()
            .unwrap()
            .contains("operating system")
    );
    assert!(text_at(assembly.view().unwrap(), "big").is_none());
    let mut large = data();
    large.summary.len = 2 << 20;
    let assembly = assemble(vec![Memory::new("small"), large, data()]);
    assert!(text_at(assembly.view().unwrap(), "big").is_some());
    assert!(assembly.note.as_deref().unwrap().contains("largest"));
    assert!(assemble(vec![]).view().is_none());
}

#[test]
fn of_two_systems_the_one_that_names_itself_is_the_root() {
    let one = Memory::new("old").with("etc/fstab", file("LABEL=new / m\n"));
    let other = Memory::new("new")
        .with("etc/fstab", file("LABEL=new / m\n"))
        .with("here", file("new"));
    let assembly = assemble(vec![one, other]);
    assert!(text_at(assembly.view().unwrap(), "here").is_some());
    assert!(assembly.note.is_some());
}

#[test]
fn data_and_holes_are_found_as_lseek_finds_them() {
    let root = Memory::new("").with("sparse", Content::File(vec![1; 20_000]));
    let view = View::plain(Arc::new(root), NodeId::new(2));
    let node = view.walk(b"sparse", Follow::Yes).unwrap();
    let seek = |offset, hole| view.seek(node, offset, hole).unwrap();
    assert_eq!(seek(0, false), Some(0));
    assert_eq!(seek(0, true), Some(4096));
    assert_eq!(seek(4096, true), Some(4096));
    assert_eq!(seek(5000, false), Some(8192));
    assert_eq!(seek(9000, false), Some(9000));
    assert_eq!(seek(16_384, true), Some(20_000));
    assert_eq!(seek(20_000, false), None);
    assert_eq!(seek(20_000, true), None);
    assert_eq!(seek(u64::MAX, true), None);
}

#[test]
fn an_image_of_nothing_has_one_volume_that_cannot_be_browsed() {
    for len in [0, 1, 511, 512, 1 << 20] {
        let image: Arc<dyn ReadAt> = Arc::new(vec![0; len]);
        let contents = Contents::open(image, &OpenOptions::new(BlockCache::new(1 << 20))).unwrap();
        assert!(!contents.has_partitions());
        assert_eq!(contents.volumes().len(), 1);
        assert!(contents.assembly().unwrap().view().is_none());
        let report = contents.inspect().unwrap();
        let filesystem = report.filesystem.unwrap();
        assert!(!filesystem.browsable && filesystem.reason.is_some());
    }
}

#[test]
fn a_medium_that_fails_is_asked_again() {
    struct Failing(std::sync::atomic::AtomicBool);
    impl ReadAt for Failing {
        fn len(&self) -> ByteLen {
            1 << 20
        }
        fn read_exact_at(&self, _: u64, target: &mut [u8]) -> std::io::Result<()> {
            if self.0.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(std::io::Error::other("the disk is away"));
            }
            target.fill(0);
            Ok(())
        }
    }
    let medium = Arc::new(Failing(false.into()));
    let image: Arc<dyn ReadAt> = Arc::clone(&medium) as Arc<dyn ReadAt>;
    let contents = Contents::open(image, &OpenOptions::new(BlockCache::new(1 << 20))).unwrap();
    medium.0.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(contents.assembly().unwrap_err().kind(), ErrorKind::Io);
    medium.0.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(contents.assembly().is_ok());
}

/// What systemd mounts at the first look, and disks that need a network, are there while
/// the machine runs; of bind mounts it is said that they are not shown.
#[test]
fn options_that_say_when_and_what() {
    let table = "LABEL=root / m\nLABEL=srv /auto m noauto,x-systemd.automount\n\
                 LABEL=srv /net m defaults,_netdev,nofail\n/auto /bound none bind\n\
                 /dev/loop0 /loop m _netdev\nsrv:/x /far m _netdev\nLABEL= /empty m\n";
    let mut root = Memory::new("root").with("etc/fstab", file(table));
    for place in ["auto", "net", "bound", "loop", "far", "empty"] {
        root = root.with(place, directory());
    }
    let srv = Memory::new("srv").with("web", file("on srv"));
    let assembly = assemble(vec![Memory::new(""), root, srv]);
    let view = assembly.view().unwrap();
    assert_eq!(text_at(view, "/auto/web").as_deref(), Some("on srv"));
    assert_eq!(text_at(view, "/net/web").as_deref(), Some("on srv"));
    let left: Vec<(&str, &str)> = assembly
        .unplaced()
        .iter()
        .map(|line| (line.path.as_str(), line.reason.as_str()))
        .collect();
    assert_eq!(
        left,
        [
            ("/bound", "feature not supported: bind mounts"),
            ("/loop", "not found: a device of this name"),
            (
                "/far",
                "not found: its content, which is on another machine"
            ),
            ("/empty", "not found: a device of this name"),
        ]
    );
}

#[test]
fn every_folder_that_windows_was_in_is_a_system() {
    for folder in ["Windows/System32", "WINDOWS/system32", "WINNT/system32"] {
        let mut data = Memory::new("data");
        data.summary.len = 2 << 20;
        let system = Memory::new("c").with(&format!("{folder}/ntdll"), file("code"));
        let assembly = assemble(vec![data, system]);
        let view = assembly.view().unwrap();
        assert!(text_at(view, &format!("{folder}/ntdll")).is_some());
        let found = OperatingSystem::of(view).unwrap();
        assert_eq!(found.expect(folder).id, "windows");
    }
}

/// Forty links of 1,600 components each, and a table that asks for them again and again:
/// at first that was 30,000 look-ups for each of 4,096 lines.
#[test]
fn a_table_of_endless_paths_ends_soon() {
    let table = format!("LABEL=root / m\n{}", "LABEL=srv /l0 m\n".repeat(60));
    let mut root = Memory::new("root")
        .with("etc/fstab", file(&table))
        .with("d", directory());
    for number in 0..40 {
        let target = format!("{}l{}", "d/../".repeat(800), number + 1);
        root = root.with(&format!("l{number}"), link(&target));
    }
    let asked = Arc::clone(&root.asked);
    let assembly = assemble(vec![root, Memory::new("srv")]);
    assert_eq!(assembly.unplaced().len(), 60);
    let lookups = asked.lookups.load(Ordering::Relaxed);
    assert!(lookups < 50_000, "{lookups} look-ups");
}

/// Each mount of a tree is a copy of it in an archive.
#[test]
fn a_tree_is_not_mounted_without_end() {
    let lines: String = (0..20)
        .map(|place| format!("LABEL=srv /{place} m\n"))
        .collect();
    let table = format!("LABEL=root / m\n{lines}");
    let mut root = Memory::new("root").with("etc/fstab", file(&table));
    for place in 0..20 {
        root = root.with(&place.to_string(), directory());
    }
    let srv = Memory::new("srv").with("web", file("on srv"));
    let assembly = assemble(vec![root, srv]);
    let view = assembly.view().unwrap();
    assert_eq!(text_at(view, "/7/web").as_deref(), Some("on srv"));
    assert_eq!(text_at(view, "/8/web"), None);
    let left = assembly.unplaced();
    assert_eq!(left.len(), 12);
    assert!(left[0].reason.contains("more than eight times"));
}

/// A list of users is read once, not for each of the 100,000 names in one line.
#[test]
fn owners_without_end_are_found_in_one_reading() {
    let options = "uid=nobody,".repeat(20_000);
    let table = format!("LABEL=root / m\nLABEL=shared /shared vfat {options}uid=ada\n");
    let root = Memory::new("root")
        .with("etc/fstab", file(&table))
        .with("etc/passwd", file("root:x:0:0\nada:x:1815:1815\n"))
        .with("shared", directory());
    let asked = Arc::clone(&root.asked);
    let mut shared = Memory::new("shared");
    shared.summary.format = "fat32";
    let assembly = assemble(vec![root, shared]);
    // It is opened again for its owner, and its image is no FAT.
    assert!(assembly.unplaced()[0].reason.contains("no file system"));
    let reads = asked.reads.load(Ordering::Relaxed);
    assert!(reads < 10, "{reads} reads");
}

/// Many systems, each with a table of nothing but roots: each is asked whether it is one
/// of its own, and not all about all.
#[test]
fn tables_of_many_systems_are_compared_with_their_own() {
    const COUNT: usize = 50;
    let table = "LABEL=nowhere / m\n".repeat(1000);
    let asked: Arc<Asked> = Arc::default();
    let systems = (0..COUNT).map(|number| {
        let mut system = Memory::new(&number.to_string()).with("etc/fstab", file(&table));
        system.asked = Arc::clone(&asked);
        system
    });
    let assembly = assemble(systems.collect());
    assert!(assembly.view().is_some());
    let summaries = asked.summaries.load(Ordering::Relaxed);
    assert!(summaries < 100_000, "{summaries} comparisons");
}
