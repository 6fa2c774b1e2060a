//! `mvault admin key`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Scope, change::tell_waiting};
use crate::{
    cli::duration,
    failure::{Failure, Result},
    session::Session,
    ui::table,
    verbs::whoami::{connect, grant, text},
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    List(ListArgs),
    Add(AddArgs),
    Disable(DisableArgs),
    Rotate(RotateArgs),
}

/// List the keys, without what is secret
///
/// JSON: {"keys": [{"id", "name", "holder", "grants", "created", "expires", "disabled", "counts", "last_use"}]}; the
/// last is what the instance that answers has seen since it began
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin key list")]
pub struct ListArgs {}

/// Add a key, and show it once
///
/// Once more than one person administers, it counts when another of them has approved.
///
/// JSON: {"id", "key", "state": "in-force" | "waiting", "change"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin key add trainer --permission read --permission seal --models 'llama-*'
  mvault --vault https://registry.example/main admin key add node-7 --permission read --expires-in 90d")]
pub struct AddArgs {
    /// What people call it
    #[arg(value_name = "NAME")]
    name: String,
    /// The person behind it, where two different people are needed [default: NAME]
    #[arg(long, value_name = "PERSON")]
    holder: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// From which network only, such as 10.0.0.0/8; repeat for several [default: from anywhere]
    #[arg(long, value_name = "CIDR")]
    network: Vec<String>,
    /// Why, for whoever has to approve
    #[arg(long, value_name = "TEXT", default_value = "none given")]
    reason: String,
    /// When it ceases to count, such as 12h, 90d [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<std::time::Duration>,
}

/// Disable a key, for ever
///
/// JSON: {}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin key disable 0123456789abcdef")]
pub struct DisableArgs {
    /// The key's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Replace a key by a new one with the same rights, and show that once
///
/// To replace the key of another person, once more than one administers, a second person has to approve.
///
/// JSON: {"id", "key", "state": "in-force" | "waiting", "change"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main admin key rotate 0123456789abcdef --overlap 24h")]
pub struct RotateArgs {
    /// The key's id
    #[arg(value_name = "ID")]
    id: String,
    /// How long the old one goes on counting, at most 30d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    overlap: std::time::Duration,
}

pub fn run(verb: &Verb, session: &Session) -> Result {
    let registry = connect(session)?;
    match verb {
        Verb::List(_) => {
            let keys = super::all(&registry, "keys")?;
            let head = ["ID", "NAME", "HOLDER", "COUNTS", "EXPIRES", "MAY"].map(str::to_owned).to_vec();
            let rows = keys["keys"].as_array().into_iter().flatten().map(row);
            session.ui.result(&table(&[head].into_iter().chain(rows).collect::<Vec<_>>()), &keys)
        }
        Verb::Add(args) => {
            let mut scope = args.scope.to_json();
            scope["networks"] = json!(args.network);
            let expires = args.expires_in.map(expiry).transpose()?;
            let wanted = json!({
                "name": args.name, "holder": args.holder, "grants": [scope], "expires": expires, "reason": args.reason,
            });
            show_once(session, &registry.post("keys", &wanted)?)
        }
        Verb::Disable(args) => {
            let answer = registry.post(&format!("keys/{}/disable", id(&args.id)?), &json!({}))?;
            session.ui.result("disabled", &answer)
        }
        Verb::Rotate(args) => {
            let overlap = json!({ "overlap_seconds": args.overlap.as_secs() });
            show_once(session, &registry.post(&format!("keys/{}/rotate", id(&args.id)?), &overlap)?)
        }
    }
}

/// It stands in a path.
pub fn id(text: &str) -> Result<&str> {
    let is_id = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_id { Ok(text) } else { Err(Failure::usage(format!("{text:?} is not an id"))) }
}

fn expiry(after: std::time::Duration) -> Result<String> {
    let at = jiff::Timestamp::now().checked_add(after);
    at.map(|time| time.to_string()).map_err(|_| Failure::usage("no key lives that long"))
}

fn show_once(session: &Session, key: &Value) -> Result {
    session.ui.note("keep it now: it is shown this once");
    tell_waiting(session, key);
    session.ui.result(&text(&key["key"]), key)
}

fn row(key: &Value) -> Vec<String> {
    let grants: Vec<_> =
        key["grants"].as_array().into_iter().flatten().map(|one| grant(one).trim().to_owned()).collect();
    let counts = match (key["counts"].as_bool(), key["disabled"].as_bool()) {
        (Some(true), _) => "yes",
        (_, Some(true)) => "disabled",
        _ => "expired",
    };
    vec![
        text(&key["id"]),
        text(&key["name"]),
        text(&key["holder"]),
        counts.into(),
        text(&key["expires"]),
        grants.join("; "),
    ]
}
