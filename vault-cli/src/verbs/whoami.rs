//! `mvault whoami`

use serde_json::Value;
use vault_core::store::Registry;

use crate::{failure::Result, session::Session, ui::one_line};

/// Ask a registry who you are to it, and what you may do
///
/// The registry is that of --vault.
///
/// What policies allow besides is not shown.
///
/// JSON: {"id", "name", "holder", "means", "groups", "acr", "amr", "grants": [{"permissions", "models", "channels"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault --vault https://registry.example/main whoami")]
pub struct Args {}

pub fn run(_: &Args, session: &Session) -> Result {
    let who = connect(session)?.get("whoami")?;
    let mut lines = vec![name(&who)];
    let groups: Vec<_> = who["groups"].as_array().into_iter().flatten().map(text).collect();
    if !groups.is_empty() {
        lines.push(format!("  in the groups {}", groups.join(", ")));
    }
    lines.extend(who["grants"].as_array().into_iter().flatten().map(grant));
    session.ui.result(&lines.join("\n"), &who)
}

/// The registry that the vault is in.
pub fn connect(session: &Session) -> Result<Registry> {
    let url = session.vault_url()?;
    Ok(Registry::connect(url, &session.reach(url, &session.connection())?)?)
}

/// A name and an id, as the registry gives them.
pub fn name(who: &Value) -> String {
    format!("{} ({})", text(&who["name"]), text(&who["id"]))
}

/// One grant in words.
pub fn grant(grant: &Value) -> String {
    let permissions: Vec<_> = grant["permissions"].as_array().into_iter().flatten().map(text).collect();
    format!("  {} for models {}, channels {}", permissions.join(", "), text(&grant["models"]), text(&grant["channels"]))
}

/// What a registry says is shown on a terminal.
pub fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or("-"))
}
