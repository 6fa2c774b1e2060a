//! `mvault log show`

use serde_json::json;
use vault_core::log::Frontier;

use super::entries::{FilterArgs, Line, covered};
use crate::{
    failure::{Failure, Result},
    logged::LogView,
    session::Session,
    ui::table,
};

/// Show what was done in a vault, and in which order
///
/// Entries say what they claim; the records they name are what is signed. With a key of the log or a trust root, entries are
/// checked against the newest signed checkpoint, and those behind it are marked with *. Without, nobody's signature is
/// checked, and the list is what the store says. Times are claims.
///
/// --lines prints one JSON object for each entry as it is read, for whatever collects such things.
///
/// JSON: {"origin", "size", "checked", "entries": [{"index", "leaf", "signed", "action", "created", "actor", "permission",
/// "model", "version", "channel", "artifact", "record", "signers"}]}; with --lines, each of those on a line of its own
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log show --trust root.json
  mvault log show --model 'llama-*' --action promote --log-key log.pub
  mvault log show --lines --from 1200 --trust root.json")]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// From this entry on, from 0
    #[arg(long, value_name = "N", default_value = "0")]
    from: u64,
    /// One JSON object for each entry, on a line of its own
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    belief: super::BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    let checked = args.belief.is_given();
    let mut output = session.ui.piecewise();
    let (mut rows, mut objects, mut size) = (vec![heading()], Vec::new(), 0);
    let mut show = |line: Line| -> Result {
        size = line.index + 1;
        if line.index < args.from || !args.filter.wants(&line) {
            return Ok(());
        }
        if args.lines {
            output.json(&line.object().to_string())?;
            return output.end_line();
        }
        rows.push(line.row());
        objects.push(line.object());
        Ok(())
    };
    let mut tail = log.tail_from(Frontier::default());
    if checked {
        let LogView { judge, mut seen } = args.belief.view(&vault, session)?;
        if let Some(checkpoint) = log.latest_since(&judge, seen.last())? {
            log.remember(&mut seen, checkpoint.checkpoint())?;
            covered(&log, checkpoint.checkpoint(), args.from, &mut show)?;
            tail = log.tail_after(checkpoint.checkpoint())?;
        }
    }
    let mut failure = None;
    tail.advance(&mut |index, bytes| match show(Line::new(index, bytes, false)) {
        Ok(()) => Ok(()),
        Err(stopped) => {
            failure = Some(stopped);
            Err(vault_core::Error::Misuse("output ended".into()))
        }
    })
    .map_err(|error| failure.take().unwrap_or_else(|| Failure::from(error)))?;
    if !checked {
        session.ui.warn("no signature was checked: this is what the store says");
    }
    if args.lines {
        return output.finish();
    }
    let object = json!({ "origin": log.origin().as_str(), "size": size, "checked": checked, "entries": objects });
    let text = if rows.len() == 1 { "no entries".to_owned() } else { table(&rows) };
    session.ui.result(&text, &object)
}

fn heading() -> Vec<String> {
    ["ENTRY", "CREATED", "ACTION", "WHAT", "BY"].map(str::to_owned).to_vec()
}
