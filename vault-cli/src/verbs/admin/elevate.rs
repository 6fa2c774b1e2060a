//! `mvault admin elevate`

use serde_json::json;

use super::{Scope, change::tell_waiting};
use crate::{cli::duration, failure::Result, session::Session, verbs::whoami::connect};

/// Ask for rights for a while, which another person has to approve
///
/// JSON: {"state": "waiting", "change"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin elevate --permission promote --models llama-ft --reason incident-4711")]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
    /// For how long from the approval on, at most 24h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "1h")]
    time: std::time::Duration,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let mut wanted = args.scope.to_json();
    wanted["seconds"] = json!(args.time.as_secs());
    wanted["reason"] = json!(args.reason);
    let answer = connect(session)?.post("elevations", &wanted)?;
    tell_waiting(session, &answer);
    session.ui.result("asked", &answer)
}
