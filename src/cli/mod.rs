//! The command line: arguments, output, progress, signals and exit codes. It builds
//! the other modules and decides nothing that belongs to them; it is the only part
//! that prints, and [`settings`] the only one that reads the environment.

mod args;
mod background;
mod commands;
mod context;
mod error;
mod exit_code;
mod file_text;
mod file_view;
mod gaps;
mod listing;
mod logging;
mod output;
mod place;
mod problems;
mod progress_display;
pub mod settings;
mod signals;
mod stdin;
mod substitutes;
mod sys;
mod table;
mod view;

use args::Arguments;
use clap::{CommandFactory, FromArgMatches};
use context::Context;
use error::Error;
use exit_code::Code;
use settings::Settings;
use std::process::ExitCode;

/// Runs the program with the arguments of the process and returns its exit code.
pub fn main() -> ExitCode {
    sys::share_one_heap();
    let settings = Settings::from_environment();
    let matches = match Arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // clap prints to the right stream; a closed one is nobody's loss.
            drop(error.print());
            return if error.use_stderr() {
                Code::Usage
            } else {
                Code::Success
            }
            .into();
        }
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return Code::Usage.into();
        }
    };
    logging::start(arguments.global.verbose, arguments.global.quiet);
    let context = Context::new(settings, arguments.global);
    let result = signals::install().and_then(|()| commands::run(arguments.command, &context));
    match result {
        Ok(()) => Code::Success.into(),
        // Whoever reads our output has seen enough, and no problem was told.
        Err(Error::OutputClosed) => Code::Success.into(),
        Err(error) => {
            let code = exit_code::of(&error, signals::received());
            context.output.error(&error, code);
            code.into()
        }
    }
}

/// Returns the description of all arguments, for manual pages and completions.
fn command() -> clap::Command {
    Arguments::command()
}
