//! Attestations: what anybody signed about an artifact, then or later. They are only ever added.

use std::{collections::HashSet, ops::ControlFlow};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Artifact, Vault, attestations_folder, seal::sign, stem};
use crate::{
    error::{Error, Fault, Place, Result},
    keys::{KeyId, Signer},
    names::{ArtifactDigest, parse_hash},
    provenance::{Attested, Envelope, MAX_ENVELOPE, Predicate, PredicateType, Provenance, Statement, VersionRecord},
    trust::{Policy, Right, Verified},
};

/// The most attestations of one artifact that are looked at: a store could offer any number.
const MAX_ATTESTATIONS: usize = 1000;
/// What stands for the type of one that has none.
const NO_TYPE: &str = "of no type";

/// An attestation found beside an artifact.
#[derive(Debug)]
pub struct Attestation {
    /// The path of its envelope.
    pub path: String,
    /// The SHA-256 that its file name claims, 64 hex digits: how to ask for it.
    pub sha256: String,
    /// The type of its predicate, as it claims.
    pub predicate_type: String,
    /// The accepted keys that signed it; none if it does not count, or if the policy accepts anybody.
    pub signers: Vec<KeyId>,
    /// Why it does not count: damaged, about another artifact, or signed by nobody who is accepted.
    pub refusal: Option<Error>,
}

/// What [`Vault::attest`] added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The path of its envelope.
    pub path: String,
    /// The SHA-256 of its envelope, 64 hex digits.
    pub sha256: String,
    /// Whether it was not there before.
    pub new: bool,
}

/// Which attestations are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one whose envelope has this SHA-256.
    Sha256([u8; 32]),
    /// All of this type.
    Type(PredicateType),
}

impl std::str::FromStr for Which {
    type Err = Error;

    /// 64 hex digits, or a URI.
    fn from_str(text: &str) -> Result<Self> {
        match parse_hash(text) {
            Some(digest) => Ok(Self::Sha256(digest.into())),
            None => text.parse().map(Self::Type),
        }
    }
}

/// A verified attestation.
#[derive(Debug, Clone)]
pub struct Found {
    /// The SHA-256 of its envelope, 64 hex digits.
    pub sha256: String,
    /// What was signed, and by whom.
    pub statement: Verified<Statement<Attested>>,
}

impl Vault {
    /// Signs a version record for an artifact that was resolved by name, and adds it as an attestation: another
    /// signature under the same claim. `trust_root` is the BLAKE3 of version 1 of the trust root it is made under.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it was not resolved by name; otherwise as [`Vault::attest`].
    pub fn sign_version(
        &self,
        artifact: &Artifact,
        trust_root: Option<blake3::Hash>,
        signer: &dyn Signer,
    ) -> Result<Added> {
        let Some(name) = &artifact.name else {
            let rule = format!("{} is no name: a version record is for a MODEL:VERSION", artifact.digest);
            return Err(Error::Misuse(rule));
        };
        self.add(artifact, VersionRecord::new(name, trust_root)?, signer)
    }

    /// Signs a predicate about an artifact and adds it. The same predicate signed twice by one key is one attestation.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the artifact has as many as are looked at; [`Error::Conflict`] if something else has its name.
    pub fn attest(&self, artifact: &Artifact, predicate: Attested, signer: &dyn Signer) -> Result<Added> {
        self.add(artifact, predicate, signer)
    }

    fn add<P: Predicate>(&self, artifact: &Artifact, predicate: P, signer: &dyn Signer) -> Result<Added> {
        let (envelope, there) = (sign(artifact.subject, predicate, signer)?, self.attestation_paths(artifact.digest)?);
        let path = attestation_path(artifact.digest, &envelope);
        let new = !there.contains(&path);
        if new && there.len() >= MAX_ATTESTATIONS {
            let rule = format!("{} has {MAX_ATTESTATIONS} attestations, and no more are looked at", artifact.digest);
            return Err(Error::Misuse(rule));
        }
        self.add_attestation(artifact.digest, &envelope)?;
        self.store().sync()?;
        Ok(Added { sha256: claimed_sha256(&path).to_owned(), path, new })
    }

