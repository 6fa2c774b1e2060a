//! `mvault key export`

use std::path::PathBuf;

use serde_json::json;
use vault_core::keys::file;

use super::{describe, show::look};
use crate::{failure::Result, secrets::PassphraseArgs, session::Session};

/// Write the public half of a key to a file, or show it
///
/// KEY is whatever can be given as a private key, or a public key. A private key itself is never shown. Nothing that
/// exists is overwritten.
///
/// JSON: {"kind", "key_id", "public", "public_pem"}; "public" is the file, or null
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key export release.key -o release.pub")]
pub struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: PathBuf,
    /// The file to make; standard output, if left out
    #[arg(short, long = "output", value_name = "FILE.pub")]
    output: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let key = look(&args.key, &args.passphrase)?.key;
    let pem = key.to_pem();
    if let Some(path) = &args.output {
        file::write_public(path, &pem)?;
    }
    let path = args.output.as_ref().map(|path| path.display().to_string());
    let mut object = describe(&key);
    object["public"] = json!(path);
    object["public_pem"] = json!(pem);
    session.ui.result(&path.unwrap_or(pem), &object)
}
