//! The newest checkpoint that the store shows, and whether it continues what a client saw.

use std::ops::ControlFlow;

use super::{
    Log,
    checkpoint::{Checkpoint, Judge, SignedCheckpoint, Witnessed, decimal},
    merkle::{MAX_LEAVES, is_consistent, prove_consistency},
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
/// The most checkpoints that are looked at for one that counts, from the largest down: whoever may create objects can offer
/// any number, and each costs a request.
const MAX_LOOKS: u64 = if cfg!(test) { 500 } else { 100_000 };
/// How many of the largest are listed first: one of them counts, unless somebody plants others.
const FIRST_PAGE: usize = 100;
/// How many are listed together after that.
const PAGE: usize = 10_000;

/// A checkpoint that the store lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) size: u64,
    pub(super) path: String,
}

/// What a search for the newest checkpoint found.
#[derive(Debug)]
pub(super) struct Newest {
    /// The largest that counts.
    pub(super) counts: Option<Witnessed>,
    /// Why the first one does not that was looked at and does not.
    pub(super) refusal: Option<Error>,
}

impl Newest {
    fn demand(self) -> Result<Option<Witnessed>> {
        match self {
            Self { counts: None, refusal: Some(refusal) } => Err(refusal),
            Self { counts, .. } => Ok(counts),
        }
    }
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
        self.newest(judge, 0, MAX_LEAVES)?.demand()
    }

    /// The newest checkpoint that counts, if it continues the one that was seen last.
    ///
    /// # Errors
    /// As [`Log::latest`]; [`Error::Stale`] if the store shows only older ones; [`Error::Untrusted`] if it is another log, or
    /// one that was rewritten, or too few witnesses cosigned what was seen.
    pub fn latest_since(&self, judge: &Judge, seen: Option<&Checkpoint>) -> Result<Option<Witnessed>> {
        let (newest, unseen) = self.newest_and_unseen(judge, seen.into_iter())?;
        let latest = newest.demand()?;
        let Some(unseen) = unseen.first() else { return Ok(latest) };
        // What was seen without witnesses may be there, and wait for theirs.
        let alone = self.newest(&judge.alone(), unseen.size(), MAX_LEAVES)?.counts;
        match alone.filter(|alone| alone.checkpoint().size() >= unseen.size()) {
            Some(alone) => {
                self.continues(alone.checkpoint(), unseen)?;
                let what = format!("the log at {} entries", unseen.size());
                Err(Error::Untrusted {
                    what,
                    why: "was seen before, and is cosigned by too few of the known witnesses",
                })
            }
            None => Err(gone(unseen)),
        }
    }

    /// The newest checkpoint that counts, and which of those that were seen are more: somebody who signed one and crashed
    /// did not store it.
    pub(super) fn newest_and_unseen<'s>(
        &self,
        judge: &Judge,
        seen: impl Iterator<Item = &'s Checkpoint> + Clone,
    ) -> Result<(Newest, Vec<&'s Checkpoint>)> {
        judge.check_log(self.origin())?;
        if let Some(seen) = seen.clone().find(|seen| seen.origin() != self.origin()) {
            let what = format!("the log at {} entries", seen.size());
            return Err(Error::Untrusted { what, why: "is another log than the one seen before: a fork" });
        }
        let largest = seen.clone().map(Checkpoint::size).max().unwrap_or(0);
        let newest = self.newest(judge, largest, MAX_LEAVES)?;
        let mut unseen = Vec::new();
        for seen in seen {
            match &newest.counts {
                Some(latest) if latest.checkpoint().size() >= seen.size() => {
                    self.continues(latest.checkpoint(), seen)?;
                }
                _ => unseen.push(seen),
            }
        }
        Ok((newest, unseen))
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

    /// The newest that counts of at most a size; the list is asked if the cache has none of at least the other size.
    pub(super) fn newest(&self, judge: &Judge, at_least: u64, at_most: u64) -> Result<Newest> {
        judge.check_log(self.origin())?;
        let (mut counts, mut refusal) = (None::<Witnessed>, None);
        match self.shown()?.map(|bytes| self.judged(judge, &bytes)) {
            Some(Ok(cached)) if cached.checkpoint().size() <= at_most => counts = Some(cached),
            Some(Err(error)) => refusal = Some(error),
            _ => {}
        }
        let known = counts.as_ref().map(|cached| cached.checkpoint().size());
        if known.is_some_and(|known| known >= at_least) {
            return Ok(Newest { counts, refusal });
        }
        let mut looks = 0;
        self.each_listed(at_most, &mut |Listed { size, path }| {
            if looks == MAX_LOOKS || known.is_some_and(|known| known >= size) {
                return Ok(ControlFlow::Break(()));
            }
            looks += 1;
            match self.judged_at(judge, &path) {
                Ok(found) if found.checkpoint().size() == size => {
                    counts = Some(found);
                    return Ok(ControlFlow::Break(()));
                }
                Ok(_) => {}
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => refusal = refusal.take().or(Some(error)),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Newest { counts, refusal })
    }

    /// The newest checkpoint that fits the tiles, whoever signed it: for who only hands on what others will judge.
    pub(crate) fn newest_unjudged(&self) -> Result<Option<SignedCheckpoint>> {
        let fitting = |bytes: &[u8]| {
            let signed =
                SignedCheckpoint::parse(bytes).ok().filter(|signed| signed.checkpoint().origin() == &self.origin);
            let Some(signed) = signed else { return Ok(None) };
            match Tiles::open(&self.store, signed.checkpoint().size(), signed.checkpoint().root()) {
                Ok(_) => Ok(Some(signed)),
                Err(error @ Error::Storage { .. }) => Err(error),
                Err(_) => Ok(None),
            }
        };
        if let Some(cached) = self.shown()?.map_or(Ok(None), |bytes| fitting(&bytes))? {
            return Ok(Some(cached));
        }
        let (mut found, mut looks) = (None, 0);
        self.each_listed(MAX_LEAVES, &mut |Listed { path, .. }| {
            looks += 1;
            found = match self.store.read(&path, MAX_NOTE) {
                Ok(bytes) => bytes.map_or(Ok(None), |bytes| fitting(&bytes))?,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => None,
            };
            let is_enough = found.is_some() || looks == FIRST_PAGE;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    pub(super) fn judged(&self, judge: &Judge, bytes: &[u8]) -> Result<Witnessed> {
        judge.judge(SignedCheckpoint::parse(bytes)?, self.origin())
    }

    pub(super) fn judged_at(&self, judge: &Judge, path: &str) -> Result<Witnessed> {
        let missing = || Error::NotFound { what: path.to_owned() };
        self.judged(judge, &self.store.read(path, MAX_NOTE)?.ok_or_else(missing)?)
    }

    /// Calls `each` for every listed checkpoint of at most this size, the largest first, until it says that it is enough.
    pub(super) fn each_listed(
        &self,
        at_most: u64,
        each: &mut dyn FnMut(Listed) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut below = Listed { size: at_most.saturating_add(1), path: String::new() };
        let mut most = FIRST_PAGE;
        loop {
            let page = self.listed_below(&below, most)?;
            let (is_last, lowest) = (page.len() < most, page.first().cloned());
            for listed in page.into_iter().rev() {
                if each(listed)?.is_break() {
                    return Ok(());
                }
            }
            match lowest {
                Some(lowest) if !is_last => (below, most) = (lowest, PAGE),
                _ => return Ok(()),
            }
        }
    }

    /// The largest checkpoints that the store lists below one, ascending.
    pub(super) fn listed_below(&self, below: &Listed, most: usize) -> Result<Vec<Listed>> {
        let folder = super::path(FOLDER);
        let mut found = Vec::new();
        self.store.list(&folder, &mut |entry| {
            if entry.size <= MAX_NOTE
                && let Some(size) = listed_size(&entry.path, &folder)
            {
                found.push(Listed { size, path: entry.path });
                found.pop_if(|found| *found >= *below);
                if found.len() > 2 * most {
                    found.sort_unstable();
                    found.drain(..found.len() - most);
                }
            }
            Ok(())
        })?;
        found.sort_unstable();
        found.drain(..found.len().saturating_sub(most));
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
