//! Sessions as garbage collection finds them: alive, committed, or ended by it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Event, Kept, Reporter, Round};
use crate::{
    error::{Error, Fault, Place, Result},
    names::ArtifactDigest,
    provenance::MAX_ENVELOPE,
    store::Created,
    vault::{
        Outcome,
        session::{
            FOLDER, Part,
            documents::{Lease, MAX_LEASE},
            lease_path, outcome_path, parse_path,
        },
    },
};

/// More sessions than a vault has between two collections.
const MAX_SESSIONS: usize = 1_000_000;
/// More artifacts than sessions at work pin all together: as many as a hundred of them may.
const MAX_PINNED: usize = 1_000_000;
/// How far the clocks of the machines behind one store may be apart, in seconds.
const SKEW: i64 = 300;

/// What the sessions demand of a collection.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Artifacts that sessions at work build on; their manifests may not be there yet.
    pins: BTreeSet<[u8; 32]>,
    /// Artifacts whose commit was decided.
    pub(super) committed: Vec<ArtifactDigest>,
    /// Nothing from this time on is touched.
    pub(super) oldest: Option<Timestamp>,
    pub(super) alive: u64,
    /// Whether something could not be read that may name any artifact.
    pub(super) may_be_any: bool,
    /// Objects of finished sessions that nobody needs any more, in the order in which they may go.
    pub(super) finished: Vec<String>,
}

impl Claims {
    pub(super) fn pins(&self) -> impl Iterator<Item = ArtifactDigest> {
        self.pins.iter().map(|pin| blake3::Hash::from_bytes(*pin).into())
    }

