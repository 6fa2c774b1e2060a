//! `mvault log append`

use serde_json::{Value, json};

use crate::{
    failure::Result,
    session::Session,
    ui::{count, table},
};

/// Add an entry for every record that has none
///
/// Reads the whole log and all records of the vault. Records have no entry if they are older than the log, were made by an
/// older program, or if a command was killed before it came to log them. Two who do this at once add nothing twice.
///
/// JSON: {"appended": [{"path", "digest", "index"}], "missing": [{"path", "digest"}]}; "missing" only with --dry-run
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log append
  mvault log append --dry-run")]
pub struct Args {
    /// Only say what is missing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let digest = |digest: &blake3::Hash| format!("b3:{digest}");
    if args.dry_run {
        let missing = log.missing()?.0;
        let rows: Vec<_> = missing.iter().map(|one| vec![one.path.clone()]).collect();
        let objects = missing.iter().map(|one| json!({ "path": one.path, "digest": digest(&one.digest) }));
        let text = format!("{} without an entry\n{}", count(missing.len() as u64, "record"), table(&rows));
        return session.ui.result(&text, &json!({ "appended": [], "missing": objects.collect::<Value>() }));
    }
    let appended = log.append_missing(None)?;
    let rows: Vec<_> = appended.iter().map(|(one, at)| vec![at.index.to_string(), one.path.clone()]).collect();
    let objects = appended
        .iter()
        .map(|(one, at)| json!({ "path": one.path, "digest": digest(&one.digest), "index": at.index }))
        .collect::<Value>();
    let text = format!("added {} for records without an entry\n{}", appended.len(), table(&rows));
    session.ui.result(&text, &json!({ "appended": objects, "missing": [] }))
}
