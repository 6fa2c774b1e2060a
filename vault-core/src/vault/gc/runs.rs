//! The runs of garbage collection that a vault has seen, and calling one off.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::documents::{Condemned, Decision, Document as _, MAX_DOCUMENT};
use crate::{
    error::{Error, Fault, Place, Result},
    store::Created,
    vault::{Vault, is_random_id},
};

pub(in crate::vault) const FOLDER: &str = "gc";
/// JSON holds no higher number exactly.
const MAX_LIST: u64 = (1 << 53) - 1;
/// More runs than are ever left behind.
const MAX_RUNS: usize = 100_000;

/// What there is of one run.
#[derive(Debug, Clone, Default)]
pub(in crate::vault) struct Run {
    /// When it was started.
    pub(in crate::vault) started: Option<Timestamp>,
    /// The numbers of its lists.
    pub(in crate::vault) lists: Vec<u64>,
    pub(in crate::vault) has_decision: bool,
    pub(in crate::vault) is_done: bool,
    /// Whether it promised to delete by permits that end.
    pub(in crate::vault) has_promised: bool,
    /// When it was revoked.
    pub(in crate::vault) revoked: Option<Timestamp>,
    /// Its newest object.
    pub(in crate::vault) newest: Timestamp,
}

/// Which object of a run a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault) enum Part {
    Start,
    List(u64),
    Decision,
    Promise,
    Revocation,
    Done,
}

pub(in crate::vault) fn start_path(run: &str) -> String {
    format!("{FOLDER}/{run}/started.json")
}

pub(in crate::vault) fn list_path(run: &str, number: u64) -> String {
    format!("{FOLDER}/{run}/condemned-{number}.json")
}

pub(in crate::vault) fn decision_path(run: &str) -> String {
    format!("{FOLDER}/{run}/outcome.json")
}

pub(in crate::vault) fn promise_path(run: &str) -> String {
    format!("{FOLDER}/{run}/promise.json")
}

pub(in crate::vault) fn revocation_path(run: &str) -> String {
    format!("{FOLDER}/{run}/revoked.json")
}

pub(in crate::vault) fn done_path(run: &str) -> String {
    format!("{FOLDER}/{run}/done.json")
}

/// The run that an object belongs to, and which of its objects it is; none if it has no place there.
pub(in crate::vault) fn parse_path(path: &str) -> Option<(&str, Part)> {
    let (run, name) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let part = match name {
        "started.json" => Part::Start,
        "outcome.json" => Part::Decision,
        "promise.json" => Part::Promise,
        "revoked.json" => Part::Revocation,
        "done.json" => Part::Done,
        list => {
            let digits = list.strip_prefix("condemned-")?.strip_suffix(".json")?;
            let number = digits.parse().ok().filter(|n: &u64| (1..=MAX_LIST).contains(n) && n.to_string() == digits)?;
            Part::List(number)
        }
    };
    is_random_id(run).then_some((run, part))
}

impl Vault {
    /// The runs that left something, by id.
    pub(in crate::vault) fn gc_runs(&self) -> Result<BTreeMap<String, Run>> {
        self.gc_runs_below(FOLDER)
    }

    /// One of them.
    pub(in crate::vault) fn gc_run(&self, run: &str) -> Result<Run> {
        Ok(self.gc_runs_below(&format!("{FOLDER}/{run}"))?.remove(run).unwrap_or_default())
    }

    fn gc_runs_below(&self, folder: &str) -> Result<BTreeMap<String, Run>> {
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        self.store().list(folder, &mut |entry| {
            let Some((id, part)) = parse_path(&entry.path) else { return Ok(()) };
            if runs.len() > MAX_RUNS {
                let fault = Fault::Limit { what: "number of garbage collections", limit: MAX_RUNS as u64 };
                return Err(Error::Corrupt { place: Place::Object(FOLDER.to_owned()), fault });
            }
            let run = runs.entry(id.to_owned()).or_default();
            run.newest = run.newest.max(entry.modified);
            match part {
                Part::Start => run.started = Some(entry.modified),
                Part::List(list) => run.lists.push(list),
                Part::Decision => run.has_decision = true,
                Part::Promise => run.has_promised = true,
                Part::Revocation => run.revoked = Some(entry.modified),
                Part::Done => run.is_done = true,
            }
            Ok(())
        })?;
        Ok(runs)
    }

    /// What was decided about a run, if anything.
    pub(in crate::vault) fn gc_decision(&self, run: &str) -> Result<Option<Decision>> {
        let path = decision_path(run);
        let bytes = self.store().read(&path, MAX_DOCUMENT)?;
        bytes.map(|bytes| Decision::parse(&bytes).map_err(|error| error.at(Place::Object(path)))).transpose()
    }

    /// Whether a run that has decided may delete. Nobody can tell of a decision that cannot be read.
    fn may_delete(&self, run: &str) -> Result<bool> {
        match self.gc_decision(run) {
            Ok(decision) => Ok(decision.is_some_and(|decision| decision.is_deleting())),
            Err(Error::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether a list of a run names any of these objects. One that cannot be read may name whatever there is; one that is gone
    /// belongs to a run that came to its end meanwhile.
    fn is_condemned(&self, list: &str, wanted: &HashSet<String>) -> Result<bool> {
        let read = || self.store().read(list, MAX_DOCUMENT)?.map(|bytes| Condemned::parse(&bytes)).transpose();
        match read() {
            Ok(list) => Ok(list.is_some_and(|list| list.paths().iter().any(|path| wanted.contains(path)))),
            Err(Error::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Calls off a run that has not decided yet. Whether it was: otherwise it may delete.
    pub(in crate::vault) fn gc_cancel(&self, run: &str) -> Result<bool> {
        match self.store().create(&decision_path(run), &Decision::cancelled()?.write()?)? {
            Created::New => Ok(true),
            // Decisions of finished runs are cleared away, lists first: nothing of it is deleted any more.
            Created::Exists => Ok(!self.may_delete(run)?),
        }
    }
}

/// Makes sure that no run deletes any of these objects: calls off those that could still be called off.
pub(in crate::vault) fn protect(vault: &Vault, wanted: &HashSet<String>) -> Result<()> {
    for (id, run) in vault.gc_runs()? {
        // A run that is done deletes nothing any more; nor does one that was called off.
        if run.is_done || (run.has_decision && !vault.may_delete(&id)?) {
            continue;
        }
        for list in run.lists {
            if vault.is_condemned(&list_path(&id, list), wanted)? {
                if vault.gc_cancel(&id)? {
                    break;
                }
                return Err(Error::Lost {
                    what: format!("garbage collection {id}"),
                    why: "may be deleting objects that are needed here; try again when it has finished",
                });
            }
        }
    }
    Ok(())
}
