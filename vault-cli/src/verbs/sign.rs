//! `mvault sign`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{
    names::Reference,
    provenance::{Attested, Predicate, PredicateType, VersionRecord},
    trust::Right,
};

use super::statements::read_local;
use crate::{
    belief::{Belief, BeliefArgs, View},
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
};

/// Sign a sealed version, or something about it, at any time
///
/// Without --predicate, what is signed is that the artifact is MODEL:VERSION: another signature under the same claim. With
/// --predicate it is what FILE says (an evaluation report, a scan result, a model card): a JSON object of at most 1 MiB,
/// public for everybody who sees the vault. Attestations are only ever added. Nothing is signed unless the version is
/// signed by one of the --signer keys or by --key's own; its bytes are not read: run `mvault verify` first.
///
/// Prints the SHA-256 of the attestation, and nothing else, on standard output.
///
/// JSON: {"sha256", "path", "digest", "name", "type", "signer", "new"}; "new" is false if the very same was there already
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault sign llama-ft:1.4.0 --key reviewer.key --signer release.pub
  mvault sign llama-ft:1.4.0 --key eval.key --signer release.pub --predicate-type https://example.com/eval/v1 --predicate eval.json")]
pub struct Args {
    /// MODEL:VERSION or b3:DIGEST
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Who signs
    #[arg(long, value_name = "FILE.key", alias = "sign-with")]
    key: PathBuf,
    /// The type of what is signed, a URI
    #[arg(long, value_name = "URI", requires = "predicate")]
    predicate_type: Option<PredicateType>,
    /// What is signed: a JSON object
    #[arg(long, value_name = "FILE.json", requires = "predicate_type")]
    predicate: Option<PathBuf>,
    #[command(flatten)]
    belief: BeliefArgs,
    /// Sign whatever the store gives under this name, signed by nobody
    #[arg(long, conflicts_with_all = ["signer", "trust"])]
    insecure_skip_signature: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let predicate = read_predicate(args)?;
    let vault = session.vault()?;
    let examples = session.global.examples();
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), examples)?;
    let belief = match args.belief.load_now(session)? {
        Belief::Signers(signers) if !args.insecure_skip_signature => {
            Belief::Signers(signers.and(&args.key, signer.verifying_key()))
        }
        other => other,
    };
    let (artifact, View { policy, .. }) = belief.resolve(&vault, &args.reference, session)?;
    if !policy.accepts(&signer.verifying_key().key_id(), Right::attest(artifact.model())) {
        session.ui.warn("the trust root gives this key no role for this model, so its signature will not count");
    }
    let predicate_type = predicate.as_ref().map_or(VersionRecord::TYPE, Predicate::predicate_type).to_owned();
    let added = match predicate {
        Some(predicate) => vault.attest(&artifact, predicate, signer.as_ref())?,
        None => vault.sign_version(&artifact, policy.origin(), signer.as_ref())?,
    };
    if args.insecure_skip_signature {
        session.ui.warn("no signature was checked: what was signed may be from anybody");
    }
    let id = signer.verifying_key().key_id();
    let verb = if added.new { "signed" } else { "had signed already" };
    session.ui.note(&format!("{id} {verb} {predicate_type} about {}", args.reference));
    let object = json!({
        "sha256": added.sha256,
        "path": added.path,
        "digest": artifact.digest.to_string(),
        "name": artifact.name.as_ref().map(ToString::to_string),
        "type": predicate_type,
        "signer": id.to_hex(),
        "new": added.new,
    });
    session.ui.result(&added.sha256, &object)
}

fn read_predicate(args: &Args) -> Result<Option<Attested>> {
    let (Some(predicate_type), Some(path)) = (&args.predicate_type, &args.predicate) else { return Ok(None) };
    Attested::parse(predicate_type, &read_local(path)?).map(Some).map_err(|e| Failure::local(path, &e))
}
