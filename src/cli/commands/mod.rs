//! One file for each command: its arguments, its help, and what it does.

pub mod cat;
pub mod completions;
pub mod copy;
pub mod cp;
pub mod create;
pub mod delete;
pub mod diff_blocks;
pub mod drafts;
pub mod init;
pub mod inspect;
pub mod list;
pub mod ls;
pub mod man;
pub mod mount;
pub mod rename;
pub mod restore;
pub mod show;
pub mod stat;
pub mod stats;
pub mod tag;
pub mod tar;
pub mod tree;
pub mod umount;

use super::args::Command;
use super::context::Context;
use super::error::{Error, Result};
use super::sys;

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Result<()> {
    if prints(&command, context) {
        // Before anything is done whose result nobody would get.
        sys::check_output().map_err(Error::output)?;
    }
    match command {
        Command::Init(arguments) => init::run(&arguments, context),
        Command::Create(arguments) => create::run(arguments, context),
        Command::List(arguments) => list::run(&arguments, context),
        Command::Show(arguments) => show::run(&arguments, context),
        Command::Restore(arguments) => restore::run(&arguments, context),
        Command::Inspect(arguments) => inspect::run(&arguments, context),
        Command::Ls(arguments) => ls::run(&arguments, context),
        Command::Tree(arguments) => tree::run(&arguments, context),
        Command::Stat(arguments) => stat::run(&arguments, context),
        Command::Cat(arguments) => cat::run(&arguments, context),
        Command::Cp(arguments) => cp::run(&arguments, context),
        Command::Tar(arguments) => tar::run(&arguments, context),
        Command::Delete(arguments) => delete::run(&arguments, context),
        Command::Rename(arguments) => rename::run(&arguments, context),
        Command::Tag(arguments) => tag::run(&arguments, context),
        Command::Stats(arguments) => stats::run(&arguments, context),
        Command::DiffBlocks(arguments) => diff_blocks::run(&arguments, context),
        Command::Copy(arguments) => copy::run(&arguments, context),
        Command::Drafts(arguments) => drafts::run(arguments, context),
        Command::Mount(arguments) => mount::run(&arguments, context),
        Command::Umount(arguments) => umount::run(&arguments, context),
        Command::Completions(arguments) => completions::run(&arguments, context),
        Command::Man(arguments) => man::run(&arguments, context),
    }
}

/// Tells whether standard output is what a command is for, or tells what it did. Mounts
/// are made by services that have none; `cp` prints to standard error.
const fn prints(command: &Command, context: &Context) -> bool {
    match command {
        Command::Mount(_) | Command::Umount(_) => false,
        Command::Cp(_) => context.output.is_json(),
        _ => true,
    }
}
