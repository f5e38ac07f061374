//! The campaign: one process that fuzzes one format, for as long as it is told to.
//! `scripts/fuzz` builds it with coverage and starts it.
//!
//! ```text
//! fuzz-worker run FORMAT SECONDS FOLDER SEED   search; keeps inputs and findings in FOLDER
//! fuzz-worker replay FORMAT [GENOME...]        run inputs, or the images as they are
//! fuzz-worker export FORMAT GENOME OUT         write the image of an input
//! fuzz-worker pack IMAGE OUT                   compress an image for the corpus
//! ```
#![allow(
    missing_docs,
    dead_code,
    reason = "a tool of the tests, which share its parts"
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
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const REPORT_EVERY: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", format, seconds, folder, seed] => {
            let seconds = seconds.parse().expect("a number of seconds");
            let seed = seed.parse().expect("a seed");
            search(of(format), seconds, Path::new(folder), seed);
        }
        ["replay", format, paths @ ..] => replay(of(format), paths),
        ["export", format, path, out] => export(of(format), path, out),
        ["pack", image, out] => {
            let mut source = std::fs::File::open(image).expect("an image");
            let base = image::Base::gather(&mut source).expect("read");
            std::fs::write(out, base.pack().expect("compressed")).expect("written");
        }
        _ => {
            eprintln!("see the head of tests/fuzz/worker.rs");
            std::process::exit(2);
        }
    }
}

fn of(name: &str) -> &'static Format {
    Format::of(name).unwrap_or_else(|| panic!("{name}: no format that is fuzzed"))
}

fn load(path: &Path) -> Option<Genome> {
    Genome::decode(&std::fs::read(path).ok()?).ok()
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn file_name(genome: &Genome) -> String {
    let hash = blake3::hash(&genome.encode()).to_hex();
    format!("{}.genome", &hash[..16])
}

/// One campaign, or a part of it: goes on from the inputs that lie in `folder`.
fn search(format: &'static Format, seconds: u64, folder: &Path, seed: u64) {
    let (inputs, findings) = (folder.join("inputs"), folder.join("findings"));
    std::fs::create_dir_all(&inputs).expect("a folder");
    std::fs::create_dir_all(&findings).expect("a folder");
    // SAFETY: there is one thread yet.
    #[expect(unsafe_code, reason = "the environment is changed")]
    unsafe {
        std::env::set_var(watchdog::FOLDER_VARIABLE, &findings);
    }
    panics::note();
    let target = Target::new(format);
    let mut search = Search::new(&target, seed);
    let mut known = BTreeSet::new();
    let images = target.names.iter().map(|name| Genome::new(name));
    let earlier = listed(&inputs).into_iter().filter_map(|path| load(&path));
    for (genome, is_wanted) in images
        .map(|genome| (genome, true))
        .chain(earlier.map(|genome| (genome, false)))
    {
        let (_, failure) = search.try_out(genome.clone(), is_wanted);
        note(format, &findings, &genome, failure, &mut known);
    }
    let loaded = search.kept_count();
    let (begin, mut reported) = (Instant::now(), Instant::now());
    while search.time.as_secs() < seconds {
        let Some(genome) = search.next_genome() else {
            panic!("no image of {}", format.name);
        };
        let (kept, failure) = search.try_out(genome.clone(), false);
        if let Some(kept) = kept {
            let _ = std::fs::write(inputs.join(file_name(&kept)), kept.encode());
        }
        note(format, &findings, &genome, failure, &mut known);
        if reported.elapsed() > REPORT_EVERY {
            reported = Instant::now();
            report(format, &search, loaded, known.len(), begin);
            if let Some(slowest) = &search.slowest.1 {
                let _ = std::fs::write(folder.join("slowest.genome"), slowest.encode());
            }
        }
    }
    report(format, &search, loaded, known.len(), begin);
}

fn note(
    format: &Format,
    findings: &Path,
    genome: &Genome,
    failure: Option<(String, String)>,
    known: &mut BTreeSet<String>,
) {
    let Some((key, text)) = failure else { return };
    if !known.insert(key.clone()) {
        return;
    }
    let path = findings.join(format!("{}-{key}.genome", format.name));
    let _ = std::fs::write(&path, genome.encode());
    let _ = std::fs::write(path.with_extension("txt"), &text);
    println!("FOUND {}: {text}", path.display());
}

fn report(format: &Format, search: &Search<'_>, loaded: usize, found: usize, begin: Instant) {
    let seconds = search.time.as_secs_f64();
    println!(
        "{}: {} runs in {seconds:.0} s of processor ({:.0} s passed), {:.0} a second, {} edges, \
         {} inputs ({loaded} loaded), {found} findings, slowest {:?}, at most {} KiB",
        format.name,
        search.run_count,
        begin.elapsed().as_secs_f64(),
        search.run_count as f64 / seconds.max(0.001),
        search.reached.edge_count,
        search.kept_count(),
        search.slowest.0,
        search.peak_bytes >> 10,
    );
}

fn replay(format: &'static Format, paths: &[&str]) {
    panics::note();
    let target = Target::new(format);
    if paths.is_empty() {
        for name in &target.names {
            let genome = Genome::new(name);
            let outcome = target.run(target.build(&genome).expect("its image"), &genome);
            println!("{name}: {} found, {:?}", outcome.found, outcome.time);
        }
    }
    for path in paths {
        let genome = load(Path::new(path)).expect("an input");
        let image = target.build(&genome).expect("its image");
        let outcome = target.run(image, &genome);
        println!(
            "{path}: {} found, {:?}, {} bytes, {:?}",
            outcome.found, outcome.time, outcome.peak_bytes, outcome.failure
        );
    }
}

fn export(format: &'static Format, path: &str, out: &str) {
    let target = Target::new(format);
    let genome = load(Path::new(path)).expect("an input");
    let image = target.build(&genome).expect("its image").flatten();
    std::fs::write(out, image.pack().expect("compressed")).expect("written");
}
