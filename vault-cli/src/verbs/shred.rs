//! `mvault shred`

use std::{
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use serde_json::{Value, json};
use vault_core::{names::Reference, vault::Shreds};

use super::describe::ids;
use crate::{
    belief::{Belief, BeliefArgs},
    failure::{Failure, Result},
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
    ui::count,
};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 2048;

/// What nobody can destroy from here, whatever was deleted.
const BEYOND_REACH: [&str; 3] = [
    "older versions of the wrapped keys that the bucket keeps (versioning, Object Lock), backups, and replicas of the vault",
    "keys that somebody unwrapped before: on serving nodes, in caches, with recipients who were removed since",
    "plaintext that was opened before",
];

/// Destroy every wrapped key of an artifact, for good
///
/// Writes a signed record that says so, then deletes every generation of recipients. Nobody opens the artifact any more,
/// also not with keys that could before; its ciphertext and signatures stay (retire the version and `mvault gc` deletes
/// the ciphertext). It takes a sealer or release key of the model under the trust root, or one of the --signer keys; by a
/// digest, a key with that right for the models of all its versions, or for `*`. This is not taken back.
///
/// What it cannot destroy is listed: read it. Run it again if something could not be deleted.
///
/// JSON: {"shredded", "digest", "created", "reason", "signers", "destroyed": [path], "left": [{"path", "message"}],
/// "shared_with": [digest], "beyond_reach": [text]}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault shred llama-ft:1.2.0 --reason contract-ended --key release.key --trust root.json
  mvault shred llama-ft:1.2.0 --reason GDPR-17 --key release.key --signer release.pub --yes")]
pub struct Args {
    /// MODEL:VERSION or b3:DIGEST
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Whose signature says so
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    belief: BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    if matches!(args.reference, Reference::Channel(_)) {
        return Err(Failure::usage("a channel moves; name the version, or its digest"));
    }
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let belief = match args.belief.load_now(session)? {
        Belief::Signers(signers) => Belief::Signers(signers.and(&args.key, signer.verifying_key())),
        root @ Belief::Root(_) => root,
    };
    let vault = session.vault()?;
    let view = belief.view(&vault, session)?;
    // Revoked or not: what is out of use may well be shredded.
    let artifact = vault.resolve(&args.reference, &view.policy)?;
    if !args.yes {
        confirm(&args.reference)?;
    }
    let shreds = vault.shred(&artifact, &view.policy, &args.reason, signer.as_ref())?;
    let digest = artifact.digest.to_string();
    session.ui.result(&text(&args.reference, &shreds), &object(&digest, &shreds))?;
    if shreds.left.is_empty() {
        return Ok(());
    }
    let what = format!("{} could not be deleted", count(shreds.left.len() as u64, "wrapped key file"));
    Err(Failure::operational(what).hint("the reasons are above; run it again when they are gone"))
}

/// Asks on the terminal for the name.
fn confirm(reference: &Reference) -> Result {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask whether this is meant").hint("give --yes"));
    }
    let failed = |error: std::io::Error| Failure::io("terminal", &error);
    let mut prompt = std::io::stderr();
    write!(prompt, "nobody will open {reference} any more; to go on, type its name: ").map_err(failed)?;
    prompt.flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::Read::take(stdin.lock(), MAX_ANSWER).read_line(&mut answer).map_err(failed)?;
    if answer.trim_end_matches(['\r', '\n']) == reference.to_string() {
        return Ok(());
    }
    Err(Failure::usage("that is not its name: nothing was shredded"))
}

fn text(reference: &Reference, shreds: &Shreds) -> String {
    let destroyed = count(shreds.destroyed.len() as u64, "generation");
    let mut lines = vec![format!("shredded {reference}: {destroyed} of wrapped keys destroyed")];
    lines.extend(shreds.left.iter().map(|(path, error)| format!("NOT destroyed: {path}: {error}")));
    lines.extend(shreds.shared_with.iter().map(|other| {
        format!("NOT destroyed: {other} holds contents of this artifact, and whoever opens it opens those")
    }));
    lines.extend(BEYOND_REACH.iter().map(|what| format!("out of reach: {what}")));
    lines.join("\n")
}

fn object(digest: &str, shreds: &Shreds) -> Value {
    let left = shreds.left.iter().map(|(path, error)| json!({ "path": path, "message": error.to_string() }));
    json!({
        "shredded": shreds.left.is_empty(),
        "digest": digest,
        "created": shreds.record.created,
        "reason": shreds.record.reason,
        "signers": ids(&shreds.record.signers),
        "destroyed": shreds.destroyed,
        "left": left.collect::<Value>(),
        "shared_with": shreds.shared_with.iter().map(ToString::to_string).collect::<Value>(),
        "beyond_reach": BEYOND_REACH,
    })
}
