//! From the pinned trust root to the newest that the vault leads to.

use std::collections::VecDeque;

use super::{Vault, stem};
use crate::{
    error::{Error, Fault, Place, Result},
    names::ArtifactDigest,
    provenance::MAX_ENVELOPE,
    store::Soon,
    trust::{Candidate, Reached},
    workers,
};

/// The most versions that are walked in one go.
const MAX_STEPS: usize = 100_000;
/// The most files under one number. Whoever may create objects could offer any number; more are an error, because none
/// may be passed over unseen.
const MAX_CANDIDATES: usize = 10_000;
/// A trust root of the greatest length, in base64 in its envelope, with all signatures.
const MAX_CANDIDATE: u64 = 2 << 20;
/// The most versions that are read ahead. As many documents are held.
const MAX_AHEAD: usize = 8;

impl Vault {
    /// Follows the trust root as far as the vault leads. What stands in the way and is no trust root to follow is noted.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if two valid roots have one number; [`Error::Corrupt`] if there are too many; [`Error::Storage`].
    pub(super) fn walk(&self, mut reached: Reached, notes: &mut Vec<String>) -> Result<Reached> {
        let mut ahead = Ahead { vault: self, found: VecDeque::new(), width: 0 };
        for _ in 0..MAX_STEPS {
            let version = reached.root().version() + 1;
            let Some(mut found) = ahead.version(version)? else { return Ok(reached) };
            let mut next: Option<Reached> = None;
            for path in &found.paths {
                let read = || self.demand(path, MAX_ENVELOPE).and_then(|bytes| Candidate::parse(&bytes));
                match found.only.take().unwrap_or_else(read).and_then(|candidate| reached.follow(candidate)) {
                    Ok(step) if next.as_ref().is_some_and(|next| next.digest() != step.digest()) => {
                        let what = format!("trust root version {version}");
                        return Err(Error::Untrusted { what, why: "exists twice, each validly signed: a fork" });
                    }
                    Ok(step) => next = Some(step),
                    Err(error @ Error::Storage { .. }) => return Err(error),
                    Err(error) => notes.push(format!("{path} is no trust root to follow: {error}")),
                }
            }
            match next {
                Some(next) => reached = next,
                None => return Ok(reached),
            }
        }
        Err(Error::limit("trust root", "number of versions in one go", MAX_STEPS as u64))
    }

    /// The files under a number that may be trust roots, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are more than 10 000; [`Error::Storage`].
    pub(super) fn root_paths(&self, version: u64) -> Result<Vec<String>> {
        let folder = root_folder(version);
        let mut paths = Vec::new();
        self.store.list(&folder, &mut |entry| {
            let named = stem(&entry.path, &folder).is_some_and(|stem| ArtifactDigest::from_hex(stem).is_ok());
            if named && entry.size <= MAX_CANDIDATE {
                if paths.len() == MAX_CANDIDATES {
                    let fault = Fault::Limit { what: "number of trust roots", limit: MAX_CANDIDATES as u64 };
                    return Err(Error::Corrupt { place: Place::Object(folder.clone()), fault });
                }
                paths.push(entry.path);
            }
            Ok(())
        })?;
        paths.sort();
        Ok(paths)
    }
}

/// Versions that are read before it is known whether the one before them counts: once one was there, twice as many each time.
/// A client that has followed costs one look; one that is far behind few round trips, and all threads.
struct Ahead<'a> {
    vault: &'a Vault,
    found: VecDeque<Found>,
    width: usize,
}

/// What stands under one number.
struct Found {
    version: u64,
    paths: Vec<String>,
    /// What the only file holds; unknown, if there are several.
    only: Option<Result<Candidate>>,
}

impl Ahead<'_> {
    /// What stands under the next number; none if nothing does.
    fn version(&mut self, version: u64) -> Result<Option<Found>> {
        if self.found.is_empty() {
            self.look(version)?;
        }
        Ok(self.found.pop_front().filter(|found| found.version == version))
    }

    fn look(&mut self, first: u64) -> Result<()> {
        self.width = (self.width * 2).clamp(1, MAX_AHEAD);
        let versions = first..first.saturating_add(self.width as u64);
        if self.width > 1 {
            let folders: Vec<_> = versions.clone().map(root_folder).collect();
            self.vault.store.soon(&folders.iter().map(|folder| Soon::List { folder }).collect::<Vec<_>>());
        }
        for version in versions {
            match self.vault.root_paths(version) {
                Ok(paths) if paths.is_empty() => break,
                Ok(paths) => self.found.push_back(Found { version, paths, only: None }),
                Err(error) if version == first => return Err(error),
                // Its turn may come, or not.
                Err(_) => break,
            }
        }
        self.read();
        Ok(())
    }

    /// Reads what stands alone under its number.
    fn read(&mut self) {
        let alone: Vec<_> =
            self.found.iter().filter(|found| found.paths.len() == 1).map(|found| &found.paths[0]).collect();
        let soon: Vec<_> = alone.iter().map(|path| Soon::Read { path, cap: MAX_ENVELOPE }).collect();
        if soon.len() > 1 {
            self.vault.store.soon(&soon);
        }
        let read =
            |path: &&String| self.vault.demand(path, MAX_ENVELOPE).and_then(|bytes| Candidate::parse_ahead(&bytes));
        let mut candidates = workers::map(&alone, read).into_iter();
        for found in self.found.iter_mut().filter(|found| found.paths.len() == 1) {
            found.only = candidates.next();
        }
    }
}

pub(super) fn root_folder(version: u64) -> String {
    format!("trust/{version}")
}
