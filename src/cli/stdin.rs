//! Standard input as the source of an image, which a signal can interrupt while it
//! waits for bytes.

use crate::base::Progress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, StdinLock};
use std::os::fd::AsFd;
use std::sync::Arc;

/// How long a wait goes on before the wish to stop is looked at.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Standard input; reading it fails soon after `progress` is cancelled.
pub struct Stdin {
    input: StdinLock<'static>,
    progress: Arc<Progress>,
}

impl Stdin {
    /// Takes standard input for itself.
    pub fn new(progress: &Arc<Progress>) -> Self {
        Self {
            input: io::stdin().lock(),
            progress: Arc::clone(progress),
        }
    }

    fn is_ready(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, Some(&WAIT)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Stdin {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.progress.is_cancelled() {
                return Err(io::Error::other("interrupted"));
            }
            if self.is_ready()? {
                // Past the buffer of `StdinLock`: poll knows nothing of what is in it.
                return Ok(rustix::io::read(self.input.as_fd(), target)?);
            }
        }
    }
}
