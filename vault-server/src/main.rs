//! `mvault-server`, the registry beside a vault. Not there yet: a later release fills it. Everything `mvault` does works on a
//! directory without it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::print_stderr, reason = "all this program has to say")]
    {
        eprintln!("error: mvault-server is not part of this release; mvault works on a directory without a server");
    }
    ExitCode::from(2)
}
