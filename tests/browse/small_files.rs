//! Small files are in the kernel when they are opened, and are right however many readers
//! open them at once.

use super::machine::Browsed;
use super::support::{MountOptions, Scratch, needs, say_skipped, shell};
use std::ffi::OsStr;
use std::path::PathBuf;

/// Makes a bare file system with files of many lengths, in `$W/tree` and in the image.
fn image(scratch: &Scratch) -> PathBuf {
    let script = r#"
mkdir $W/tree
for len in 0 1 4095 4096 4097 65536 131071 131072 131073 500000; do
    head -c $len /dev/urandom >$W/tree/$len
done
truncate -s 100000 $W/tree/hole
mkdir $W/tree/many
for number in $(seq 300); do head -c $((number * 37)) /dev/urandom >$W/tree/many/$number; done
mke2fs -q -F -t ext4 -b 4096 -I 256 -d $W/tree $W/image 32M >&2
"#;
    let variables: &[(&str, &OsStr)] = &[("W", scratch.path().as_os_str())];
    let _ = shell(script, variables).expect_ok(script);
    scratch.join("image")
}

/// Prints for each file its name, its pages, how many of them the kernel has when it was
/// only opened, and whether what is behind its end in the last page is zeros.
const RESIDENT: &str = r#"
python3 - $D/files <<'END'
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
def look(name, flags):
    fd = os.open(os.path.join(sys.argv[1], name), os.O_RDONLY | flags)
    size = os.fstat(fd).st_size
    place = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    pages = (size + 4095) // 4096
    resident = ctypes.create_string_buffer(pages)
    assert libc.mincore(place, size, resident) == 0
    count = sum(byte & 1 for byte in resident.raw[:pages])
    tail = ctypes.string_at(place + size, pages * 4096 - size)
    print(name, pages, count, "zeros" if tail.strip(b"\0") == b"" else "LEAK")
    os.close(fd)
look("65536", os.O_DIRECT)
look("65536", 0)
for name in ["1", "4095", "4096", "4097", "131071", "131072", "131073", "500000", "hole"]:
    look(name, 0)
END
"#;

#[test]
fn the_kernel_has_a_small_file_when_it_is_opened() {
    needs!("root", "fuse", "mke2fs", "python3");
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(11)) {
        say_skipped(module_path!(), &format!("Linux {release} may show memory"));
        return;
    }
    let made = Scratch::new();
    let browsed = Browsed::new(&image(&made), &MountOptions::default());
    let told = browsed.shell_ok(made.path(), RESIDENT);
    // Whoever opened it directly may read pages through a mapping meanwhile.
    let expected = "65536 16 0 zeros
65536 16 0 zeros
1 1 1 zeros
4095 1 1 zeros
4096 1 1 zeros
4097 2 2 zeros
131071 32 32 zeros
131072 32 32 zeros
131073 33 0 zeros
500000 123 0 zeros
hole 25 25 zeros";
    assert_eq!(told, expected);
}

#[test]
fn many_readers_of_the_same_small_files_read_the_same() {
    needs!("root", "fuse", "mke2fs", "sha256sum");
    let made = Scratch::new();
    let path = image(&made);
    for threads in [1, 4] {
        let options = MountOptions {
            args: vec![format!("--threads={threads}")],
        };
        let browsed = Browsed::new(&path, &options);
        let _ = browsed.shell_ok(
            made.path(),
            r#"
hash() { (cd $1 && find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0 sha256sum); }
hash $I/tree >$W/expected
for reader in $(seq 8); do hash $D/files >$W/got.$reader & done
wait
for reader in $(seq 8); do cmp $W/expected $W/got.$reader; done
"#,
        );
    }
}
