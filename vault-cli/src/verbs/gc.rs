//! `mvault gc`

use std::time::Duration;

use serde_json::{Value, json};
use vault_core::{
    error::Kind,
    trust::Policy,
    vault::{Collected, Collection, GarbageEvent, Kept, Mode, Pending},
};

use crate::{
    belief::{Belief, BeliefArgs},
    cli::duration,
    failure::{Failure, Result},
    session::Session,
    ui::{bytes, count, one_line},
};

/// Delete what no version, channel, proposal or writer at work can reach
///
/// Marks what is kept, writes down what goes, looks again, and only then deletes; safe beside writers at work, also those
/// that stand still for days, and safe to kill at any moment. Nothing younger than --grace is touched. Contents of versions
/// that were retired longer ago than that go, if somebody retired them whom --signer or --trust lets; their names,
/// signatures and documents stay. Without either, no retirement counts.
///
/// A writer that gives no sign of life for as long as --grace is ended and fails cleanly. Writers give one every hour: below
/// a few hours, --grace is for vaults that nobody writes to.
///
/// JSON: {"dry_run", "run", "kept", "alive", "condemned", "condemned_bytes", "deleted", "deleted_bytes", "spared",
/// "undeletable", "unreadable", "cleared", "events": [{"event", "path", "bytes", "id", "version", "kept", "pending", "message"}], "more"}; of the events the
/// first 1000, and how many more there are; with --declare-finished {"finished"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault gc --dry-run --trust root.json
  mvault gc --grace 48h --signer release.pub
  mvault gc --declare-finished 0b5c1d0e9f8a7b6c5d4e3f2a1b0c9d8e")]
pub struct Args {
    /// Say what would go and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How old something must be before it goes, such as 12h, 48h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "48h")]
    grace: Duration,
    /// Say that the process of an earlier collection, which was killed while it deleted, is gone for good: what it condemned
    /// may be stored again. Nothing else is done
    #[arg(long, value_name = "RUN", conflicts_with_all = ["dry_run", "grace"])]
    declare_finished: Option<String>,
    #[command(flatten)]
    belief: BeliefArgs,
}

/// The most events that are listed; the rest is counted.
const MAX_LISTED: usize = 1000;

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    objects: Vec<Value>,
    more: u64,
}

impl Seen {
    fn add(&mut self, event: &GarbageEvent, mode: Mode) {
        if self.objects.len() == MAX_LISTED {
            self.more += 1;
            return;
        }
        let would = if mode == Mode::DryRun { "would be " } else { "" };
        let (line, object) = match event {
            GarbageEvent::Condemned { path, size } => (
                format!("garbage: {path}: {}", bytes(*size)),
                json!({ "event": "condemned", "path": path, "bytes": size }),
            ),
            GarbageEvent::SessionEnded { id } => (
                format!("session {id} {would}ended: it gave no sign of life"),
                json!({ "event": "session-ended", "id": id }),
            ),
            GarbageEvent::Published { name } => (
                format!("published {name}, whose writer had decided to and stopped"),
                json!({ "event": "published", "version": name.to_string() }),
            ),
            GarbageEvent::CalledOff { id } => (
                format!("garbage collection {id} was called off: it had decided nothing yet"),
                json!({ "event": "called-off", "id": id }),
            ),
            GarbageEvent::Unfinished { id, pending } => (
                format!(
                    "garbage collection {id} has not finished, and what it condemned cannot be stored again: {}",
                    remedy(*pending)
                ),
                json!({ "event": "unfinished", "id": id, "pending": pending.as_str() }),
            ),
            GarbageEvent::TakenOver { id } => (
                format!(
                    "garbage collection {id} {would}taken over: it gave no sign of life; a collection in half an hour or later finishes it"
                ),
                json!({ "event": "taken-over", "id": id }),
            ),
            GarbageEvent::Finished { id } => (
                format!("garbage collection {id} {would}finished: it was taken over, and deletes nothing any more"),
                json!({ "event": "finished", "id": id }),
            ),
            GarbageEvent::Ignored { path, error } => (
                format!("{path} retires nothing: {error}"),
                json!({ "event": "ignored", "path": path, "message": error.to_string() }),
            ),
            GarbageEvent::Unreadable { path, kept, error } => (
                format!("{path} cannot be read, {}: {error}", because(*kept)),
                json!({ "event": "unreadable", "path": path, "kept": kept.as_str(), "message": error.to_string() }),
            ),
            GarbageEvent::Unbelieved { path, error } => (
                format!("{path} is passed over, as nobody who goes by the trust root believes it: {error}"),
                json!({ "event": "unbelieved", "path": path, "message": error.to_string() }),
            ),
            GarbageEvent::Undeletable { path, error } => (
                format!("{path} could not be deleted: {error}"),
                json!({ "event": "undeletable", "path": path, "message": error.to_string() }),
            ),
            other => (format!("{other:?}"), json!({ "event": "other" })),
        };
        self.lines.push(one_line(&line));
        self.objects.push(object);
    }
}

