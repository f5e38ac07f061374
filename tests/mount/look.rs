//! Looking at snapshots: attributes, holes, changes of others.

use crate::support::{Fixture, bytes, can_mount, names, wait_for};
use rustix::fs::{SeekFrom, seek};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::Duration;

#[test]
fn sizes_and_holes_are_exact() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    let file = File::create(mounted.path("create/web")).unwrap();
    let data = bytes(10_000, 1);
    file.write_all_at(&data, 1 << 30).unwrap();
    file.set_len((1 << 40) + 5).unwrap();
    drop(file);

    let image = mounted.path("snapshots/web/latest/disk.img");
    let found = fs::metadata(&image).unwrap();
    assert_eq!(found.len(), (1 << 40) + 5);
    assert_eq!(found.blocks() * 512, 3 * 4096);
    assert_eq!(found.permissions().mode() & 0o7777, 0o400);
    let file = File::open(&image).unwrap();
    assert_eq!(seek(&file, SeekFrom::Data(0)).unwrap(), 1 << 30);
    assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 0);
    assert_eq!(
        seek(&file, SeekFrom::Hole((1 << 30) + 1)).unwrap(),
        (1 << 30) + 3 * 4096
    );
    assert!(seek(&file, SeekFrom::Data((1 << 30) + 3 * 4096)).is_err());
    assert!(seek(&file, SeekFrom::Hole((1 << 40) + 5)).is_err());
    let mut found = vec![0; data.len()];
    file.read_exact_at(&mut found, 1 << 30).unwrap();
    assert!(found == data);
    assert!(File::options().write(true).open(&image).is_err());
    assert_eq!(
        fs::write(mounted.path("snapshots/x"), "")
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EROFS)
    );
    assert_eq!(
        fs::create_dir(mounted.path("create/x"))
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EPERM)
    );
}

#[test]
fn changes_of_another_process_show_within_a_second() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    fs::write(mounted.path("create/web@one"), "data").unwrap();
    let one = mounted.path("snapshots/web/one/disk.img");
    assert_eq!(fs::read(&one).unwrap(), b"data");
    let other = fixture.catalog();
    let id = other.state().find("web", "one").unwrap().manifest.id;
    let second = Duration::from_secs(1);

    let rename = &mut |labels: &mut tintype::snapshot::Labels| {
        labels.name = Some("two".to_owned());
        labels.tags = vec!["kept".to_owned()];
    };
    other.revise(&id, rename).unwrap();
    wait_for(second, || {
        mounted.path("snapshots/web/two/disk.img").exists() && !one.exists()
    });
    assert_eq!(names(&mounted.path("by-tag/kept")), ["web@two"]);
    let json = fs::read_to_string(mounted.path("by-tag/kept/web@two/snapshot.json")).unwrap();
    assert!(
        json.contains("\"two\"") && json.contains("\"kept\""),
        "{json}"
    );

    other.delete(&id).unwrap();
    wait_for(second, || names(&mounted.path("snapshots")).is_empty());
    assert!(!mounted.path("snapshots/web/two/disk.img").exists());
    assert!(names(&mounted.path("by-id")).is_empty());
}

#[test]
fn links_follow_what_they_lead_to_though_the_kernel_keeps_targets() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    let target = |link: &str| {
        let target = fs::read_link(mounted.path(link)).unwrap();
        let len = fs::symlink_metadata(mounted.path(link)).unwrap().len();
        assert_eq!(len, target.as_os_str().len() as u64);
        target.to_str().unwrap().to_owned()
    };
    fs::write(mounted.path("create/web@one"), "data").unwrap();
    assert_eq!(target("snapshots/web/latest"), "one");
    let catalog = fixture.catalog();
    let id = catalog.state().find("web", "one").unwrap().manifest.id;
    let by_id = format!("by-id/{id}");
    for _ in 0..2 {
        assert_eq!(target("snapshots/web/latest"), "one");
        assert_eq!(target(&by_id), "../snapshots/web/one");
    }
    fs::write(mounted.path("create/web@two"), "data").unwrap();
    assert_eq!(target("snapshots/web/latest"), "two");

    let rename = &mut |labels: &mut tintype::snapshot::Labels| {
        labels.name = Some("a longer name".to_owned());
    };
    catalog.revise(&id, rename).unwrap();
    wait_for(Duration::from_secs(1), || {
        target(&by_id) != "../snapshots/web/one"
    });
    assert!(mounted.path(&by_id).join("disk.img").exists());
}

#[test]
fn directories_are_listed_whole_and_numbers_stay() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    for number in 0..300 {
        fs::write(mounted.path(&format!("create/web@{number:03}")), "x").unwrap();
    }
    let folder = mounted.path("snapshots/web");
    let mut expected: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    expected.push("latest".to_owned());
    assert_eq!(names(&folder), expected);
    let inode = |place: &std::path::Path| fs::metadata(place).unwrap().ino();
    let first = inode(&folder.join("000/disk.img"));
    drop(mounted);
    let mounted = fixture.mount();
    assert_eq!(inode(&mounted.path("snapshots/web/000/disk.img")), first);
    assert_eq!(
        fs::read_link(mounted.path("snapshots/web/latest"))
            .unwrap()
            .to_str(),
        Some("299")
    );
}
