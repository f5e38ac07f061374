//! The rules of the house as a test: which module may name which, how long files and
//! functions get, what is banned where, and that documents point to what exists.
//!
//! It reads text and does not parse Rust: `cargo fmt --check` runs before it, so the
//! layout can be relied on (a function ends at the closing brace in its own column).

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the crate by rank; one may name only those of lower rank and itself.
const RANKS: &[(&str, u32)] = &[
    ("base", 0),
    ("format", 1),
    ("backend", 1),
    ("source", 1),
    ("partition", 1),
    ("filesystem", 1),
    ("contents", 2),
    ("store", 2),
    ("image", 3),
    ("export", 3),
    ("snapshot", 4),
    ("maintenance", 5),
    ("tree", 5),
    ("fuse", 6),
    ("http", 6),
    ("cli", 7),
];

const FILE_LINE_COUNT_MAX: usize = 500;
const FUNCTION_LINE_COUNT_MAX: usize = 70;

/// What may lie at the top of the repository.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "docs",
    "rustfmt.toml",
    "scripts",
    "src",
    "target",
    "tests",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files below `dir` whose name ends in `suffix`, sorted.
fn files(dir: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(dir)];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("the work tree can be listed").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Returns the lines outside of test modules and comments, numbered from 1.
fn product_lines(path: &Path, text: &str) -> Vec<(usize, String)> {
    if path.ends_with("tests.rs") || relative(path).contains("/tests/") {
        return Vec::new();
    }
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text.get(..end)
        .unwrap_or_default()
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

/// Fails with all findings at once, so that one run shows all there is to do.
fn report(rule: &str, findings: &[String]) {
    assert!(
        findings.is_empty(),
        "{rule}:\n  {}\n",
        findings.join("\n  ")
    );
}

fn rank_of(module: &str) -> Option<u32> {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, rank)| *rank)
}

/// Returns the modules that follow each `crate::` of a line, also in braces.
fn named_modules(line: &str) -> Vec<String> {
    let word = |text: &str| {
        text.trim()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        .filter_map(|(at, found)| line.get(at + found.len()..))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split(',').map(word).collect::<Vec<_>>(),
            None => vec![word(rest)],
        })
        .filter(|module| !module.is_empty())
        .collect()
}

#[test]
fn modules_name_only_lower_ranks() {
    let mut findings = Vec::new();
    for path in files("src", ".rs") {
        let name = relative(&path);
        let own = name
            .split('/')
            .nth(1)
            .unwrap_or_default()
            .trim_end_matches(".rs")
            .to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        let Some(own_rank) = rank_of(&own) else {
            findings.push(format!("{name}: module {own} has no rank in tests/tidy.rs"));
            continue;
        };
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for module in named_modules(code).iter().filter(|module| **module != own) {
                match rank_of(module) {
                    Some(rank) if rank < own_rank => {}
                    Some(_) => findings.push(format!(
                        "{name}:{}: {own} (rank {own_rank}) names {module}",
                        number + 1
                    )),
                    // A macro or an item of the crate root.
                    None => findings.push(format!("{name}:{}: crate::{module}?", number + 1)),
                }
            }
        }
    }
    report("a module may name only modules of lower rank", &findings);
}

/// The implementation of one trait with 40 methods of up to 15 arguments cannot be cut in
/// two; its methods are short.
const ONE_TRAIT: &str = "src/fuse/filesystem.rs";

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut findings = Vec::new();
    for path in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        let text = read(&path);
        let line_count = text.lines().count();
        let is_one_trait = relative(&path) == ONE_TRAIT;
        if line_count > FILE_LINE_COUNT_MAX && !(is_one_trait && line_count <= 600) {
            findings.push(format!("{}: {line_count} lines", relative(&path)));
        }
        if !text.starts_with("//!") {
            findings.push(format!("{}: does not start with //!", relative(&path)));
        }
    }
    report("at most 500 lines, and //! first", &findings);
}

/// Returns the number of lines of the function that starts at `start`, if it has a body.
fn function_len(lines: &[&str], start: usize) -> Option<usize> {
    let indent = lines[start].len() - lines[start].trim_start().len();
    let close = format!("{}}}", " ".repeat(indent));
    for (index, line) in lines.iter().enumerate().skip(start) {
        let line = line.trim_end();
        if line == close {
            return Some(index - start + 1);
        }
        let at_column = line.len() - line.trim_start().len() <= indent;
        if at_column && (line.ends_with(';') || line.ends_with('}')) && !line.ends_with("{}}") {
            return None;
        }
    }
    None
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for path in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let starts = [
                "fn ",
                "pub fn ",
                "const fn ",
                "pub const fn ",
                "unsafe fn ",
                "pub(super) fn ",
            ]
            .iter()
            .any(|start| trimmed.starts_with(start))
                || trimmed.starts_with("pub(crate) fn ");
            if let Some(len) = starts.then(|| function_len(&lines, index)).flatten()
                && len > FUNCTION_LINE_COUNT_MAX
            {
                findings.push(format!("{}:{}: {len} lines", relative(&path), index + 1));
            }
        }
    }
    report("a function has at most 70 lines", &findings);
}

