//! `tintype man`, and the reference page of the documentation, from the same source.

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use clap::{Args, Command};
use clap_mangen::Man;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Print the manual page, or write those of all commands into a directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype man | man -l -
  tintype man /usr/local/share/man/man1")]
pub struct ManArguments {
    /// Directory for tintype.1, tintype-create.1 ...
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print docs/reference/cli.md
    #[arg(long, hide = true, conflicts_with = "folder")]
    markdown: bool,
}

/// Prints or writes manual pages.
pub fn run(arguments: &ManArguments, context: &Context) -> Result<()> {
    let command = crate::cli::command();
    if arguments.markdown {
        let text = markdown(command);
        return context
            .output
            .stream(|target| target.write_all(text.as_bytes()));
    }
    let Some(folder) = &arguments.folder else {
        let page = render(command)?;
        return context.output.stream(|target| target.write_all(&page));
    };
    std::fs::create_dir_all(folder).map_err(Error::io(format!("making {}", folder.display())))?;
    let mut paths = vec![];
    write_pages(command, "tintype", folder, &mut paths)?;
    context.output.result(&paths, |target| {
        paths.iter().try_for_each(|path| writeln!(target, "{path}"))
    })
}

fn render(command: Command) -> Result<Vec<u8>> {
    let mut page = vec![];
    // The date would make the page differ from build to build.
    let man = Man::new(command).date("");
    man.render(&mut page)
        .map_err(Error::io("making a manual page"))?;
    Ok(page)
}

fn write_pages(command: Command, name: &str, folder: &Path, paths: &mut Vec<String>) -> Result<()> {
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        write_pages(
            inner.clone(),
            &format!("{name}-{}", inner.get_name()),
            folder,
            paths,
        )?;
    }
    let path = folder.join(format!("{name}.1"));
    // The page's own name is static in clap; leaking a few names once is no loss.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let page = render(command.name(title).disable_help_subcommand(true))?;
    std::fs::write(&path, page).map_err(Error::io(format!("writing {}", path.display())))?;
    paths.push(path.display().to_string());
    Ok(())
}

/// Returns the reference page: the long help of every command.
fn markdown(mut command: Command) -> String {
    command.build();
    let mut text = String::from(
        "# Command line\n\nMade by `tintype man --markdown`; do not edit. `tests/cli` fails if it \
         is out of date.\n\n",
    );
    add_markdown(&mut command, "tintype", &mut text);
    text
}

fn add_markdown(command: &mut Command, name: &str, text: &mut String) {
    // A fixed width, whatever the terminal: the page must not depend on it.
    let mut shown = command
        .clone()
        .term_width(90)
        .max_term_width(90)
        .bin_name(name);
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a string cannot fail.
    let _ok = write!(
        text,
        "## `{name}`\n\n```text\n{}\n```\n\n",
        help.join("\n").trim_end()
    );
    let names: Vec<String> = command
        .get_subcommands()
        .map(|inner| inner.get_name().to_owned())
        .filter(|inner| inner != "help")
        .collect();
    for inner in names {
        if let Some(found) = command.find_subcommand_mut(&inner) {
            add_markdown(found, &format!("{name} {inner}"), text);
        }
    }
}
