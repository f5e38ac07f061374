//! `tintype drafts`.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use clap::Args;

/// TODO
#[derive(Debug, Args)]
pub struct DraftsArguments {}

/// TODO
pub fn run(_arguments: DraftsArguments, _context: &Context) -> Result<()> {
    Err(Error::Refused("later".to_owned()))
}
