//! `mvault oms`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use vault_core::{
    Error,
    error::Kind,
    names::FilePath,
    oms::{
        Authorities, Bundle, Certificate, Claim, EcPublicKey, MAX_BUNDLE, Material, Signed, SignedBy, Trust,
        ignore_path,
    },
};

use crate::{
    documents::{read, read_start},
    failure::{Failure, Result},
    session::Session,
    ui::one_line,
};

mod sign;
mod verify;

/// Longest file of certificates: all authorities of an operating system take a quarter of it.
const MAX_PEM: u64 = 1 << 20;

/// Sign and verify plaintext models as OpenSSF Model Signing v1.0 defines it
///
/// These signatures are about a folder as vendors publish it, not about a vault. Other tools, like model_signing, make and
/// check the same bundles.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Sign(sign::Args),
    Verify(verify::Args),
}

pub fn run(args: &Args, session: &Session) -> Result {
    match &args.verb {
        Verb::Sign(args) => sign::run(args, session),
        Verb::Verify(args) => verify::run(args, session),
    }
}

/// Whose signature over a bundle counts.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TrustArgs {
    /// The signer's public key, a P-256, P-384 or P-521 key in PEM
    #[arg(long, value_name = "PUB.pem", conflicts_with_all = ["ca", "at"])]
    pub key: Option<PathBuf>,
    /// Certificates of root authorities that vouch for the signer; repeat for several
    #[arg(long, value_name = "ROOT.pem")]
    pub ca: Vec<PathBuf>,
    /// Judge certificates as of this time instead of now
    #[arg(long, value_name = "TIME", requires = "ca")]
    pub at: Option<String>,
}

impl TrustArgs {
    /// Reads keys or certificates.
    pub fn load(&self) -> Result<Trust> {
        load_trust(self.key.as_deref(), &self.ca, self.at.as_deref(), "--key PUB.pem or --ca ROOT.pem")
    }
}

/// Reads the public key or the certificates that are believed.
pub fn load_trust(key: Option<&Path>, ca: &[PathBuf], at: Option<&str>, options: &str) -> Result<Trust> {
    match (key, ca) {
        (Some(key), []) => {
            let text = read(key, MAX_PEM)?;
            EcPublicKey::from_pem(&text).map(Trust::Key).map_err(|e| Failure::local(key, &e))
        }
        (None, []) => Err(Failure::usage("nobody is named whose signature counts").hint(format!("give {options}"))),
        _ => {
            let mut certificates = Vec::new();
            for path in ca {
                certificates.extend(load_certificates(path)?);
            }
            Ok(Trust::Authorities(Authorities::new(certificates, at)?))
        }
    }
}

/// Reads all certificates of a PEM file.
fn load_certificates(path: &Path) -> Result<Vec<Certificate>> {
    Certificate::from_pem(&read(path, MAX_PEM)?).map_err(|e| Failure::local(path, &e))
}

/// Reads a bundle and checks its signature.
pub fn load_signed(path: &Path, trust: &Trust) -> Result<Signed> {
    let bytes = read_start(path, MAX_BUNDLE)?;
    Bundle::parse(&bytes).and_then(|bundle| bundle.verify(trust)).map_err(|error| {
        // It comes from somebody else: what is wrong with it is no mistake of the command.
        let failure = Failure::new(error.kind(), format!("{}: {error}", path.display()));
        match error.kind() {
            Kind::Authenticity => failure.hint("do not use the model unless you know who signed it"),
            Kind::Stale => failure.hint("--at TIME judges certificates as of the time you know it was signed at"),
            _ => failure,
        }
    })
}

/// A difference between a folder and what was signed. `unsigned` is what to do about a file that nobody signed.
pub fn differs(error: Error, unsigned: &str) -> Failure {
    let hint = match &error {
        Error::Corrupt { fault, .. } if fault.to_string().starts_with("is not signed") => unsigned,
        Error::Corrupt { .. } => "the model is not what was signed: get it again, and do not use it as it is",
        Error::InputChanged { .. } => "do it again when nobody writes to it",
        _ => return error.into(),
    };
    Failure::from(error).hint(hint)
}

/// Who signed, for people.
pub fn signer_text(by: &SignedBy) -> String {
    match by {
        SignedBy::Key(key) => format!("{} key {}", key.curve().as_str(), key.hint()),
        SignedBy::Certificate(certificate) => {
            one_line(&format!("{}, certified by {}", certificate.subject(), certificate.issuer()))
        }
    }
}

/// Who signed, for programs.
pub fn signer_json(by: &SignedBy) -> Value {
    match by {
        SignedBy::Key(key) => json!({ "method": "key", "key_hint": key.hint(), "curve": key.curve().as_str() }),
        SignedBy::Certificate(certificate) => json!({
            "method": "certificate",
            "subject": certificate.subject(),
            "issuer": certificate.issuer(),
        }),
    }
}

/// The bundle in an index: checked when it was sealed, by whoever signed the version; not again here.
pub fn kept_json(bundle: &str) -> Value {
    let Ok((bundle, claim)) = read_kept(bundle) else { return json!({ "malformed": true }) };
    let (hint, certificate) = match bundle.material() {
        Material::Key(hint) => (hint.clone(), None),
        Material::Certificates(chain) => (None, chain.first().and_then(|der| Certificate::from_der(der).ok())),
    };
    json!({
        "model": claim.name,
        "root_digest": hex::encode(claim.root),
        "algorithm": claim.algorithm.as_str(),
        "files": claim.files().len(),
        "key_hint": hint,
        "certificate": certificate.map(|certificate| certificate.subject()),
    })
}

/// The same for people.
pub fn kept_lines(bundle: &str) -> Vec<String> {
    let kept = kept_json(bundle);
    let text = |name: &str| kept[name].as_str().map(one_line);
    let by = text("certificate").or(text("key_hint").map(|hint| format!("key {hint}")));
    let by = by.unwrap_or_else(|| "a key it does not name".into());
    vec![
        format!(
            "OpenSSF signature, checked when it was sealed: {}",
            text("model").unwrap_or_else(|| "malformed".into())
        ),
        format!("  by {by}, root digest {}", text("root_digest").unwrap_or_default()),
    ]
}

fn read_kept(bundle: &str) -> Result<(Bundle, Claim), Error> {
    let bundle = Bundle::parse(bundle.as_bytes())?;
    let claim = bundle.unverified_claim()?;
    Ok((bundle, claim))
}

fn parse_ignore(text: &str) -> Result<FilePath, String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    ignore_path(trimmed.strip_prefix("./").unwrap_or(trimmed)).map_err(|rule| format!("path {text:?} {rule}"))
}
