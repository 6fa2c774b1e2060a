//! Garbage collection: deleting what nothing that counts can reach.
//!
//! A run marks what is kept, writes down what it condemns, marks again, decides with one create-once object, and only then
//! deletes. Whoever needs something that is condemned decides first. `docs/ARCHITECTURE.md` says why nothing is lost.

use std::{cell::OnceCell, time::Duration};

use jiff::Timestamp;

use super::{Gate, Vault, is_random_id, random_id};
use crate::{
    error::{Error, Fault, Place, Result},
    names::VersionName,
    store::Created,
    trust::Policy,
    workers::Progress,
};

mod channels;
pub(super) mod documents;
mod permits;
mod roots;
pub(super) mod runs;
mod sessions;

pub use documents::{Condemned, Decision, Done, Promise, Revocation, Started};
use documents::{Document as _, MAX_PATHS};
use permits::{Clock, Permits};
use roots::{Garbage, Paths, Reach};
use runs::Run;

/// How old something must be before it is collected, unless somebody says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_hours(48);
/// How long seconds can be counted in canonical JSON; more than any grace.
const MAX_GRACE: u64 = 100 * 366 * 86400;

/// How to collect.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// Nothing younger is touched, and sessions without a sign of life for so long are ended.
    pub grace: Duration,
    /// Whether to say what would be done, and to do nothing.
    pub mode: Mode,
}

/// Whether to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Collect.
    Collect,
    /// Create and delete nothing. The clock of this machine stands for that of the store.
    DryRun,
}

/// Something that a collection did, or would do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A session stood still for longer than the grace and was ended.
    SessionEnded {
        /// Its id.
        id: String,
    },
    /// A version whose commit was decided, and whose writer did not get to publish it, was published.
    Published {
        /// The version.
        name: VersionName,
    },
    /// Another run that had not decided was called off.
    CalledOff {
        /// Its id.
        id: String,
    },
    /// A run may delete and has not come to its end: it is at work, or its process was killed. What it condemned cannot be
    /// stored again while that is so.
    Unfinished {
        /// Its id.
        id: String,
        /// What it waits for.
        pending: Pending,
    },
    /// A run that may delete gave no sign of life for longer than the grace, and was revoked: it deletes nothing from soon on.
    /// A later collection says that it is done.
    TakenOver {
        /// Its id.
        id: String,
    },
    /// A run that was revoked deletes nothing any more: what it condemned may be stored again.
    Finished {
        /// Its id.
        id: String,
    },
    /// A record of a retirement that does not count.
    Ignored {
        /// Its path.
        path: String,
        /// Why not.
        error: Error,
    },
    /// Something that cannot be read, because it is damaged or somebody planted it. What it may name is kept; the rest goes.
    Unreadable {
        /// Its path.
        path: String,
        /// What is kept for its sake.
        kept: Kept,
        /// Why not.
        error: Error,
    },
    /// A version record that names what is missing or damaged, and that nobody who goes by the trust root believes.
    Unbelieved {
        /// Its path.
        path: String,
        /// What is wrong with what it names.
        error: Error,
    },
    /// Nothing reaches this object.
    Condemned {
        /// Its path.
        path: String,
        /// Its length in bytes.
        size: u64,
    },
    /// An object that could not be deleted.
    Undeletable {
        /// Its path.
        path: String,
        /// Why not.
        error: Error,
    },
}

/// What a run waits for that may delete and is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pending {
    /// For itself: it gave a sign of life within the grace. If it gives none, the first collection after that takes it over.
    Recent,
    /// For the end of its permits: less than half an hour ago it was taken over, or ended itself with a deletion that may still
    /// be on its way. The first collection after that finishes it.
    Settling,
    /// For somebody who knows that its process is gone ([`Vault::declare_finished`]): its store has no deletions that end.
    ByHand,
}

impl Pending {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Settling => "settling",
            Self::ByHand => "by-hand",
        }
    }
}

/// What is kept for the sake of something that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// Every artifact, with all that its manifest names.
    Artifacts,
    /// Every content object: a manifest names such, and nothing else.
    Contents,
    /// Nothing but itself: nobody who counts needs what it names.
    Itself,
}

impl Kept {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Contents => "contents",
            Self::Itself => "itself",
        }
    }
}

