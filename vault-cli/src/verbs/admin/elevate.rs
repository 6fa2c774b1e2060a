//! `mvault admin elevate`

use serde_json::json;
use vault_core::names::Pattern;

use super::change::tell_waiting;
use crate::{cli::duration, failure::Result, session::Session, verbs::whoami::connect};

/// Ask for rights for a while, which another person has to approve
///
/// JSON: {"state": "waiting", "change"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin elevate --permission promote --models llama-ft --reason incident-4711")]
pub struct Args {
    /// What for: read, seal, sign, promote, approve, audit; repeat for several
    #[arg(long, value_name = "PERMISSION", required = true)]
    permission: Vec<String>,
    /// For which models; `*` stands for anything
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    models: Pattern,
    /// For which of their channels
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    channels: Pattern,
    /// For how long from the approval on, at most 24h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "1h")]
    time: std::time::Duration,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let wanted = json!({
        "permissions": args.permission, "models": args.models, "channels": args.channels,
        "seconds": args.time.as_secs(), "reason": args.reason,
    });
    let answer = connect(session)?.post("elevations", &wanted)?;
    tell_waiting(session, &answer);
    session.ui.result("asked", &answer)
}
