//! The program `tintype`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tintype::cli::main()
}
