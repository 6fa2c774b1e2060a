//! Which model an artifact belongs to: the one that first named it here.
//!
//! Recipients, attestations and shreddings stand under the digest of an artifact, which names no model. When a version record is let in,
//! the model is written down beside the registry's own records, once; from then on what stands under the digest takes rights for that
//! model. An artifact that no version names yet belongs to nobody, but only whoever was first to store something about it can make it a model's:
//! a sealer stores recipients before the version record, and they are in the log.
//! This keeps tenants out of one another's way. It makes nothing true, so it is not signed: who owns the bucket can only undo it.

use vault_core::{
    Error, Result,
    names::{ArtifactDigest, ModelName},
    provenance::MAX_ENVELOPE,
    store::{Created, Store},
    vault::{ObjectName, names},
};

const FOLDER: &str = "server/artifacts";
/// That every version of the vault was looked at once.
const COMPLETE: &str = "server/artifacts/complete";
/// The model; and who was first to store something about an artifact.
const MODEL: &str = "model";
const BEGUN: &str = "begun";
/// The longest name of a model, in bytes.
const MAX_NAME: u64 = 1024;

/// The model of each artifact.
#[derive(Debug, Clone)]
pub struct Owners(Store);

impl Owners {
    /// Those in the vault of this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Writes down who began to store an artifact, unless somebody did before: its digest is no secret once something about it is there.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn begin(&self, artifact: ArtifactDigest, principal: &str) -> Result<()> {
        if self.0.stat(&path(artifact, MODEL))?.is_some() {
            return Ok(());
        }
        let (Created::New | Created::Exists) = self.0.create(&path(artifact, BEGUN), principal.as_bytes())?;
        Ok(())
    }

    /// Writes down that a version of this model is an artifact, unless another one was before, or somebody else began to store it. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn note(&self, artifact: ArtifactDigest, model: &ModelName, principal: Option<&str>) -> Result<()> {
        let begun = self.0.read(&path(artifact, BEGUN), MAX_NAME)?;
        if let (Some(begun), Some(principal)) = (begun, principal)
            && begun != principal.as_bytes()
        {
            return Ok(());
        }
        let (Created::New | Created::Exists) = self.0.create(&path(artifact, MODEL), model.as_str().as_bytes())?;
        Ok(())
    }

    /// Writes down whose the artifacts of a vault are that was there before the registry, the oldest versions first; once. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn note_all(&self) -> Result<()> {
        if self.0.stat(COMPLETE)?.is_some() {
            return Ok(());
        }
        let mut versions = Vec::new();
        self.0.list("models", &mut |entry| {
            if matches!(ObjectName::parse(&entry.path), Some(ObjectName::Version(_))) {
                versions.push((entry.modified, entry.path));
            }
            Ok(())
        })?;
        versions.sort();
        for (_, path) in versions {
            let record = match self.0.read(&path, MAX_ENVELOPE) {
                Err(Error::Corrupt { .. }) => None,
                record => record?,
            };
            if let Some((model, artifact)) = record.and_then(|record| names(&path, &record)) {
                self.note(artifact, &model, None)?;
            }
        }
        let (Created::New | Created::Exists) = self.0.create(COMPLETE, b"")?;
        Ok(())
    }

    /// The model that an artifact belongs to; none as long as nobody named it. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn of(&self, artifact: ArtifactDigest) -> Result<Option<ModelName>> {
        let bytes = self.0.read(&path(artifact, MODEL), MAX_NAME)?;
        // Junk is nobody's name: somebody else wrote into the bucket.
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()))
    }
}

fn path(artifact: ArtifactDigest, what: &str) -> String {
    format!("{FOLDER}/{}/{what}", artifact.to_hex())
}

#[cfg(test)]
mod tests {
    use vault_core::store::Connection;

    use super::*;

    #[test]
    fn an_artifact_belongs_to_the_model_that_named_it_first() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::create_url(&folder.path().display().to_string(), &Connection::default()).expect("a folder");
        let owners = Owners::new(store.clone());
        let (one, other) = (ArtifactDigest::from(blake3::hash(b"1")), ArtifactDigest::from(blake3::hash(b"2")));
        let (first, second) = ("team/a".parse().expect("a name"), "b".parse().expect("a name"));
        assert_eq!(owners.of(one).expect("read"), None);
        owners.begin(one, "ann").expect("noted");
        owners.begin(one, "ben").expect("late");
        owners.note(one, &second, Some("ben")).expect("he did not begin it");
        assert_eq!(owners.of(one).expect("read"), None);
        owners.note(one, &first, Some("ann")).expect("noted");
        owners.note(one, &second, Some("ann")).expect("late");
        assert_eq!((owners.of(one).expect("read"), owners.of(other).expect("read")), (Some(first), None));
        assert_eq!(store.create(&path(other, MODEL), b"\xff no name").expect("created"), Created::New);
        assert_eq!(owners.of(other).expect("read"), None);
    }
}
