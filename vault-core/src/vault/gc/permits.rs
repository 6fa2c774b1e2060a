//! Deleting by permits that the store itself ends, and taking over runs that promised to.
//!
//! No store can tell a process that is gone from one that stands still, and a deletion that comes late deletes what was stored
//! again meanwhile. But a store can refuse a deletion that was signed too long ago. So a run signs first, then looks whether it
//! was revoked, and only then deletes: whatever it signed before it was revoked has ended a while later, however long it stood
//! still in between. `docs/ARCHITECTURE.md` has the argument.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Event, Pending, Reporter, Round,
    documents::{Document as _, Done, Promise, Revocation},
    runs::{self, Run},
};
use crate::{
    error::{Error, Result},
    store::{Created, Deletion, Presigned, Purpose},
    vault::{Vault, random_id},
};

/// How long a permit lasts.
const LIFETIME: Duration = Duration::from_mins(10);
/// How far the clock of a run, which dates its permits, may be from that of the store.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Since its revocation, by the clock of the store, all permits of a run have ended: a lifetime, a quarter of an hour by which
/// stores let requests be dated ahead, and what the clocks of the store's machines are apart.
pub(super) const SETTLED: SignedDuration = SignedDuration::from_mins(30);
/// How many permits are taken out for one look.
const BATCH: usize = 100;

/// The clock of a store, from the moment on at which it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    then: Timestamp,
    since: Instant,
}

impl Clock {
    pub(super) fn new(vault: &Vault, now: Timestamp) -> Self {
        Self { then: now, since: vault.store().instant() }
    }

    /// What it says by now; nothing later.
    fn now(self, vault: &Vault) -> Timestamp {
        let passed = vault.store().instant().saturating_duration_since(self.since);
        self.then.checked_add(passed).unwrap_or(self.then)
    }
}

/// What a run deletes by.
pub(super) struct Permits<'a> {
    vault: &'a Vault,
    run: &'a str,
    clock: Clock,
    has_promised: bool,
    /// Those that were taken out before a look, in the order of paths.
    ready: VecDeque<Permit>,
    /// When the last one ends by which something was asked that was not answered.
    open: Option<Timestamp>,
}

/// What one object is deleted by.
struct Permit {
    path: String,
    url: Presigned,
}

impl Permits<'_> {
    /// Deletes the first of these, with those behind it in mind.
    ///
    /// # Errors
    /// [`Error::Lost`] if the run was taken over; [`Error::Storage`].
    pub(super) fn delete(&mut self, paths: &[&str]) -> Result<()> {
        let Some(path) = paths.first() else { return Ok(()) };
        if !self.has_promised {
            return self.vault.store().delete(path);
        }
        if let Some(Ok(())) = self.use_next(path) {
            return Ok(());
        }
        // None is left, or it ended: maybe because this process stood still.
        self.ready = self.take_out(paths)?;
        self.use_next(path).unwrap_or_else(|| Err(Error::Misuse(format!("{path}: no permit was taken out for it"))))
    }

    /// Whether something may still be on its way that was asked for.
    pub(super) fn is_open(&self) -> bool {
        let end = self.open.map(|end| end.checked_add(SKEW).unwrap_or(Timestamp::MAX));
        end.is_some_and(|end| self.clock.now(self.vault) <= end)
    }

    /// Deletes an object by the next permit; nothing if there is none, or it is for another one.
    fn use_next(&mut self, path: &str) -> Option<Result<()>> {
        let permit = self.ready.pop_front().filter(|permit| permit.path == path)?;
        let Deletion { result, is_answered } = self.vault.store().delete_by(path, &permit.url);
        if !is_answered {
            self.open = self.open.max(Some(permit.url.expires));
        }
        Some(result)
    }

    /// Signs, and looks only afterwards. What was signed is of no use before the look was made.
    fn take_out(&self, paths: &[&str]) -> Result<VecDeque<Permit>> {
        let mut taken = VecDeque::new();
        for path in paths.iter().take(BATCH) {
            let url = self.vault.store().presign(path, Purpose::Delete, LIFETIME)?;
            let url = url.ok_or_else(|| Error::Misuse("this store signs nothing any more".into()))?;
            taken.push_back(Permit { path: (*path).to_owned(), url });
        }
        let now = self.clock.now(self.vault);
        let run = self.vault.gc_run(self.run)?;
        // Of a run that was taken over and is done, everything may have been cleared away.
        if run.revoked.is_some() || !run.has_decision {
            return Err(Error::Lost {
                what: format!("garbage collection {}", self.run),
                why: "was taken over by a later one, as it gave no sign of life; what it has not deleted, a later one does",
            });
        }
        let latest = now.checked_add(LIFETIME).and_then(|end| end.checked_add(SKEW)).unwrap_or(Timestamp::MAX);
        if let Some(late) = taken.iter().find(|permit| permit.url.expires > latest) {
            let why = "the clock of this machine has gone ahead of the store's: a signed deletion would last too long";
            return Err(Error::storage(&*late.path)(io::Error::other(why)));
        }
        Ok(taken)
    }
}

