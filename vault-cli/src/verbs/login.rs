//! `mvault login`

use serde_json::json;
use vault_core::store::{Access, Connection, Registry, Token};

use crate::{failure::Result, registry, secrets::read_token, session::Session};

/// Store an API key or a token for a registry
///
/// The key is read from the terminal, or from the first line of --token-file, `-` being standard input; never from the
/// command line. The registry is asked whether it knows the key before it is stored, readable by this user only, in
/// ~/.local/state/mvault/registries.
///
/// JSON: {"registry", "id", "name", "holder", "means", "groups", "acr", "amr", "grants"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault login https://registry.example/main
  mvault login https://registry.example --token-file key.txt")]
pub struct Args {
    /// The registry
    #[arg(value_name = "URL")]
    url: String,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let given = &session.global.registry;
    let authorities = registry::authorities(given)?;
    let token = read_token(given.token_file.as_ref(), &args.url)?;
    let certificate = registry::certificate(given)?;
    let access = Access { token: Some(Token::new(token.clone())?), certificate, authorities, through: true };
    let asked = Registry::connect(&args.url, &Connection { access, ..session.connection() })?;
    let mut who = asked.get("whoami")?;
    registry::keep(asked.address(), &token)?;
    let text = format!("{} knows you as {}", asked.address().origin(), super::whoami::name(&who));
    who["registry"] = json!(asked.address().origin());
    session.ui.result(&text, &who)
}