/// What a collection came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The id of the run; none in a dry run.
    pub run: Option<String>,
    /// Artifacts that are kept.
    pub kept: u64,
    /// Sessions at work.
    pub alive: u64,
    /// Objects that nothing reaches.
    pub condemned: u64,
    /// Their length in bytes.
    pub condemned_bytes: u64,
    /// Objects of artifacts that were deleted.
    pub deleted: u64,
    /// Their length in bytes.
    pub deleted_bytes: u64,
    /// Condemned objects that are kept after all: something came to need them meanwhile.
    pub spared: u64,
    /// Objects that could not be deleted.
    pub undeletable: u64,
    /// What could not be read: version records, manifests, leases, outcomes.
    pub unreadable: u64,
    /// Files of writers that are gone, and documents of finished sessions and runs, that were deleted.
    pub cleared: u64,
}

type Reporter<'a> = &'a mut dyn FnMut(Event) -> Result<()>;

/// One collection.
struct Round<'a, 'g> {
    vault: &'a Vault,
    /// Whose retirements count; nobody's if there is none.
    policy: Option<Policy>,
    gate: Option<&'a mut Gate<'g>>,
    mode: Mode,
    progress: &'a dyn Progress,
    /// A grace ago, by the clock of the store.
    since: Timestamp,
    /// Nothing from then on is touched.
    cutoff: Timestamp,
    clock: Clock,
    /// Whether the store deletes by permits and ends them, if that was tried.
    ends_permits: OnceCell<bool>,
    /// Whether a deletion of this run may still be on its way.
    is_open: bool,
}

impl Vault {
    /// Deletes what nothing that counts can reach. Retirements count if `policy` accepts them; without one, none does.
    /// Channels cannot be judged without a trust root: whatever they ever pointed to is kept. See
    /// [`Gate::collect_garbage`].
    ///
    /// # Errors
    /// [`Error::Lost`] if another collection or a writer called this one off: nothing was deleted. [`Error::Storage`] if the
    /// store does not give something that may name objects: nothing was deleted. For what it gives and nobody can read see
    /// [`Event::Unreadable`]. [`Error::Corrupt`] for more than anybody can have of something. [`Error::Misuse`] for a policy
    /// that believes anybody.
    pub fn collect_garbage(
        &self,
        policy: Option<&Policy>,
        collection: Collection,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Collected> {
        if matches!(policy, Some(Policy::InsecureSkipSignature)) {
            return Err(Error::Misuse("whoever may retire versions must be named: anybody is nobody".into()));
        }
        Round::start(self, policy.cloned(), None, collection, progress, report)
    }
}

impl Gate<'_> {
    /// As [`Vault::collect_garbage`], under the trust root: what a channel points to is kept, and what it once pointed to
    /// unless that was retired.
    ///
    /// # Errors
    /// As there.
    pub fn collect_garbage(
        &mut self,
        collection: Collection,
        progress: &dyn Progress,
        report: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Collected> {
        let (vault, policy) = (self.vault, self.policy());
        Round::start(vault, Some(policy), Some(self), collection, progress, report)
    }
}

impl<'a, 'g> Round<'a, 'g> {
    fn start(
        vault: &'a Vault,
        policy: Option<Policy>,
        gate: Option<&'a mut Gate<'g>>,
        collection: Collection,
        progress: &'a dyn Progress,
        report: Reporter<'_>,
    ) -> Result<Collected> {
        let grace = collection.grace.as_secs().min(MAX_GRACE);
        let run = random_id()?;
        let now = match collection.mode {
            Mode::Collect => vault.start_run(&run, grace)?,
            Mode::DryRun => Timestamp::now(),
        };
        let earlier = now.as_second().saturating_sub(i64::try_from(grace).unwrap_or(i64::MAX));
        let since = Timestamp::from_second(earlier).unwrap_or(Timestamp::MIN);
        let (clock, ends_permits) = (Clock::new(vault, now), OnceCell::new());
        let (mode, cutoff) = (collection.mode, since);
        let mut round =
            Self { vault, policy, gate, mode, progress, since, cutoff, clock, ends_permits, is_open: false };
        let result = round.collect(&run, now, report);
        if !round.is_dry() {
            let deleted = result.as_ref().map_or(0, |collected| collected.deleted);
            // Whatever came of it: this process deletes nothing any more, so what it condemned may be stored again. If this
            // cannot be written, a later run says that this one did not come to its end.
            let ended = round.finish(&run, deleted, report);
            result.as_ref().map_or(Ok(()), |_| ended)?;
        }
        result
    }

    fn is_dry(&self) -> bool {
        self.mode == Mode::DryRun
    }

