//! Writing into `create/`.

use crate::support::{Fixture, bytes, can_mount, names, shell, wait_for};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

#[test]
fn a_look_waits_for_a_queued_publication_and_never_for_an_open_writer() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount_with("mnt", |options| {
        options.release_delay = Duration::from_millis(100);
    });
    let start = Instant::now();
    fs::write(mounted.path("create/web"), bytes(100_000, 3)).unwrap();
    let listed = names(&mounted.path("snapshots"));
    // On a machine that stands still the patience of 200 ms may be over.
    if start.elapsed() < Duration::from_millis(250) {
        assert_eq!(listed, ["web"]);
    }

    let writer = std::thread::scope(|scope| {
        let line = "( head -c 100000 /dev/urandom; sleep 2; head -c 100000 /dev/urandom ) > $M/create/slow";
        let writer = scope.spawn(|| shell(&mounted, line));
        let mut longest = Duration::ZERO;
        while !writer.is_finished() {
            let start = Instant::now();
            names(&mounted.path("snapshots"));
            longest = longest.max(start.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(
            longest < Duration::from_millis(800),
            "a look took {longest:?}"
        );
        writer.join().unwrap()
    });
    assert!(writer.status.success());
    wait_for(Duration::from_secs(2), || {
        mounted.path("snapshots/slow").exists()
    });
    let slow = fs::metadata(mounted.path("snapshots/slow/latest/disk.img")).unwrap();
    assert_eq!(slow.len(), 200_000);
    let published = names(&mounted.path("snapshots/slow"));
    assert_eq!(published.len(), 2, "one snapshot and latest: {published:?}");
}

#[test]
fn many_slow_closes_do_not_stop_a_reader() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount_with("mnt", |options| {
        options.thread_count = 2;
        options.release_delay = Duration::from_secs(2);
    });
    let image = mounted.path("create/read");
    fs::write(&image, bytes(1 << 20, 5)).unwrap();
    let reader = File::open(&image).unwrap();
    for number in 0..8 {
        fs::write(
            mounted.path(&format!("create/close{number}")),
            bytes(1000, number),
        )
        .unwrap();
    }
    let start = Instant::now();
    let mut found = vec![0; 4096];
    for block in 0..256 {
        reader.read_exact_at(&mut found, block * 4096).unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn death_between_flush_and_release_publishes_at_the_next_mount() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let data = bytes(300_000, 9);
    let mounted = fixture.mount();
    // A duplicate keeps RELEASE away, close() of the first sends the FLUSH.
    let file = File::create(mounted.path("create/web")).unwrap();
    file.write_all_at(&data, 0).unwrap();
    let other = file.try_clone().unwrap();
    drop(file);
    assert!(names(&mounted.path("snapshots")).is_empty());
    let leak = other.try_clone().unwrap();
    // Another mount does not touch it while this one lives.
    let second = fixture.mount_with("second", |_| {});
    assert!(names(&second.path("create")).is_empty());
    drop(second);
    mounted.abort();
    drop((other, leak));
    let mounted = fixture.mount();
    let image = mounted.path("snapshots/web/latest/disk.img");
    assert!(fs::read(image).unwrap() == data);
}

#[test]
fn two_mounts_show_each_others_snapshots() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let (one, two) = (
        fixture.mount_with("one", |_| {}),
        fixture.mount_with("two", |_| {}),
    );
    fs::write(one.path("create/a"), "from one").unwrap();
    fs::write(two.path("create/b"), "from two").unwrap();
    for mounted in [&one, &two] {
        wait_for(Duration::from_secs(1), || {
            names(&mounted.path("snapshots")) == ["a", "b"]
        });
        assert_eq!(
            fs::read(mounted.path("snapshots/a/latest/disk.img")).unwrap(),
            b"from one"
        );
        assert_eq!(
            fs::read(mounted.path("snapshots/b/latest/disk.img")).unwrap(),
            b"from two"
        );
    }
}

#[test]
fn pages_written_through_memory_arrive() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    let line = r#"python3 -c "
import mmap,os
fd=os.open(os.environ['M']+'/create/a',os.O_RDWR|os.O_CREAT); os.ftruncate(fd,1<<20)
m=mmap.mmap(fd,1<<20); os.close(fd); m[5000:5003]=b'abc'; m.close()""#;
    let done = shell(&mounted, line);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    wait_for(Duration::from_secs(2), || {
        mounted.path("snapshots/a").exists()
    });
    let found = fs::read(mounted.path("snapshots/a/latest/disk.img")).unwrap();
    assert_eq!(found.len(), 1 << 20);
    assert_eq!(&found[4999..5004], b"\0abc\0");
}

#[test]
fn a_file_system_is_made_on_a_loop_device_over_a_draft() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    let line = "set -e; truncate -s 64M $M/create/loop; L=$(losetup --show -f $M/create/loop); \
                trap 'losetup -d $L' EXIT; mkfs.ext4 -q $L; e2fsck -fn $L";
    let done = shell(&mounted, line);
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    if text.contains("losetup:") {
        super::saying::say_skipped("mount: a file system on a draft", text.trim());
        return;
    }
    assert!(done.status.success(), "{text}");
    wait_for(Duration::from_secs(5), || {
        mounted.path("snapshots/loop").exists()
    });
    let check = shell(&mounted, "e2fsck -fn $M/snapshots/loop/latest/disk.img");
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    assert_eq!(names(&mounted.path("snapshots/loop")).len(), 2);
}

#[test]
fn what_was_synced_survives_the_death_of_the_mount() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let mounted = fixture.mount();
    let file = File::create(mounted.path("create/web")).unwrap();
    let data = bytes(3 << 20, 11);
    file.write_all_at(&data, 4096).unwrap();
    file.set_len(2 << 20).unwrap();
    file.sync_all().unwrap();
    mounted.abort();
    drop(file);
    let mounted = fixture.mount();
    assert!(names(&mounted.path("snapshots")).is_empty());
    let found = fs::read(mounted.path("create/web")).unwrap();
    assert_eq!(found.len(), 2 << 20);
    assert!(found[4096..] == data[..(2 << 20) - 4096]);
    fs::rename(mounted.path("create/web"), mounted.path("create/final")).unwrap();
    assert_eq!(names(&mounted.path("snapshots")), ["final"]);
}
