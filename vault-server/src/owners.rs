//! Which model an artifact belongs to: the one that first named it here.
//!
//! Recipients, attestations and shreddings stand under the digest of an artifact, which names no model. When a version record is let in,
//! the model is written down beside the registry's own records, once; from then on what stands under the digest takes rights for that
//! model. An artifact that no version names yet belongs to nobody: a sealer stores its recipients before the version record.
//! This keeps tenants out of one another's way. It makes nothing true, so it is not signed: who owns the bucket can only undo it.

use vault_core::{
    Result,
    names::{ArtifactDigest, ModelName},
    store::{Created, Store},
};

const FOLDER: &str = "server/artifacts";
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

    /// Writes down that a version of this model is an artifact, unless another one was before. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`](vault_core::Error::Storage).
    pub fn note(&self, artifact: ArtifactDigest, model: &ModelName) -> Result<()> {
        let (Created::New | Created::Exists) = self.0.create(&path(artifact), model.as_str().as_bytes())?;
        Ok(())
    }

    /// The model that an artifact belongs to; none as long as nobody named it. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`](vault_core::Error::Storage).
    pub fn of(&self, artifact: ArtifactDigest) -> Result<Option<ModelName>> {
        let bytes = self.0.read(&path(artifact), MAX_NAME)?;
        // Junk is nobody's name: somebody else wrote into the bucket.
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()))
    }
}

fn path(artifact: ArtifactDigest) -> String {
    format!("{FOLDER}/{}", artifact.to_hex())
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
        owners.note(one, &first).expect("noted");
        owners.note(one, &second).expect("late");
        assert_eq!((owners.of(one).expect("read"), owners.of(other).expect("read")), (Some(first), None));
        assert_eq!(store.create(&path(other), b"\xff no name").expect("created"), Created::New);
        assert_eq!(owners.of(other).expect("read"), None);
    }
}
