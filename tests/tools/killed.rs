//! A writer that is killed publishes nothing; one that ends regularly does, also with
//! threads and without closing its file.

use super::support::{Fixture, kill_group, needs, random_file, spawn_shell, wait_until};
use std::ffi::OsStr;
use std::time::Duration;

/// Starts a slow copy, sends it a signal in the middle, and checks that nothing came of
/// it. The copy is fed through a pipe that stays open, so that it cannot finish first.
fn killed_leaves_none(copy: &str, signal: &str) {
    let fixture = Fixture::new();
    let create = fixture.point().join("create");
    random_file(&fixture.scratch.join("big"), 32 << 20, 7);
    // The feeder keeps the pipe open; the copy reads from it by a name.
    let script = format!(
        "mkfifo $W/pipe; {{ cat $W/big; sleep 60; }} > $W/pipe & {copy} & echo $! > $W/pid.tmp
         mv $W/pid.tmp $W/pid; wait"
    );
    let variables: &[(&str, &OsStr)] = &[
        ("W", fixture.scratch.path().as_os_str()),
        ("C", create.as_os_str()),
    ];
    let mut child = spawn_shell(&script, variables);
    let grown = wait_until(Duration::from_secs(30), || {
        std::fs::metadata(create.join("a")).is_ok_and(|meta| meta.len() >= 16 << 20)
    });
    let pid = std::fs::read_to_string(fixture.scratch.join("pid")).unwrap_or_default();
    let outcome = fixture.shell(&format!(
        "kill -s {signal} {0}; for i in $(seq 200); do [ -e /proc/{0} ] || exit 0
         grep -q '^State:.Z' /proc/{0}/status && exit 0; sleep 0.05; done; exit 1",
        pid.trim()
    ));
    kill_group(child.id());
    let _ = child.wait();
    assert!(grown, "the copy never got to 16 MiB");
    outcome.expect_ok("the writer ended on its signal");
    fixture.expect_count("a", 0);
    assert!(fixture.resources().is_empty(), "{:?}", fixture.resources());
    fixture.shell_ok("[ $(stat -c %s $C/a) -ge 16777216 ]");
    fixture.shell_ok("rm $C/a; cp $IMG $C/a");
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

#[test]
fn cp_under_sigkill() {
    needs!("fuse");
    killed_leaves_none("cp $W/pipe $C/a", "KILL");
}

#[test]
fn cp_under_sigterm() {
    needs!("fuse");
    killed_leaves_none("cp $W/pipe $C/a", "TERM");
}

#[test]
fn cp_under_sigint() {
    needs!("fuse", "python3");
    // A background job of a shell ignores SIGINT; Python sets it back to the default.
    killed_leaves_none(
        "python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' cp $W/pipe $C/a",
        "INT",
    );
}

#[test]
fn dd_under_sigkill() {
    needs!("fuse");
    killed_leaves_none(
        "dd if=$W/pipe of=$C/a bs=64k iflag=fullblock status=none",
        "KILL",
    );
}

#[test]
fn a_killed_draft_can_be_published_by_hand() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "( exec 3>$C/a; cat $IMG >&3; kill -9 $BASHPID ) || true
         sleep 0.5; ls $C | grep -qx a",
    );
    fixture.expect_count("a", 0);
    let listed = super::support::tintype_ok(&fixture.store, &["drafts", "list"]);
    assert!(listed.contains('a'), "{listed}");
}

