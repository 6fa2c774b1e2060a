//! Deleting by permits that the store itself ends, and taking over runs that promised to.
//!
//! No store can tell a process that is gone from one that stands still, and a deletion that comes late deletes what was stored
//! again meanwhile. But a store can refuse a deletion that was signed too long ago. So a run signs first, then looks whether it
//! was revoked, and only then deletes: whatever it signed before it was revoked has ended a while later, however long it stood
//! still in between. `docs/ARCHITECTURE.md` has the argument.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Event, Pending, Reporter, Round,
    documents::{Document as _, Done, Promise, Revocation},
    runs::{self, Run},
};
use crate::{
    error::{Error, Result},
    store::{Created, Presigned, Purpose},
    vault::Vault,
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

/// What a run deletes by.
pub(super) struct Permits<'a> {
    vault: &'a Vault,
    run: &'a str,
    has_promised: bool,
    ready: VecDeque<Presigned>,
}

impl<'a> Permits<'a> {
    /// Promises, before the decision, to delete only so, if the store can do it. `now` is what its clock says.
    pub(super) fn promise(vault: &'a Vault, run: &'a str, now: Timestamp) -> Result<Self> {
        let has_promised = is_able(vault, now)?;
        if has_promised {
            vault.create_new(&runs::promise_path(run), &Promise::new(LIFETIME.as_secs()).write()?)?;
        }
        Ok(Self { vault, run, has_promised, ready: VecDeque::new() })
    }

    /// Deletes the first of these, with those behind it in mind.
    ///
    /// # Errors
    /// [`Error::Lost`] if the run was taken over; [`Error::Storage`].
    pub(super) fn delete(&mut self, paths: &[&str]) -> Result<()> {
        let Some(path) = paths.first() else { return Ok(()) };
        if !self.has_promised {
            return self.vault.store().delete(path);
        }
        if let Some(permit) = self.ready.pop_front()
            && self.vault.store().delete_by(path, &permit).is_ok()
        {
            return Ok(());
        }
        // None is left, or it ended: maybe because this process stood still.
        self.take_out(paths)?;
        match self.ready.pop_front() {
            Some(permit) => self.vault.store().delete_by(path, &permit),
            None => Ok(()),
        }
    }

    /// Signs, and looks only afterwards.
    fn take_out(&mut self, paths: &[&str]) -> Result<()> {
        self.ready.clear();
        for path in paths.iter().take(BATCH) {
            let permit = self.vault.store().presign(path, Purpose::Delete, LIFETIME)?;
            self.ready.push_back(permit.ok_or_else(|| Error::Misuse("this store signs nothing any more".into()))?);
        }
        let run = self.vault.gc_run(self.run)?;
        // Of a run that was taken over and is done, everything may have been cleared away.
        if run.revoked.is_none() && run.has_decision {
            return Ok(());
        }
        Err(Error::Lost {
            what: format!("garbage collection {}", self.run),
            why: "was taken over by a later one, as it gave no sign of life; what it has not deleted, a later one does",
        })
    }
}

/// Whether the store deletes by permits, and dates like the clock of this machine.
fn is_able(vault: &Vault, now: Timestamp) -> Result<bool> {
    let Some(permit) = vault.store().presign(runs::FOLDER, Purpose::Delete, LIFETIME)? else { return Ok(false) };
    let lasts = permit.expires.duration_since(now) - SignedDuration::try_from(LIFETIME).unwrap_or(SignedDuration::ZERO);
    Ok(lasts.abs() <= SKEW && vault.store().deletes_by()?)
}

impl Round<'_, '_> {
    /// What becomes of another run that may delete and is not done.
    pub(super) fn take_over(&self, id: &str, other: &Run, now: Timestamp, report: Reporter<'_>) -> Result<()> {
        let id = || id.to_owned();
        let pending = match other.revoked {
            _ if !other.has_promised => Pending::ByHand,
            None if other.newest >= self.since => Pending::Recent,
            None => {
                if !self.is_dry() {
                    let revocation = Revocation::new()?.write()?;
                    let (Created::New | Created::Exists) =
                        self.vault.store().create(&runs::revocation_path(&id()), &revocation)?;
                }
                return report(Event::TakenOver { id: id() });
            }
            Some(since) if now.duration_since(since) < SETTLED => Pending::Settling,
            // What ends nothing in time has no permits, whatever was promised.
            Some(_) if !self.is_dry() && !self.vault.store().expires()? => Pending::ByHand,
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
