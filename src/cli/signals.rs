//! SIGINT, SIGTERM and SIGHUP: the first one asks the work to stop and clean up, the
//! second ends the program at once. Without work to stop, the first one ends it. What
//! whoever started the program has it ignore (`nohup`) stays ignored.

use super::error::{Error, Result};
use super::sys;
use crate::base::Progress;
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// What is done when a signal comes.
type Handler = Box<dyn FnOnce() + Send>;

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// Begins to catch the signals, on a thread of their own.
pub fn install() -> Result<()> {
    let action = "catching signals";
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let caught = caught.filter(|signal| !sys::is_ignored(*signal));
    let mut signals = Signals::new(caught).map_err(Error::io(action))?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let spawned = thread.spawn(move || {
        for signal in signals.forever() {
            receive(signal);
        }
    });
    spawned.map(drop).map_err(Error::io(action))
}

fn receive(signal: i32) {
    RECEIVED.store(signal, Ordering::SeqCst);
    // Taken, so that the next signal finds none.
    let handler = HANDLER.lock().take();
    match handler {
        Some(handler) => handler(),
        None => std::process::exit(signal.saturating_add(128)),
    }
}

/// Returns the signal that the program received.
pub fn received() -> Option<u8> {
    u8::try_from(RECEIVED.load(Ordering::SeqCst))
        .ok()
        .filter(|signal| *signal != 0)
}

/// Until it drops, a signal calls the handler instead of ending the program.
#[derive(Debug)]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        *HANDLER.lock() = None;
    }
}

/// Calls `handler` on the first signal.
pub fn on_signal(handler: impl FnOnce() + Send + 'static) -> Guard {
    *HANDLER.lock() = Some(Box::new(handler));
    Guard(())
}

/// Cancels `progress` on the first signal.
pub fn cancel_on_signal(progress: &Arc<Progress>) -> Guard {
    let progress = Arc::clone(progress);
    on_signal(move || progress.cancel())
}
