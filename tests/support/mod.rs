//! What the tests that drive the built program share: scratch directories, commands
//! with a limit of time, mounts that never outlive their test, and test images.
//!
//! Nothing here waits without end: a command that exceeds its time is killed with its
//! whole process group, and mounts it may hang on are aborted first, because a process
//! that waits for a FUSE answer does not die of SIGKILL.

// Each test binary uses another part of it.
#![allow(dead_code, unused_imports, unused_macros)]

mod command;
mod images;
mod library;
mod mount;
pub mod reader;
mod saying;
mod scratch;
mod sparse;
mod uml;

pub use command::{
    Finished, kill_group, shell, shell_ok, shell_within, spawn_shell, tintype, tintype_ok,
    wait_until,
};
pub use images::{Rng, dense_image, random_file, sparse_image};
pub use library::{expect_content, listed, open_catalog};
pub use mount::{Fixture, Mount, MountOptions, connection_of, vm_hwm_bytes};
pub use saying::{say, say_skipped};
pub use scratch::{Scratch, is_root, long_run, number_from_env};
pub use sparse::{allocated_bytes, compare_sparse, data_ranges, expected_ranges};

/// Ends the test as skipped, loudly: `scripts/test` counts and repeats these lines.
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::support::say_skipped(module_path!(), &format!($($why)*));
        return;
    }};
}
pub(crate) use skip;

/// Prints a number that a document or an issue promises something about.
macro_rules! measured {
    ($($what:tt)*) => { $crate::support::say(&format!("MEASURED: {}", format!($($what)*))) };
}
pub(crate) use measured;

/// Tells whether all these programs are on PATH.
pub fn has_tools(names: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| {
            let found = std::process::Command::new("sh")
                .args(["-c", "command -v \"$0\" >/dev/null", name])
                .status();
            !found.is_ok_and(|status| status.success())
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("no {}", missing.join(", ")))
    }
}

/// Skips the test unless all of it is here: programs by name, `root`, `fuse`. A user mode
/// kernel must start, too.
macro_rules! needs {
    ($($what:literal),* $(,)?) => {
        if let Err(why) = $crate::support::check_needs(&[$($what),*]) {
            $crate::support::skip!("{why}");
        }
    };
}
pub(crate) use needs;

/// See [`needs`].
pub fn check_needs(needs: &[&str]) -> Result<(), String> {
    for need in needs {
        match *need {
            "root" if !is_root() => return Err("needs root".to_owned()),
            "fuse" => mount::fuse_is_usable()?,
            "linux.uml" => uml::is_usable()?,
            "root" => {}
            tool => has_tools(&[tool])?,
        }
    }
    Ok(())
}
