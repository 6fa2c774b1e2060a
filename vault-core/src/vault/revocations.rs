//! What is not to be opened any more: a numbered, signed chain for the whole vault.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Vault,
    chain::{is_within_reach, record_path},
    gate::MAX_NOTES,
    withdrawn,
};
use crate::{
    error::{Error, Fault, Place, Result},
    keys::KeyId,
    names::{ArtifactDigest, ModelName, VersionName},
    provenance::{Chained, Envelope, MAX_ENVELOPE, Newest, Predicate, Revocation, Statement},
    store::Soon,
    trust::{Approved, Memory, Rooted},
    workers,
};

pub(super) const FOLDER: &str = "revocations";

/// The most records that are read at once.
const MAX_AHEAD: usize = 32;

/// The revocations that count.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    list: Vec<Revoked>,
    /// Artifact and model, as [`Memory`] keeps them.
    pairs: BTreeSet<String>,
    gaps: Vec<Gap>,
    /// Those that lead, as far as their signers may revoke, to nothing but what counts.
    whole: BTreeMap<u64, blake3::Hash>,
    newest: Option<Newest>,
    remembered: bool,
}

/// Which revocations are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All there are.
    All,
    /// Those behind the ones remembered, if that says as much.
    News,
}

/// A record that one that counts names, and that is not there: for what it revoked, nobody can say that it is not revoked.
#[derive(Debug, Clone)]
struct Gap {
    what: String,
    /// Who names it, judged by what they may revoke.
    by: Vec<KeyId>,
    rooted: Arc<Rooted>,
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
    /// Whose signatures count, for whatever.
    signers: Vec<KeyId>,
    /// Whether its own signatures would be enough whatever became of their keys.
    once: bool,
}

impl Candidate {
    fn previous(&self) -> Option<blake3::Hash> {
        self.statement.predicate.previous()
    }
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

    /// Refuses an artifact that is revoked as a version of this model; of any, if none is given.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is revoked; [`Error::Corrupt`] if a record is missing that may say so.
    pub fn refuse(&self, artifact: ArtifactDigest, model: Option<&ModelName>, what: &str) -> Result<()> {
        if self.contains(artifact, model) {
            return Err(Error::Untrusted { what: what.to_owned(), why: "is revoked" });
        }
        let concerns = |gap: &&Gap| model.is_none_or(|model| gap.rooted.suffice_to_revoke(&gap.by, model));
        match self.gaps.iter().find(concerns) {
            Some(gap) => Err(Error::Corrupt { place: Place::Object(gap.what.clone()), fault: Fault::Missing }),
            None => Ok(()),
        }
    }

    /// The newest record that the next one can name: it counts by its own signatures, and so does, for whoever signed it, all that it
    /// names. Whoever signs the next one vouches for all of that.
    pub(super) fn base(&self) -> Option<Newest> {
        self.whole.last_key_value().map(|(generation, digest)| Newest { generation: *generation, digest: *digest })
    }

