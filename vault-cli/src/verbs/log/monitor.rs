//! `mvault log monitor`

use std::time::{Duration, Instant};

use vault_core::log::{Log, Seen};

use super::entries::{FilterArgs, Line, covered};
use crate::{cli::duration, failure::Result, logged::LogView, session::Session};

/// How often it is looked whether the command is to end.
const STEP: Duration = Duration::from_millis(100);

/// Follow a log, and tell what is new
///
/// Every new checkpoint must continue the one before, also that of the last run: a log that was rewritten ends the command
/// with exit code 4, one that goes back with 5. Entries that are wanted are told when a checkpoint covers them. It starts
/// where the last run ended, or at the first entry; run it under another --state than readers use to see every entry.
///
/// JSON: one object for each entry, as `mvault log show --lines`
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault log monitor --model 'llama-*' --trust root.json --state monitor
  mvault log monitor --once --log-key log.pub --state monitor")]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Look once and end
    #[arg(long)]
    once: bool,
    /// How long to wait between two looks
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s", conflicts_with = "once")]
    interval: Duration,
    #[command(flatten)]
    belief: super::BeliefArgs,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let vault = session.vault()?;
    let log = super::open(&vault)?;
    session.interrupt.arm()?;
    loop {
        // Keys and trust root may have changed since the last look.
        let LogView { judge, mut seen } = args.belief.view(&vault, session)?;
        if let Some(checkpoint) = log.latest_since(&judge, seen.last())? {
            tell(args, &log, &seen, checkpoint.checkpoint(), session)?;
            log.remember(&mut seen, checkpoint.checkpoint())?;
        }
        if args.once {
            return Ok(());
        }
        let start = Instant::now();
        while start.elapsed() < args.interval {
            if session.interrupt.requested() {
                return Ok(());
            }
            std::thread::sleep(STEP);
        }
    }
}

/// Tells the entries between what was seen and a checkpoint.
fn tell(args: &Args, log: &Log, seen: &Seen, checkpoint: &vault_core::log::Checkpoint, session: &Session) -> Result {
    let from = seen.last().map_or(0, vault_core::log::Checkpoint::size);
    let mut output = session.ui.piecewise();
    covered(log, checkpoint, from, &mut |line: Line| {
        if !args.filter.wants(&line) {
            return Ok(());
        }
        if session.global.json {
            output.json(&line.object().to_string())?;
        } else {
            output.text(&line.row().join("  "))?;
        }
        output.end_line()
    })?;
    output.finish()
}
