//! `mvault admin`

use clap::Subcommand;
use serde_json::{Value, json};
use vault_core::names::Pattern;

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
