//! Which code a run reached and what it compared, if the program was built with the
//! sanitizer's counters (`scripts/fuzz` does); otherwise nothing is ever reached.
//!
//! The callbacks are instrumented too, so none of them may compare anything.
#![expect(
    unsafe_code,
    reason = "the counters are memory that the linker lays out, the callbacks have C names"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counters(&'static mut [u8]);

static COUNTERS: Mutex<Vec<Counters>> = Mutex::new(Vec::new());

/// Compared values: (one, other, width), overwritten at random.
const COMPARE_COUNT: usize = 4096;
static COMPARES: [[AtomicU64; 3]; COMPARE_COUNT] =
    [const { [const { AtomicU64::new(0) }; 3] }; COMPARE_COUNT];

/// Called once for each part of the program, before `main`.
///
/// # Safety
///
/// The linker lays out the range.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let len = stop as usize - start as usize;
    // SAFETY: the range is ours for the life of the program; its bytes are changed by
    // this thread while it runs, and read between runs.
    let counters = unsafe { std::slice::from_raw_parts_mut(start, len) };
    if let Ok(mut all) = COUNTERS.lock() {
        all.push(Counters(counters));
    }
}

fn compared(one: u64, other: u64, width: u64) {
    let mixed = one.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ other.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let index = (mixed >> 52) as usize;
    // SAFETY: 12 bits are below the count. A checked access would compare, and so call
    // this function.
    let slot = unsafe { COMPARES.get_unchecked(index) };
    let [first, second, third] = slot;
    first.store(one, Ordering::Relaxed);
    second.store(other, Ordering::Relaxed);
    third.store(width, Ordering::Relaxed);
}

macro_rules! callbacks {
    ($($name:ident $constant:ident $kind:ty;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name(one: $kind, other: $kind) {
                compared(one as u64, other as u64, size_of::<$kind>() as u64);
            }

            #[unsafe(no_mangle)]
            extern "C" fn $constant(one: $kind, other: $kind) {
                compared(one as u64, other as u64, size_of::<$kind>() as u64);
            }
        )*
    };
}

callbacks! {
    __sanitizer_cov_trace_cmp2 __sanitizer_cov_trace_const_cmp2 u16;
    __sanitizer_cov_trace_cmp4 __sanitizer_cov_trace_const_cmp4 u32;
    __sanitizer_cov_trace_cmp8 __sanitizer_cov_trace_const_cmp8 u64;
}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_cmp1(_: u8, _: u8) {}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_const_cmp1(_: u8, _: u8) {}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_switch(_: u64, _: *const u64) {}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_: *const u8, _: *const u8) {}

/// Forgets what was reached and compared.
pub fn reset() {
    for counters in COUNTERS.lock().expect("no panic inside").iter_mut() {
        counters.0.fill(0);
    }
    for slot in &COMPARES {
        slot[2].store(0, Ordering::Relaxed);
    }
}

/// Returns what a run compared: (one, other, bytes of each).
pub fn compares() -> Vec<(u64, u64, usize)> {
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let all = COMPARES.iter().map(|[one, other, width]| {
        let width = usize::try_from(load(width)).unwrap_or(0);
        (load(one), load(other), width)
    });
    all.filter(|(one, other, width)| *width > 0 && one != other)
        .collect()
}

/// A place that was reached, and how often in steps of a power of 2.
pub type Feature = (usize, u8);

/// Everything that was reached by any run.
#[derive(Default)]
pub struct Reached {
    steps: Vec<u8>,
    pub edge_count: usize,
}

impl Reached {
    /// Adds what the last run reached; returns what of that is new.
    pub fn add(&mut self) -> Vec<Feature> {
        let mut new = vec![];
        each(&mut |position, bit| {
            if self.steps.len() <= position {
                self.steps.resize(position + 1, 0);
            }
            let step = &mut self.steps[position];
            if *step & bit == 0 {
                self.edge_count += usize::from(*step == 0);
                *step |= bit;
                new.push((position, bit));
            }
        });
        new
    }
}

/// Returns those of `features` that the last run reached too.
pub fn again(features: &[Feature]) -> Vec<Feature> {
    let mut found = vec![];
    each(&mut |position, bit| {
        if features.binary_search(&(position, bit)).is_ok() {
            found.push((position, bit));
        }
    });
    found
}

/// Gives all that the last run reached to `visit`, in order.
fn each(visit: &mut dyn FnMut(usize, u8)) {
    let mut first = 0;
    for counters in COUNTERS.lock().expect("no panic inside").iter() {
        let words = counters.0.chunks(8);
        for (position, word) in (first..).step_by(8).zip(words) {
            if word.iter().all(|count| *count == 0) {
                continue;
            }
            for (position, count) in (position..).zip(word) {
                if *count != 0 {
                    visit(position, 1 << count.ilog2());
                }
            }
        }
        first += counters.0.len();
    }
}