    fn go_on(&self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::storage("operation")(std::io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }

    fn collect(&mut self, run: &str, now: Timestamp, report: Reporter<'_>) -> Result<Collected> {
        let mut unreadable = 0;
        let mut counting = |event: Event| {
            unreadable += u64::from(matches!(event, Event::Unreadable { .. }));
            report(event)
        };
        let mut collected = self.collect_all(run, now, &mut counting)?;
        collected.unreadable = unreadable;
        Ok(collected)
    }

    fn collect_all(&mut self, run: &str, now: Timestamp, report: Reporter<'_>) -> Result<Collected> {
        let others = self.others(run, now, report)?;
        let claims = self.settle(true, report)?;
        self.cutoff = claims.oldest.map_or(self.since, |oldest| oldest.min(self.since));
        let mut reach = Reach::default();
        self.mark(&claims, &mut reach, report)?;
        let condemned = self.condemn(&mut reach, report)?;
        let mut collected = Collected {
            run: (!self.is_dry()).then(|| run.to_owned()),
            alive: claims.alive,
            condemned: condemned.len() as u64,
            condemned_bytes: condemned.values().map(|garbage| garbage.size).sum(),
            ..Collected::default()
        };
        for (path, garbage) in &condemned {
            report(Event::Condemned { path: path.clone(), size: garbage.size })?;
        }
        let mut old: Vec<String> = claims.finished.into_iter().chain(others).collect();
        if !self.is_dry() {
            if !condemned.is_empty() {
                self.write_lists(run, &condemned)?;
                // Whoever came to need something before the lists were complete is seen now; whoever does later sees them.
                let claims = self.settle(false, &mut |_| Ok(()))?;
                // Of a session that was opened after the first look, with a grace that is shorter than the clocks behind the
                // store are apart, objects can be older than the cutoff was.
                self.cutoff = claims.oldest.map_or(self.cutoff, |oldest| oldest.min(self.cutoff));
                self.mark(&claims, &mut reach, &mut |_| Ok(()))?;
                let mut permits = self.promise(run)?;
                self.decide(run)?;
                let deleted = self.delete(&condemned, &reach, &mut permits, &mut collected, report);
                self.is_open = permits.is_open();
                deleted?;
            }
            self.clear(&mut old, &mut collected, report)?;
        }
        collected.kept = reach.artifacts();
        Ok(collected)
    }

    /// Calls off runs that were started before this one and have not decided. What can be cleared away of finished ones.
    ///
    /// A younger one calls off this one; if it does not, both are safe beside each other.
    fn others(&self, run: &str, now: Timestamp, report: Reporter<'_>) -> Result<Vec<String>> {
        let mut finished = Vec::new();
        for (id, other) in self.vault.gc_runs()?.into_iter().filter(|(id, _)| id != run) {
            if !other.is_done {
                if self.is_deleting(&id, &other, (now, run), report)? {
                    self.take_over(&id, &other, now, report)?;
                    continue;
                }
                if !other.has_decision {
                    continue;
                }
            }
            if other.newest >= self.since {
                continue;
            }
            finished.extend(other.lists.iter().map(|list| runs::list_path(&id, *list)));
            finished.extend(other.started.map(|_| runs::start_path(&id)));
            finished.extend(other.has_promised.then(|| runs::promise_path(&id)));
            // The decision of a run that was called off stays until its own process has seen it, which may stand still for
            // long. What says that a run is done goes last.
            if other.is_done {
                finished.extend(other.has_decision.then(|| runs::decision_path(&id)));
                // Its process, should it go on, finds one of the two, or neither.
                finished.extend(other.revoked.map(|_| runs::revocation_path(&id)));
                finished.push(runs::done_path(&id));
            }
        }
        Ok(finished)
    }

    /// Whether a run may delete from now on. One that could not yet is called off, if it is older.
    fn is_deleting(&self, id: &str, other: &Run, ours: (Timestamp, &str), report: Reporter<'_>) -> Result<bool> {
        if other.has_decision {
            return match self.vault.gc_decision(id) {
                Ok(decision) => Ok(decision.is_some_and(|decision| decision.is_deleting())),
                Err(error @ Error::Corrupt { .. }) => {
                    report(Event::Unreadable { path: runs::decision_path(id), kept: Kept::Itself, error })?;
                    Ok(true)
                }
                Err(error) => Err(error),
            };
        }
        let is_older = (other.started.unwrap_or(Timestamp::MIN), id) < ours;
        if self.is_dry() || !is_older {
            return Ok(false);
        }
        let was_called_off = self.vault.gc_cancel(id)?;
        if was_called_off {
            report(Event::CalledOff { id: id.to_owned() })?;
        }
        Ok(!was_called_off)
    }

    fn write_lists(&self, run: &str, condemned: &Paths) -> Result<()> {
        let paths: Vec<String> = condemned.keys().cloned().collect();
        for (number, chunk) in (1..).zip(paths.chunks(MAX_PATHS)) {
            self.go_on()?;
            self.vault.create_new(&runs::list_path(run, number), &Condemned::new(chunk)?.write()?)?;
        }
        Ok(())
    }

    /// Decides that this run deletes, unless somebody decided that it must not.
    fn decide(&self, run: &str) -> Result<()> {
        self.go_on()?;
        let decision = Decision::deleting()?;
        match self.vault.store().create(&runs::decision_path(run), &decision.write()?)? {
            Created::New => Ok(()),
            Created::Exists if self.vault.gc_decision(run)? == Some(decision) => Ok(()),
            Created::Exists => Err(Error::Lost {
                what: format!("garbage collection {run}"),
                why: "was called off by another one, or by a writer that needs what it would have deleted; \
                      nothing was deleted",
            }),
        }
    }

    fn delete(
        &self,
        condemned: &Paths,
        reach: &Reach,
        permits: &mut Permits<'_>,
        collected: &mut Collected,
        report: Reporter<'_>,
    ) -> Result<()> {
        let goes = |path: &str, garbage: &Garbage| !reach.keeps(path) && garbage.modified < self.cutoff;
        // In the order of paths: documents of artifacts before their contents, so that what is left of one is no damage.
        let paths: Vec<&str> =
            condemned.iter().filter(|(path, garbage)| goes(path, garbage)).map(|(path, _)| path.as_str()).collect();
        collected.spared = (condemned.len() - paths.len()) as u64;
        for (number, path) in paths.iter().enumerate() {
            self.go_on()?;
            match permits.delete(&paths[number..]) {
                Ok(()) => {
                    let size = condemned[*path].size;
                    collected.deleted += 1;
                    collected.deleted_bytes += size;
                    self.progress.advance(size);
                }
                Err(error @ Error::Lost { .. }) => return Err(error),
                Err(error) => {
                    collected.undeletable += 1;
                    report(Event::Undeletable { path: (*path).to_owned(), error })?;
                }
            }
        }
        Ok(())
    }

    /// Removes what finished sessions and runs, and killed writers, left behind.
    fn clear(&self, old: &mut Vec<String>, collected: &mut Collected, report: Reporter<'_>) -> Result<()> {
        let store = self.vault.store();
        for entry in store.leftovers()?.into_iter().filter(|entry| entry.modified < self.cutoff) {
            self.go_on()?;
            match store.discard(&entry.path) {
                Ok(()) => collected.cleared += 1,
                Err(error) => {
                    collected.undeletable += 1;
                    report(Event::Undeletable { path: entry.path, error })?;
                }
            }
        }
        for path in old.drain(..) {
            self.go_on()?;
            match store.delete(&path) {
                Ok(()) => collected.cleared += 1,
                Err(error) => {
                    collected.undeletable += 1;
                    // What stands behind it in this order must not go before it.
                    report(Event::Undeletable { path, error })?;
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Vault {
    /// Says of a run that its process is gone: what it condemned may be stored again. To be said by people who know: if the
    /// process goes on after all, it deletes what was stored again.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such run; [`Error::Storage`].
    pub fn declare_finished(&self, run: &str) -> Result<()> {
        if !is_random_id(run) {
            return Err(Error::Misuse(format!("{run:?} is no garbage collection: it has 32 lower-case hex digits")));
        }
        if !self.gc_runs()?.contains_key(run) {
            return Err(Error::NotFound { what: format!("garbage collection {run}") });
        }
        let (Created::New | Created::Exists) = self.store().create(&runs::done_path(run), &Done::new(0).write()?)?;
        self.store().sync()
    }

    /// Starts a run and says what time it is, by the clock of the store.
    fn start_run(&self, run: &str, grace: u64) -> Result<Timestamp> {
        let path = runs::start_path(run);
        self.create_new(&path, &Started::new(grace)?.write()?)?;
        let entry = self.store().stat(&path)?;
        Ok(entry.ok_or(Error::Corrupt { place: Place::Object(path), fault: Fault::Missing })?.modified)
    }
}