    /// Adds an attestation to an artifact, under the hash of its envelope. The same one twice is one.
    pub(super) fn add_attestation(&self, digest: ArtifactDigest, envelope: &[u8]) -> Result<()> {
        self.create_new(&attestation_path(digest, envelope), envelope)
    }

    /// The attestations beside an artifact: who signed them, or why they do not count. At most 1000 are looked at.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn attestations(&self, artifact: &Artifact, policy: &Policy) -> Result<Vec<Attestation>> {
        let (mut found, right) = (Vec::new(), Right::attest(artifact.model()));
        for path in self.attestation_paths(artifact.digest)? {
            let (predicate_type, checked) = match self.read_attestation(&path) {
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(error) => ("damaged".to_owned(), Err(error)),
                Ok(envelope) => (claimed_type(&envelope), check(artifact, (policy, right), &path, &envelope)),
            };
            let sha256 = claimed_sha256(&path).to_owned();
            let (signers, refusal) = match checked {
                Ok(statement) => (statement.signers().to_vec(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            found.push(Attestation { path, sha256, predicate_type, signers, refusal });
        }
        Ok(found)
    }

    /// Those of an artifact's attestations that count and are asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none at all; [`Error::Untrusted`] or [`Error::Corrupt`] if there is one, but none
    /// that counts.
    pub fn find_attestations(&self, artifact: &Artifact, policy: &Policy, which: &Which) -> Result<Vec<Found>> {
        self.find_by(artifact, (policy, Right::attest(artifact.model())), which)
    }

    /// The same, by those to whom the policy gives a right.
    fn find_by(&self, artifact: &Artifact, by: (&Policy, Right<'_>), which: &Which) -> Result<Vec<Found>> {
        // Anybody who may create objects can copy one under other names, with signatures of nobody besides.
        let (mut found, mut there) = (Vec::new(), HashSet::new());
        self.each_by(artifact, by, which, &mut |payload, one| {
            if there.insert((payload, one.statement.signers().to_vec())) {
                found.push(one);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Calls `each` with what counts and is asked for, and the BLAKE3 of its payload.
    ///
    /// # Errors
    /// As [`Vault::find_attestations`].
    fn each_by(
        &self,
        artifact: &Artifact,
        by: (&Policy, Right<'_>),
        which: &Which,
        each: &mut dyn FnMut(blake3::Hash, Found) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut any, mut refusal) = (false, None);
        let paths = match which {
            Which::Type(_) => self.attestation_paths(artifact.digest)?,
            Which::Sha256(digest) => {
                vec![format!("{}/{}.dsse.json", attestations_folder(artifact.digest), hex::encode(digest))]
            }
        };
        for path in paths {
            let checked = self.read_attestation(&path).and_then(|envelope| match which {
                Which::Type(wanted) if claimed_type(&envelope) != wanted.as_str() => Ok(None),
                _ => Ok(Some((payload_digest(&envelope)?, check(artifact, by, &path, &envelope)?))),
            });
            match checked {
                Ok(None) | Err(Error::Corrupt { fault: Fault::Missing, .. }) => {}
                Ok(Some((payload, statement))) => {
                    any = true;
                    if each(payload, Found { sha256: claimed_sha256(&path).to_owned(), statement }).is_break() {
                        break;
                    }
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                // What is damaged is of no type: it can be asked for by its name only.
                Err(Error::Corrupt { .. }) if matches!(which, Which::Type(_)) => {}
                Err(error) => refusal = Some(error),
            }
        }
        if any {
            return Ok(());
        }
        let what = match which {
            Which::Sha256(digest) => format!("attestation {} of {}", hex::encode(digest), artifact.digest),
            Which::Type(wanted) => format!("attestation of type {wanted} of {}", artifact.digest),
        };
        Err(refusal.unwrap_or(Error::NotFound { what }))
    }

    /// Checks that an artifact has an attestation of this type by somebody whom `policy` accepts. The policy may be
    /// narrower than the one the artifact was resolved under: that of those who may scan, say.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn require_attestation(&self, artifact: &Artifact, policy: &Policy, wanted: &PredicateType) -> Result<()> {
        self.require_attestation_by(artifact, policy, Right::attest(artifact.model()), wanted)
    }

    /// The same, by somebody to whom the policy gives this right.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn require_attestation_by(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        right: Right<'_>,
        wanted: &PredicateType,
    ) -> Result<()> {
        let which = Which::Type(wanted.clone());
        match self.each_by(artifact, (policy, right), &which, &mut |_, _| ControlFlow::Break(())) {
            Ok(()) => Ok(()),
            Err(error @ Error::Storage { .. }) => Err(error),
            Err(error) => {
                let what = format!("attestation of type {wanted} of {}", artifact.digest);
                let is_missing = matches!(error, Error::NotFound { .. });
                let why = match policy {
                    _ if is_missing => "is missing",
                    Policy::Rooted(_) => "is not signed by a key to which the trust root gives this right",
                    _ => "is not signed by an accepted signer",
                };
                Err(Error::Untrusted { what, why })
            }
        }
    }

    /// The envelope under this path.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not what its name says.
    pub(super) fn read_attestation(&self, path: &str) -> Result<Vec<u8>> {
        let envelope = self.demand(path, MAX_ENVELOPE)?;
        if hex::encode(Sha256::digest(&envelope)) == claimed_sha256(path) {
            return Ok(envelope);
        }
        let fault = Fault::Format("is not what its name is the SHA-256 of".into());
        Err(Error::Corrupt { place: Place::Object(path.to_owned()), fault })
    }

    pub(super) fn attestation_paths(&self, digest: ArtifactDigest) -> Result<Vec<String>> {
        let folder = attestations_folder(digest);
        let mut paths = Vec::new();
        self.store.list(&folder, &mut |entry| {
            let named = stem(&entry.path, &folder).is_some_and(|stem| parse_hash(stem).is_some());
            if named && paths.len() < MAX_ATTESTATIONS {
                paths.push(entry.path);
            }
            Ok(())
        })?;
        paths.sort();
        Ok(paths)
    }
}

/// Whether it is signed by somebody accepted, and about this artifact. A version record must be for its name, too.
fn check(
    artifact: &Artifact,
    (policy, right): (&Policy, Right<'_>),
    path: &str,
    envelope: &[u8],
) -> Result<Verified<Statement<Attested>>> {
    let what = format!("attestation {}", claimed_sha256(path));
    let located = |error: Error| error.at(Place::Object(path.to_owned()));
    // Who may attest something may not say how an artifact came to be.
    let right = if claimed_type(envelope) == Provenance::TYPE { Right::seal(artifact.model()) } else { right };
    let statement = policy.statement::<Attested>(envelope, right, &what).map_err(located)?;
    if statement.subject != artifact.subject {
        return Err(Error::Untrusted { what, why: "is signed for another artifact" });
    }
    if statement.predicate.predicate_type() == VersionRecord::TYPE {
        let record =
            policy.statement::<VersionRecord>(envelope, Right::seal(artifact.model()), &what).map_err(located)?;
        if artifact.name.as_ref().is_some_and(|name| !record.predicate.is_for(name)) {
            return Err(Error::Untrusted { what, why: "is signed for another name" });
        }
    }
    Ok(statement)
}

fn payload_digest(envelope: &[u8]) -> Result<blake3::Hash> {
    Ok(blake3::hash(Envelope::parse(envelope)?.payload()))
}

fn attestation_path(digest: ArtifactDigest, envelope: &[u8]) -> String {
    format!("{}/{}.dsse.json", attestations_folder(digest), hex::encode(Sha256::digest(envelope)))
}

/// The name of the file, without its ending.
fn claimed_sha256(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.strip_suffix(".dsse.json").unwrap_or(name)
}

/// The predicate type an envelope claims to hold, for lists; nothing relies on it.
fn claimed_type(envelope: &[u8]) -> String {
    /// As much of a statement as is needed, so that a hostile one takes no memory.
    #[derive(Deserialize)]
    struct Claim {
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    let claim = Envelope::parse(envelope).ok().and_then(|e| serde_json::from_slice::<Claim>(e.payload()).ok());
    let claimed = claim.and_then(|claim| claim.predicate_type.parse::<PredicateType>().ok());
    claimed.map_or_else(|| NO_TYPE.to_owned(), |claimed| claimed.to_string())
}