#[test]
fn a_program_with_threads_that_exits_publishes() {
    needs!("fuse", "python3");
    let fixture = Fixture::new();
    // exit_group with threads alive and the file open: the kernel ends the threads with
    // SIGKILL, and the flag PF_SIGNALED alone would look like a killed writer.
    fixture.shell_ok(
        "python3 -c 'import os, sys, threading, time
for _ in range(4):
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
os.write(fd, open(sys.argv[1], \"rb\").read())
os._exit(0)' $IMG $C/a",
    );
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

/// The child of a fork closes the draft inside execve, while the kernel holds a lock that
/// a reader of /proc/PID/stat waits for. A handler of that FLUSH which reads it before it
/// answers waits for itself, and so does every `ps` on the machine.
#[test]
fn a_program_that_starts_another_while_its_draft_is_open() {
    needs!("fuse", "python3");
    let fixture = Fixture::new();
    let (create, source) = (
        fixture.point().join("create"),
        fixture.scratch.join("img.raw"),
    );
    let variables: &[(&str, &OsStr)] = &[("IMG", source.as_os_str()), ("C", create.as_os_str())];
    let script = "python3 -c 'import os, subprocess, sys
data = open(sys.argv[1], \"rb\").read()
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
os.write(fd, data[:8 << 20])
for _ in range(20):
    # A plain fork: vfork would share the table of open files until the exec.
    subprocess.run([\"true\"], close_fds=False, preexec_fn=lambda: None)
    os.posix_spawn(\"/bin/true\", [\"true\"], {})
os.pwrite(fd, data[8 << 20:], 8 << 20)
os.close(fd)' $IMG $C/a";
    let limit = Duration::from_secs(20);
    super::support::shell_within(limit, script, variables).expect_ok("the writer goes on");
    fixture.expect_one("a", &source);
}

#[test]
fn a_stale_mount_is_cleaned() {
    needs!("fuse");
    let mut fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    fixture.expect_count("a", 1);
    fixture.mount.take().expect("mounted").kill();
    let stale = fixture.shell("ls $M");
    assert!(
        !stale.ok(),
        "the mount point should be stale: {}",
        stale.stdout
    );
    fixture.remount(&Default::default());
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

/// Starts a program that writes the image to a draft, closes a duplicate of the
/// descriptor (so that FLUSH runs and is answered, while RELEASE waits), does `then`, and
/// keeps the draft open; kills the mount and then the program, and mounts again.
fn kill_mount_after_flush(then: &str) -> Fixture {
    let mut fixture = Fixture::new();
    let create = fixture.point().join("create");
    let variables: &[(&str, &OsStr)] = &[
        ("W", fixture.scratch.path().as_os_str()),
        ("C", create.as_os_str()),
        ("THEN", OsStr::new(then)),
    ];
    let mut child = spawn_shell(
        "python3 -c 'import os, sys, time
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
data = open(sys.argv[1], \"rb\").read()
at = 0
while at < len(data):
    at += os.write(fd, data[at:at + (1 << 20)])
os.close(os.dup(fd))
exec(sys.argv[4])
open(sys.argv[3], \"w\").close()
time.sleep(60)' $W/img.raw $C/a $W/done \"$THEN\"",
        variables,
    );
    let done = wait_until(Duration::from_secs(30), || {
        fixture.scratch.join("done").exists()
    });
    fixture.mount.take().expect("mounted").kill();
    kill_group(child.id());
    let _ = child.wait();
    assert!(done, "the writer never came to the end of its work");
    fixture.remount(&Default::default());
    fixture
}

#[test]
fn a_mount_killed_after_the_flush_publishes_at_the_next() {
    needs!("fuse", "python3");
    let fixture = kill_mount_after_flush("");
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

#[test]
fn a_mount_killed_after_a_later_write_keeps_the_draft() {
    needs!("fuse", "python3");
    let fixture = kill_mount_after_flush("os.pwrite(fd, b\"x\" * 65536, 4096); os.fsync(fd)");
    // The last FLUSH is older than the last write: nobody knows whether it was done.
    fixture.expect_count("a", 0);
    fixture.shell_ok("[ -e $C/a ]");
}

#[test]
fn signals_unmount_cleanly() {
    needs!("fuse");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut fixture = Fixture::new();
        fixture.shell_ok("cp $IMG $C/a");
        fixture.expect_count("a", 1);
        let mount = fixture.mount.take().expect("mounted");
        mount.signal(signal);
        let code = mount.end();
        assert_eq!(code, Some(0), "signal {signal}");
        assert!(
            !fixture.shell("mountpoint -q $M").ok(),
            "still mounted after {signal}"
        );
    }
}

#[test]
fn a_busy_mount_goes_away_at_once_and_ends_with_its_last_file() {
    needs!("fuse");
    let mut fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    let found = fixture.expect_count("a", 1);
    let held = std::fs::File::open(found[0].join("disk.img")).expect("open");
    let mount = fixture.mount.take().expect("mounted");
    mount.signal(libc::SIGTERM);
    let gone = wait_until(Duration::from_secs(10), || {
        !fixture.shell("mountpoint -q $M").ok()
    });
    assert!(gone, "still mounted 10 s after SIGTERM");
    // Who has the file open can go on reading: it was unmounted lazily.
    let mut head = [0; 4096];
    let read = std::os::unix::fs::FileExt::read_exact_at(&held, &mut head, 16 << 20);
    drop(held);
    let code = mount.end();
    assert_eq!(
        code,
        Some(0),
        "it did not end after the last file was closed"
    );
    read.expect("an open file stays readable");
}
