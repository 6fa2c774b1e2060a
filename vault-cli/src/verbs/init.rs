//! `mvault init`

use serde_json::json;
use vault_core::{store::Store, vault::Vault};

use crate::{failure::Result, session::Session};

/// Make a vault of a new or empty folder
///
/// The folder is made if it is not there. One that holds anything is refused.
///
/// JSON: {"vault", "vault_id"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault init /srv/models
  mvault --vault /srv/models init")]
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
    let vault = Vault::init(Store::create_url(&url, &Session::reach(&url, &session.connection())?)?)?;
    let text = format!("made an empty vault at {url}, id {}", vault.id());
    session.ui.result(&text, &json!({ "vault": url, "vault_id": vault.id() }))
}
