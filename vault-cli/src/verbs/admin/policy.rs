//! `mvault admin policy`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::change::tell_waiting;
use crate::{
    documents,
    failure::{Failure, Result},
    session::Session,
    verbs::whoami::connect,
};

/// The longest file of policies that is read, in bytes; a registry takes less.
const MAX_POLICIES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Show(ShowArgs),
    Set(SetArgs),
}

/// Show the policies in force (Cedar)
///
/// JSON: {"text", "schema"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin policy show > policies.cedar")]
pub struct ShowArgs {}

/// Put policies in the place of those in force
///
/// `mvault-server policy check FILE --tests CASES` says before whether they are well formed and what they allow. Once more than
/// one person administers, another has to approve.
///
/// JSON: {"state": "in-force" | "waiting", "change"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin policy set policies.cedar --reason ticket-4711")]
pub struct SetArgs {
    /// The policies (Cedar)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub fn run(verb: &Verb, session: &Session) -> Result {
    let registry = connect(session)?;
    match verb {
        Verb::Show(_) => {
            let policies = registry.get("policies")?;
            let text = policies["text"].as_str().unwrap_or_default();
            // Policies are shown as they are, line by line, without what could steer a terminal.
            let lines: Vec<_> = text.lines().map(crate::ui::one_line).collect();
            session.ui.result(&lines.join("\n"), &policies)
        }
        Verb::Set(args) => {
            let text = String::from_utf8(documents::read(&args.file, MAX_POLICIES)?)
                .map_err(|_| Failure::usage(format!("{}: is not UTF-8", args.file.display())))?;
            let answer = registry.post("policies", &json!({ "text": text, "reason": args.reason }))?;
            tell_waiting(session, &answer);
            let said = if answer["state"] == "waiting" { "proposed" } else { "in force" };
            session.ui.result(said, &answer)
        }
    }
}
