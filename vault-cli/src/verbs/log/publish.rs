//! `mvault log publish`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{
    Error,
    keys::Signer,
    log::{FORK, Log, LogKeys, Published, Seen, SignatureType, SignedCheckpoint, VerifierKey},
    vault::Vault,
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
/// of them cosign is an error, and signed all the same; the next publication asks again those that did not. A witness that
/// saw another history ends the command with exit code 4, one that saw more than there is with 5.
///
/// JSON: {"origin", "size", "root", "added", "new", "cosigned", "mended", "key"}; "cosigned" is how many known witnesses did,
/// "mended" how many tiles --repair wrote, "key" is what readers give as --log-key
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log publish --key log.key
  mvault log publish --key log.key --trust root.json
  mvault log publish --key new-log.key --log-key old-log.pub
  mvault log publish --key log.key --repair")]
pub struct Args {
    /// Whose signature the checkpoint gets
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    /// A witness to ask: its key, a space, its URL; repeat for several
    #[arg(long, value_name = "VKEY URL")]
    witness: Vec<HttpWitness>,
    /// Write every tile anew that is missing or wrong
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    belief: super::BeliefArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let signer = load_signing(&args.key, &mut Passphrases::new(&args.passphrase), session.global.examples())?;
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let LogView { judge, mut seen } = believed(args, &vault, signer.as_ref(), session)?;
    if let Some(folder) = args.belief.trust.memory_of_logs()? {
        // Wherever the vault is, and whatever it is called: this key signs one history of this log.
        let own = format!("log key {}\n{}", signer.verifying_key().key_id().to_hex(), log.origin());
        seen = seen.and(Seen::open(&folder, &own)?);
    }
    let mended = if args.repair { log.mend(&judge)? } else { 0 };
    let published = log.publish(&judge, &mut seen, signer.as_ref())?;
    let before = published.checkpoint.signed();
    let (cosigned, evidence) = ask(args, &log, before.clone(), session);
    // What honest witnesses gave is stored, whatever others said.
    let not_cached =
        if cosigned == *before { published.not_cached.clone() } else { log.store_cosigned(&judge, &cosigned)? };
    warn(&published, not_cached.as_ref(), session);
    let by = |key: &&VerifierKey| cosigned.note().cosigned_at(key).is_ok_and(|time| time.is_some());
    let cosigners = judge.witnesses().iter().filter(by).count();
    report(&log, &published, cosigners, mended, session)?;
    if let Some(evidence) = evidence {
        return Err(evidence);
    }
    let counts = judge.judge(cosigned, log.origin());
    counts.map(drop).map_err(|error| Failure::operational(format!("the checkpoint is signed and stored, and {error}")))
}

fn warn(published: &Published, not_cached: Option<&String>, session: &Session) {
    if published.skipped > 0 {
        let skipped = count(published.skipped, "object");
        session.ui.warn(&format!("{skipped} among the batches of the log are none: somebody else writes there"));
    }
    if let Some(why) = not_cached {
        session.ui.warn(&format!("log/checkpoint was not replaced: {why}"));
    }
}

fn report(log: &Log, published: &Published, cosigners: usize, mended: u64, session: &Session) -> Result {
    let (checkpoint, key) = (published.checkpoint.checkpoint(), published.checkpoint.signer().clone());
    let key = VerifierKey::new(log.origin().clone(), SignatureType::Ed25519, key);
    let (size, root) = (checkpoint.size(), checkpoint.root());
    let text = format!(
        "{} {size} entries of {}, {} more than before\n  root:      {root}\n  log key:   {key}\n  cosigned:  by {}",
        if published.new { "signed" } else { "nothing new:" },
        log.origin(),
        published.added,
        if cosigners == 1 { "1 known witness".to_owned() } else { format!("{cosigners} known witnesses") },
    );
    let text = if mended == 0 { text } else { format!("{text}\n  mended:    {}", count(mended, "tile")) };
    let object = json!({
        "origin": log.origin().as_str(), "size": size, "root": root.to_base64(), "added": published.added,
        "new": published.new, "cosigned": cosigners, "mended": mended, "key": key.to_string(),
    });
    session.ui.result(&text, &object)
}

/// The key that signs and those that are named on the command line, or those of the trust root. Whoever is asked is a
/// witness.
fn believed(args: &Args, vault: &Vault, signer: &dyn Signer, session: &Session) -> Result<LogView> {
    let mut keys = args.belief.keys.clone();
    for asked in args.witness.iter().map(HttpWitness::key) {
        if !keys.witness_key.contains(asked) {
            keys.witness_key.push(asked.clone());
        }
    }
    if args.belief.is_given() && !keys.is_given() {
        return args.belief.view_with(&keys, vault, session);
    }
    // Those who are named signed before; whoever signs now is believed with them.
    let own = LogKeys::Any(vec![signer.verifying_key()]);
    let all = LogKeys::Several(vec![keys.named(session)?, own]);
    keys.view_by(all, &args.belief.trust, session)
}

/// Asks every witness; what one of them does not do is told, and does not keep the others from being asked. Gives what they
/// cosigned, and the evidence of one that saw another history, or more of this one than there is.
fn ask(args: &Args, log: &Log, mut signed: SignedCheckpoint, session: &Session) -> (SignedCheckpoint, Option<Failure>) {
    let mut worst: Option<Failure> = None;
    for witness in &args.witness {
        let name = witness.key().name();
        let failure = match log.ask(&signed, witness.key(), witness) {
            Ok(cosigned) => {
                signed = cosigned;
                continue;
            }
            Err(error @ Error::Stale { .. }) => Failure::from(error)
                .hint("somebody signed more with this key, or the store went back: find out before anything else"),
            Err(error @ Error::Untrusted { why: FORK, .. }) => error.into(),
            Err(error) => {
                session.ui.warn(&format!("{name} did not cosign: {error}"));
                continue;
            }
        };
        let failure = failure.prefixed(&format!("{name}: "));
        worst = Some(match worst.take() {
            Some(worst) => worst.worse(failure),
            None => failure,
        });
    }
    (signed, worst)
}
