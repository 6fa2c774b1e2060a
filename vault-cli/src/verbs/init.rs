//! `mvault init`

use serde_json::json;
use vault_core::vault::Vault;

use crate::{failure::Result, session::Session};

/// Make a vault of a new or empty folder, or of an empty place in a bucket
///
/// A folder is made if it is not there; a bucket must be there. What holds anything already is refused.
///
/// JSON: {"vault", "vault_id"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault init /srv/models
  mvault --vault /srv/models init
  mvault init s3://models/production")]
pub struct Args {
    /// Where; instead of --vault
    #[arg(value_name = "VAULT")]
    location: Option<String>,
}

pub fn run(args: Args, session: &Session) -> Result {
    let url = match args.location {
        Some(location) => location,
        None => session.vault_url()?.to_owned(),
    };
    let vault = Vault::init(session.new_store(&url)?)?;
    let text = format!("made an empty vault at {url}, id {}", vault.id());
    session.ui.result(&text, &json!({ "vault": url, "vault_id": vault.id() }))
}
