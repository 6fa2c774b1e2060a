//! What is not to be opened any more: a numbered, signed chain for the whole vault.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Vault,
    chain::{is_within_reach, record_path},
    gate::MAX_NOTES,
};
use crate::{
    error::{Error, Fault, Place, Result},
    names::{ArtifactDigest, ModelName, VersionName},
    provenance::{Chained, Newest, Predicate, Revocation, Statement},
    trust::{Approved, Memory, Rooted},
};

pub(super) const FOLDER: &str = "revocations";

/// The revocations that count.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    list: Vec<Revoked>,
    /// Artifact and model, as [`Memory`] keeps them.
    pairs: BTreeSet<String>,
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
    /// Whose signatures count; nobody's if it counts because a later revocation names it.
    pub by: Vec<String>,
}

/// A record that says it revokes something.
struct Candidate {
    digest: blake3::Hash,
    statement: Statement<Revocation>,
    approved: Option<Approved<Revocation>>,
}

impl Revocations {
    /// Whether this artifact is revoked as a version of this model; of any, if it is asked for by its digest.
    pub fn contains(&self, artifact: ArtifactDigest, model: Option<&ModelName>) -> bool {
        let hex = artifact.to_hex();
        match model {
            Some(model) => self.pairs.contains(&format!("{hex} {model}")),
            None => self.pairs.range(hex.clone()..).next().is_some_and(|pair| pair.starts_with(&hex)),
        }
    }

    /// The newest record that counts by its own signatures.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// Those that were read, by number.
    pub fn all(&self) -> &[Revoked] {
        &self.list
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
}

impl Vault {
    /// Reads the revocations, all of them or those behind the ones remembered.
    ///
    /// A record counts by its own signatures, or because one that counts names it by digest, directly or through others: so
    /// neither its signatures nor the record itself can be taken away.
    pub(super) fn load_revocations(
        &self,
        rooted: &Rooted,
        memory: &mut Memory,
        anew: bool,
        notes: &mut Vec<String>,
    ) -> Result<Revocations> {
        let known = memory.revocations();
        let from = known.filter(|_| !anew).map_or(1, |known| known.generation);
        let candidates = self.candidates(rooted, from, notes)?;
        let numbers: HashMap<_, _> = candidates.iter().map(|(number, c)| (c.digest, *number)).collect();
        if let Some(known) = known
            && numbers.get(&known.digest) != Some(&known.generation)
        {
            let what = format!("revocation {}", known.generation);
            return Err(Error::Stale { what, why: "it was seen before, and the store does not show it any more" });
        }
        let mut counting = BTreeSet::new();
        for (number, candidate) in candidates.iter().filter(|(_, candidate)| candidate.approved.is_some()) {
            counting.insert(*number);
            let (mut below, mut named) = (*number, candidate.statement.predicate.previous());
            while let Some(digest) = named {
                if from > 1 && known.is_some_and(|known| known.digest == digest) {
                    break;
                }
                match numbers.get(&digest).filter(|number| **number < below) {
                    Some(number) if !counting.insert(*number) => break,
                    Some(number) => {
                        below = *number;
                        named = candidates.get(number).and_then(|named| named.statement.predicate.previous());
                    }
                    // It may stand before the ones that were read.
                    None if from > 1 => return self.load_revocations(rooted, memory, true, notes),
                    None => {
                        let what = format!("the revocation before number {below}, which it names");
                        return Err(Error::Corrupt { place: Place::Object(what), fault: Fault::Missing });
                    }
                }
            }
        }
        let mut found =
            Revocations { remembered: from > 1, newest: known.filter(|_| from > 1), ..Revocations::default() };
        for (generation, Candidate { digest, statement, approved }) in candidates {
            if !counting.contains(&generation) {
                continue;
            }
            let (name, artifact) = (statement.predicate.version_name()?, statement.subject.blake3);
            memory.saw_revoked(artifact, &name.model);
            if approved.is_some() {
                found.newest = Some(Newest { generation, digest });
            }
            found.list.push(Revoked {
                generation,
                name,
                artifact,
                reason: statement.predicate.reason().to_owned(),
                created: statement.predicate.created().to_owned(),
                by: approved.iter().flat_map(|a| &a.approvers).map(ToString::to_string).collect(),
            });
        }
        if let Some(newest) = found.newest {
            memory.saw_revocations(newest);
        }
        found.pairs.clone_from(memory.revoked());
        Ok(found)
    }

    /// The records from this number on that say, under this trust root, that they revoke something.
    fn candidates(&self, rooted: &Rooted, from: u64, notes: &mut Vec<String>) -> Result<BTreeMap<u64, Candidate>> {
        let mut candidates = BTreeMap::new();
        for (lower, generation) in self.numbers(FOLDER)?.into_iter().enumerate().filter(|(_, n)| *n >= from) {
            let path = record_path(FOLDER, generation);
            let refusal = match self.candidate(rooted, &path, generation) {
                Ok(candidate) if is_within_reach(generation, lower) => {
                    candidates.insert(generation, candidate);
                    continue;
                }
                Ok(_) => "its number is far above the others".to_owned(),
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => error.to_string(),
            };
            if notes.len() < MAX_NOTES {
                notes.push(format!("{path} revokes nothing: {refusal}"));
            }
        }
        Ok(candidates)
    }

    fn candidate(&self, rooted: &Rooted, path: &str, generation: u64) -> Result<Candidate> {
        let envelope = self.record(path)?;
        let statement = Statement::<Revocation>::parse(envelope.payload())?;
        let untrusted = |why| Err(Error::Untrusted { what: path.to_owned(), why });
        if statement.predicate.generation() != generation {
            return untrusted("is signed under another number");
        }
        if !statement.predicate.belongs_to(&rooted.origin()) {
            return untrusted("was not made under this trust root");
        }
        statement.predicate.check()?;
        let approved = rooted.revocation(&envelope).ok().filter(Approved::suffices);
        Ok(Candidate { digest: blake3::hash(envelope.payload()), statement, approved })
    }
}
