//! `tintype cp` that cannot end: what it leaves behind is whole, and what was there
//! before stays until something whole takes its place.

use super::saying::say_skipped;
use super::support::{Fixture, names};
use super::trees::{bash, ext4_of, has_tools};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

/// A file of `count` extents of 1 MiB with as large holes between them: each extent is a
/// piece that some thread copies.
fn write_extents(path: &Path, count: u64) {
    let file = File::create(path).unwrap();
    for number in 0..count {
        let piece = super::nasty::noise(number + 1, 1 << 20);
        file.write_all_at(&piece, number << 21).unwrap();
    }
    file.set_len(count << 21).unwrap();
}

/// Runs cp with an interrupt a little later each time, until one was soon enough, and
/// gives what is there after each run to `check`.
fn interrupt(fixture: &Fixture, line: &str, prepare: impl Fn(), check: impl Fn()) {
    let words: Vec<&str> = line.split(' ').collect();
    let mut interrupted = 0;
    for delay in (0..40).map(|step| step * 5) {
        prepare();
        let mut child = fixture
            .signalled(&words)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let id = child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(sent.unwrap().success());
        let code = child.wait().unwrap().code();
        // A signal before the program listens ends it without a code.
        assert!(matches!(code, Some(130 | 0) | None), "{code:?}");
        interrupted += usize::from(code == Some(130));
        check();
        if code == Some(0) && interrupted > 3 {
            break;
        }
    }
    assert!(interrupted > 0, "no copy was interrupted");
}

/// An interrupt dropped the pieces of a large file that waited. If another piece was in
/// its last buffer then, the file was finished without them: as long as it should be,
/// with zeros in it, and with --force in the place of a good one.
#[test]
fn a_large_file_that_was_interrupted_is_not_taken_for_whole() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    write_extents(&tree.join("vm.img"), 120);
    ext4_of(&tree, &fixture.path("x.img"), 300 << 20, &[]);
    fs::create_dir(fixture.path("out")).unwrap();
    let (original, copied) = (tree.join("vm.img"), fixture.path("out/vm.img"));
    let is_whole = || bash(&tree, "cmp vm.img ../out/vm.img && echo yes || true") == "yes\n";
    let remove = || drop(fs::remove_file(&copied));
    interrupt(&fixture, "cp --image x.img /vm.img out/", remove, || {
        assert!(!copied.exists() || is_whole(), "a file that is not whole");
        assert!(copied.exists() || names(&fixture.path("out")).is_empty());
    });
    assert_eq!(fs::metadata(&original).unwrap().len(), 240 << 20);
    let line = "cp --force --image x.img /vm.img out/";
    let put = || fs::write(&copied, "the one that was there").unwrap();
    interrupt(&fixture, line, put, || {
        let is_old = fs::metadata(&copied).unwrap().len() == 22;
        assert!(
            is_old || is_whole(),
            "a good file was replaced by half of one"
        );
        assert_eq!(names(&fixture.path("out")), ["vm.img"]);
    });
}

/// Both names were removed, and the new file was filled in their place.
#[test]
fn files_with_several_names_outlive_an_interrupted_copy() {
    let fixture = Fixture::new();
    let tree = fixture.path("tree");
    fs::create_dir(&tree).unwrap();
    write_extents(&tree.join("a"), 60);
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    ext4_of(&tree, &fixture.path("x.img"), 150 << 20, &[]);
    fs::create_dir(fixture.path("out")).unwrap();
    let here = fixture.path(".");
    let line = "cp -a --no-owner --force --image x.img / out";
    let put = || {
        drop(bash(
            &here,
            "rm -r out; mkdir out; echo a > out/a; echo b > out/b",
        ))
    };
    interrupt(&fixture, line, put, || {
        let line = "cd out; for name in a b; do \
                    echo $name | cmp -s - $name || cmp $name ../tree/$name; done; \
                    find . -name '.tintype*'";
        assert_eq!(bash(&here, line), "");
    });
}

/// NFS, CIFS and quotas may refuse what was written only when the file is closed, which
/// nobody looked at.
#[test]
fn a_file_that_cannot_be_closed_is_not_there() {
    let test = "cp and errors of close";
    if !has_tools(test, &["strace"]) {
        return;
    }
    let fixture = Fixture::new();
    let here = fixture.path(".");
    bash(&here, "mkdir tree out; echo new > tree/file");
    ext4_of(&fixture.path("tree"), &fixture.path("x.img"), 16 << 20, &[]);
    let can_trace = "strace -o log -e trace=close true 2>/dev/null && echo yes || true";
    if bash(&here, can_trace) != "yes\n" {
        say_skipped(&format!("cli: {test}"), "no process may be traced");
        return;
    }
    // Only what has this name: the program could not be loaded otherwise.
    let code = bash(
        &here,
        "strace -f -o log -P \"$PWD/out/file\" -e trace=close -e inject=close:error=ENOSPC \
         \"$TINTYPE\" cp --image x.img file out 2>err && echo 0 || echo $?",
    );
    let text = fs::read_to_string(fixture.path("err")).unwrap();
    assert_eq!(code, "5\n", "{text}");
    assert!(text.contains("closing the file: No space"), "{text}");
    assert_eq!(names(&fixture.path("out")), Vec::<String>::new());
}
