//! `mvault key generate`

use std::path::PathBuf;

use clap::ValueEnum;
use vault_core::keys::{Identity, PrivateKey, RecipientKind, SigningKey};

use super::{Pair, Protection};
use crate::{
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases},
    session::Session,
};

/// Make a new key: NAME.key and NAME.pub
///
/// NAME.key is readable by its owner only and encrypted under a passphrase. Nothing that exists is overwritten.
///
/// JSON: {"kind", "key_id", "private", "public"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key generate --kind signing -o release
  mvault key generate --kind recipient -o node --passphrase-file node.pass")]
pub struct Args {
    /// What it is for: signing what is sealed, or opening it
    #[arg(long, value_enum)]
    kind: Kind,
    /// How secrets are wrapped to a recipient; x-wing withstands a quantum computer, too
    #[arg(long, value_enum)]
    kem: Option<Kem>,
    /// The files' name, without .key and .pub
    #[arg(short, long = "output", value_name = "NAME")]
    output: PathBuf,
    /// Leave the private key unencrypted
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Signing,
    Recipient,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kem {
    XWing,
    X25519,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let kem = match args.kem {
        Some(_) if args.kind == Kind::Signing => {
            return Err(Failure::usage("--kem is for recipient keys; a signing key wraps nothing"));
        }
        Some(Kem::X25519) => RecipientKind::X25519,
        Some(Kem::XWing) | None => RecipientKind::XWing,
    };
    let pair = Pair::new(&args.output)?;
    let key = match args.kind {
        Kind::Signing => PrivateKey::Signing(SigningKey::generate()?),
        Kind::Recipient => PrivateKey::Identity(Identity::generate(kem)?),
    };
    let mut passphrases = Passphrases::new(&args.passphrase);
    let protection = if args.no_passphrase { Protection::None } else { Protection::Passphrase(&mut passphrases) };
    pair.write(&key, protection)?;
    pair.report(&key.public(), session)
}