/// What a run waits for that has not finished, and who ends that.
fn remedy(pending: Pending) -> &'static str {
    match pending {
        Pending::Recent => {
            "it is at work, or was killed lately; once it has given no sign of life for as long as --grace, a collection takes it over"
        }
        Pending::Settling => {
            "less than half an hour ago it was taken over, or ended with a deletion that may still be on its way; a collection after that finishes it"
        }
        _ => {
            "this store has no deletions that end, so nobody can take it over; if its process is gone for good, say so with \
              `mvault gc --declare-finished` and its id"
        }
    }
}

/// What something unreadable costs.
fn because(kept: Kept) -> &'static str {
    match kept {
        Kept::Artifacts => "and may name any artifact, so all are kept",
        Kept::Contents => "and may name any contents, so all are kept",
        _ => "and nothing that counts needs what it names",
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    let belief = args.belief.load(session)?;
    let vault = session.vault()?;
    if let Some(run) = &args.declare_finished {
        vault.declare_finished(run)?;
        return session.ui.result(&format!("garbage collection {run} is finished"), &json!({ "finished": run }));
    }
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Collect };
    let collection = Collection { grace: args.grace, mode };
    let mut seen = Seen::default();
    let mut report = |event: GarbageEvent| {
        seen.add(&event, mode);
        Ok(())
    };
    let collected = match &belief {
        Belief::Signers(signers) => {
            let policy: Option<Policy> = if signers.is_empty() { None } else { Some(signers.demand()?) };
            let bar = session.start("collecting", None)?;
            vault.collect_garbage(policy.as_ref(), collection, &bar, &mut report)?
        }
        Belief::Root(root) => {
            let collect = |gate: &mut vault_core::vault::Gate<'_>| {
                let bar = session.start("collecting", None)?;
                Ok(gate.collect_garbage(collection, &bar, &mut report)?)
            };
            root.with(&vault, session, collect)?.0
        }
    };
    session.ui.result(&text(&seen, &collected), &object(&seen, &collected))?;
    if collected.undeletable > 0 {
        let what = format!("{} could not be deleted", count(collected.undeletable, "object"));
        return Err(Failure::operational(what).hint("the reasons are above; try again when they are gone"));
    }
    if collected.unreadable > 0 {
        let what = format!("{} could not be read", count(collected.unreadable, "object"));
        return Err(Failure::new(Kind::Integrity, what)
            .hint("what they may name was kept; `mvault fsck --repair` mends them, junk is removed by hand"));
    }
    Ok(())
}

fn text(seen: &Seen, collected: &Collected) -> String {
    let Collected { kept, alive, condemned, condemned_bytes, deleted, deleted_bytes, spared, cleared, .. } = collected;
    let more = (seen.more > 0).then(|| format!("{} more", count(seen.more, "line")));
    let (kept, alive) = (count(*kept, "artifact"), count(*alive, "writer"));
    let last = if collected.run.is_none() {
        let garbage = count(*condemned, "object");
        format!("dry run: {garbage}, {}, would go; {kept} kept, {alive} at work", bytes(*condemned_bytes))
    } else {
        let spared = match spared {
            0 => String::new(),
            spared => format!("; spared {}, which came to be needed", count(*spared, "object")),
        };
        let (deleted, cleared) = (count(*deleted, "object"), count(*cleared, "leftover"));
        let deleted_bytes = bytes(*deleted_bytes);
        format!("deleted {deleted}, {deleted_bytes}{spared}; cleared away {cleared}; {kept} kept, {alive} at work")
    };
    seen.lines.iter().cloned().chain(more).chain([last]).collect::<Vec<_>>().join("\n")
}

fn object(seen: &Seen, collected: &Collected) -> Value {
    json!({
        "dry_run": collected.run.is_none(),
        "run": collected.run,
        "kept": collected.kept,
        "alive": collected.alive,
        "condemned": collected.condemned,
        "condemned_bytes": collected.condemned_bytes,
        "deleted": collected.deleted,
        "deleted_bytes": collected.deleted_bytes,
        "spared": collected.spared,
        "undeletable": collected.undeletable,
        "unreadable": collected.unreadable,
        "cleared": collected.cleared,
        "events": seen.objects,
        "more": seen.more,
    })
}
