//! `mvault`: all of it is in the library, so that `mvault quickstart` runs the same commands a reader types.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vault_cli::run(&std::env::args_os().collect::<Vec<_>>())
}
