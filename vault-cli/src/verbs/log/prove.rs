//! `mvault log prove`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{Error, log::is_logged, names::Reference};

use crate::{
    failure::{Failure, Result},
    logged::{reference, told},
    session::Session,
};

/// Write a proof that a record stands in the log, which can be checked anywhere
///
/// The proof is a file as <https://c2sp.org/tlog-proof> says, with the entry in it. `mvault open --require-log --log-proof
/// FILE` takes it instead of asking the log. Opening a channel takes two: of the version, and of the promotion, whose
/// record is named by its path in the vault.
///
/// JSON: {"record", "index", "size", "origin", "cosigners", "proof"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log prove llama-ft:1.4.0 --output llama.tlog-proof --trust root.json
  mvault log prove models/llama-ft/channels/production/3.dsse.json --output promotion.tlog-proof --log-key log.pub")]
pub struct Args {
    /// MODEL:VERSION, or the path of a record in the vault
    #[arg(value_name = "REF")]
    record: String,
    /// Where to: a new file
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    belief: super::BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let record = if is_logged(&args.record) {
        vault.record_at(&args.record)?
    } else {
        match args.record.parse()? {
            Reference::Version(name) => vault.version_record(&name)?,
            _ => return Err(Failure::usage(format!("{}: name a version, or the path of a record", args.record))),
        }
    };
    let mut view = args.belief.view(&vault, session)?;
    let checkpoint = super::signed(&log, &mut view)?;
    let reference = reference(&record);
    let proof = log.prove(&checkpoint, reference)?.ok_or_else(|| {
        let error = Error::NotFound { what: format!("an entry about {} under the newest checkpoint", record.path) };
        Failure::from(error)
            .hint("`mvault log append` adds it if it is missing, `mvault log publish` signs what is new")
    })?;
    // What is handed on holds.
    let logged = proof.clone().verify(&view.judge, Some(log.origin()))?.about(reference)?;
    crate::documents::create(&args.output, &proof.to_vec())?;
    let object = json!({
        "record": record.path,
        "index": logged.index,
        "size": checkpoint.checkpoint().size(),
        "origin": log.origin().as_str(),
        "cosigners": checkpoint.cosigners().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "proof": args.output.display().to_string(),
    });
    session.ui.result(&format!("{}\n  proof in {}", told(&logged), args.output.display()), &object)
}
