//! `mvault key`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use vault_core::{
    keys::{PrivateKey, PublicKey, file},
    secret::SecretVec,
};

use crate::{
    failure::{Failure, Result},
    secrets::Passphrases,
    session::Session,
};

mod export;
mod external;
mod generate;
mod import;
mod passwd;
mod show;

/// Make, show and change keys
///
/// A signing key says who sealed something; a recipient key opens what was sealed to its public half. A key NAME is two
/// files: NAME.key, private, readable by its owner only and encrypted under a passphrase, and NAME.pub, to give away.
/// A private key may also be kept by another program, which NAME.key then names.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Generate(generate::Args),
    Show(show::Args),
    Passwd(passwd::Args),
    Import(import::Args),
    External(external::Args),
    Export(export::Args),
}

pub fn run(args: Args, session: &Session) -> Result {
    match args.verb {
        Verb::Generate(args) => generate::run(&args, session),
        Verb::Show(args) => show::run(&args, session),
        Verb::Passwd(args) => passwd::run(&args, session),
        Verb::Import(args) => import::run(&args, session),
        Verb::External(args) => external::run(&args, session),
        Verb::Export(args) => export::run(&args, session),
    }
}

/// How a private key file is protected.
enum Protection<'a> {
    Passphrase(&'a mut Passphrases),
    None,
}

/// The two files of a key.
struct Pair {
    private: PathBuf,
    public: PathBuf,
}

impl Pair {
    /// Neither may exist; asked before anybody types a passphrase.
    fn new(name: &Path) -> Result<Self> {
        let with = |extension: &str| {
            let mut path = name.as_os_str().to_owned();
            path.push(extension);
            PathBuf::from(path)
        };
        let pair = Self { private: with(".key"), public: with(".pub") };
        for path in [&pair.private, &pair.public] {
            if path.symlink_metadata().is_ok() {
                return Err(vault_core::Error::Conflict { what: path.display().to_string() }.into());
            }
        }
        Ok(pair)
    }

    /// Both files or none.
    fn write(&self, key: &PrivateKey, protection: Protection<'_>) -> Result {
        self.write_files(&protection.pem(key, &self.private)?, &key.public())
    }

    /// Both files or none, the private one as it is.
    fn write_files(&self, private: &SecretVec, public: &PublicKey) -> Result {
        file::write_private(&self.private, private)?;
        file::write_public(&self.public, &public.to_pem()).map_err(|error| {
            // The second file is what failed; that the first stays is the lesser news.
            let _ = std::fs::remove_file(&self.private);
            Failure::from(error)
        })
    }

    fn report(&self, key: &PublicKey, session: &Session) -> Result {
        let (private, public) = (self.private.display().to_string(), self.public.display().to_string());
        let text = format!(
            "{} key {}\n  private: {private} (keep it)\n  public:  {public} (give it away)",
            key.kind_str(),
            key.key_id()
        );
        let mut object = describe(key);
        object["private"] = json!(private);
        object["public"] = json!(public);
        session.ui.result(&text, &object)
    }
}

impl Protection<'_> {
    fn pem(self, key: &PrivateKey, path: &Path) -> Result<SecretVec> {
        Ok(match self {
            Self::None => key.to_pem_plain()?,
            Self::Passphrase(passphrases) => key.to_pem_encrypted(&passphrases.fresh(&path.display().to_string())?)?,
        })
    }
}

fn describe(key: &PublicKey) -> Value {
    json!({ "kind": key.kind_str(), "key_id": key.key_id().to_hex() })
}
