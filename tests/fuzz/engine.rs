//! Runs one input and judges it, and the loop that looks for inputs that reach
//! something new.

use crate::coverage::{self, Feature, Reached};
use crate::formats::Format;
use crate::genome::{Genome, Random};
use crate::image::{Base, Image, Place};
use crate::memory::Watch;
use crate::repair::Repair;
use crate::watchdog::Watchdog;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Time of the processor that one input may take.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// Inputs that are slower are mutated seldom.
const SLOW: Duration = Duration::from_millis(30);

/// Inputs that are made of one before another one is chosen.
const CHILD_COUNT: usize = 24;

/// Runs that are made to leave edits out of a new input.
const TRIM_COUNT_MAX: usize = 24;

/// What a run read as metadata and what it compared.
#[derive(Default)]
pub struct Seen {
    pub places: Vec<Place>,
    pub compares: Vec<(u64, u64, usize)>,
}

/// What became of one input.
pub struct Outcome {
    /// Why it is a finding: a short key, and the whole text.
    pub failure: Option<(String, String)>,
    /// How many things the reader found.
    pub found: usize,
    pub time: Duration,
    pub peak_bytes: usize,
    pub image: Arc<Image>,
}

struct Source {
    base: Arc<Base>,
    repairer: Box<dyn Repair>,
}

/// A format with its images.
pub struct Target {
    pub format: &'static Format,
    sources: HashMap<String, Source>,
    pub names: Vec<String>,
    watchdog: Watchdog,
}

impl Target {
    /// Loads the images of a format, and watches the time on this thread.
    pub fn new(format: &'static Format) -> Self {
        let images = format.images("");
        let names = images.iter().map(|(name, _)| name.clone()).collect();
        let source = |(name, base): (String, Arc<Base>)| {
            let repairer = (format.repairer)(&base);
            (name, Source { base, repairer })
        };
        Self {
            format,
            sources: images.into_iter().map(source).collect(),
            names,
            watchdog: Watchdog::start(format.name, TIME_MAX),
        }
    }

    /// Returns the image that a genome stands for.
    pub fn build(&self, genome: &Genome) -> Option<Image> {
        let source = self.sources.get(&genome.image)?;
        let mut image = Image::new(Arc::clone(&source.base), genome.len_of(source.base.len));
        for edit in &genome.edits {
            image.write(edit.offset, &edit.bytes);
        }
        if genome.is_repaired && !genome.edits.is_empty() {
            let edited: Vec<Place> = genome
                .edits
                .iter()
                .map(|edit| (edit.offset, edit.bytes.len()))
                .collect();
            source.repairer.repair(&mut image, &edited);
        }
        Some(image)
    }

    /// Runs one image and judges it. `input` is what is kept if it never ends.
    pub fn run(&self, image: Image, input: &Genome) -> Outcome {
        let image = Arc::new(image);
        crate::panics::forget();
        coverage::reset();
        self.watchdog.begin(input);
        let watch = Watch::start();
        let result = catch_unwind(AssertUnwindSafe(|| (self.format.run)(&image)));
        let peak_bytes = watch.peak_bytes();
        let time = self.watchdog.end();
        let failure = if result.is_err() {
            Some(crate::panics::last())
        } else if time > TIME_MAX {
            Some(("slow".to_owned(), format!("took {time:?}")))
        } else if peak_bytes > self.format.bytes_max {
            Some(("memory".to_owned(), format!("held {peak_bytes} bytes")))
        } else {
            None
        };
        Outcome {
            failure,
            found: result.unwrap_or(0),
            time,
            peak_bytes,
            image,
        }
    }
}

/// An input that reached something new, and how long it took.
struct Kept {
    genome: Genome,
    time: Duration,
}

/// The input that is mutated now.
struct Parent {
    genome: Genome,
    seen: Seen,
    image: Arc<Image>,
    children_left: usize,
}

/// The search.
pub struct Search<'a> {
    target: &'a Target,
    kept: Vec<Kept>,
    parent: Option<Parent>,
    pub reached: Reached,
    pub run_count: u64,
    pub time: Duration,
    pub slowest: (Duration, Option<Genome>),
    pub peak_bytes: usize,
    random: Random,
}

