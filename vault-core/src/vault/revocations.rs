//! What is not to be opened any more: a numbered, signed chain for the whole vault.

use std::collections::HashMap;

use super::{Vault, chain::record_path};
use crate::{
    error::{Error, Fault, Place, Result},
    names::{ArtifactDigest, VersionName},
    provenance::{Chained, Newest, Revocation},
    trust::{Approved, Memory, Rooted},
};

pub(super) const FOLDER: &str = "revocations";

/// The revocations that count.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    revoked: HashMap<[u8; 32], Revoked>,
    newest: Option<Newest>,
    remembered: bool,
}

/// One revoked artifact.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The number of the record.
    pub generation: u64,
    /// The version it names.
    pub name: VersionName,
    /// The artifact.
    pub artifact: ArtifactDigest,
    /// Why.
    pub reason: String,
    /// When it claims to have been made.
    pub created: String,
    /// Who signed it.
    pub by: Vec<String>,
}

impl Revocations {
    /// Whether this artifact is revoked.
    pub fn contains(&self, artifact: ArtifactDigest) -> bool {
        self.revoked.contains_key(artifact.hash().as_bytes())
    }

    /// The newest record.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<&Revoked> {
        let mut all: Vec<_> = self.revoked.values().collect();
        all.sort_by_key(|revoked| revoked.generation);
        all
    }

    pub(super) fn summary(&self) -> String {
        match self.newest {
            None => "revocations: none".into(),
            Some(newest) if self.remembered => {
                format!("revocations: up to number {}, the older ones remembered", newest.generation)
            }
            Some(newest) => format!("revocations: up to number {}", newest.generation),
        }
    }

    fn add(&mut self, generation: u64, approved: &Approved<Revocation>) -> Result<()> {
        let artifact = approved.record.subject.blake3;
        let predicate = &approved.record.predicate;
        let revoked = Revoked {
            generation,
            name: predicate.version_name()?,
            artifact,
            reason: predicate.reason().to_owned(),
            created: predicate.created().to_owned(),
            by: approved.approvers.iter().map(ToString::to_string).collect(),
        };
        // The first one that revokes an artifact is the one to show.
        self.revoked.entry(*artifact.hash().as_bytes()).or_insert(revoked);
        self.newest = Some(Newest { generation, digest: approved.digest });
        Ok(())
    }
}

impl Vault {
    /// Reads the revocations, all of them or those behind the ones remembered.
    pub(super) fn load_revocations(
        &self,
        rooted: &Rooted,
        memory: &mut Memory,
        anew: bool,
        notes: &mut Vec<String>,
    ) -> Result<Revocations> {
        let known = memory.revocations();
        let numbers = self.numbers(FOLDER)?;
        let from = known.filter(|_| !anew).map_or(1, |known| known.generation);
        let numbers: Vec<_> = numbers.into_iter().filter(|n| *n >= from).collect();
        let present = self.digests(FOLDER, &numbers)?;
        if let Some(known) = known
            && present.get(&known.digest) != Some(&known.generation)
        {
            let what = format!("revocation {}", known.generation);
            return Err(Error::Stale { what, why: "it was seen before, and the store does not show it any more" });
        }
        let mut found =
            Revocations { remembered: from > 1, newest: known.filter(|_| from > 1), ..Revocations::default() };
        for generation in numbers.into_iter().filter(|n| from == 1 || *n > from) {
            let path = record_path(FOLDER, generation);
            match self.revocation(rooted, &path, generation) {
                Ok(approved) => {
                    let previous = approved.record.predicate.previous();
                    if previous.is_some_and(|digest| present.get(&digest).is_none_or(|n| *n >= generation)) {
                        let what = format!("the revocation before number {generation}, which it names");
                        return Err(Error::Corrupt { place: Place::Object(what), fault: Fault::Missing });
                    }
                    memory.saw_revoked(approved.record.subject.blake3);
                    found.add(generation, &approved)?;
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) if notes.len() < super::gate::MAX_NOTES => {
                    notes.push(format!("{path} revokes nothing: {error}"));
                }
                Err(_) => {}
            }
        }
        if let Some(newest) = found.newest {
            memory.saw_revocations(newest);
        }
        Ok(found)
    }

    fn revocation(&self, rooted: &Rooted, path: &str, generation: u64) -> Result<Approved<Revocation>> {
        let approved = rooted.revocation(&self.record(path)?)?;
        let untrusted = |why| Err(Error::Untrusted { what: path.to_owned(), why });
        if approved.record.predicate.generation() != generation {
            return untrusted("is signed under another number");
        }
        if !approved.suffices() {
            return untrusted("is not approved by enough holders");
        }
        Ok(approved)
    }
}
