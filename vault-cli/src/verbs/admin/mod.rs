//! `mvault admin`

use clap::Subcommand;
use serde_json::{Value, json};
use vault_core::{names::Pattern, store::Registry};

use crate::{failure::Result, session::Session};

mod change;
mod elevate;
mod key;
mod policy;
mod who;

/// Manage a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    area: Area,
}

#[derive(Debug, Subcommand)]
enum Area {
    /// Manage its API keys
    #[command(subcommand)]
    Key(key::Verb),
    /// See and set its policies
    #[command(subcommand)]
    Policy(policy::Verb),
    /// See, approve and reject changes that wait for a second person
    #[command(subcommand)]
    Change(change::Verb),
    Elevate(elevate::Args),
    Who(who::Args),
}

/// What is to be allowed, and for what.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// What for: read, seal, sign, promote, approve, admin, audit; repeat for several
    #[arg(long, value_name = "PERMISSION", required = true)]
    permission: Vec<String>,
    /// For which models; `*` stands for anything
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    models: Pattern,
    /// For which of their channels
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    channels: Pattern,
}

impl Scope {
    /// As the registry has it.
    pub fn to_json(&self) -> Value {
        json!({ "permissions": self.permission, "models": self.models, "channels": self.channels })
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    match &args.area {
        Area::Key(verb) => key::run(verb, session),
        Area::Policy(verb) => policy::run(verb, session),
        Area::Change(verb) => change::run(verb, session),
        Area::Elevate(args) => elevate::run(args, session),
        Area::Who(args) => who::run(args, session),
    }
}

/// All entries of a list that a registry gives in pages. Ids have an order, so a registry cannot make a list last for ever.
fn all(registry: &Registry, name: &str) -> Result<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = registry.get(&format!("{name}?after={after}"))?;
        let entries = page[name].as_array().cloned().unwrap_or_default();
        let last = entries.last().and_then(|entry| entry["id"].as_str()).map(str::to_owned);
        all.extend(entries);
        match last {
            Some(last) if page["more"] == true && last > after && last.bytes().all(|b| b.is_ascii_hexdigit()) => {
                after = last;
            }
            _ => return Ok(json!({ name: all })),
        }
    }
}
