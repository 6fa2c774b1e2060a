//! Sessions: what keeps garbage collection away from a writer at work, and decides between the two if it does not.
//!
//! A writer takes out a lease before it stores its first object and renews it while it works. Collection never touches
//! what is younger than the oldest lease of a session that is alive, nor what such a session pins. A session whose newest
//! lease is too old is ended by creating its outcome, `aborted`; a writer creates the same object, `committed`, before its
//! version record. The store lets one of them win, however long either was frozen. `docs/ARCHITECTURE.md` has the argument.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Vault, gc, is_random_id, manifest_path, random_id, version_path};
use crate::{
    error::{Error, Fault, Place, Result},
    names::{ArtifactDigest, VersionName},
    parts::{Sink, Staged},
    seal::resume::Lasting,
    store::{Created, Store},
};

pub(super) mod documents;

pub use documents::{Lease, Outcome, Work};

/// How often a session at work takes out a new lease. A collection whose grace is not well above this ends sessions at work.
pub const BEAT: Duration = Duration::from_hours(1);
/// Enough for an hourly lease of a century.
const MAX_LEASES: u64 = 1 << 20;

pub(super) const FOLDER: &str = "sessions";

/// A writer at work. Nothing happens when it is dropped: its outcome is decided by [`Session::commit`], by
/// [`Session::abandon`], or by a later garbage collection.
pub struct Session<'a> {
    vault: &'a Vault,
    id: String,
    kind: Work,
    state: Mutex<State>,
}

struct State {
    /// The number of the newest lease.
    number: u64,
    beaten: Instant,
    pins: BTreeSet<[u8; 32]>,
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens a session, before the first object is stored. What `pins` names is kept while the session is alive, as soon as
    /// its manifest is in the vault.
    ///
    /// # Errors
    /// [`Error::Misuse`] for more than 10 000 pins; [`Error::Storage`].
    pub fn open_session(&self, kind: Work, pins: &[ArtifactDigest]) -> Result<Session<'_>> {
        let session = self.session(random_id()?, kind, 0, pins);
        session.renew(&mut session.lock())?;
        Ok(session)
    }

    /// Goes on with a session that was opened before, maybe by a process that is gone. Never with one that is still at work.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of this id; [`Error::Lost`] if garbage collection ended it: what it stored may
    /// be gone. [`Error::Conflict`] if it was committed; as [`Vault::open_session`].
    pub fn reopen_session(&self, id: &str, kind: Work, pins: &[ArtifactDigest]) -> Result<Session<'_>> {
        if !is_random_id(id) {
            return Err(Error::Misuse(format!("{id:?} is no session")));
        }
        let (mut number, mut pinned) = (0, pins.to_vec());
        for lease in self.lease_numbers(id)? {
            let path = lease_path(id, lease);
            pinned.extend(Lease::parse(&self.demand(&path, documents::MAX_LEASE)?)?.pins);
            number = number.max(lease);
        }
        if number == 0 {
            return Err(Error::NotFound { what: format!("session {id}") });
        }
        let session = self.session(id.to_owned(), kind, number, &pinned);
        session.renew(&mut session.lock())?;
        Ok(session)
    }

    /// Goes on with a session, or opens it under an id that its caller keeps. One that was committed is finished.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its version is published, now or before; otherwise as [`Vault::reopen_session`].
    pub(super) fn continue_session(&self, id: &str, kind: Work) -> Result<Session<'_>> {
        let session = self.session(id.to_owned(), kind, 0, &[]);
        // The leases of a session that was ended go before its outcome does.
        if let Some(outcome) = self.session_outcome(id)? {
            let (Outcome::Committed { record, .. }, Some((name, _))) = (&outcome, outcome.version()?) else {
                return Err(session.lost());
            };
            self.commit_version(&name, record)?;
            return Err(Error::Conflict { what: format!("version {name}") });
        }
        match self.reopen_session(id, kind, &[]) {
            Err(Error::NotFound { .. }) => {}
            other => return other,
        }
        session.renew(&mut session.lock())?;
        Ok(session)
    }

    fn session(&self, id: String, kind: Work, number: u64, pins: &[ArtifactDigest]) -> Session<'_> {
        let pins = pins.iter().map(|pin| *pin.hash().as_bytes()).collect();
        Session { vault: self, id, kind, state: Mutex::new(State { number, beaten: Instant::now(), pins }) }
    }

    /// The numbers of the leases of a session.
    fn lease_numbers(&self, id: &str) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        self.store.list(&format!("{FOLDER}/{id}"), &mut |entry| {
            if let Some(Part::Lease(number)) = parse_path(&entry.path).map(|(_, part)| part) {
                numbers.push(number);
            }
            if numbers.len() as u64 > MAX_LEASES {
                let fault = Fault::Limit { what: "number of leases", limit: MAX_LEASES };
                return Err(Error::Corrupt { place: Place::Object(format!("{FOLDER}/{id}")), fault });
            }
            Ok(())
        })?;
        Ok(numbers)
    }

    /// The outcome of a session, if it has one.
    pub(super) fn session_outcome(&self, id: &str) -> Result<Option<Outcome>> {
        let path = outcome_path(id);
        let bytes = self.store.read(&path, documents::MAX_OUTCOME)?;
        bytes.map(|bytes| Outcome::parse(&bytes).map_err(|error| error.at(Place::Object(path)))).transpose()
    }
}

