//! `mvault key import`

use std::path::PathBuf;

use super::{Pair, Protection};
use crate::{
    failure::Result,
    secrets::{PassphraseArgs, Passphrases, load_private},
    session::Session,
};

/// Take over a private key that OpenSSL made
///
/// FILE is PKCS#8 PEM, Ed25519 to sign or X25519 to open; it stays as it is. A key under an OpenSSL passphrase must be
/// decrypted with `openssl pkey` first. Passphrase options are for the new file.
///
/// JSON: {"kind", "key_id", "private", "public"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  openssl genpkey -algorithm ed25519 -out old.pem
  mvault key import old.pem -o release")]
pub struct Args {
    /// The private key to take over
    file: PathBuf,
    /// The new files' name, without .key and .pub
    #[arg(short, long = "output", value_name = "NAME")]
    output: PathBuf,
    /// Leave the private key unencrypted
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let pair = Pair::new(&args.output)?;
    let mut passphrases = Passphrases::new(&args.passphrase);
    let key = load_private(&args.file, &mut passphrases)?;
    let protection = if args.no_passphrase { Protection::None } else { Protection::Passphrase(&mut passphrases) };
    pair.write(&key, protection)?;
    pair.report(&key.public(), session)
}
