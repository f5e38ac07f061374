//! What is generated, and that the documents say what the program does.

use super::support::{Fixture, names};
use std::path::Path;

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = Fixture::new().run(&["man", "--markdown"]).text();
    let written = document("reference/cli.md");
    let hint = "run: cargo run -- man --markdown > docs/reference/cli.md";
    assert!(
        page == written,
        "docs/reference/cli.md is out of date; {hint}"
    );
}

#[test]
fn every_exit_code_is_documented() {
    let page = document("reference/exit-codes.md");
    for code in (0..=8).chain([129, 130, 143]) {
        assert!(page.contains(&format!("| {code} |")), "{code} is missing");
    }
}

#[test]
fn every_command_explains_itself() {
    let fixture = Fixture::new();
    let help = fixture.run(&["--help"]).text();
    for command in [
        "init",
        "create",
        "list",
        "show",
        "restore",
        "inspect",
        "ls",
        "tree",
        "stat",
        "cat",
        "cp",
        "tar",
        "delete",
        "rename",
        "tag",
        "stats",
        "diff-blocks",
        "copy",
        "drafts",
        "mount",
        "umount",
        "completions",
        "man",
    ] {
        assert!(help.contains(command), "{command}");
        assert!(
            fixture
                .run(&[command, "--help"])
                .text()
                .contains("Usage: tintype"),
            "{command}"
        );
    }
    assert!(fixture.run(&["--version"]).text().starts_with("tintype "));
    assert!(!fixture.store().exists());
}

#[test]
fn manual_pages_and_completions_are_made() {
    let fixture = Fixture::new();
    assert!(fixture.run(&["man"]).text().contains(".TH tintype"));
    fixture.run(&["man", "pages"]).text();
    let pages = names(&fixture.path("pages"));
    for page in ["tintype.1", "tintype-create.1", "tintype-drafts-list.1"] {
        assert!(
            pages.iter().any(|name| name == page),
            "{page} is not in {pages:?}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            fixture
                .run(&["completions", shell])
                .text()
                .contains("diff-blocks"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["completions", "zsh"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
