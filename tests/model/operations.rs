//! What can be done to an image, and the model that it is done to as well.

use crate::support::{Rng, number_from_env, say};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Images stay below this; a few leaves of a map, many chunks.
pub const LEN_MAX: u64 = 12 << 20;

#[derive(Debug, Clone)]
pub enum Operation {
    /// Writes bytes of this kind; beyond the end the image grows.
    Write {
        offset: u64,
        len: u64,
        seed: u64,
        fill: Fill,
    },
    /// Cuts or extends with zeros.
    Truncate { len: u64 },
    /// Makes a range zero without changing the length.
    Punch { offset: u64, len: u64 },
    /// Copies bytes of the image to another place of it: equal blocks, any alignment.
    Move { from: u64, to: u64, len: u64 },
    /// Publishes the image as it is.
    Snapshot,
    /// Deletes one of the snapshots that are listed.
    Delete { which: usize },
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub enum Fill {
    Random,
    Text,
    Zeros,
    /// The same block over and over.
    Repeated,
    /// Only the last byte is not zero.
    AlmostZeros,
}

/// Offsets and lengths that matter: blocks, chunks, leaves, and one beside each.
fn place(max: u64) -> impl Strategy<Value = u64> {
    let near = |unit: u64| {
        (0..=max / unit, -1_i64..=1)
            .prop_map(move |(index, beside)| (index * unit).saturating_add_signed(beside).min(max))
    };
    prop_oneof![
        2 => 0..=max,
        4 => near(4096),
        3 => near(65_536),
        1 => near((4 << 20).min(max.max(1))),
    ]
}

fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![
        3 => Just(Fill::Random),
        3 => Just(Fill::Text),
        2 => Just(Fill::Zeros),
        2 => Just(Fill::Repeated),
        1 => Just(Fill::AlmostZeros),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (place(LEN_MAX - (1 << 20)), place(1 << 20), any::<u64>(), fill())
            .prop_map(|(offset, len, seed, fill)| Operation::Write { offset, len, seed: seed % 50, fill }),
        2 => place(LEN_MAX).prop_map(|len| Operation::Truncate { len }),
        3 => (place(LEN_MAX), place(2 << 20)).prop_map(|(offset, len)| Operation::Punch { offset, len }),
        2 => (place(LEN_MAX / 2), place(LEN_MAX / 2), place(1 << 20))
            .prop_map(|(from, to, len)| Operation::Move { from, to, len }),
        4 => Just(Operation::Snapshot),
        1 => any::<usize>().prop_map(|which| Operation::Delete { which }),
    ]
}

/// A sequence that ends with a snapshot.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(operation(), 1..24).prop_map(|mut list| {
        list.push(Operation::Snapshot);
        list
    })
}

/// Returns the bytes that a write brings.
pub fn content(len: u64, seed: u64, fill: Fill) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    let mut rng = Rng::new(seed + 1);
    match fill {
        Fill::Random => rng.fill(&mut bytes),
        Fill::Text => {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = b'a' + ((index as u64 / 7 + seed) % 26) as u8;
            }
        }
        Fill::Zeros => {}
        Fill::Repeated => {
            let mut block = [0; 4096];
            rng.fill(&mut block);
            bytes
                .chunks_mut(4096)
                .for_each(|part| part.copy_from_slice(&block[..part.len()]));
        }
        Fill::AlmostZeros => {
            if let Some(last) = bytes.last_mut() {
                *last = 1;
            }
        }
    }
    bytes
}

/// Writes into the model; the image grows as a file would.
pub fn write(model: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset as usize + bytes.len();
    if model.len() < end {
        model.resize(end, 0);
    }
    model[offset as usize..end].copy_from_slice(bytes);
}

/// Makes a range of the model zero, as far as it reaches.
pub fn punch(model: &mut [u8], offset: u64, len: u64) {
    let end = (offset + len).min(model.len() as u64);
    if offset < end {
        model[offset as usize..end as usize].fill(0);
    }
}

/// Returns what a move writes and where, if there is anything.
pub fn moved(model: &[u8], from: u64, to: u64, len: u64) -> Option<(u64, Vec<u8>)> {
    let end = (from + len).min(model.len() as u64);
    (from < end).then(|| (to, model[from as usize..end as usize].to_vec()))
}

/// Runs `check` on generated sequences. `TINTYPE_MODEL_SEED` repeats a run.
pub fn for_each_sequence(gate_cases: u64, long_cases: u64, check: impl Fn(&[Operation])) {
    let cases = number_from_env("TINTYPE_MODEL_CASES", gate_cases, long_cases);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.map_or(1, |time| time.as_nanos() as u64);
    let seed = number_from_env("TINTYPE_MODEL_SEED", fresh, fresh);
    say(&format!(
        "model: TINTYPE_MODEL_SEED={seed} TINTYPE_MODEL_CASES={cases}"
    ));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&operations(), |list| {
        check(&list);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("with TINTYPE_MODEL_SEED={seed}: {error}");
    }
}
