//! `mvault admin change`

use clap::Subcommand;
use serde_json::{Value, json};

use super::key::id;
use crate::{
    failure::Result,
    session::Session,
    ui::table,
    verbs::whoami::{connect, text},
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    List(ListArgs),
    Approve(ApproveArgs),
    Reject(RejectArgs),
}

/// List what waits for a second person: everything for administrators, their own for others
///
/// JSON: {"changes": [{"id", "by", "holder", "reason", "created", "expires", "changes"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin change list")]
pub struct ListArgs {}

/// Approve a change that another person proposed: it counts from then on
///
/// Read with `list --json` what it is before.
///
/// JSON: {"state": "in-force"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin change approve 0123456789abcdef")]
pub struct ApproveArgs {
    /// The change's id
    #[arg(value_name = "ID")]
    id: String,
}

/// End a change that waits
///
/// JSON: {"state": "rejected"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin change reject 0123456789abcdef")]
pub struct RejectArgs {
    /// The change's id
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(verb: &Verb, session: &Session) -> Result {
    let registry = connect(session)?;
    match verb {
        Verb::List(_) => {
            let changes = super::all(&registry, "changes")?;
            let head = ["ID", "PROPOSED BY", "UNTIL", "WHAT", "REASON"].map(str::to_owned).to_vec();
            let rows = changes["changes"].as_array().into_iter().flatten().map(row);
            session.ui.result(&table(&[head].into_iter().chain(rows).collect::<Vec<_>>()), &changes)
        }
        Verb::Approve(args) => {
            let answer = registry.post(&format!("changes/{}/approve", id(&args.id)?), &json!({}))?;
            session.ui.result("approved: it counts within two seconds", &answer)
        }
        Verb::Reject(args) => {
            let answer = registry.post(&format!("changes/{}/reject", id(&args.id)?), &json!({}))?;
            session.ui.result("rejected", &answer)
        }
    }
}

/// Says what became of a change, if it did not count at once.
pub fn tell_waiting(session: &Session, answer: &Value) {
    if answer["state"] == "waiting" {
        let change = text(&answer["change"]);
        session.ui.note(&format!("it waits for another administrator, who runs: mvault admin change approve {change}"));
    }
}

fn row(proposal: &Value) -> Vec<String> {
    let what: Vec<_> = proposal["changes"].as_array().into_iter().flatten().map(|one| text(&one["event"])).collect();
    let by = format!("{} ({})", text(&proposal["holder"]), text(&proposal["by"]));
    vec![text(&proposal["id"]), by, text(&proposal["expires"]), what.join(", "), text(&proposal["reason"])]
}
