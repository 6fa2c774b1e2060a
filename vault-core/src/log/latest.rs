//! The newest checkpoint that the store shows, and whether it continues what a client saw.

use super::{
    Log,
    checkpoint::{Checkpoint, Judge, SignedCheckpoint, Witnessed, decimal},
    merkle::{is_consistent, prove_consistency},
    note::MAX_NOTE,
    tile::Tiles,
};
use crate::{
    error::{Error, Result},
    names::parse_hash,
};

/// The cache that tlog-tiles demands: the newest checkpoint, or one that was.
pub(super) const CACHE: &str = "checkpoint";
/// Where every checkpoint stands for ever, as `<size>.<SHA-256>`.
pub(super) const FOLDER: &str = "checkpoints";
/// The most checkpoints that are looked at, from the largest down: whoever may create objects can offer any number.
const MAX_LOOKS: usize = 100;

/// A checkpoint that the store lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) size: u64,
    pub(super) path: String,
}

impl Log {
    /// What stands in the cache, unchecked.
    pub(super) fn shown(&self) -> Result<Option<Vec<u8>>> {
        match self.store.read(&super::path(CACHE), MAX_NOTE) {
            Err(Error::Corrupt { .. }) => Ok(None),
            other => other,
        }
    }

    /// The newest checkpoint that counts, if there is any.
    ///
    /// A store can hide newer ones. Whoever saw one asks [`Log::latest_since`].
    ///
    /// # Errors
    /// [`Error::Untrusted`] or [`Error::Corrupt`] if there are checkpoints, and none that counts; [`Error::Storage`].
    pub fn latest(&self, judge: &Judge) -> Result<Option<Witnessed>> {
        self.latest_from(judge, 0)
    }

    /// The newest checkpoint that counts, if it continues the one that was seen last.
    ///
    /// # Errors
    /// As [`Log::latest`]; [`Error::Stale`] if the store shows only older ones; [`Error::Untrusted`] if it is another log, or
    /// one that was rewritten.
    pub fn latest_since(&self, judge: &Judge, seen: Option<&Checkpoint>) -> Result<Option<Witnessed>> {
        match self.latest_and_unseen(judge, seen.into_iter())? {
            (latest, unseen) if unseen.is_empty() => Ok(latest),
            (_, unseen) => Err(gone(unseen[0])),
        }
    }

    /// The newest checkpoint that counts, and which of those that were seen are more: somebody who signed one and crashed
    /// did not store it.
    pub(super) fn latest_and_unseen<'s>(
        &self,
        judge: &Judge,
        seen: impl Iterator<Item = &'s Checkpoint> + Clone,
    ) -> Result<(Option<Witnessed>, Vec<&'s Checkpoint>)> {
        let latest = self.latest_from(judge, seen.clone().map(Checkpoint::size).max().unwrap_or(0))?;
        let mut unseen = Vec::new();
        for seen in seen {
            if seen.origin() != self.origin() {
                let what = format!("the log at {} entries", seen.size());
                return Err(Error::Untrusted { what, why: "is another log than the one seen before: a fork" });
            }
            match &latest {
                Some(latest) if latest.checkpoint().size() >= seen.size() => {
                    self.continues(latest.checkpoint(), seen)?;
                }
                _ => unseen.push(seen),
            }
        }
        Ok((latest, unseen))
    }

    /// Checks that a tree is the beginning of another.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is not; [`Error::Corrupt`] if the tiles of the newer one are damaged.
    pub fn continues(&self, newer: &Checkpoint, older: &Checkpoint) -> Result<()> {
        let what = format!("the log at {} entries", newer.size());
        let fork = Error::Untrusted { what, why: "does not continue what was signed or seen before: a fork" };
        if newer.size() < older.size() || newer.origin() != older.origin() {
            return Err(fork);
        }
        let proof = if newer.size() == older.size() || older.size() == 0 {
            Vec::new()
        } else {
            let mut tiles = Tiles::open(&self.store, newer.size(), newer.root())?;
            prove_consistency(&mut tiles, older.size(), newer.size())?
        };
        if is_consistent((older.size(), older.root()), (newer.size(), newer.root()), &proof) {
            Ok(())
        } else {
            Err(fork)
        }
    }

    /// The newest that counts; the list is asked if the cache has none of at least this size.
    fn latest_from(&self, judge: &Judge, size: u64) -> Result<Option<Witnessed>> {
        judge.expect(self.origin())?;
        let cached = self.shown()?.map(|bytes| self.judged(judge, &bytes));
        if let Some(Ok(cached)) = &cached
            && cached.checkpoint().size() >= size
        {
            return Ok(Some(cached.clone()));
        }
        let mut refusal = None;
        for Listed { size: listed, path } in self.listed()?.into_iter().rev() {
            if let Some(Ok(cached)) = &cached
                && cached.checkpoint().size() >= listed
            {
                break;
            }
            match self.judged_at(judge, &path) {
                Ok(found) if found.checkpoint().size() == listed => return Ok(Some(found)),
                Ok(_) => {}
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match (cached, refusal) {
            (Some(Ok(cached)), _) => Ok(Some(cached)),
            (Some(Err(error)), _) | (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn judged(&self, judge: &Judge, bytes: &[u8]) -> Result<Witnessed> {
        judge.judge(SignedCheckpoint::parse(bytes)?, self.origin())
    }

    pub(super) fn judged_at(&self, judge: &Judge, path: &str) -> Result<Witnessed> {
        let missing = || Error::NotFound { what: path.to_owned() };
        self.judged(judge, &self.store.read(path, MAX_NOTE)?.ok_or_else(missing)?)
    }

    /// The largest checkpoints that the store lists, ascending.
    pub(super) fn listed(&self) -> Result<Vec<Listed>> {
        let folder = super::path(FOLDER);
        let mut found = Vec::new();
        self.store.list(&folder, &mut |entry| {
            if let Some(size) = listed_size(&entry.path, &folder) {
                found.push(Listed { size, path: entry.path });
                if found.len() > 2 * MAX_LOOKS {
                    found.sort_unstable();
                    found.drain(..found.len() - MAX_LOOKS);
                }
            }
            Ok(())
        })?;
        found.sort_unstable();
        found.drain(..found.len().saturating_sub(MAX_LOOKS));
        Ok(found)
    }
}

/// What is wrong with a store that shows less than was seen.
pub(super) fn gone(seen: &Checkpoint) -> Error {
    let what = format!("the log at {} entries", seen.size());
    Error::Stale { what, why: "it was seen before, and the store does not show it any more" }
}

fn listed_size(path: &str, folder: &str) -> Option<u64> {
    let (size, hash) = path.strip_prefix(folder)?.strip_prefix('/')?.split_once('.')?;
    parse_hash(hash).and_then(|_| decimal(size))
}
