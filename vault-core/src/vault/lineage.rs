//! Ancestry: which base models an artifact has, which those have, and whether each is what provenance says.

use std::collections::{BTreeMap, HashSet};

use super::{Artifact, Vault};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    names::{ArtifactDigest, Reference},
    provenance::{Dependency, Provenance, Role, Statement},
    trust::{Policy, Right, Verified},
};

const DOCUMENT: &str = "lineage";
/// How many entries a lineage has: provenance can name many thousand things, each with as many.
const MAX_ANCESTORS: usize = 10_000;

/// One artifact or thing in a lineage.
#[derive(Debug)]
pub struct Ancestor {
    /// Which entry of the lineage it went into; none for the artifact that was asked about.
    pub went_into: Option<usize>,
    /// How many steps it is away from that.
    pub depth: usize,
    /// What it is called where it is named; the reference, for artifacts of a vault. Nobody checked that its digest has
    /// this name.
    pub label: Option<String>,
    /// Digests by algorithm, as they stand where it is named.
    pub digests: BTreeMap<String, String>,
    /// The artifact, if it is one of a vault.
    pub artifact: Option<ArtifactDigest>,
    /// What it was used for, if that is said.
    pub role: Option<Role>,
    /// What is known of it.
    pub state: State,
}

/// What is known of an [`Ancestor`].
#[derive(Debug)]
#[non_exhaustive]
pub enum State {
    /// It is in this vault: its manifest is what its digest names, and these accepted keys signed its provenance.
    Verified(Vec<KeyId>),
    /// It is in this vault, and that is not so.
    Refused(Error),
    /// It is an artifact of a vault, and not in this one.
    Missing,
    /// It is no artifact of a vault; nothing was checked.
    Outside,
    /// It stands earlier in this lineage, with what went into it.
    Repeated,
    /// It is its own ancestor.
    Cycle,
}

impl Vault {
    /// Finds base models in the vault, under `policy`, and links them in provenance: by reference and digest.
    ///
    /// # Errors
    /// As [`Vault::resolve`]; [`Error::Misuse`] if the provenance gets too long.
    pub fn link(
        &self,
        provenance: Provenance,
        bases: &[Reference],
        policy: &Policy,
    ) -> Result<(Provenance, Vec<Artifact>)> {
        let found = bases.iter().map(|base| self.resolve(base, policy)).collect::<Result<Vec<_>>>()?;
        let links = bases.iter().zip(&found).map(|(base, artifact)| Dependency::artifact(base, &artifact.subject));
        Ok((provenance.with(&links.collect::<Vec<_>>())?, found))
    }

    /// Walks the ancestry of an artifact through all of its provenance that counts, and verifies every ancestor that this
    /// vault has: manifest and signature, not the bytes of the weights. The artifact itself comes first, and everything
    /// directly after what it went into.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if nobody accepted signed any provenance of the artifact, as somebody did of every artifact;
    /// [`Error::Corrupt`] if there are more than 10 000 ancestors; [`Error::Storage`]. What is wrong with an ancestor stands
    /// in its [`State`].
    pub fn lineage(&self, artifact: &Artifact, policy: &Policy) -> Result<Vec<Ancestor>> {
        let reference = artifact.name.as_ref().map_or_else(|| artifact.digest.to_string(), ToString::to_string);
        let root = Ancestor {
            went_into: None,
            depth: 0,
            label: Some(reference),
            digests: BTreeMap::new(),
            artifact: Some(artifact.digest),
            role: None,
            state: State::Verified(artifact.manifest.signers().to_vec()),
        };
        let mut walk = Walk { line: vec![root], seen: HashSet::from([artifact.digest]), waiting: Vec::new() };
        walk.expect(0, self.inputs(artifact, policy)?)?;
        while let Some((went_into, dependency)) = walk.waiting.pop() {
            self.visit(&mut walk, went_into, dependency, policy)?;
        }
        Ok(walk.line)
    }

