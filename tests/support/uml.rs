//! Whether a user mode kernel runs here.

use super::{Scratch, has_tools, shell_within};
use std::sync::OnceLock;
use std::time::Duration;

/// How long its start may take.
const LIMIT: Duration = Duration::from_secs(60);

const INIT: &str =
    "#!/bin/sh\nmount -t proc proc /proc\n: >$TOLD\necho o >/proc/sysrq-trigger\nsleep 9\n";

/// Tells whether `linux.uml` is here and starts: that of Debian 12 dies at its first program
/// on a processor with more registers than it has room for (AMX).
pub fn is_usable() -> Result<(), String> {
    static USABLE: OnceLock<Result<(), String>> = OnceLock::new();
    USABLE.get_or_init(try_out).clone()
}

fn try_out() -> Result<(), String> {
    has_tools(&["linux.uml"])?;
    let scratch = Scratch::new();
    let (init, told) = (scratch.join("init"), scratch.join("told"));
    let text = INIT.replace("$TOLD", &told.display().to_string());
    std::fs::write(&init, text).expect("a script");
    shell_within(
        LIMIT,
        "chmod +x $INIT; linux.uml mem=64M rootfstype=hostfs rootflags=/ rw init=$INIT con=null \
         con0=null,fd:1 quiet",
        &[("INIT", init.as_os_str())],
    );
    match told.exists() {
        true => Ok(()),
        false => Err("the user mode kernel dies on this processor".to_owned()),
    }
}
