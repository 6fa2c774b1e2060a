//! `mvault trust keeps`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::{
    keys::PublicKey,
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
/// thief signed later is left out, whatever date it claims. What the log does not show is never listed then.
///
/// JSON: {"key_id", "keeps": [{"digest", "path", "entry"}], "left_out": [{"digest", "path", "entry"}], "log": {"origin", "size"}}
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

/// A signature and the entry that shows it, if one was asked for and there is one.
struct Found {
    signed: Signed,
    entry: Option<u64>,
}

impl Found {
    fn object(&self) -> Value {
        json!({ "digest": format!("b3:{}", self.signed.digest), "path": self.signed.path, "entry": self.entry })
    }

    fn line(&self) -> String {
        let entry = self.entry.map_or_else(String::new, |entry| format!(", entry {entry}"));
        format!("  \"b3:{}\", # {}{entry}\n", self.signed.digest, self.signed.path)
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let PublicKey::Signing(key) = load_public(&args.key)? else {
        let what = format!("{} is a recipient key where a signing key is expected", args.key.display());
        return Err(Failure::usage(what));
    };
    let found = vault.signed_by(&key)?;
    let (kept, left_out, log) = match args.before_entry {
        Some(limit) => logged_before(limit, found, &vault, args, session)?,
        None => (found.into_iter().map(|signed| Found { signed, entry: None }).collect(), Vec::new(), Value::Null),
    };
    if !left_out.is_empty() {
        let what = count(left_out.len() as u64, "signature");
        session.ui.warn(&format!("{what} left out, which the log does not show before that entry"));
    }
    let lines: String = kept.iter().map(Found::line).collect();
    let objects = |found: &[Found]| found.iter().map(Found::object).collect::<Value>();
    let object = json!({
        "key_id": key.key_id().to_hex(),
        "keeps": objects(&kept),
        "left_out": objects(&left_out),
        "log": log,
    });
    session.ui.result(&format!("status = \"retired\"\nkeeps = [\n{lines}]"), &object)
}

/// Tells what stood in the log before an entry from what did not, as a checkpoint proves that counts.
fn logged_before(
    limit: u64,
    found: Vec<Signed>,
    vault: &Vault,
    args: &Args,
    session: &Session,
) -> Result<(Vec<Found>, Vec<Found>, Value)> {
    let log = log::open(vault)?;
    let mut view = args.belief.view(vault, session)?;
    let checkpoint = log::signed(&log, &mut view)?;
    let size = checkpoint.checkpoint().size();
    if limit > size {
        return Err(Failure::usage(format!("--before-entry {limit}: the log is signed up to {size} entries"))
            .hint("`mvault log publish` signs what is new"));
    }
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for signed in found {
        let record = vault.record_at(&signed.path)?;
        let proof = log.prove(&checkpoint, reference(&record))?;
        let proven =
            proof.map(|proof| proof.verify(&view.judge, Some(log.origin()))?.about(reference(&record))).transpose()?;
        let entry = proven.map(|logged| logged.index);
        let is_before = entry.is_some_and(|entry| entry < limit);
        if is_before { &mut kept } else { &mut left_out }.push(Found { signed, entry });
    }
    Ok((kept, left_out, json!({ "origin": log.origin().as_str(), "size": size })))
}
