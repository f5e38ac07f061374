//! What goes wrong with single files while a command does the rest. Each is told when it
//! happens; at the end the command fails with a code that fits them all.

use super::context::Context;
use super::error::{Error, Result};
use super::exit_code::{self, Code};
use super::file_text::escape_bytes;
use super::place::Place;
use super::signals;
use crate::export::{self, Property, Report};
use crate::filesystem;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;

/// What was not set, how often, and where first.
struct Lacking {
    count: u64,
    example: String,
}

#[derive(Default)]
struct State {
    failed_count: u64,
    code: Option<Code>,
    lacking: BTreeMap<Property, Lacking>,
}

/// Problems of one command.
pub struct Problems<'a> {
    context: &'a Context,
    state: Mutex<State>,
}

impl<'a> Problems<'a> {
    /// Returns an empty collection.
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            state: Mutex::default(),
        }
    }

    /// Tells an error now, and remembers it for the end.
    pub fn tell(&self, error: &Error) {
        let code = exit_code::of(error, signals::received());
        self.context.output.error(error, code);
        self.remember(code);
    }

    /// Remembers what belongs below a directory and is not shown, which was told before.
    pub fn lacks_parts(&self, place: &Place) {
        for code in place.missing() {
            self.remember(code);
        }
    }

    fn remember(&self, code: Code) {
        let mut state = self.state.lock();
        state.failed_count += 1;
        // Damage is what a script must not miss.
        if code == Code::Damaged || state.code.is_none() {
            state.code = Some(code);
        }
    }

    /// Tells that a file cannot be read.
    pub fn tell_file(&self, place: String, source: filesystem::Error) {
        self.tell(&Error::Files { place, source });
    }

    fn is_any_told(&self) -> bool {
        self.state.lock().failed_count > 0
    }

    /// Returns what tells problems of files below `place`.
    pub fn below(&self, place: String) -> Below<'_> {
        Below {
            problems: self,
            place,
        }
    }

    /// As [`Problems::end`], after `printed` came of standard output. A reader that has seen
    /// enough does not make good what was told before.
    pub fn end_after(self, printed: Result<()>, what: &str) -> Result<()> {
        match &printed {
            Ok(()) | Err(Error::OutputClosed) => {}
            Err(error) if self.is_any_told() => self.tell(error),
            Err(_) => return printed,
        }
        self.end(what)?;
        printed
    }

    /// Warns of what could not be set, and fails if there was any problem. `what` is what
    /// was done with the rest.
    pub fn end(self, what: &str) -> Result<()> {
        let state = self.state.into_inner();
        let mut is_lacking = false;
        for (property, lacking) in &state.lacking {
            let (text, counts) = text_of(*property);
            let (count, example) = (lacking.count, &lacking.example);
            is_lacking |= counts;
            self.context
                .output
                .warn(&format!("{text}: {count}, first of {example}"));
        }
        let (code, message) = match (state.failed_count, state.code) {
            (0, _) | (_, None) if is_lacking => {
                let message = format!("not everything could be set; {what}");
                (Code::Denied, message)
            }
            (0, _) | (_, None) => return Ok(()),
            (1, Some(code)) => (code, format!("1 problem, told above; {what}")),
            (count, Some(code)) => (code, format!("{count} problems, told above; {what}")),
        };
        Err(Error::Incomplete { code, message })
    }
}

/// Returns what to say of a property, and whether its lack is a failure.
const fn text_of(property: Property) -> (&'static str, bool) {
    match property {
        Property::Owner => ("owners not set (that takes root, or --no-owner)", true),
        Property::Mode => ("modes not set", true),
        Property::Times => ("times not set", true),
        Property::Attributes => ("extended attributes not set", true),
        Property::Acl => ("ACLs not set", true),
        Property::Device => ("devices not made (that takes root)", true),
        Property::Socket => ("sockets left out, which tar does not have", false),
    }
}

/// Takes what is reported of files below a place.
pub struct Below<'a> {
    problems: &'a Problems<'a>,
    place: String,
}

impl Below<'_> {
    fn label(&self, path: &[u8]) -> String {
        if path.is_empty() {
            return self.place.clone();
        }
        let slash = if self.place.ends_with('/') { "" } else { "/" };
        format!("{}{slash}{}", self.place, escape_bytes(path))
    }
}

impl Report for Below<'_> {
    fn failed(&self, path: &[u8], error: &export::Error) {
        self.problems.tell(&Error::Incomplete {
            code: exit_code::of_export(error, signals::received()),
            message: format!("{}: {}", self.label(path), crate::store::chain(error)),
        });
    }

    fn lacks(&self, path: &[u8], property: Property, error: &io::Error) {
        let label = self.label(path);
        log::debug!("{label}: {property:?}: {error}");
        let mut state = self.problems.state.lock();
        let lacking = state.lacking.entry(property).or_insert_with(|| Lacking {
            count: 0,
            example: format!("{label} ({error})"),
        });
        lacking.count += 1;
    }
}