    /// A session repeats its pins in every lease, so each counts once. When there are too many, no more are added.
    fn pin(&mut self, pins: &[ArtifactDigest]) -> Result<()> {
        if self.pins.len() <= MAX_PINNED {
            self.pins.extend(pins.iter().map(|pin| *pin.hash().as_bytes()));
        }
        if self.pins.len() > MAX_PINNED {
            let fault = Fault::Limit { what: "number of artifacts that sessions pin", limit: MAX_PINNED as u64 };
            return Err(Error::Corrupt { place: Place::Object(FOLDER.to_owned()), fault });
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Found {
    leases: Vec<(u64, Timestamp)>,
    has_outcome: bool,
    newest: Timestamp,
}

impl Found {
    fn is_alive(&self, since: Timestamp) -> bool {
        self.leases.iter().any(|(_, modified)| *modified >= since)
    }
}

impl Round<'_, '_> {
    /// Looks at every session; the first time, those that are too old are ended, and those that were committed finished.
    pub(super) fn settle(&self, is_first: bool, report: Reporter<'_>) -> Result<Claims> {
        let mut claims = Claims::default();
        for (id, found) in self.found_sessions()? {
            let read = if found.has_outcome { self.vault.session_outcome(&id) } else { Ok(None) };
            // It may have been `committed`, of anything, and its writer may still publish that.
            let Some(mut outcome) = readable(&outcome_path(&id), read, &mut claims, report)? else { continue };
            if outcome.is_none() && !found.leases.is_empty() {
                // The second time, one that is not decided was alive the first time, or is new.
                if !is_first || found.is_alive(self.since) {
                    self.keep_alive(&id, &found, &mut claims, report)?;
                    continue;
                }
                let ended = self.end(&id, report).map(Some);
                let Some(decided) = readable(&outcome_path(&id), ended, &mut claims, report)? else { continue };
                outcome = decided;
            }
            let is_old = found.newest < self.since;
            match outcome {
                Some(Outcome::Aborted) if is_old => {
                    claims.finished.extend(found.leases.iter().map(|(lease, _)| lease_path(&id, *lease)));
                }
                // Without one, there was nothing but an outcome, which was cleared away meanwhile.
                None | Some(Outcome::Aborted) => {}
                Some(outcome) => {
                    let is_published = self.publish(&outcome, is_first, &mut claims, report)?;
                    if is_published && is_old {
                        claims.finished.extend(found.leases.iter().map(|(lease, _)| lease_path(&id, *lease)));
                        // Last: a session without an outcome would be taken for one that stands still.
                        claims.finished.push(outcome_path(&id));
                    }
                }
            }
        }
        Ok(claims)
    }

    fn found_sessions(&self) -> Result<BTreeMap<String, Found>> {
        let mut sessions: BTreeMap<String, Found> = BTreeMap::new();
        self.vault.store().list(FOLDER, &mut |entry| {
            let Some((id, part)) = parse_path(&entry.path) else { return Ok(()) };
            if sessions.len() > MAX_SESSIONS {
                let fault = Fault::Limit { what: "number of sessions", limit: MAX_SESSIONS as u64 };
                return Err(Error::Corrupt { place: Place::Object(FOLDER.to_owned()), fault });
            }
            let found = sessions.entry(id.to_owned()).or_default();
            found.newest = found.newest.max(entry.modified);
            match part {
                Part::Lease(number) => found.leases.push((number, entry.modified)),
                Part::Outcome => found.has_outcome = true,
            }
            self.go_on()
        })?;
        Ok(sessions)
    }

    fn keep_alive(&self, id: &str, found: &Found, claims: &mut Claims, report: Reporter<'_>) -> Result<()> {
        claims.alive += 1;
        for (number, modified) in &found.leases {
            let early = Timestamp::from_second(modified.as_second().saturating_sub(SKEW)).unwrap_or(Timestamp::MIN);
            claims.oldest = Some(claims.oldest.map_or(early, |oldest| oldest.min(early)));
            let path = lease_path(id, *number);
            // It may have been finished and cleared away since it was listed: then a version record names what it made.
            let lease = self.vault.store().read(&path, MAX_LEASE);
            let lease = lease.and_then(|bytes| bytes.map(|bytes| Lease::parse(&bytes)).transpose());
            if let Some(Some(lease)) = readable(&path, lease, claims, report)? {
                // Nobody has so many: whoever planted them means every artifact.
                let pinned = claims.pin(&lease.pins);
                readable(&path, pinned, claims, report)?;
            }
        }
        Ok(())
    }

    /// Ends a session that stands still, unless its writer was faster.
    fn end(&self, id: &str, report: Reporter<'_>) -> Result<Outcome> {
        if !self.is_dry() {
            match self.vault.store().create(&outcome_path(id), &Outcome::Aborted.to_vec()?)? {
                Created::New => {}
                Created::Exists => match self.vault.session_outcome(id)? {
                    Some(Outcome::Aborted) => {}
                    Some(committed) => return Ok(committed),
                    None => {
                        let place = Place::Object(outcome_path(id));
                        return Err(Error::Corrupt { place, fault: Fault::Missing });
                    }
                },
            }
        }
        report(Event::SessionEnded { id: id.to_owned() })?;
        Ok(Outcome::Aborted)
    }

    /// Finishes a commit that was decided and not carried out. Whether there is a version record now.
    fn publish(&self, outcome: &Outcome, is_first: bool, claims: &mut Claims, report: Reporter<'_>) -> Result<bool> {
        let (Outcome::Committed { path, record }, Some((name, artifact))) = (outcome, outcome.version()?) else {
            return Ok(false);
        };
        let is_there = || match self.vault.store().read(path, MAX_ENVELOPE) {
            Ok(bytes) => Ok(bytes.is_some()),
            Err(Error::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        };
        if is_there()? {
            return Ok(true);
        }
        claims.committed.push(artifact);
        if !is_first || self.is_dry() {
            return Ok(false);
        }
        let (Created::New | Created::Exists) = self.vault.store().create(path, record)?;
        report(Event::Published { name })?;
        Ok(true)
    }
}

/// What was read; nothing if it cannot be, which is reported, and for which every artifact is kept.
fn readable<T>(path: &str, read: Result<T>, claims: &mut Claims, report: Reporter<'_>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ Error::Corrupt { .. }) => {
            claims.may_be_any = true;
            let (path, error) = (path.to_owned(), error.at(Place::Object(path.to_owned())));
            report(Event::Unreadable { path, kept: Kept::Artifacts, error })?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_pin_so_many_artifacts_and_no_more() {
        let mut claims = Claims::default();
        let digest = |number: usize| ArtifactDigest::of(&number.to_le_bytes());
        let pins: Vec<_> = (0..MAX_PINNED).map(digest).collect();
        for _ in 0..2 {
            claims.pin(&pins).expect("each counts once");
        }
        for more in [MAX_PINNED, MAX_PINNED + 1] {
            let error = claims.pin(&[digest(more)]).expect_err("one too many");
            assert_eq!(
                error.to_string(),
                "sessions: number of artifacts that sessions pin exceeds the limit of 1000000"
            );
        }
        assert_eq!(claims.pins.len(), MAX_PINNED + 1, "what is more than that takes no memory");
    }
}
