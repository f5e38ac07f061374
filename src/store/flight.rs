//! One loading of a chunk at a time, however many threads want it.

use super::error::{Error, Result};
use crate::base::ChunkId;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;

/// The content of a chunk, shared by its readers.
pub type Content = Arc<Vec<u8>>;

#[derive(Debug, Default)]
struct Flight {
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiter_count: usize,
    /// What the waiters get; `None` inside means "load it yourself".
    result: Option<Option<Result<Content>>>,
}

/// Loadings that are under way.
#[derive(Debug, Default)]
pub struct Flights {
    flights: Mutex<HashMap<ChunkId, Arc<Flight>>>,
}

/// What a thread that wants a chunk is to do.
pub enum Boarding<'a> {
    /// Load it, and say what came of it.
    Lead(Lead<'a>),
    /// Another thread has loaded it meanwhile.
    Landed(Result<Content>),
    /// Another thread has loaded it meanwhile and did not keep it: ask again.
    Again,
}

/// The duty to load a chunk. Dropped without a landing, it sends the others to load
/// for themselves, so that a panic never lets them wait for ever.
pub struct Lead<'a> {
    flights: &'a Flights,
    chunk: ChunkId,
    flight: Arc<Flight>,
}

impl Flights {
    /// Becomes the loader of `chunk`, or waits for the one who is.
    pub fn board(&self, chunk: &ChunkId) -> Boarding<'_> {
        let flight = {
            let mut flights = self.flights.lock();
            match flights.get(chunk) {
                Some(flight) => Arc::clone(flight),
                None => {
                    let flight = Arc::new(Flight::default());
                    flights.insert(*chunk, Arc::clone(&flight));
                    return Boarding::Lead(Lead {
                        flights: self,
                        chunk: *chunk,
                        flight,
                    });
                }
            }
        };
        let mut state = flight.state.lock();
        state.waiter_count += 1;
        while state.result.is_none() {
            flight.landed.wait(&mut state);
        }
        match &state.result {
            Some(Some(Ok(content))) => Boarding::Landed(Ok(Arc::clone(content))),
            Some(Some(Err(error))) => Boarding::Landed(Err(error.duplicate())),
            Some(None) | None => Boarding::Again,
        }
    }
}

impl Lead<'_> {
    /// Tells whether others wait for the content.
    pub fn has_waiters(&self) -> bool {
        self.flight.state.lock().waiter_count > 0
    }

    /// Hands the outcome to all who wait.
    pub fn land(self, result: Option<Result<Content, &Error>>) {
        let shared = result.map(|outcome| outcome.map_err(Error::duplicate));
        self.flight.state.lock().result = Some(shared);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Removed first: who comes now begins a flight of his own.
        self.flights.flights.lock().remove(&self.chunk);
        let mut state = self.flight.state.lock();
        if state.result.is_none() {
            state.result = Some(None);
        }
        self.flight.landed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn many_readers_share_one_loading() {
        let flights = Flights::default();
        let chunk = ChunkId([1; 32]);
        let loads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match flights.board(&chunk) {
                    Boarding::Lead(lead) => {
                        std::thread::sleep(Duration::from_millis(50));
                        loads.fetch_add(1, Ordering::Relaxed);
                        lead.land(Some(Ok(Arc::new(vec![7]))));
                    }
                    Boarding::Landed(content) => assert_eq!(*content.unwrap(), [7]),
                    Boarding::Again => panic!("it was handed over"),
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_loader_that_gives_up_lets_the_others_go_on() {
        let flights = Flights::default();
        let chunk = ChunkId([1; 32]);
        let Boarding::Lead(lead) = flights.board(&chunk) else {
            panic!("nobody else is here")
        };
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(flights.board(&chunk), Boarding::Again));
            while !lead.has_waiters() {
                std::thread::yield_now();
            }
            drop(lead);
            assert!(waiter.join().unwrap());
        });
    }
}
