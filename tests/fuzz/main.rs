//! The short run of the fuzzers, as a test: everything that was ever found, the
//! images as they are, and changed copies of them from a fixed seed. The campaign
//! with coverage is `scripts/fuzz`; it runs the same code.
//!
//! `TINTYPE_FUZZ_RUNS` and `TINTYPE_FUZZ_SEED` change how much and what.
#![allow(
    missing_docs,
    dead_code,
    reason = "tests, which share parts with the worker"
)]

mod coverage;
mod engine;
mod formats;
mod genome;
mod image;
mod memory;
mod panics;
mod partitions;
mod repair;
mod walk;
mod watchdog;

use engine::{Search, Target};
use formats::Format;
use genome::Genome;
use image::Image;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Without coverage one input in so many is kept to change it further.
const KEEP_ONE_IN: u64 = 40;
const KEPT_COUNT_MAX: usize = 300;

/// One format's share of the gate.
const TIME_MAX: Duration = Duration::from_secs(25);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Says something past the capture of the harness.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn of(name: &str) -> &'static Format {
    Format::of(name).expect("a format that is fuzzed")
}

/// Everything that was ever found stays repaired.
fn replay_findings(format: &'static Format) -> usize {
    let target = Target::new(format);
    let findings = format.images("findings");
    for (name, base) in &findings {
        let image = Image::new(Arc::clone(base), base.len);
        let outcome = target.run(image, &Genome::new(name));
        assert_eq!(outcome.failure, None, "{}: finding {name}", format.name);
    }
    findings.len()
}

fn fuzz(name: &str) {
    let format = of(name);
    panics::note();
    let finding_count = replay_findings(format);
    let target = Target::new(format);
    assert!(!target.names.is_empty(), "{name}: no images to start from");
    let seed = number("TINTYPE_FUZZ_SEED", 1);
    let run_count = number("TINTYPE_FUZZ_RUNS", 60_000);
    let mut search = Search::new(&target, seed);
    let mut failures = vec![];
    for image in &target.names {
        let genome = Genome::new(image);
        let whole = target.run(target.build(&genome).expect("an image"), &genome);
        assert!(whole.found > 0, "{name}: nothing is found in {image}");
        failures.extend(search.try_out(genome, true).1);
    }
    while search.run_count < run_count && search.time < TIME_MAX && failures.is_empty() {
        let genome = search.next_genome().expect("an image to start from");
        let is_wanted =
            search.run_count.is_multiple_of(KEEP_ONE_IN) && search.kept_count() < KEPT_COUNT_MAX;
        let (_, failure) = search.try_out(genome.clone(), is_wanted);
        if let Some(failure) = failure {
            let path = std::env::temp_dir().join(format!("{name}.genome"));
            let _ = std::fs::write(&path, genome.encode());
            say(&format!("{name}: the input is {}", path.display()));
            failures.push(failure);
        }
    }
    panics::print();
    assert_eq!(
        failures,
        [],
        "{name}, seed {seed}, run {}",
        search.run_count
    );
    say(&format!(
        "MEASURED: fuzz::{name}: {finding_count} findings repaired, {} runs of {} images in \
         {:.1} s, slowest {:?}, at most {} KiB (seed {seed})",
        search.run_count,
        target.names.len(),
        search.time.as_secs_f64(),
        search.slowest.0,
        search.peak_bytes >> 10,
    ));
}

#[test]
fn ext() {
    fuzz("ext");
}

#[test]
fn xfs() {
    fuzz("xfs");
}

#[test]
fn btrfs() {
    fuzz("btrfs");
}

#[test]
fn fat() {
    fuzz("fat");
}

#[test]
fn exfat() {
    fuzz("exfat");
}

#[test]
fn ntfs() {
    fuzz("ntfs");
}

#[test]
fn partition() {
    fuzz("partition");
}

/// Each format has a test of its own, so that they run side by side.
#[test]
fn every_format_has_a_test() {
    let names: Vec<_> = formats::FORMATS.iter().map(|format| format.name).collect();
    let expected = ["ext", "xfs", "btrfs", "fat", "exfat", "ntfs", "partition"];
    assert_eq!(names, expected);
}
