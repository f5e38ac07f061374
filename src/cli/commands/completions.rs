//! `tintype completions`.

use crate::cli::context::Context;
use crate::cli::error::Result;
use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype completions bash > /etc/bash_completion.d/tintype
  tintype completions zsh > ~/.zfunc/_tintype
  tintype completions fish > ~/.config/fish/completions/tintype.fish")]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints completions.
pub fn run(arguments: &CompletionsArguments, context: &Context) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(
        arguments.shell,
        &mut crate::cli::command(),
        "tintype",
        &mut script,
    );
    context.output.stream(|target| target.write_all(&script))
}
