//! The arguments of the program as a whole. Those of each command stand with it in
//! `commands/`.

use super::commands::{
    cat, completions, copy, cp, create, delete, diff_blocks, drafts, init, inspect, list, ls, man,
    mount, rename, restore, show, stat, stats, tag, tar, tree, umount,
};
use crate::base::parse_byte_len;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Snapshots of disk images: deduplicated, compressed, and shown as files.
///
/// Tintype keeps images of machines and volumes in a store. Equal blocks are stored
/// once, whichever image they are in; holes and zeros cost nothing. A mount shows each
/// snapshot as a read-only directory with the raw image in it.
#[derive(Debug, Parser)]
#[command(name = "tintype", version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
A snapshot is written RESOURCE@NAME, RESOURCE@latest, RESOURCE (its latest), or as the
beginning of its id, at least 4 digits. The latest is the one that was made last in this
store, whatever its time is. `tintype list` shows them all. A file in it is
SNAPSHOT:/path, as the machine sees it while it runs.

The store is the directory given by --store, by TINTYPE_STORE, or else /var/lib/tintype
for root, and $XDG_DATA_HOME/tintype (~/.local/share/tintype) for others.

Examples:
  tintype create web.img                     snapshot an image file as resource \"web\"
  tintype create --resource db /dev/vg0/db   snapshot a logical volume
  tintype list                               what is there
  tintype restore web@latest web-copy.img    bring it back, sparse
  tintype ls -l web:/etc                     files inside a snapshot
  tintype cp -a web:/etc/nginx .             bring them back
  tintype mount /mnt/tintype                 look at everything as files

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 not found, 4 damaged data, 5 no space,
6 not permitted, 7 something is in the way, 8 needs a newer tintype, 128+N ended by signal N.";

/// Options of every command.
#[derive(Debug, Args)]
pub struct GlobalArguments {
    /// Directory of the store
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print results, and errors too, as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no notes and no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more; twice for everything
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::InitArguments),
    Create(create::CreateArguments),
    List(list::ListArguments),
    Show(show::ShowArguments),
    Restore(restore::RestoreArguments),
    Inspect(inspect::InspectArguments),
    Ls(ls::LsArguments),
    Tree(tree::TreeArguments),
    Stat(stat::StatArguments),
    Cat(cat::CatArguments),
    Cp(cp::CpArguments),
    Tar(tar::TarArguments),
    Delete(delete::DeleteArguments),
    Rename(rename::RenameArguments),
    Tag(tag::TagArguments),
    Stats(stats::StatsArguments),
    DiffBlocks(diff_blocks::DiffBlocksArguments),
    Copy(copy::CopyArguments),
    Drafts(drafts::DraftsArguments),
    Mount(mount::MountArguments),
    Umount(umount::UmountArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
}

/// Reads a size for clap.
pub fn byte_len(text: &str) -> Result<u64, String> {
    parse_byte_len(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
