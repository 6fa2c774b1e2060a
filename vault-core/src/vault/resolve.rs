//! From a reference to a verified manifest.

use super::{Vault, artifact_folder, manifest_path, recipients_path, version_path};
use crate::{
    error::{Error, Result},
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, ChannelName, ModelName, Reference, VersionName},
    provenance::{MAX_ENVELOPE, Provenance, Subject},
    store::Soon,
    trust::{Policy, Right, Verified},
    verify::{self, Checked},
    workers::{Progress, Threads},
};

/// An artifact whose manifest is verified.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The name it was asked for by, or that a channel points to.
    pub name: Option<VersionName>,
    /// The channel it was asked for by, and its generation.
    pub channel: Option<(ChannelName, u64)>,
    /// Its digest.
    pub digest: ArtifactDigest,
    /// Its manifest.
    pub manifest: Verified<Manifest>,
    /// How statements name it.
    pub subject: Subject,
}

impl Artifact {
    /// The model it was asked for as a version of.
    pub fn model(&self) -> Option<&ModelName> {
        self.name.as_ref().map(|name| &name.model)
    }
}

impl Vault {
    /// Finds an artifact and verifies its manifest: by name through a version record for exactly this name, by digest
    /// through a provenance attestation; signed by somebody whom `policy` accepts.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Untrusted`], [`Error::Corrupt`].
    pub fn resolve(&self, reference: &Reference, policy: &Policy) -> Result<Artifact> {
        match reference {
            Reference::Version(name) => self.resolve_version(name, policy),
            Reference::Digest(digest) => self.resolve_digest(*digest, policy),
            Reference::Channel(channel) => {
                Err(Error::Misuse(format!("{channel}: a channel is opened through a trust root")))
            }
        }
    }

    fn resolve_version(&self, name: &VersionName, policy: &Policy) -> Result<Artifact> {
        let Some(envelope) = self.store.read(&version_path(name), MAX_ENVELOPE)? else {
            return Err(Error::NotFound { what: format!("version {name}") });
        };
        let record = policy.version_record(&envelope, name)?;
        let digest = record.subject.blake3;
        self.expect_artifact(digest);
        let bytes = self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = record.manifest(&bytes)?;
        Ok(Artifact { name: Some(name.clone()), channel: None, digest, manifest, subject: record.subject })
    }

    /// Whoever resolves a version will want its manifest, and most likely its recipients: one round trip for all.
    fn expect_artifact(&self, digest: ArtifactDigest) {
        self.store.soon(&[
            Soon::Read { path: &manifest_path(digest), cap: MAX_MANIFEST },
            Soon::List { folder: &artifact_folder(digest) },
            Soon::Read { path: &recipients_path(digest, 1), cap: MAX_ENVELOPE },
        ]);
    }

    fn resolve_digest(&self, digest: ArtifactDigest, policy: &Policy) -> Result<Artifact> {
        let Some(bytes) = self.store.read(&manifest_path(digest), MAX_MANIFEST)? else {
            return Err(Error::NotFound { what: format!("artifact {digest}") });
        };
        let subject = Subject::of(&bytes);
        if let Policy::InsecureSkipSignature = policy {
            let manifest = policy.unsigned_manifest(digest, &bytes)?;
            return Ok(Artifact { name: None, channel: None, digest, manifest, subject });
        }
        let what = format!("provenance of {digest}");
        let mut refusal = Error::Untrusted { what: what.clone(), why: "is missing" };
        for path in self.attestation_paths(digest)? {
            let envelope = match self.read_attestation(&path) {
                Ok(envelope) => envelope,
                Err(error @ Error::Storage { .. }) => return Err(error),
                // Damaged, and named by nobody: as if it were not there.
                Err(_) => continue,
            };
            let statement = policy.statement::<Provenance>(&envelope, Right::seal(None), &what);
            match statement.and_then(|statement| statement.manifest(&bytes)) {
                Ok(manifest) => return Ok(Artifact { name: None, channel: None, digest, manifest, subject }),
                // A manifest that is not what the digest names is no attestation's fault.
                Err(error) if digest != subject.blake3 => return Err(error),
                Err(error @ Error::Untrusted { .. }) => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// Verifies every stored byte of an artifact against its manifest. Needs no key.
    ///
    /// # Errors
    /// As [`verify::contents`].
    pub fn verify(&self, artifact: &Artifact, threads: Threads, progress: &dyn Progress) -> Result<Checked> {
        verify::contents(&artifact.manifest, &self.store, threads, progress)
    }
}
