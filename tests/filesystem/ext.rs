//! ext2, ext3 and ext4 images of every feature set, compared with the kernel.

use crate::image::{self, Mount};
use crate::nasty;
use crate::record::{assert_same, of_kernel, of_reader};
use crate::saying::say_part_skipped;
use crate::sets::{FILLED_BY_MKE2FS, SETS};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn compare(folder: &Path, name: &str, arguments: &[&str]) -> Option<usize> {
    let path = folder.join(name);
    image::make(&path, 512 << 20, &[arguments, &["-N", "32768"]].concat());
    {
        let mount = Mount::new(&path, "user_xattr,acl")?;
        nasty::fill(&mount.path, &nasty::FULL);
    }
    let reader = image::open(&path);
    let ours = of_reader(&*reader).unwrap();
    let mount = Mount::new(&path, "ro,noatime")?;
    let count = assert_same(name, &of_kernel(&mount.path), &ours);
    assert_statfs(name, &mount.path, &*reader);
    drop(mount);
    assert_discard(name, &path, &*reader);
    std::fs::remove_file(&path).unwrap();
    Some(count)
}

fn assert_statfs(name: &str, path: &Path, reader: &dyn tintype::filesystem::FileSystem) {
    let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: all zeros is a valid statfs, and the call fills it.
    let kernel = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::statfs(c_path.as_ptr(), &mut stat), 0);
        stat
    };
    let ours = reader.statfs().unwrap();
    let kernel = (
        kernel.f_blocks,
        kernel.f_bfree,
        kernel.f_bavail,
        kernel.f_files,
        kernel.f_ffree,
    );
    let found = (
        ours.block_count,
        ours.free_block_count,
        ours.available_block_count,
        ours.node_count,
        ours.free_node_count,
    );
    assert_eq!(found, kernel, "{name}");
}

/// Throws away what is not allocated; `e2fsck` must not miss anything.
fn assert_discard(name: &str, path: &Path, reader: &dyn tintype::filesystem::FileSystem) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let mut last = 0;
    let mut discarded = 0;
    let mut discard = |range: std::ops::Range<u64>| {
        let junk = vec![0x5A; (range.end - range.start).min(1 << 20) as usize];
        file.write_all_at(&junk, range.start).unwrap();
        discarded += range.end - range.start;
    };
    reader
        .allocated_ranges(&mut |range| {
            discard(last..range.start);
            last = range.end;
            ControlFlow::Continue(())
        })
        .unwrap();
    discard(last..reader.summary().len);
    assert!(
        discarded > 300 << 20,
        "{name}: only {discarded} bytes are free"
    );
    let output = image::output("e2fsck", &["-f", "-n", path.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn every_feature_set_is_read_as_the_kernel_reads_it() {
    if !image::can_mount() {
        return;
    }
    let mut folder = tempfile::tempdir().unwrap();
    // Keeps the image of a set that differs.
    folder.disable_cleanup(std::env::var_os("TINTYPE_KEEP").is_some());
    let mut compared = 0;
    let wanted = std::env::var("TINTYPE_SET").unwrap_or_default();
    for (name, arguments) in SETS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted == *name)
    {
        match compare(folder.path(), name, arguments) {
            Some(count) => {
                compared += 1;
                println!("{name}: {count} entries agree with the kernel");
            }
            None => say_part_skipped(&format!("ext: {name}"), "the kernel does not mount it"),
        }
    }
    assert!(
        compared >= 12 || !wanted.is_empty(),
        "only {compared} sets were compared"
    );
}

/// What the kernel cannot mount is filled by `mke2fs -d` and compared with its source.
#[test]
fn what_the_kernel_cannot_mount_is_read_like_its_source() {
    if !image::can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    nasty::fill(&source, &nasty::SMALL);
    let mut kernel = of_kernel(&source);
    for (name, arguments) in FILLED_BY_MKE2FS {
        let path = folder.path().join(name);
        let all = [arguments, &["-N", "4096", "-d", source.to_str().unwrap()]].concat();
        image::make(&path, 512 << 20, &all);
        let mut ours = of_reader(&*image::open(&path)).unwrap();
        ours.remove(&b"lost+found"[..]);
        ours.remove(&b""[..]);
        kernel.remove(&b""[..]);
        // mke2fs copies what it knows of: not the number, the blocks, the change time
        // and the holes.
        for (path, record) in kernel.iter_mut() {
            let Some(own) = ours.get_mut(path) else {
                continue;
            };
            own.inode = record.inode;
            own.block_count = record.block_count;
            own.times[0] = record.times[0];
            own.times[2] = record.times[2];
            // It writes 32 bits of seconds only.
            own.times[1].0 = i64::from(own.times[1].0 as i32);
            record.times[1].0 = i64::from(record.times[1].0 as i32);
            own.times[1].1 = 0;
            record.times[1].1 = 0;
            // mke2fs 1.47.0 forgets a hole at the end if there is inline data; debugfs
            // tells the same size as we do.
            let is_cut = name.starts_with("inline")
                && own
                    .data
                    .last()
                    .is_some_and(|(_, end)| own.size.div_ceil(1024) * 1024 == *end);
            if record.mode & libc::S_IFMT == libc::S_IFDIR || is_cut {
                own.size = record.size;
            }
            own.data.clone_from(&record.data);
        }
        println!("{name}: {} entries", assert_same(name, &kernel, &ours));
    }
}
