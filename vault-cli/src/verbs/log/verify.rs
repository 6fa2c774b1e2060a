//! `mvault log verify`

use serde_json::{Value, json};
use vault_core::{error::Kind, log::Witnessed};

use crate::{
    failure::{Failure, Result},
    logged::LogView,
    session::Session,
    ui::{count, one_line},
};

/// Check a whole log: that everything in it follows from its entries, and nothing was ever changed
///
/// Reads every entry and computes the tree anew. Every checkpoint that is left must be of this one history, and continue
/// what this client saw last. Records of the vault that no entry names are listed, and are a failure with --complete.
///
/// JSON: {"verified", "origin", "entries", "size", "root", "checkpoints", "cosigners", "damaged": [path], "foreign",
/// "missing": [path]}; "size" is what the newest checkpoint covers
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log verify --trust root.json
  mvault log verify --complete --log-key log.pub")]
pub struct Args {
    /// Fail if a record of the vault has no entry
    #[arg(long)]
    complete: bool,
    #[command(flatten)]
    belief: super::BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let LogView { judge, mut seen } = args.belief.view(&vault, session)?;
    let audit = log.audit(&judge, &mut seen, &mut |_| Ok(()))?;
    let missing: Vec<String> = log.missing()?.0.into_iter().map(|one| one.path).collect();
    let size = audit.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.checkpoint().size());
    let cosigners = audit.checkpoint.iter().flat_map(Witnessed::cosigners).map(ToString::to_string);
    let cosigners = cosigners.collect::<Vec<_>>();
    let mut lines = vec![
        format!("one history: {}", log.origin()),
        format!("  entries:   {}", audit.entries),
        format!("  signed:    {size}; {} left", count(audit.checkpoints, "checkpoint")),
    ];
    if !cosigners.is_empty() {
        lines.push(format!("  cosigned:  by {}", cosigners.join(", ")));
    }
    lines.extend(audit.damaged.iter().map(|path| one_line(&format!("  DAMAGED {path}"))));
    lines.extend(missing.iter().map(|path| one_line(&format!("  NOT LOGGED {path}"))));
    let failure = failure(args, audit.damaged.len() as u64, &missing);
    let object = json!({
        "verified": failure.is_none(),
        "origin": log.origin().as_str(),
        "entries": audit.entries,
        "size": size,
        "root": audit.checkpoint.as_ref().map(|checkpoint| checkpoint.checkpoint().root().to_base64()),
        "checkpoints": audit.checkpoints,
        "cosigners": cosigners,
        "damaged": audit.damaged,
        "foreign": audit.foreign,
        "missing": missing.iter().map(|path| json!(path)).collect::<Value>(),
    });
    session.ui.result(&lines.join("\n"), &object)?;
    if audit.foreign > 0 {
        let foreign = count(audit.foreign, "object");
        session.ui.warn(&format!("{foreign} among batches and checkpoints do not count: somebody else writes there"));
    }
    if audit.checkpoint.is_none() {
        session.ui.warn("the log was never signed: sign it with `mvault log publish`");
    }
    failure.map_or(Ok(()), Err)
}

fn failure(args: &Args, damaged: u64, missing: &[String]) -> Option<Failure> {
    if damaged > 0 {
        let text = format!("{} of the log are not what follows from its entries", count(damaged, "tile"));
        return Some(
            Failure::new(Kind::Integrity, text)
                .hint("delete them, and `mvault log publish` the next entry; or restore them"),
        );
    }
    if args.complete && !missing.is_empty() {
        let text = format!("{} of the vault have no entry in its log", count(missing.len() as u64, "record"));
        return Some(
            Failure::new(Kind::Authenticity, text).hint("ask who made them; `mvault log append` adds entries"),
        );
    }
    None
}
