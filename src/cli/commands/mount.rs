//! `tintype mount`.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use clap::Args;

/// TODO
#[derive(Debug, Args)]
pub struct MountArguments {}

/// TODO
pub fn run(_arguments: &MountArguments, _context: &Context) -> Result<()> {
    Err(Error::Refused("later".to_owned()))
}
