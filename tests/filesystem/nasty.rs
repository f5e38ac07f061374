//! A tree with everything that readers get wrong.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// How much of it.
pub struct Size {
    pub entries: usize,
    pub links: usize,
    pub has_huge: bool,
}

pub const FULL: Size = Size {
    entries: 20_000,
    links: 5000,
    has_huge: true,
};
pub const SMALL: Size = Size {
    entries: 300,
    links: 20,
    has_huge: false,
};

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Bytes that look like nothing else.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Sets an attribute; not every format has room for every one.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    let name = CString::new(name).unwrap();
    let path = c_path(path);
    // SAFETY: the buffers are as long as is said.
    unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        ) == 0
    }
}

fn make_node(path: &Path, mode: u32, major: u32, minor: u32) {
    // SAFETY: a plain system call with a string that lives.
    let result = unsafe { libc::mknod(c_path(path).as_ptr(), mode, libc::makedev(major, minor)) };
    assert_eq!(result, 0, "{path:?}");
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = [
        time,
        libc::timespec {
            tv_sec: seconds.wrapping_add(1),
            tv_nsec: 999_999_999,
        },
    ];
    // SAFETY: a plain system call with arguments that live.
    unsafe {
        let path = c_path(path);
        libc::utimensat(
            libc::AT_FDCWD,
            path.as_ptr(),
            times.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        );
    }
}

fn allocate(file: &File, mode: i32, offset: i64, len: i64) {
    // SAFETY: a plain system call; ext2 and ext3 refuse it.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) };
}

/// Fills `root`.
pub fn fill(root: &Path, size: &Size) {
    names(root, size);
    files(root, size);
    special(root);
    attributes(root);
    times(root);
}

