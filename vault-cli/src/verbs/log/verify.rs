//! `mvault log verify`

use serde_json::json;
use vault_core::{
    error::Kind,
    log::{Audit, Missing, Witnessed},
};

use crate::{
    failure::{Failure, Result},
    logged::LogView,
    session::Session,
    ui::{count, one_line},
};

/// Check a whole log: that everything in it follows from its entries, and nothing was ever changed
///
/// Reads every entry and computes the tree anew. Every checkpoint that is left must be of this one history, and continue
/// what this client saw last; a log that nobody who counts signed is not verified. Records of the vault that no entry names,
/// or whose entry no checkpoint covers yet, are listed, and are a failure with --complete.
///
/// JSON: {"verified", "origin", "entries", "size", "root", "checkpoints", "cosigners", "damaged": [path], "foreign",
/// "gap", "hidden": [path], "missing": [path], "unsigned": [path], "false_claims": [index]}; "size" is what the newest checkpoint covers, "unsigned"
/// are records whose entries it does not, "false_claims" entries that name other signers of a record than the record does
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
    let (missing, unsigned) = (paths(&audit.records.missing), paths(&audit.records.unsigned));
    for (what, paths) in [("DAMAGED", &audit.damaged), ("NOT LOGGED", &missing), ("NOT SIGNED YET", &unsigned)] {
        lines.extend(paths.iter().map(|path| one_line(&format!("  {what} {path}"))));
    }
    lines.extend(audit.records.false_claims.iter().map(|index| format!("  FALSE CLAIM entry {index}")));
    let failure = failure(args, &audit);
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
        "gap": audit.gap.as_ref().map(|gap| &gap.path),
        "hidden": audit.gap.as_ref().map_or(&[][..], |gap| &gap.hidden),
        "missing": missing,
        "unsigned": unsigned,
        "false_claims": audit.records.false_claims,
    });
    session.ui.result(&lines.join("\n"), &object)?;
    if audit.foreign > 0 {
        let foreign = count(audit.foreign, "object");
        session.ui.warn(&format!("{foreign} among batches and checkpoints do not count: somebody else writes there"));
    }
    if let false_claims @ 1.. = audit.records.false_claims.len() {
        session.ui.warn(&format!("{false_claims} of its entries name other signers of a record than the record does"));
    }
    failure.map_or(Ok(()), Err)
}

fn paths(records: &[Missing]) -> Vec<String> {
    records.iter().map(|record| record.path.clone()).collect()
}

fn failure(args: &Args, audit: &Audit) -> Option<Failure> {
    let records = |records: &[Missing]| count(records.len(), "record");
    if !audit.damaged.is_empty() {
        let text = format!("{} of the log are not what follows from its entries", count(audit.damaged.len(), "tile"));
        return Some(
            Failure::new(Kind::Integrity, text).hint("`mvault log publish --repair` writes them anew from the batches"),
        );
    }
    if let Some(gap) = &audit.gap {
        let text = format!("{}: nothing is there, and batches of the log behind it: something was deleted", gap.path);
        return Some(
            Failure::new(Kind::Integrity, text)
                .hint("restore it, or put anything else there before the next entry is added: then they count again"),
        );
    }
    if audit.checkpoint.is_none() {
        let text = "the log was never signed by anybody who counts";
        return Some(Failure::new(Kind::Authenticity, text).hint("sign it with `mvault log publish`"));
    }
    if args.complete && !audit.records.missing.is_empty() {
        let text = format!("{} of the vault have no entry in its log", records(&audit.records.missing));
        return Some(
            Failure::new(Kind::Authenticity, text).hint("ask who made them; `mvault log append` adds entries"),
        );
    }
    if args.complete && !audit.records.unsigned.is_empty() {
        let text = format!("{} of the vault have an entry that is not signed yet", records(&audit.records.unsigned));
        return Some(Failure::new(Kind::Authenticity, text).hint("sign the log with `mvault log publish`"));
    }
    None
}
