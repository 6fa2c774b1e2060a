//! `mvault log init`

use serde_json::json;
use vault_core::{
    Error,
    log::{KeyName, Log},
};

use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// Start the log of a vault
///
/// From then on every command that changes the vault adds an entry. Records that are there already are added by `mvault log
/// append`. The name of the log stands in every checkpoint, and is best the address it is served under, without `https://`.
///
/// JSON: {"origin"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log init
  mvault log init --origin registry.example.com/models/log")]
pub struct Args {
    /// The name of the log [default: a random one]
    #[arg(long, value_name = "NAME")]
    origin: Option<KeyName>,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = Log::init(vault.store(), args.origin.clone()).map_err(|error| match error {
        Error::Corrupt { .. } => Failure::from(error)
            .prefixed("log/genesis.json: ")
            .hint("somebody else put it there, and it is the start of no log: delete it, and do this again"),
        other => other.into(),
    })?;
    let text = format!("started the log {}\n  next: mvault log append; mvault log publish --key …", log.origin());
    session.ui.result(&text, &json!({ "origin": log.origin().as_str() }))
}
