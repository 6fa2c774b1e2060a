//! `mvault logout`

use serde_json::json;
use vault_core::store::Address;

use crate::{failure::Result, registry, session::Session};

/// Forget the API key for a registry
///
/// The key goes on counting there until somebody disables it (`mvault admin key disable`).
///
/// JSON: {"registry", "forgotten"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault logout https://registry.example")]
pub struct Args {
    /// The registry
    #[arg(value_name = "URL")]
    url: String,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let address = Address::parse(&args.url)?;
    let forgotten = registry::forget(&address)?;
    let text = if forgotten { "the key is forgotten" } else { "there was no key" };
    session.ui.result(text, &json!({ "registry": address.origin(), "forgotten": forgotten }))
}