fn names(root: &Path, size: &Size) {
    let many = root.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..size.entries {
        File::create(many.join(format!("entry-{number:05}-{}", "x".repeat(number % 40)))).unwrap();
    }
    for number in (0..size.entries).step_by(7) {
        fs::remove_file(many.join(format!("entry-{number:05}-{}", "x".repeat(number % 40))))
            .unwrap();
    }
    let odd = root.join("odd");
    fs::create_dir(&odd).unwrap();
    let long = vec![b'n'; 255];
    for name in [
        &b"\xff\xfe\x80"[..],
        b"new\nline",
        b" ",
        b"-rf",
        b"*",
        &long,
        "näme-日本".as_bytes(),
    ] {
        fs::write(odd.join(std::ffi::OsString::from_vec(name.to_vec())), name).unwrap();
    }
    let mut deep = root.join("deep");
    for number in 0..60 {
        deep = deep.join(format!("d{number}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep").unwrap();
    let links = root.join("links");
    fs::create_dir(&links).unwrap();
    fs::write(links.join("first"), noise(1, 5000)).unwrap();
    for number in 0..size.links {
        fs::hard_link(links.join("first"), links.join(format!("l{number}"))).unwrap();
    }
    for len in [1, 20, 59, 60, 61, 120, 200, 900, 1023] {
        symlink("t".repeat(len), root.join(format!("symlink-{len}"))).unwrap();
    }
    // Longer ones need blocks of 4 KiB.
    let _ = symlink("t".repeat(4000), root.join("symlink-4000"));
    let _ = symlink("t".repeat(4095), root.join("symlink-4095"));
}

fn files(root: &Path, size: &Size) {
    for len in [
        0, 1, 59, 60, 61, 100, 150, 160, 400, 1023, 1024, 1025, 4096, 65_537, 1_000_000,
    ] {
        fs::write(root.join(format!("file-{len}")), noise(len as u64, len)).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    for place in [0_u64, 100_000, 5_000_000, 70_000_000, 900_000_000] {
        sparse.write_all_at(&noise(place, 3000), place).unwrap();
    }
    sparse.set_len(1_000_000_000).unwrap();
    let mut fragments = vec![];
    for number in 0..2 {
        fragments.push(File::create(root.join(format!("fragments-{number}"))).unwrap());
    }
    for step in 0..400_u64 {
        for (number, file) in fragments.iter().enumerate() {
            // Every second block is a hole, so each piece is an extent of its own.
            file.write_all_at(&noise(step, 4096), step * 8192 + number as u64 * 4096)
                .unwrap();
        }
    }
    let prealloc = File::create(root.join("prealloc")).unwrap();
    allocate(&prealloc, 0, 0, 1 << 20);
    prealloc.write_all_at(&noise(3, 10_000), 300_000).unwrap();
    let beyond = File::create(root.join("beyond-the-end")).unwrap();
    beyond.write_all_at(&noise(4, 5000), 0).unwrap();
    allocate(&beyond, libc::FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
    let punched = File::create(root.join("punched")).unwrap();
    punched.write_all_at(&noise(5, 1 << 20), 0).unwrap();
    allocate(
        &punched,
        libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE,
        65_536,
        500_000,
    );
    if size.has_huge {
        let huge = File::create(root.join("huge")).unwrap();
        huge.write_all_at(b"begin", 0).unwrap();
        huge.write_all_at(b"x", 1 << 32).unwrap();
    }
    let small = root.join("small-dir");
    fs::create_dir(&small).unwrap();
    for number in 0..9 {
        fs::write(small.join(format!("s{number}")), noise(number, 30)).unwrap();
    }
    fs::create_dir(root.join("empty-dir")).unwrap();
}

fn special(root: &Path) {
    make_node(&root.join("fifo"), libc::S_IFIFO | 0o640, 0, 0);
    make_node(&root.join("socket"), libc::S_IFSOCK | 0o4755, 0, 0);
    for (number, (major, minor)) in [(1, 3), (8, 255), (259, 300), (4095, 1_048_575)]
        .into_iter()
        .enumerate()
    {
        make_node(
            &root.join(format!("char-{number}")),
            libc::S_IFCHR | 0o600,
            major,
            minor,
        );
        make_node(
            &root.join(format!("block-{number}")),
            libc::S_IFBLK | 0o660,
            major,
            minor,
        );
    }
    let modes = root.join("modes");
    fs::create_dir(&modes).unwrap();
    for (number, mode) in [0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777]
        .into_iter()
        .enumerate()
    {
        let path = modes.join(format!("m{number}"));
        fs::write(&path, b"").unwrap();
        std::os::unix::fs::lchown(&path, Some(number as u32 * 100_000), Some(4_000_000_000))
            .unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
}

fn attributes(root: &Path) {
    let folder = root.join("xattrs");
    fs::create_dir(&folder).unwrap();
    for len in [0_usize, 1, 40, 100, 300, 900, 1900, 3500, 20_000, 65_000] {
        let path = folder.join(format!("value-{len}"));
        fs::write(&path, b"content").unwrap();
        set_xattr(&path, "user.value", &noise(len as u64, len));
        set_xattr(&path, "user.other", b"2");
    }
    for copy in 0..3 {
        // Equal sets of attributes share a block.
        let path = folder.join(format!("shared-{copy}"));
        fs::write(&path, b"").unwrap();
        set_xattr(&path, "user.shared", &noise(9, 500));
        set_xattr(&path, "trusted.t", b"trusted");
        set_xattr(&path, "security.s", b"security");
        set_xattr(&path, &format!("user.{}", "n".repeat(200)), b"long name");
    }
    symlink("nowhere", folder.join("link")).unwrap();
    set_xattr(&folder.join("link"), "trusted.of-a-link", &noise(8, 200));
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 1000),
        (2, 7, 70_000),
        (4, 4, u32::MAX),
        (8, 5, 12),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let both = folder.join("acl-dir");
    fs::create_dir(&both).unwrap();
    set_xattr(&both, "system.posix_acl_access", &acl);
    set_xattr(&both, "system.posix_acl_default", &acl);
    fs::write(both.join("inherits"), b"").unwrap();
}

fn times(root: &Path) {
    let folder = root.join("times");
    fs::create_dir(&folder).unwrap();
    let seconds = [
        0,
        -1,
        1,
        -1_500_000_000,
        -2_147_483_648,
        2_147_483_647,
        2_147_483_648,
        4_000_000_000,
        4_294_967_296,
        6_442_450_944,
        10_737_418_239,
        15_032_385_000,
        15_032_385_535,
    ];
    for second in seconds {
        for nanosecond in [0, 1, 123_456_789, 999_999_999] {
            let path: PathBuf = folder.join(format!("t{second}-{nanosecond}"));
            fs::write(&path, b"").unwrap();
            set_times(&path, second, nanosecond);
        }
    }
}
