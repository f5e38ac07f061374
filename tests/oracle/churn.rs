//! Random work on a live file system.

use super::nasty::append;
use super::support::Random;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Does random things below `root` until it is told to stop. Errors (a file that the
/// other thread removed, no space) are part of it.
pub fn work(root: &Path, seed: u64, is_done: &AtomicBool) {
    let mut random = Random::new(seed);
    let place = |random: &mut Random| -> PathBuf {
        let directory = root.join(format!("d{}", random.below(12)));
        let len = [5, 20, 90, 200][random.below(4) as usize];
        directory.join(format!("{:0len$}", random.below(1500)))
    };
    while !is_done.load(Ordering::Relaxed) {
        let (one, other) = (place(&mut random), place(&mut random));
        let _ = std::fs::create_dir(one.parent().expect("a parent"));
        let len = random.below(70_000) as usize;
        let _ = match random.below(16) {
            0..=2 => std::fs::write(&one, vec![random.next() as u8; len]),
            3 | 4 => append(&one, &vec![random.next() as u8; len / 4]),
            5 => std::fs::rename(&one, &other),
            6 => std::fs::hard_link(&one, &other),
            7 | 8 => std::fs::remove_file(&one),
            9 => std::os::unix::fs::symlink("s".repeat(1 + len % 1000), &one),
            10 => set_random_xattr(&one, &mut random),
            11 => scatter(&one, &mut random),
            12 => {
                let is_directory = random.below(3) == 0;
                let target = one.parent().filter(|_| is_directory).unwrap_or(&one);
                std::fs::File::open(target).and_then(|file| file.sync_all())
            }
            13 => clone(&one, &other),
            // Rarely, or there would never be large directories.
            14 if random.below(300) == 0 => {
                std::fs::remove_dir_all(root.join(format!("d{}", random.below(12))))
            }
            _ => std::fs::File::options()
                .write(true)
                .open(&one)
                .and_then(|file| file.set_len(random.below(300_000))),
        };
    }
}

fn scatter(path: &Path, random: &mut Random) -> std::io::Result<()> {
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    for _ in 0..40 {
        let offset = random.below(600) * 8192;
        std::os::unix::fs::FileExt::write_all_at(&file, &[random.next() as u8; 700], offset)?;
    }
    Ok(())
}

/// Clones a file that is on a file system with reflinks.
pub fn clone(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let (source, target) = (std::fs::File::open(from)?, std::fs::File::create(to)?);
    // SAFETY: both descriptors are open.
    #[expect(unsafe_code, reason = "a system call")]
    let code = unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) };
    if code == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn set_random_xattr(path: &Path, random: &mut Random) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let name = std::ffi::CString::new(format!("user.{}", random.below(40)))?;
    let value = vec![b'v'; [3, 50, 300, 2000, 30_000][random.below(5) as usize]];
    // SAFETY: all pointers are to buffers of the given lengths.
    #[expect(unsafe_code, reason = "a system call")]
    let code = unsafe {
        let pointer = value.as_ptr().cast();
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), pointer, value.len(), 0)
    };
    if code == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