    /// Whether this record is there with all that it leads to. Of what was remembered, all was looked at before.
    pub(super) fn is_whole(&self, record: Newest) -> bool {
        self.remembered || self.whole.get(&record.generation) == Some(&record.digest)
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
    /// Reads the revocations.
    ///
    /// A record counts by its own signatures, or because one that counts names it by digest, directly or through others, and was signed
    /// by as many as may revoke what it is about: so neither its signatures nor the record itself can be taken away.
    pub(super) fn load_revocations(
        &self,
        rooted: &Arc<Rooted>,
        memory: &mut Memory,
        extent: Extent,
        notes: &mut Vec<String>,
    ) -> Result<Revocations> {
        let numbers = self.numbers(FOLDER)?;
        let (root, known) = (rooted.reached().digest(), memory.revocations());
        // Nothing is new if there are the same numbers, and what stands under the newest that counted is it.
        let start = known.filter(|_| extent == Extent::News && memory.is_judged(root, &numbers));
        let candidates = self.candidates(rooted, &numbers, start.map_or(1, |known| known.generation), notes)?;
        let shown = |seen: Newest| candidates.get(&seen.generation).is_some_and(|there| there.digest == seen.digest);
        let seen =
            memory.revocation_records().filter(|seen| start.is_none_or(|start| seen.generation >= start.generation));
        if let Some(hidden) = known.into_iter().chain(seen).find(|seen| !shown(*seen)) {
            let what = format!("revocation {}", hidden.generation);
            return Err(Error::Stale { what, why: "it was seen before, and the store does not show it any more" });
        }
        if let Some(known) = start {
            return Ok(remembered(known, memory));
        }
        memory.judge(root, &numbers);
        let found = found(candidates, rooted, memory)?;
        for gap in &found.gaps {
            if notes.len() < MAX_NOTES {
                notes.push(format!("{} is not there: what its signers may revoke is refused", gap.what));
            }
        }
        // What does not count now may count later: junk that the store showed for a while, a key whose time is to come.
        if !found.gaps.is_empty() || found.list.len() < numbers.len() {
            memory.judged_in_part();
        }
        Ok(found)
    }

    /// The records from this number on that say, under this trust root, that they revoke something.
    fn candidates(
        &self,
        rooted: &Rooted,
        numbers: &[u64],
        from: u64,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<u64, Candidate>> {
        let mut candidates = BTreeMap::new();
        let all: Vec<_> = numbers.iter().copied().enumerate().filter(|(_, n)| *n >= from).collect();
        for some in all.chunks(MAX_AHEAD) {
            let paths: Vec<_> = some.iter().map(|(_, generation)| record_path(FOLDER, *generation)).collect();
            if paths.len() > 1 {
                self.store.soon(&paths.iter().map(|path| Soon::Read { path, cap: MAX_ENVELOPE }).collect::<Vec<_>>());
            }
            let read = workers::map(some, |(_, generation)| {
                self.candidate(rooted, &record_path(FOLDER, *generation), *generation)
            });
            for (((lower, generation), path), candidate) in some.iter().zip(&paths).zip(read) {
                let refusal = match candidate {
                    Ok(candidate) if is_within_reach(*generation, *lower) => {
                        candidates.insert(*generation, candidate);
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
        }
        Ok(candidates)
    }

    fn candidate(&self, rooted: &Rooted, path: &str, generation: u64) -> Result<Candidate> {
        let bytes = self.demand(path, MAX_ENVELOPE)?;
        let envelope =
            Envelope::parse_record(&bytes).map_err(|error| withdrawn::told(rooted, &bytes).unwrap_or(error))?;
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
        let signers = if approved.is_some() { rooted.counted_signers(&envelope) } else { Vec::new() };
        let once =
            approved.is_some() || rooted.regardless().revocation(&envelope).is_ok_and(|approved| approved.suffices());
        Ok(Candidate { digest: blake3::hash(envelope.payload()), statement, approved, signers, once })
    }
}

/// Nothing is new: what was remembered.
fn remembered(newest: Newest, memory: &Memory) -> Revocations {
    Revocations { remembered: true, newest: Some(newest), pairs: memory.revoked().clone(), ..Revocations::default() }
}

/// What the records there say, judged together.
fn found(candidates: BTreeMap<u64, Candidate>, rooted: &Arc<Rooted>, memory: &mut Memory) -> Result<Revocations> {
    let mut chains = Chains::new(&candidates, rooted);
    let mut found = Revocations::default();
    for (number, candidate) in candidates.iter().filter(|(_, candidate)| candidate.approved.is_some()) {
        let newest = Newest { generation: *number, digest: candidate.digest };
        found.newest = Some(newest);
        if chains.follow(*number, candidate)? {
            found.whole.insert(newest.generation, newest.digest);
        }
    }
    let Chains { counting, gaps, .. } = chains;
    found.gaps = gaps;
    let seen: BTreeMap<_, _> = memory.revocation_records().map(|seen| (seen.generation, seen.digest)).collect();
    for (generation, Candidate { digest, statement, approved, once, .. }) in candidates {
        let (name, artifact) = (statement.predicate.version_name()?, statement.subject.blake3);
        if !counting.contains(&generation) {
            // What counted, and is shown now without the signatures that it had, did not lapse.
            if !once && seen.get(&generation) == Some(&digest) {
                memory.saw_revoked(artifact, &name.model);
            }
            continue;
        }
        memory.saw_revoked(artifact, &name.model);
        memory.saw_revocation(Newest { generation, digest });
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

/// What records name before them, and for whom that counts.
struct Chains<'a> {
    candidates: &'a BTreeMap<u64, Candidate>,
    numbers: HashMap<blake3::Hash, u64>,
    rooted: &'a Arc<Rooted>,
    counting: BTreeSet<u64>,
    gaps: Vec<Gap>,
    /// What the same signers reached already, and whether all of it counts.
    reached: HashMap<&'a [KeyId], BTreeMap<u64, bool>>,
}

impl<'a> Chains<'a> {
    fn new(candidates: &'a BTreeMap<u64, Candidate>, rooted: &'a Arc<Rooted>) -> Self {
        let numbers = candidates.iter().map(|(number, c)| (c.digest, *number)).collect();
        let counting = candidates.iter().filter(|(_, c)| c.approved.is_some()).map(|(number, _)| *number).collect();
        Self { candidates, numbers, rooted, counting, gaps: Vec::new(), reached: HashMap::new() }
    }

    /// Follows what a record names, the lower ones having been followed before. Whether all of it counts.
    fn follow(&mut self, number: u64, candidate: &'a Candidate) -> Result<bool> {
        let by = candidate.signers.as_slice();
        let (mut path, mut below, mut named, mut all) = (vec![(number, true)], number, candidate.previous(), true);
        while let Some(digest) = named {
            let Some(next) = self.numbers.get(&digest).copied().filter(|next| *next < below) else {
                let what = format!("the revocation before number {below}, which it names");
                self.gaps.push(Gap { what, by: by.to_vec(), rooted: Arc::clone(self.rooted) });
                all = false;
                break;
            };
            if let Some(counts) = self.reached.get(by).and_then(|reached| reached.get(&next)) {
                all = *counts;
                break;
            }
            let Some(there) = self.candidates.get(&next) else { break };
            let model = there.statement.predicate.version_name()?.model;
            if self.rooted.suffice_to_revoke(by, &model) {
                self.counting.insert(next);
            }
            path.push((next, self.counting.contains(&next)));
            (below, named) = (next, there.previous());
        }
        let reached = self.reached.entry(by).or_default();
        for (number, counts) in path.into_iter().rev() {
            all &= counts;
            reached.insert(number, all);
        }
        Ok(all)
    }
}