impl Session<'_> {
    /// Its id: 32 hex digits, random. No secret, but whoever may create objects in the store and knows it can end the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes out a new lease if the newest is an hour old. To be called often: it costs nothing in between.
    ///
    /// # Errors
    /// [`Error::Lost`] if garbage collection ended the session; [`Error::Storage`].
    pub fn beat(&self) -> Result<()> {
        let mut state = self.lock();
        if state.beaten.elapsed() < BEAT { Ok(()) } else { self.renew(&mut state) }
    }

    /// Pins more artifacts, with a new lease.
    ///
    /// # Errors
    /// As [`Session::beat`], and [`Error::Misuse`] for more than 10 000 pins.
    pub fn pin(&self, pins: &[ArtifactDigest]) -> Result<()> {
        let mut state = self.lock();
        state.pins.extend(pins.iter().map(|pin| *pin.hash().as_bytes()));
        self.renew(&mut state)
    }

    /// Makes sure that objects which are in the store already, or were once, stay there: to be called after the artifacts
    /// they belong to were pinned and the manifests of those stored, and *before* asking the store which objects it has.
    ///
    /// A collection under way that is about to delete one of them is called off.
    ///
    /// # Errors
    /// [`Error::Lost`] if a collection is deleting them at this moment, or ended the session; [`Error::Misuse`] if the manifest of a pinned
    /// artifact is not in the vault; [`Error::Corrupt`], [`Error::Storage`].
    pub fn rely_on(&self, paths: &[String]) -> Result<()> {
        if paths.is_empty() && self.lock().pins.is_empty() {
            return Ok(());
        }
        for pin in &self.lock().pins {
            let pinned = ArtifactDigest::from(blake3::Hash::from_bytes(*pin));
            if self.vault.store.stat(&manifest_path(pinned))?.is_none() {
                // Collected, with everything else that a session stored which was ended.
                if self.vault.session_outcome(&self.id)? == Some(Outcome::Aborted) {
                    return Err(self.lost());
                }
                return Err(Error::Misuse(format!("{pinned} is pinned, and its manifest is not in the vault yet")));
            }
        }
        gc::runs::protect(self.vault, &paths.iter().cloned().collect::<HashSet<_>>())
    }

    /// Publishes a version: decides the session, then creates the version record. What the record names must be durable.
    ///
    /// If this fails with [`Error::Storage`], the version may be published nevertheless: at once, or by the next garbage
    /// collection, which finishes what was decided.
    ///
    /// # Errors
    /// [`Error::Lost`] if garbage collection ended the session: nothing is published then. [`Error::Conflict`] if another
    /// version has the name; [`Error::Misuse`] if `record` is no version record of this name; [`Error::Storage`].
    pub fn commit(&self, name: &VersionName, record: &[u8]) -> Result<()> {
        let outcome = Outcome::committed(name, record.to_vec())?;
        self.decide(&outcome)?;
        self.vault.commit_version(name, record)
    }

    /// Ends the session without publishing anything: what it stored may be collected.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it was committed; [`Error::Storage`].
    pub fn abandon(self) -> Result<()> {
        match self.decide(&Outcome::Aborted) {
            Err(Error::Lost { .. }) => Ok(()),
            other => other,
        }
    }

    pub(super) fn decide(&self, outcome: &Outcome) -> Result<()> {
        let path = outcome_path(&self.id);
        match self.vault.store.create(&path, &outcome.to_vec()?)? {
            Created::New => Ok(()),
            // A store whose client repeats requests may say so about this very outcome.
            Created::Exists => match self.vault.session_outcome(&self.id)? {
                Some(there) if there == *outcome && *outcome != Outcome::Aborted => Ok(()),
                Some(Outcome::Aborted) => Err(self.lost()),
                _ => Err(Error::Conflict { what: path }),
            },
        }
    }

    /// Creates the next lease, and makes sure that the session was not ended.
    fn renew(&self, state: &mut State) -> Result<()> {
        let lease = Lease {
            kind: self.kind.as_str().to_owned(),
            pins: state.pins.iter().map(|pin| blake3::Hash::from_bytes(*pin).into()).collect(),
        };
        let bytes = lease.to_vec()?;
        let is_first = state.number == 0;
        state.number += 1;
        // A lease that is there already may be ours, by a repeated request: it is as young either way.
        let (Created::New | Created::Exists) = self.vault.store.create(&lease_path(&self.id, state.number), &bytes)?;
        state.beaten = Instant::now();
        match if is_first { None } else { self.vault.session_outcome(&self.id)? } {
            None => Ok(()),
            Some(Outcome::Aborted) => Err(self.lost()),
            Some(Outcome::Committed { .. }) => Err(Error::Conflict { what: outcome_path(&self.id) }),
        }
    }

    /// What a failure was about: if a collection ended the session, what was missing is what that took.
    pub(super) fn explained(&self, error: Error) -> Error {
        match self.vault.session_outcome(&self.id) {
            Ok(Some(Outcome::Aborted)) => self.lost(),
            _ => error,
        }
    }

    fn lost(&self) -> Error {
        Error::Lost { what: format!("session {}", self.id), why: "garbage collection ended it; nothing was published" }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that renews the lease of a session as objects go into it.
pub(super) struct Beating<'a> {
    pub(super) store: &'a Store,
    pub(super) session: &'a Session<'a>,
}