impl Round<'_, '_> {
    /// Promises, before the decision, to delete only by permits that end, if the store can do it.
    pub(super) fn promise<'r>(&'r self, run: &'r str) -> Result<Permits<'r>> {
        let has_promised = self.is_dated_alike()? && self.ends_permits()?;
        if has_promised {
            self.vault.create_new(&runs::promise_path(run), &Promise::new(LIFETIME.as_secs()).write()?)?;
        }
        Ok(Permits { vault: self.vault, run, clock: self.clock, has_promised, ready: VecDeque::new(), open: None })
    }

    /// Whether permits are dated as the store would date them.
    fn is_dated_alike(&self) -> Result<bool> {
        let permit = self.vault.store().presign(runs::FOLDER, Purpose::Delete, LIFETIME)?;
        Ok(permit.is_some_and(|permit| {
            let lasts = permit.expires.duration_since(self.clock.now(self.vault));
            (lasts - SignedDuration::try_from(LIFETIME).unwrap_or(SignedDuration::ZERO)).abs() <= SKEW
        }))
    }

    /// Whether the store deletes by permits and ends them: tried once, with the end of a run that never was. Should this fail,
    /// a later collection clears that away like any other.
    fn ends_permits(&self) -> Result<bool> {
        if let Some(known) = self.ends_permits.get() {
            return Ok(*known);
        }
        let (store, path) = (self.vault.store(), runs::done_path(&random_id()?));
        let mut ends = store.presign(&path, Purpose::Delete, LIFETIME)?.is_some();
        if ends {
            self.vault.create_new(&path, &Done::new(0).write()?)?;
            ends = store.expires(&path)?;
            if !ends {
                // It may be there still.
                let _ = store.delete(&path);
            }
        }
        Ok(*self.ends_permits.get_or_init(|| ends))
    }

    /// Says that this process deletes nothing any more, if that is so. As long as something may be on its way that it asked for,
    /// it ends itself as another one would that takes it over: a later one says that it is done.
    pub(super) fn finish(&self, run: &str, deleted: u64, report: Reporter<'_>) -> Result<()> {
        if !self.is_open {
            let (Created::New | Created::Exists) =
                self.vault.store().create(&runs::done_path(run), &Done::new(deleted).write()?)?;
            return Ok(());
        }
        self.revoke(run)?;
        report(Event::Unfinished { id: run.to_owned(), pending: Pending::Settling })
    }

    fn revoke(&self, run: &str) -> Result<()> {
        let revocation = Revocation::new()?.write()?;
        let (Created::New | Created::Exists) = self.vault.store().create(&runs::revocation_path(run), &revocation)?;
        Ok(())
    }

    /// What becomes of another run that may delete and is not done.
    pub(super) fn take_over(&self, id: &str, other: &Run, now: Timestamp, report: Reporter<'_>) -> Result<()> {
        let id = || id.to_owned();
        let pending = match other.revoked {
            _ if !other.has_promised => Pending::ByHand,
            None if other.newest >= self.since => Pending::Recent,
            None => {
                if !self.is_dry() {
                    self.revoke(&id())?;
                }
                return report(Event::TakenOver { id: id() });
            }
            Some(since) if now.duration_since(since) < SETTLED => Pending::Settling,
            // What ends nothing in time has no permits, whatever was promised.
            Some(_) if !self.is_dry() && !self.ends_permits()? => Pending::ByHand,
            Some(_) => {
                if !self.is_dry() {
                    let (Created::New | Created::Exists) =
                        self.vault.store().create(&runs::done_path(&id()), &Done::new(0).write()?)?;
                }
                return report(Event::Finished { id: id() });
            }
        };
        report(Event::Unfinished { id: id(), pending })
    }
}
