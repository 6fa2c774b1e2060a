//! `mvault trust keeps`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::keys::PublicKey;

use crate::{
    failure::{Failure, Result},
    secrets::load_public,
    session::Session,
};

/// List what a key signed in this vault, as the `keeps` of its retirement
///
/// A retired key loses all signatures but those that the trust root lists. A date in a record is a claim and decides
/// nothing, so the list is made now, of what is there now: look it over before you sign it.
///
/// JSON: {"key_id", "keeps": [{"digest", "path"}]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust keeps trainer.pub")]
pub struct Args {
    /// The public key
    #[arg(value_name = "FILE.pub")]
    key: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let PublicKey::Signing(key) = load_public(&args.key)? else {
        let what = format!("{} is a recipient key where a signing key is expected", args.key.display());
        return Err(Failure::usage(what));
    };
    let found = vault.signed_by(&key)?;
    let lines: Vec<_> = found.iter().map(|signed| format!("  \"b3:{}\", # {}\n", signed.digest, signed.path)).collect();
    let lines = lines.concat();
    let object = json!({
        "key_id": key.key_id().to_hex(),
        "keeps": found.iter().map(|s| json!({ "digest": format!("b3:{}", s.digest), "path": s.path })).collect::<Value>(),
    });
    session.ui.result(&format!("status = \"retired\"\nkeeps = [\n{lines}]"), &object)
}