impl Sink for Beating<'_> {
    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.session.beat()?;
        self.store.stage(capacity)
    }
}

impl Lasting for Beating<'_> {
    fn settle(&self) -> Result<()> {
        self.store.settle()
    }

    fn length(&self, name: &blake3::Hash) -> Result<Option<u64>> {
        self.store.length(name)
    }
}

/// What an object below `sessions/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Lease(u64),
    Outcome,
}

/// The session that an object belongs to, and which of its objects it is; none if it has no place there.
pub(super) fn parse_path(path: &str) -> Option<(&str, Part)> {
    let (id, name) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let part = match name {
        "outcome.json" => Part::Outcome,
        lease => {
            let digits = lease.strip_prefix("lease-")?.strip_suffix(".json")?;
            let number = digits.parse().ok().filter(|n: &u64| *n > 0 && n.to_string() == digits)?;
            Part::Lease(number)
        }
    };
    is_random_id(id).then_some((id, part))
}

pub(super) fn lease_path(id: &str, number: u64) -> String {
    format!("{FOLDER}/{id}/lease-{number}.json")
}

pub(super) fn outcome_path(id: &str) -> String {
    format!("{FOLDER}/{id}/outcome.json")
}

impl Outcome {
    /// Publishing this version with this record.
    ///
    /// # Errors
    /// [`Error::Misuse`] if `record` is no version record of this name.
    pub fn committed(name: &VersionName, record: Vec<u8>) -> Result<Self> {
        let outcome = Self::Committed { path: version_path(name), record };
        outcome.version().map_err(|error| Error::Misuse(format!("no version record of {name}: {error}")))?;
        Ok(outcome)
    }
}