impl<'a> Search<'a> {
    pub fn new(target: &'a Target, seed: u64) -> Self {
        Self {
            target,
            kept: vec![],
            parent: None,
            reached: Reached::default(),
            run_count: 0,
            time: Duration::ZERO,
            slowest: (Duration::ZERO, None),
            peak_bytes: 0,
            random: Random::new(seed),
        }
    }

    /// Returns the number of inputs that reached something new.
    pub fn kept_count(&self) -> usize {
        self.kept.len()
    }

    fn run(&mut self, genome: &Genome) -> Option<Outcome> {
        let image = self.target.build(genome)?;
        let outcome = self.target.run(image, genome);
        self.run_count += 1;
        self.time += outcome.time;
        if outcome.time > self.slowest.0 {
            self.slowest = (outcome.time, Some(genome.clone()));
        }
        self.peak_bytes = self.peak_bytes.max(outcome.peak_bytes);
        Some(outcome)
    }

    /// Runs an input and keeps it if it is new, or if `is_wanted`; returns it if it was
    /// kept, and the failure.
    pub fn try_out(
        &mut self,
        genome: Genome,
        is_wanted: bool,
    ) -> (Option<Genome>, Option<(String, String)>) {
        let Some(outcome) = self.run(&genome) else {
            return (None, None);
        };
        let new = self.reached.add();
        if outcome.failure.is_some() {
            return (None, outcome.failure);
        }
        if is_wanted {
            let (kept, time) = (genome.clone(), outcome.time);
            self.kept.push(Kept { genome: kept, time });
            return (Some(genome), None);
        }
        if new.is_empty() {
            return (None, None);
        }
        // What comes by chance (hashes, threads) is of no use.
        let wanted = match self.run(&genome) {
            Some(outcome) if outcome.failure.is_none() => coverage::again(&new),
            _ => return (None, None),
        };
        if wanted.is_empty() {
            return (None, None);
        }
        let genome = self.trim(genome, &wanted);
        let (kept, time) = (genome.clone(), outcome.time);
        self.kept.push(Kept { genome: kept, time });
        (Some(genome), None)
    }

    /// Leaves out the edits that the new things do not need.
    fn trim(&mut self, genome: Genome, wanted: &[Feature]) -> Genome {
        let mut best = genome;
        let mut index = best.edits.len();
        let mut left = TRIM_COUNT_MAX;
        while index > 0 && best.edits.len() > 1 && left > 0 {
            index -= 1;
            left -= 1;
            let mut smaller = best.clone();
            smaller.edits.remove(index);
            let Some(outcome) = self.run(&smaller) else {
                break;
            };
            if outcome.failure.is_none() && coverage::again(wanted).len() == wanted.len() {
                best = smaller;
            }
        }
        best
    }

    /// Makes a new input out of those that were kept.
    pub fn next_genome(&mut self) -> Option<Genome> {
        let mut parent = match self.parent.take() {
            Some(parent) => parent,
            None => self.choose_parent()?,
        };
        let mut genome = parent.genome.clone();
        let random = &mut self.random;
        if random.one_in(8) {
            let other = &self.kept.get(random.below(self.kept.len()))?.genome;
            if other.image == genome.image {
                genome = genome.cross(other, random);
            }
        }
        let child = genome.mutate(&parent.seen, &parent.image, random);
        parent.children_left -= 1;
        if parent.children_left > 0 {
            self.parent = Some(parent);
        }
        Some(child)
    }

    fn choose_parent(&mut self) -> Option<Parent> {
        let count = self.kept.len();
        let mut index = self.random.below(count);
        if self.random.one_in(2) {
            index = count.checked_sub(1)? - self.random.below(count.div_ceil(5));
        }
        while self.kept.get(index)?.time > SLOW && !self.random.one_in(20) {
            index = self.random.below(count);
        }
        let genome = self.kept.get(index)?.genome.clone();
        let outcome = self.run(&genome)?;
        Some(Parent {
            genome,
            seen: Seen {
                places: outcome.image.places(),
                compares: coverage::compares(),
            },
            image: outcome.image,
            children_left: CHILD_COUNT,
        })
    }
}
