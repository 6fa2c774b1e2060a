//! `mvault key passwd`

use std::path::PathBuf;

use serde_json::json;
use vault_core::keys::file;

use super::{Protection, describe};
use crate::{
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, load_private},
    session::Session,
};

/// Change the passphrase of a private key
///
/// The file is replaced in one step. Copies made earlier keep their old passphrase.
///
/// JSON: {"kind", "key_id", "private", "encrypted"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key passwd release.key
  mvault key passwd release.key --passphrase-file old --new-passphrase-file new")]
pub struct Args {
    /// The private key
    file: PathBuf,
    /// Read the new passphrase from the first line of FILE instead of the terminal
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Leave the private key unencrypted
    #[arg(long, conflicts_with = "new_passphrase_file")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let key = load_private(&args.file, &mut Passphrases::new(&args.passphrase))?;
    let mut new = Passphrases::from_file(args.new_passphrase_file.as_ref());
    let protection = if args.no_passphrase { Protection::None } else { Protection::Passphrase(&mut new) };
    file::replace_private(&args.file, &protection.pem(&key, &args.file)?)?;
    let name = args.file.display().to_string();
    let text = if args.no_passphrase {
        format!("{name} is not encrypted any more")
    } else {
        format!("{name} has a new passphrase")
    };
    let mut object = describe(&key.public());
    object["private"] = json!(name);
    object["encrypted"] = json!(!args.no_passphrase);
    session.ui.result(&text, &object)
}
