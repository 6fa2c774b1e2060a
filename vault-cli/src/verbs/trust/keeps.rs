//! `mvault trust keeps`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    keys::{KeyId, PublicKey},
    log::KeyName,
    vault::{Signed, Vault},
};

use crate::{
    failure::{Failure, Result},
    logged::reference,
    secrets::load_public,
    session::Session,
    ui::count,
    verbs::log::{self, BeliefArgs},
};

/// List what a key signed in this vault, as the `keeps` of its retirement
///
/// A retired key loses all signatures but those that the trust root lists. A date in a record is a claim and decides
/// nothing, so the list is made now, of what is there now: look it over before you sign it.
///
/// Where the vault has a log, `--before-entry N` lists what was in it before entry N (`mvault log show` numbers them): what a
/// thief signed later is left out, whatever date it claims. What the log does not show is never listed then. Which log it
/// is must be known: from an earlier command, or by `--log-origin`.
///
/// JSON: {"key_id", "keeps": [{"digest", "path", "entry"}], "left_out": [{"digest", "path"}], "log": {"origin", "size"}}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust keeps trainer.pub
  mvault trust keeps trainer.pub --before-entry 1042 --trust root.json")]
pub struct Args {
    /// The public key
    #[arg(value_name = "FILE.pub")]
    key: PathBuf,
    /// List only what the log of the vault shows before this entry, the first being 0
    #[arg(long, value_name = "N")]
    before_entry: Option<u64>,
    #[command(flatten)]
    belief: BeliefArgs,
}

/// What a retirement keeps, each with the entry that shows it if that was asked for.
struct Kept {
    listed: Vec<(Signed, Option<u64>)>,
    left_out: Vec<Signed>,
    /// The log and how far it is signed.
    log: Option<(KeyName, u64)>,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let PublicKey::Signing(key) = load_public(&args.key)? else {
        let what = format!("{} is a recipient key where a signing key is expected", args.key.display());
        return Err(Failure::usage(what));
    };
    let all = || Ok::<_, Failure>(vault.signed_by(&key)?);
    let found = match args.before_entry {
        Some(limit) => logged_before(limit, all()?, &vault, args, session)?,
        None if args.belief.is_about_log() => {
            return Err(Failure::usage("what is said about a log goes with --before-entry"));
        }
        None => {
            Kept { listed: all()?.into_iter().map(|signed| (signed, None)).collect(), left_out: Vec::new(), log: None }
        }
    };
    if !found.left_out.is_empty() {
        let what = count(found.left_out.len() as u64, "signature");
        session.ui.warn(&format!("{what} left out, which the log does not show before that entry"));
    }
    session.ui.result(&text(args, &found), &object(&key.key_id(), &found))
}

fn text(args: &Args, found: &Kept) -> String {
    let head = match (&found.log, args.before_entry) {
        (Some((origin, size)), Some(limit)) => {
            format!("# what {origin} shows before entry {limit}, signed at {size} entries\n")
        }
        _ => String::new(),
    };
    let line = |(signed, entry): &(Signed, Option<u64>)| {
        let entry = entry.map_or_else(String::new, |entry| format!(", entry {entry}"));
        format!("  \"b3:{}\", # {}{entry}\n", signed.digest, signed.record.path)
    };
    let lines: String = found.listed.iter().map(line).collect();
    format!("{head}status = \"retired\"\nkeeps = [\n{lines}]")
}

fn object(key: &KeyId, found: &Kept) -> Value {
    let kept = |(signed, entry): &(Signed, Option<u64>)| json!({ "digest": format!("b3:{}", signed.digest), "path": signed.record.path, "entry": entry });
    let left_out = |signed: &Signed| json!({ "digest": format!("b3:{}", signed.digest), "path": signed.record.path });
    json!({
        "key_id": key.to_hex(),
        "keeps": found.listed.iter().map(kept).collect::<Value>(),
        "left_out": found.left_out.iter().map(left_out).collect::<Value>(),
        "log": found.log.as_ref().map(|(origin, size)| json!({ "origin": origin.as_str(), "size": size })),
    })
}

/// Tells what stood in the log before an entry from what did not, as a checkpoint proves that counts.
fn logged_before(limit: u64, found: Vec<Signed>, vault: &Vault, args: &Args, session: &Session) -> Result<Kept> {
    let log = log::open(vault)?;
    let mut view = args.belief.view(vault, session)?;
    // A key may sign several logs, and the store would choose the one in which an entry stands early.
    if view.judge.meant().is_none() && view.seen.last().is_none() {
        return Err(Failure::usage("no log of this vault was seen before, so it has to be named")
            .hint(format!("the vault shows `--log-origin {}`: make sure that it is the one", log.origin())));
    }
    let checkpoint = log::signed(&log, &mut view)?;
    let size = checkpoint.checkpoint().size();
    if limit > size {
        return Err(Failure::usage(format!("--before-entry {limit}: the log is signed up to {size} entries"))
            .hint("`mvault log publish` signs what is new"));
    }
    let records: Vec<_> = found.iter().map(|signed| reference(&signed.record)).collect();
    let entries = log.first_before(&checkpoint, limit, &records)?;
    let (mut listed, mut left_out) = (Vec::new(), Vec::new());
    for (signed, entry) in found.into_iter().zip(entries) {
        match entry {
            Some(_) => listed.push((signed, entry)),
            None => left_out.push(signed),
        }
    }
    Ok(Kept { listed, left_out, log: Some((log.origin().clone(), size)) })
}
