//! Shredding: destroying every wrapped key of an artifact, with a signed record that says so.

use sha2::{Digest as _, Sha256};

use super::{Artifact, Vault, recipients_folder, seal::sign};
use crate::{
    error::{Error, Result},
    keys::{KeyId, Signer},
    names::ArtifactDigest,
    provenance::{MAX_ENVELOPE, Shredding},
    store::Created,
    trust::{Policy, Right},
};

/// How often the recipients are listed again: others may add some while they are destroyed.
const MAX_PASSES: usize = 100;
/// The most records that are looked at: whoever may create objects could offer any number.
pub(super) const MAX_RECORDS: usize = 100;

/// A shredding that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shredded {
    /// Why.
    pub reason: String,
    /// When the record claims to have been made.
    pub created: String,
    /// The accepted keys that signed it.
    pub signers: Vec<KeyId>,
}

/// What shredding came to.
#[derive(Debug)]
pub struct Shreds {
    /// The record.
    pub record: Shredded,
    /// Paths of wrapped keys that were destroyed.
    pub destroyed: Vec<String>,
    /// Paths that could not be deleted, and why.
    pub left: Vec<(String, Error)>,
    /// Other artifacts whose manifests name contents of this one: their keys may open those.
    pub shared_with: Vec<ArtifactDigest>,
}

pub(super) fn shredded_folder(artifact: ArtifactDigest) -> String {
    format!("artifacts/{}/shredded", artifact.to_hex())
}

/// Why nobody opens an artifact that was shredded.
pub(super) fn refusal(artifact: ArtifactDigest, Shredded { created, reason, .. }: &Shredded) -> Error {
    let what = format!("{artifact}, shredded on {created} ({reason})");
    Error::WrongKey { what, why: "nobody has a key to it any more" }
}

/// What a record beside this artifact says, if it counts.
pub(super) fn judged(envelope: &[u8], artifact: &Artifact, policy: &Policy) -> Result<Shredded> {
    let what = format!("shredding of {}", artifact.digest);
    let record = policy.statement::<Shredding>(envelope, Right::retire(artifact.model()), &what)?;
    if record.subject != artifact.subject {
        return Err(Error::Untrusted { what, why: "is signed for another artifact" });
    }
    record.predicate.check()?;
    Ok(Shredded {
        reason: record.predicate.reason().to_owned(),
        created: record.predicate.created().to_owned(),
        signers: record.signers().to_vec(),
    })
}

impl Vault {
    /// Destroys every wrapped key of an artifact, after a signed record says so. To be called again if some could not be
    /// deleted.
    ///
    /// What this cannot reach: keys that somebody unwrapped already, copies of the vault, older versions of objects that a
    /// bucket keeps.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the key may not; [`Error::Misuse`] if the reason is not one line; [`Error::Storage`]. The
    /// record may exist then: whoever reads it opens the artifact no more.
    pub fn shred(&self, artifact: &Artifact, policy: &Policy, reason: &str, signer: &dyn Signer) -> Result<Shreds> {
        let id = signer.verifying_key().key_id();
        if !policy.accepts(&id, Right::retire(artifact.model())) {
            let what = format!("key {id}");
            return Err(Error::Untrusted { what, why: "is not given the right to shred versions of this model" });
        }
        let shared_with = self.sharing(artifact)?;
        let record = match self.shredded(artifact, policy)? {
            Some(record) => record,
            None => self.record_shredding(artifact, policy, reason, signer)?,
        };
        let folder = recipients_folder(artifact.digest);
        let (mut destroyed, mut left) = (Vec::new(), Vec::new());
        for _ in 0..MAX_PASSES {
            let mut paths = Vec::new();
            self.store.list(&folder, &mut |entry| {
                paths.push(entry.path);
                Ok(())
            })?;
            paths.retain(|path| !left.iter().any(|(stuck, _)| stuck == path));
            if paths.is_empty() {
                break;
            }
            for path in paths {
                match self.store.delete(&path) {
                    Ok(()) if self.is_there(&path) => left.push((path, Error::Misuse("it is still there".into()))),
                    Ok(()) => destroyed.push(path),
                    Err(error) => left.push((path, error)),
                }
            }
        }
        self.store.sync()?;
        Ok(Shreds { record, destroyed, left, shared_with })
    }

    fn is_there(&self, path: &str) -> bool {
        !matches!(self.store.stat(path), Ok(None))
    }

    fn record_shredding(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        reason: &str,
        signer: &dyn Signer,
    ) -> Result<Shredded> {
        let record = Shredding::new(reason, policy.origin())?;
        let created = record.created().to_owned();
        let envelope = sign(artifact.subject, record, signer)?;
        let name = hex::encode(Sha256::digest(&envelope));
        let path = format!("{}/{name}.dsse.json", shredded_folder(artifact.digest));
        // The name is the hash of what is in it.
        let (Created::New | Created::Exists) = self.store.create(&path, &envelope)?;
        self.store.sync()?;
        Ok(Shredded { reason: reason.to_owned(), created, signers: vec![signer.verifying_key().key_id()] })
    }

    /// The shredding of an artifact, if `policy` accepts one.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn shredded(&self, artifact: &Artifact, policy: &Policy) -> Result<Option<Shredded>> {
        let mut paths = Vec::new();
        self.store.list(&shredded_folder(artifact.digest), &mut |entry| {
            paths.push(entry.path);
            Ok(())
        })?;
        self.shredded_by(artifact, policy, paths)
    }

    /// The same, among these records.
    pub(super) fn shredded_by(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        mut paths: Vec<String>,
    ) -> Result<Option<Shredded>> {
        let folder = shredded_folder(artifact.digest);
        paths.retain(|path| super::stem(path, &folder).is_some_and(|stem| ArtifactDigest::from_hex(stem).is_ok()));
        paths.sort();
        for path in paths.into_iter().take(MAX_RECORDS) {
            match self.shredding_at(&path, artifact, policy) {
                Ok(shredded) => return Ok(Some(shredded)),
                Err(error @ Error::Storage { .. }) => return Err(error),
                // Junk destroys nothing.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn shredding_at(&self, path: &str, artifact: &Artifact, policy: &Policy) -> Result<Shredded> {
        judged(&self.demand(path, MAX_ENVELOPE)?, artifact, policy)
    }

    /// The other artifacts of the vault that name contents of this one.
    fn sharing(&self, artifact: &Artifact) -> Result<Vec<ArtifactDigest>> {
        let ours: std::collections::HashSet<_> =
            artifact.manifest.objects().map(|(name, _)| *name.as_bytes()).collect();
        let mut others = Vec::new();
        self.store.list("artifacts", &mut |entry| {
            others.extend(super::fsck::parse_manifest_path(&entry.path).filter(|other| *other != artifact.digest));
            Ok(())
        })?;
        let mut shared = Vec::new();
        for other in others {
            match self.unsigned_manifest(other) {
                Ok(manifest) if manifest.objects().any(|(name, _)| ours.contains(name.as_bytes())) => {
                    shared.push(other);
                }
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(shared)
    }
}
