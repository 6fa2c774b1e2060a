//! Shredding: destroying every wrapped key of an artifact, with a signed record that says so.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{Artifact, Vault, listing::parse_version_path, recipients_folder, seal::sign, stem, version_path};
use crate::{
    error::{Error, Fault, Place, Result},
    keys::{KeyId, Signer},
    names::{ArtifactDigest, ModelName, VersionName},
    provenance::{MAX_ENVELOPE, Shredding},
    store::{Created, Entry},
    trust::{Policy, Right},
};

/// The models that an artifact is a version of.
type Models = BTreeSet<ModelName>;

/// How often the recipients are listed again: others may add some while they are destroyed.
const MAX_PASSES: usize = 100;
/// The most records that are looked at; more are an error, because none may be passed over unseen.
const MAX_RECORDS: usize = 10_000;
/// The longest record that can count: a reason of 4 KiB, and as many signatures as an envelope may have.
const MAX_RECORD: u64 = 128 << 10;

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

/// Paths of records that may be shreddings of one artifact.
pub(super) struct Candidates {
    folder: String,
    pub(super) paths: Vec<String>,
}

impl Candidates {
    pub(super) fn new(artifact: ArtifactDigest) -> Self {
        Self { folder: shredded_folder(artifact), paths: Vec::new() }
    }

    /// Takes an object of the artifact's folder if it may be one; whether it lies among them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are more than 10 000: whoever may create objects could hide one behind junk.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<bool> {
        let Some(name) = stem(&entry.path, &self.folder) else { return Ok(false) };
        if ArtifactDigest::from_hex(name).is_ok() && entry.size <= MAX_RECORD {
            if self.paths.len() == MAX_RECORDS {
                let fault = Fault::Limit { what: "number of shreddings", limit: MAX_RECORDS as u64 };
                return Err(Error::Corrupt { place: Place::Object(self.folder.clone()), fault });
            }
            self.paths.push(entry.path.clone());
        }
        Ok(true)
    }
}

/// Why nobody opens an artifact that was shredded.
pub(super) fn refusal(artifact: ArtifactDigest, Shredded { created, reason, .. }: &Shredded) -> Error {
    let what = format!("{artifact}, shredded on {created} ({reason})");
    Error::WrongKey { what, why: "nobody has a key to it any more" }
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
        self.with_right(artifact, policy, &mut None, &|right| {
            let why = "is not given the right to shred this; by its digest, it takes the right for all versions of it";
            let refused = || Error::Untrusted { what: format!("key {id}"), why };
            policy.accepts(&id, right).then_some(()).ok_or_else(refused)
        })?;
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
    /// [`Error::Storage`]; [`Error::Corrupt`] if more than 10 000 records claim to be one.
    pub fn shredded(&self, artifact: &Artifact, policy: &Policy) -> Result<Option<Shredded>> {
        self.shredded_by(artifact, policy, self.shreddings(artifact.digest)?)
    }

    /// Whether an artifact is shredded by its digest or as one of these versions. That is more than readers by its digest accept:
    /// what was shredded is not to come back, whoever was asked then.
    pub(super) fn is_shredded(&self, artifact: &Artifact, names: &[VersionName], policy: &Policy) -> Result<bool> {
        let paths = self.shreddings(artifact.digest)?;
        if paths.is_empty() {
            return Ok(false);
        }
        for name in names.iter().map(Some).chain([None]) {
            let artifact = Artifact { name: name.cloned(), ..artifact.clone() };
            if self.shredded_by(&artifact, policy, paths.clone())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn shreddings(&self, artifact: ArtifactDigest) -> Result<Vec<String>> {
        let mut candidates = Candidates::new(artifact);
        self.store.list(&shredded_folder(artifact), &mut |entry| candidates.take(&entry).map(drop))?;
        Ok(candidates.paths)
    }

    /// The same, among these records.
    pub(super) fn shredded_by(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        mut paths: Vec<String>,
    ) -> Result<Option<Shredded>> {
        paths.sort();
        let mut models = None;
        for path in paths {
            match self.shredding_at(&path, artifact, policy, &mut models) {
                Ok(shredded) => return Ok(Some(shredded)),
                Err(error @ Error::Storage { .. }) => return Err(error),
                // Junk destroys nothing.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn shredding_at(
        &self,
        path: &str,
        artifact: &Artifact,
        policy: &Policy,
        models: &mut Option<Models>,
    ) -> Result<Shredded> {
        self.shredding(&self.demand(path, MAX_RECORD)?, artifact, policy, models)
    }

    /// What a record beside this artifact says, if it counts.
    pub(super) fn judged_shredding(&self, envelope: &[u8], artifact: &Artifact, policy: &Policy) -> Result<Shredded> {
        self.shredding(envelope, artifact, policy, &mut None)
    }

    fn shredding(
        &self,
        envelope: &[u8],
        artifact: &Artifact,
        policy: &Policy,
        models: &mut Option<Models>,
    ) -> Result<Shredded> {
        let what = format!("shredding of {}", artifact.digest);
        let record =
            self.with_right(artifact, policy, models, &|right| policy.statement::<Shredding>(envelope, right, &what))?;
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

    /// Asks whether somebody may shred an artifact. Under a name that is who may retire versions of its model. A digest says
    /// nothing about whose it is: then it takes the right for all models, or for those of all versions that name it, of which
    /// there must be one.
    fn with_right<T>(
        &self,
        artifact: &Artifact,
        policy: &Policy,
        models: &mut Option<Models>,
        has: &dyn Fn(Right<'_>) -> Result<T>,
    ) -> Result<T> {
        if let Some(model) = artifact.model() {
            return has(Right::retire(Some(model)));
        }
        // What has no right at all is not worth a look through the versions.
        has(Right::retire(None))?;
        let refused = match has(Right::retire_all()) {
            Err(refused) => refused,
            held => return held,
        };
        if models.is_none() {
            *models = Some(self.models_of(artifact.digest, policy)?);
        }
        let each = models.iter().flatten().map(|model| has(Right::retire(Some(model))));
        each.reduce(Result::and).unwrap_or(Err(refused))
    }

    /// The models that an artifact is published as a version of, by records that count.
    fn models_of(&self, artifact: ArtifactDigest, policy: &Policy) -> Result<Models> {
        let mut names = Vec::new();
        self.store.list("models", &mut |entry| {
            names.extend(parse_version_path(&entry.path));
            Ok(())
        })?;
        let mut models = Models::new();
        for name in names {
            let record = self.demand(&version_path(&name), MAX_ENVELOPE);
            match record.and_then(|bytes| policy.version_record(&bytes, &name)) {
                Ok(record) if record.subject.blake3 == artifact => drop(models.insert(name.model)),
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(models)
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