    fn visit(&self, walk: &mut Walk, went_into: usize, dependency: Dependency, policy: &Policy) -> Result<()> {
        let (digest, label) = (dependency.artifact_digest(), dependency.label().map(str::to_owned));
        let (state, inputs) = match digest {
            None => (State::Outside, Vec::new()),
            Some(digest) if walk.leads_from(digest, went_into) => (State::Cycle, Vec::new()),
            Some(digest) if !walk.seen.insert(digest) => (State::Repeated, Vec::new()),
            Some(digest) => self.ancestor(digest, &dependency, policy)?,
        };
        let at = walk.line.len();
        walk.line.push(Ancestor {
            went_into: Some(went_into),
            depth: walk.line[went_into].depth + 1,
            label,
            digests: dependency.digest,
            artifact: digest,
            role: dependency.role,
            state,
        });
        walk.expect(at, inputs)
    }

    /// What is known of an artifact that is named as a base model, and what went into it.
    fn ancestor(
        &self,
        digest: ArtifactDigest,
        named: &Dependency,
        policy: &Policy,
    ) -> Result<(State, Vec<Dependency>)> {
        let found = self.resolve(&Reference::Digest(digest), policy).and_then(|artifact| {
            if !named.is(&artifact.subject) {
                return Err(Error::format("manifest", "has another SHA-256 than where it is named as a base model"));
            }
            let inputs = self.inputs(&artifact, policy)?;
            Ok((State::Verified(artifact.manifest.signers().to_vec()), inputs))
        });
        match found {
            Err(error @ Error::Storage { .. }) => Err(error),
            Err(Error::NotFound { .. }) => Ok((State::Missing, Vec::new())),
            Err(error) => Ok((State::Refused(error), Vec::new())),
            Ok(found) => Ok(found),
        }
    }

    /// What signed provenance says went into an artifact, each thing once.
    fn inputs(&self, artifact: &Artifact, policy: &Policy) -> Result<Vec<Dependency>> {
        let (mut inputs, mut is_told) = (Vec::new(), false);
        let mut known = HashSet::new();
        for path in self.attestation_paths(artifact.digest)? {
            let statement: Result<Verified<Statement<Provenance>>> = self
                .read_attestation(&path)
                .and_then(|envelope| policy.statement(&envelope, Right::seal(None), "provenance"));
            let statement = match statement {
                Ok(statement) if statement.subject == artifact.subject => statement,
                Err(error @ Error::Storage { .. }) => return Err(error),
                // Of another type, about something else, or by a stranger.
                Ok(_) | Err(_) => continue,
            };
            is_told = true;
            for dependency in statement.predicate.dependencies()? {
                if inputs.len() >= MAX_ANCESTORS {
                    return Err(too_many());
                }
                if known.insert(dependency.to_value().to_string()) {
                    inputs.push(dependency);
                }
            }
        }
        if !is_told {
            let what = format!("provenance of {}", artifact.digest);
            return Err(Error::Untrusted { what, why: "is missing, or not signed by an accepted signer" });
        }
        Ok(inputs)
    }
}

/// A lineage as far as it is known, and what is still to be looked at, the next one last.
struct Walk {
    line: Vec<Ancestor>,
    seen: HashSet<ArtifactDigest>,
    waiting: Vec<(usize, Dependency)>,
}

impl Walk {
    fn expect(&mut self, went_into: usize, inputs: Vec<Dependency>) -> Result<()> {
        if self.line.len() + self.waiting.len() + inputs.len() > MAX_ANCESTORS {
            return Err(too_many());
        }
        self.waiting.extend(inputs.into_iter().rev().map(|input| (went_into, input)));
        Ok(())
    }

    /// Whether this artifact is the entry `from`, or what that went into, and so on.
    fn leads_from(&self, digest: ArtifactDigest, from: usize) -> bool {
        let mut at = Some(from);
        while let Some(entry) = at.and_then(|at| self.line.get(at)) {
            if entry.artifact == Some(digest) {
                return true;
            }
            at = entry.went_into;
        }
        false
    }
}

fn too_many() -> Error {
    Error::limit(DOCUMENT, "number of ancestors", MAX_ANCESTORS as u64)
}
