//! Standard output that nobody reads, or that cannot be written to.

use super::browse::MIB;
use super::support::{Fixture, answer};
use super::trees::{bash, ext4_of};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Makes an image with a directory that is damaged and one that is not.
fn damaged(fixture: &Fixture) {
    let tree = fixture.path("tree");
    for folder in ["bad", "good"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
        fs::write(tree.join(folder).join("file"), folder).unwrap();
    }
    ext4_of(&tree, &fixture.path("x.img"), 16 * MIB, &[]);
    let line = "debugfs -R 'blocks /bad' x.img 2>/dev/null";
    let block: u64 = bash(&fixture.path("."), line).trim().parse().unwrap();
    let image = File::options()
        .write(true)
        .open(fixture.path("x.img"))
        .unwrap();
    image.write_all_at(&[0xAA; 40], block * 4096 + 20).unwrap();
}

/// A reader that has seen enough made a success of a copy with damage.
#[test]
fn a_reader_that_goes_hides_no_damage() {
    let fixture = Fixture::new();
    damaged(&fixture);
    for words in [
        &["--json", "cp", "-r", "--image", "x.img", "/", "out"][..],
        &["ls", "-R", "--image", "x.img"],
        &["tree", "--image", "x.img"],
        &["tar", "--image", "x.img"],
        &["cat", "--image", "x.img", "/bad/file", "/good/file"],
        &["stat", "--image", "x.img", "/bad/file", "/good/file"],
    ] {
        let unread = fixture.run_unread(words);
        assert_eq!(unread.code, 4, "{words:?}: {}", unread.err);
    }
    for (words, code) in [
        (&["ls", "-R", "--image", "x.img", "/good"][..], 0),
        (&["cat", "--image", "x.img", "/good/file"], 0),
        (&["stat", "--image", "x.img", "/good/file"], 0),
        // Half an archive is none.
        (&["tar", "--image", "x.img", "/good"], 1),
    ] {
        let unread = fixture.run_unread(words);
        assert_eq!(unread.code, code, "{words:?}: {}", unread.err);
    }
}

/// A listing that could not be written was a success: EBADF counts as written in the
/// standard library.
#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let fixture = Fixture::with_store();
    fixture.snapshot("web", "one", 1);
    let closed = |line: &str| {
        let mut command = fixture.command(&[]);
        let program = command.get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", line])
            .arg(program)
            .current_dir(fixture.path("."));
        shell.env("TINTYPE_STORE", fixture.store());
        command.env_clear();
        answer(&mut shell)
    };
    for line in ["list", "delete web", "restore web -", "--json stats"] {
        for redirection in [">&-", "1</dev/null"] {
            let answer = closed(&format!("\"$0\" {line} {redirection}"));
            answer.refused(1, &["writing to standard output"]);
        }
    }
    for redirection in [">/dev/null", "1<>/dev/null", ">>file"] {
        let answer = closed(&format!("\"$0\" list {redirection}"));
        assert_eq!(answer.code, 0, "{redirection}: {}", answer.err);
    }
    assert!(fixture.run(&["list"]).text().contains("web"));
}
