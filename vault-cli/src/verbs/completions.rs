//! `mvault completions`

use serde_json::json;

use crate::{cli, failure::Result, session::Session};

/// Print a shell completion script
///
/// JSON: {"shell", "script"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault completions bash > ~/.local/share/bash-completion/completions/mvault")]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "mvault", &mut script);
    let script = String::from_utf8_lossy(&script);
    session.ui.result(&script, &json!({ "shell": args.shell.to_string(), "script": script }))
}