#[test]
fn sources_are_ascii() {
    let mut findings = Vec::new();
    for path in files("src", ".rs") {
        for (number, line) in read(&path).lines().enumerate() {
            if !line.is_ascii() {
                findings.push(format!("{}:{}: {line}", relative(&path), number + 1));
            }
        }
    }
    report("src is ASCII", &findings);
}

#[test]
fn nothing_is_left_open() {
    let banned = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let mut findings = Vec::new();
    for path in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", relative(&path), number + 1));
            }
        }
    }
    report("no unfinished code, no ignored tests", &findings);
}

#[test]
fn only_settings_read_the_environment_and_only_cli_prints() {
    let prints = ["println!", "eprintln!", "print!(", "eprint!("];
    let environment = ["std::env", "env::var", "env::args"];
    let mut findings = Vec::new();
    for path in files("src", ".rs") {
        let name = relative(&path);
        for (number, line) in product_lines(&path, &read(&path)) {
            let in_cli = name.starts_with("src/cli/") || name == "src/main.rs";
            if !in_cli && prints.iter().any(|word| line.contains(word)) {
                findings.push(format!("{name}:{number}: prints"));
            }
            let reads = environment.iter().any(|word| line.contains(word));
            if name != "src/cli/settings.rs" && reads {
                findings.push(format!("{name}:{number}: reads the environment"));
            }
        }
    }
    report(
        "only cli prints, only cli/settings.rs reads the environment",
        &findings,
    );
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root()).expect("the work tree can be listed") {
        let name = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        // Notes of whoever works here lie beside the project only if git ignores them.
        let known = TOP_LEVEL.contains(&name.as_str()) || is_ignored(&name);
        if !known {
            findings.push(name);
        }
    }
    report("unexpected at the top level", &findings);
}

fn is_ignored(name: &str) -> bool {
    std::process::Command::new("git")
        .args(["check-ignore", "--quiet", name])
        .current_dir(root())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns the targets of the Markdown links of `text`, outside of code blocks.
fn link_targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                targets.push(rest[..end].split(' ').next().unwrap_or_default().to_owned());
            }
        }
    }
    targets
}

#[test]
fn links_in_documents_resolve() {
    let mut findings = Vec::new();
    let documents = files("docs", ".md")
        .into_iter()
        .chain([root().join("README.md")]);
    for path in documents.filter(|path| path.exists()) {
        for target in link_targets(&read(&path)) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || file.is_empty() {
                continue;
            }
            let beside = path.parent().unwrap_or(&path).join(file);
            if !beside.exists() {
                findings.push(format!("{}: {target}", relative(&path)));
            }
        }
    }
    report("a link points nowhere", &findings);
}

/// Evaluates a literal of base/limits.rs: a number, or a number shifted left.
fn value_of(expression: &str) -> Option<u64> {
    let number = |text: &str| text.trim().replace(['_', ','], "").parse::<u64>().ok();
    match expression.split_once("<<") {
        Some((base, shift)) => number(base)?.checked_shl(u32::try_from(number(shift)?).ok()?),
        None => number(expression),
    }
}

#[test]
fn limits_in_documents_are_those_of_the_code() {
    let mut findings = Vec::new();
    let limits = read(&root().join("src/base/limits.rs"));
    let constants: Vec<(String, u64)> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|line| line.trim_end_matches(';').split_once(" = "))
        .filter_map(|(name, value)| Some((name.split(':').next()?.to_owned(), value_of(value)?)))
        .collect();
    assert!(
        constants.len() > 5,
        "base/limits.rs is not written as expected"
    );
    for path in files("docs", ".md") {
        for line in read(&path).lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`');
            let stated = cells
                .get(2)
                .and_then(|cell| value_of(cell.trim_matches('`')));
            let known = constants.iter().find(|(constant, _)| constant == name);
            if let (Some(stated), Some((_, value))) = (stated, known)
                && stated != *value
            {
                findings.push(format!(
                    "{}: {name} is {value}, not {stated}",
                    relative(&path)
                ));
            }
        }
    }
    report("a table of limits is out of date", &findings);
}
