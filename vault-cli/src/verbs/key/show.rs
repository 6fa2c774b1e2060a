//! `mvault key show`

use std::path::{Path, PathBuf};

use serde_json::json;
use vault_core::keys::PublicKey;

use super::describe;
use crate::{
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, holds_private_key, load_private, load_public, load_reference, token_uri},
    session::Session,
};

/// Show what a key file holds: kind, key id, public key
///
/// For an encrypted private key the passphrase is asked, and with it checked. Of a key that another program keeps, what
/// the file says about it is shown; the program is not run. KEY may also be a pkcs11: URI; no PIN is asked.
///
/// JSON: {"kind", "key_id", "private", "public_pem", "keeper"}; "private" says whether the file holds a private key,
/// "keeper" is the program that keeps it instead, or null
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key show release.pub
  mvault key show release.key")]
pub struct Args {
    /// A private or public key
    #[arg(value_name = "KEY")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// What a key argument leads to.
pub(super) struct Look {
    pub(super) key: PublicKey,
    /// Whether the private half is in the file.
    private: bool,
    /// What keeps the private half instead.
    keeper: Option<String>,
}

pub(super) fn look(path: &Path, passphrase: &PassphraseArgs) -> Result<Look> {
    if let Some(uri) = token_uri(path)? {
        return Ok(Look { key: load_public(path)?, private: false, keeper: Some(uri.describe_token()) });
    }
    if !holds_private_key(path)? {
        return Ok(Look { key: load_public(path)?, private: false, keeper: None });
    }
    if let Some(reference) = load_reference(path)? {
        let keeper = Some(reference.invocation.program().to_owned());
        return Ok(Look { key: reference.public, private: false, keeper });
    }
    let key = load_private(path, &mut Passphrases::new(passphrase))?.public();
    Ok(Look { key, private: true, keeper: None })
}

pub fn run(args: &Args, session: &Session) -> Result {
    let Look { key, private, keeper } = look(&args.file, &args.passphrase)?;
    let half = match &keeper {
        Some(keeper) => format!("kept by {keeper}"),
        None => if private { "private" } else { "public" }.to_owned(),
    };
    let text = format!("{} key, {half}\nkey id: {}\n{}", key.kind_str(), key.key_id(), key.to_pem());
    let mut object = describe(&key);
    object["private"] = json!(private);
    object["public_pem"] = json!(key.to_pem());
    object["keeper"] = json!(keeper);
    session.ui.result(&text, &object)
}
