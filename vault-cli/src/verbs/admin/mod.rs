//! `mvault admin`

use clap::Subcommand;

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

pub fn run(args: &Args, session: &Session) -> Result {
    match &args.area {
        Area::Key(verb) => key::run(verb, session),
        Area::Policy(verb) => policy::run(verb, session),
        Area::Change(verb) => change::run(verb, session),
        Area::Elevate(args) => elevate::run(args, session),
        Area::Who(args) => who::run(args, session),
    }
}
