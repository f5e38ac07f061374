//! A tree with everything that is hard to read, made through the kernel's mount.

use super::support::{Random, run, shell};
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// How much of it is made.
#[derive(Clone, Copy)]
pub struct Scale {
    pub large_directory: u32,
    pub hard_links: u32,
    pub has_reflink: bool,
    pub has_bigtime: bool,
    /// The longest value of an attribute that the format takes.
    pub xattr_len_max: usize,
}

fn path_of(parent: &Path, name: &[u8]) -> std::path::PathBuf {
    parent.join(OsStr::from_bytes(name))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn dir(path: &Path) {
    std::fs::create_dir(path).expect("a directory");
}

/// Fills the file system mounted at `root`.
pub fn fill(root: &Path, scale: Scale) {
    directories(root, scale.large_directory);
    names(root);
    files(root);
    links(root, scale.hard_links);
    xattrs(root, scale.xattr_len_max);
    special(root);
    if scale.has_reflink {
        let line = format!(
            "cd '{0}'; cp --reflink=always fragmented cloned; \
             dd if=/dev/zero of=cloned bs=4096 count=3 seek=7 conv=notrunc status=none",
            root.display()
        );
        shell(&line);
    }
    times(root, scale.has_bigtime);
}

fn directories(root: &Path, large: u32) {
    for count in [0, 1, 5, 12, 40, 150, 600, large] {
        let path = root.join(format!("dir-{count}"));
        dir(&path);
        for index in 0..count {
            write(&path.join(format!("entry number {index}")), b"");
        }
    }
    // Holes, unused places and removed leaf entries.
    let path = root.join("dir-thinned");
    dir(&path);
    for index in 0..3000 {
        write(&path.join(format!("{index:060}")), b"");
    }
    for index in (0..3000).filter(|index| index % 5 != 0 || (1000..2200).contains(index)) {
        std::fs::remove_file(path.join(format!("{index:060}"))).expect("a file");
    }
    let mut deep = root.to_owned();
    for _ in 0..60 {
        deep.push("down");
        dir(&deep);
    }
    write(&deep.join("bottom"), b"here");
}

fn names(root: &Path) {
    let path = root.join("names");
    dir(&path);
    write(&path_of(&path, &[b'n'; 255]), b"long");
    write(&path_of(&path, b"\xff\xfe not UTF-8 \x80"), b"bytes");
    write(&path_of(&path, b"new\nline and \x01"), b"control");
    write(&path.join("näme 日本 🎉"), b"unicode");
    // Names of the same hash: the last bytes shift into one another.
    for index in 0..200_u32 {
        let mut name = vec![b'a' + (index % 26) as u8; 1 + index as usize];
        name.push(b'x');
        write(&path_of(&path, &name), b"");
    }
}

fn files(root: &Path) {
    write(&root.join("one byte"), b"x");
    let mut random = Random::new(77);
    let mut bytes = vec![0; 3 << 20];
    bytes.fill_with(|| random.next() as u8);
    write(&root.join("dense"), &bytes);
    let sparse = File::create(root.join("sparse")).expect("a file");
    for block in [0_u64, 3, 100, 5000] {
        sparse
            .write_all_at(b"island", block * 65_536 + 10)
            .expect("written");
    }
    sparse.set_len(5001 * 65_536 + 1).expect("a length");
    let far = File::create(root.join("far")).expect("a file");
    far.write_all_at(b"Z", 1 << 32).expect("written");
    let tail = File::create(root.join("only holes")).expect("a file");
    tail.set_len((1 << 32) + 1).expect("a length");
    fragmented(root);
    let line = format!(
        "cd '{0}'; fallocate -l 300000 preallocated; \
         printf data | dd of=preallocated bs=1 seek=100000 conv=notrunc status=none; \
         printf short > beyond; fallocate -l 1000000 -n beyond; \
         cp dense punched; fallocate -p -o 100000 -l 700000 punched; \
         fallocate -z -o 1500000 -l 200000 punched",
        root.display()
    );
    shell(&line);
}

/// Makes so many extents that they need a tree of their own.
fn fragmented(root: &Path) {
    let path = root.join("fragmented");
    let file = File::create(&path).expect("a file");
    for index in 0..2500_u64 {
        let byte = [(index % 251) as u8 + 1; 500];
        file.write_all_at(&byte, index * 2 * 65_536)
            .expect("written");
    }
    file.sync_all().expect("synced");
}

fn links(root: &Path, hard_links: u32) {
    let path = root.join("links");
    dir(&path);
    write(&path.join("first"), b"many names");
    for index in 0..hard_links {
        std::fs::hard_link(path.join("first"), path.join(format!("name {index}"))).expect("a link");
    }
    for len in [1, 40, 200, 336, 337, 400, 900, 1023] {
        symlink("t".repeat(len), path.join(format!("symlink {len}"))).expect("a symlink");
    }
}

#[expect(unsafe_code, reason = "a system call")]
fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    let c_path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let c_name = CString::new(name).expect("no NUL");
    let value_pointer = value.as_ptr().cast();
    // SAFETY: all pointers are to buffers of the given lengths.
    let code = unsafe {
        libc::lsetxattr(
            c_path.as_ptr(),
            c_name.as_ptr(),
            value_pointer,
            value.len(),
            0,
        )
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(code, 0, "{name} of {}: {error}", path.display());
}

fn xattrs(root: &Path, len_max: usize) {
    let path = root.join("xattrs");
    dir(&path);
    let lens = [0, 1, 60, 255, 256, 1000, 3000, 4096, 20_000, 65_536];
    for len in lens.into_iter().filter(|len| *len <= len_max) {
        let file = path.join(format!("value of {len}"));
        write(&file, b"");
        set_xattr(&file, "user.value", &vec![b'v'; len]);
    }
    for count in [3, 20, 400] {
        let file = path.join(format!("{count} attributes"));
        write(&file, b"");
        for index in 0..count {
            let name = format!("user.{}{index}", "n".repeat(index % 200));
            set_xattr(&file, &name, &vec![b'a' + (index % 26) as u8; index % 90]);
        }
    }
    let file = path.join("all namespaces");
    write(&file, b"");
    set_xattr(&file, "user.one", b"1");
    set_xattr(&file, "trusted.two", b"2");
    set_xattr(&file, "security.three", b"3");
    set_xattr(&file, &format!("user.{}", "l".repeat(250)), b"long name");
    let acl = path.join("acl");
    dir(&acl);
    let long = path.join("long acl");
    write(&long, b"");
    shell(&format!(
        "setfacl -m u:1000:rw,g:2000:r,m:rwx '{0}'; setfacl -d -m u:3000:x '{0}'; \
         for i in $(seq 1 60); do echo u:$i:r; done | setfacl -M - '{1}'; touch '{0}/inherits'",
        acl.display(),
        long.display()
    ));
    symlink("nowhere", path.join("symlink")).expect("a symlink");
    set_xattr(&path.join("symlink"), "trusted.of a symlink", b"yes");
}

fn special(root: &Path) {
    let line = format!(
        "mkdir '{0}/special'; cd '{0}/special'; mkfifo fifo; mknod null c 1 3; \
         mknod large b 500 200000; mknod zero c 0 0; \
         for mode in 0 4755 2711 1777 7777; do touch mode-$mode; chmod $mode mode-$mode; done; \
         touch owned; chown 4000000000:65537 owned; chattr +i owned",
        root.display()
    );
    shell(&line);
    let socket = root.join("special/socket");
    let _ = std::os::unix::net::UnixListener::bind(socket);
}

fn times(root: &Path, has_bigtime: bool) {
    let path = root.join("times");
    dir(&path);
    let mut years = vec![
        "1902-01-01",
        "1969-12-31 23:59:59.5",
        "2038-01-19 03:14:07.123456789",
    ];
    if has_bigtime {
        years.extend(["2038-01-19 03:14:08.999999999", "2106-02-08", "2486-01-01"]);
    }
    for year in years {
        let file = path.join(year);
        write(&file, b"");
        let args = ["-d".as_ref(), OsStr::new(year), file.as_os_str()];
        run("touch", &args).expect("touched");
    }
}

/// Appends to a file, for tests that change things while they go on.
pub fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(bytes)
}
