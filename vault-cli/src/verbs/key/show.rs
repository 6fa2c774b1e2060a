//! `mvault key show`

use std::path::PathBuf;

use serde_json::json;

use super::describe;
use crate::{
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, holds_private_key, load_private, load_public},
    session::Session,
};

/// Show what a key file holds: kind, key id, public key
///
/// For an encrypted private key the passphrase is asked, and with it checked.
///
/// JSON: {"kind", "key_id", "private", "public_pem"}; "private" says whether the file holds a private key
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key show release.pub
  mvault key show release.key")]
pub struct Args {
    /// A private or public key
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let private = holds_private_key(&args.file)?;
    let key = if private {
        load_private(&args.file, &mut Passphrases::new(&args.passphrase))?.public()
    } else {
        load_public(&args.file)?
    };
    let half = if private { "private" } else { "public" };
    let text = format!("{} key, {half}\nkey id: {}\n{}", key.kind_str(), key.key_id(), key.to_pem());
    let mut object = describe(&key);
    object["private"] = json!(private);
    object["public_pem"] = json!(key.to_pem());
    session.ui.result(&text, &object)
}
