//! `mvault log publish`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{
    keys::Signer,
    log::{Judge, Log, LogKeys, Seen, SignedCheckpoint},
};

use super::witness::HttpWitness;
use crate::{
    failure::{Failure, Result},
    logged::LogView,
    secrets::{PassphraseArgs, Passphrases, load_signing},
    session::Session,
    ui::count,
};

/// Sign how far the log is, and have witnesses cosign it
///
/// Writes what readers need to check the log (tiles), and a checkpoint signed by KEY, which holds the role `log` under the
/// trust root or is known to readers as --log-key. What was signed before must be the beginning of what is signed now. If
/// it is interrupted, the next one does the rest.
///
/// A witness is its key and where it is asked: --witness 'NAME+ID+KEY https://witness.example/'. What fewer than --witnesses
/// of them cosign is an error, and signed all the same; the next publication asks again.
///
/// JSON: {"origin", "size", "root", "added", "new", "cosigned", "key"}; "key" is what readers give as --log-key
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log publish --key log.key
  mvault log publish --key log.key --trust root.json
  mvault log publish --key log.key --log-key old-log.pub")]
pub struct Args {
    /// Whose signature the checkpoint gets
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    /// A witness to ask: its key, a space, its URL; repeat for several
    #[arg(long, value_name = "VKEY URL")]
    witness: Vec<HttpWitness>,
    #[command(flatten)]
    belief: super::BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let (judge, mut seen) = believed(args, &vault, signer.as_ref(), session)?;
    let published = log.publish(&judge, &mut seen, signer.as_ref())?;
    if published.skipped > 0 {
        let skipped = count(published.skipped, "object");
        session.ui.warn(&format!("{skipped} among the batches of the log are none: somebody else writes there"));
    }
    let mut not_cached = published.not_cached.clone();
    let signed = published.checkpoint.signed().clone();
    let cosigned = ask(args, &log, signed.clone(), session)?;
    let mut failure = None;
    if cosigned != signed {
        let judged = log.add_cosignatures(&judge, &cosigned);
        match judged {
            Ok((_, cached)) => not_cached = cached,
            Err(error) => failure = Some(Failure::from(error)),
        }
    } else if judge.judge(signed.clone(), log.origin()).is_err() {
        failure = Some(Failure::operational("too few witnesses cosigned"));
    }
    if let Some(why) = not_cached {
        session.ui.warn(&format!("log/checkpoint was not replaced: {why}"));
    }
    let checkpoint = published.checkpoint.checkpoint();
    let key = published.checkpoint.signer();
    let key = vault_core::log::VerifierKey::new(log.origin().clone(), vault_core::log::SignatureType::Ed25519, key.clone());
    let (size, root) = (checkpoint.size(), checkpoint.root());
    let cosigners = cosigned.note().signatures().len() - signed.note().signatures().len();
    let text = format!(
        "{} {} of {}, {} more than before\n  root:      {root}\n  log key:   {key}\n  cosigned:  by {}",
        if published.new { "signed" } else { "nothing new:" },
        count(size, "entry"),
        log.origin(),
        published.added,
        count(cosigners as u64, "witness"),
    );
    let object = json!({
        "origin": log.origin().as_str(), "size": size, "root": root.to_base64(), "added": published.added,
        "new": published.new, "cosigned": cosigners, "key": key.to_string(),
    });
    session.ui.result(&text, &object)?;
    failure.map_or(Ok(()), Err)
}

/// Whoever is named on the command line; without anybody, the key that signs.
fn believed(args: &Args, vault: &vault_core::vault::Vault, signer: &dyn Signer, session: &Session) -> Result<(Judge, Seen)> {
    let named = args.belief.is_given();
    let LogView { judge, seen } = if named {
        args.belief.view(vault, session)?
    } else {
        let keys = crate::logged::LogKeyArgs { witness_key: args.belief.keys.witness_key.clone(), ..Default::default() };
        let own = LogKeys::Any(vec![signer.verifying_key()]);
        keys.view_of(own, blake3::hash(signer.verifying_key().key_id().as_bytes()), &args.belief.trust, vault)?
    };
    let mut witnesses = judge.witnesses().to_vec();
    witnesses.extend(args.witness.iter().map(|witness| witness.key().clone()).filter(|key| !judge.witnesses().contains(key)));
    let threshold = args.belief.keys.witnesses.unwrap_or(witnesses.len());
    Ok((judge.with_witnesses(witnesses, threshold)?, seen))
}

/// Asks every witness; what one of them does not do is told, and does not keep the others from being asked.
fn ask(args: &Args, log: &Log, mut signed: SignedCheckpoint, session: &Session) -> Result<SignedCheckpoint> {
    let mut worst: Option<Failure> = None;
    for witness in &args.witness {
        match log.ask(&signed, witness.key(), witness) {
            Ok(cosigned) => signed = cosigned,
            // Evidence of a second history is more than a witness that is away.
            Err(error @ vault_core::Error::Untrusted { .. }) => {
                let failure = Failure::from(error);
                worst = Some(match worst.take() {
                    Some(worst) => worst.worse(failure),
                    None => failure,
                });
            }
            Err(error) => session.ui.warn(&format!("{} did not cosign: {error}", witness.key().name())),
        }
    }
    worst.map_or(Ok(signed), Err)
}
