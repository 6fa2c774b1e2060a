//! From a reference to a verified manifest.

use sha2::{Digest as _, Sha256};

use super::{Vault, attestations_folder, manifest_path, stem, version_path};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, ChannelName, ModelName, Reference, VersionName},
    provenance::{Envelope, MAX_ENVELOPE, Provenance, Subject},
    trust::{Policy, Right, Verified},
    verify::{self, Checked},
    workers::{Progress, Threads},
};

/// The most attestations that are looked at to find one that counts: a store could offer any number.
const MAX_ATTESTATIONS: usize = 1000;

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

/// An attestation found beside an artifact.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// The path of its envelope.
    pub path: String,
    /// The type of its predicate, as it claims.
    pub predicate_type: String,
    /// The accepted keys that signed it; none if nobody accepted did.
    pub signers: Vec<KeyId>,
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
        let bytes = self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = record.manifest(&bytes)?;
        Ok(Artifact { name: Some(name.clone()), channel: None, digest, manifest, subject: record.subject })
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
            let Some(envelope) = self.read_attestation(&path)? else { continue };
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

    /// The envelope under this path, if it is what its name says.
    fn read_attestation(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.store.read(path, MAX_ENVELOPE) {
            Ok(envelope) => Ok(envelope.filter(|envelope| is_named_by_hash(path, envelope))),
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn attestation_paths(&self, digest: ArtifactDigest) -> Result<Vec<String>> {
        let folder = attestations_folder(digest);
        let mut paths = Vec::new();
        self.store.list(&folder, &mut |entry| {
            let named = stem(&entry.path, &folder).is_some_and(|stem| ArtifactDigest::from_hex(stem).is_ok());
            if named && paths.len() < MAX_ATTESTATIONS {
                paths.push(entry.path);
            }
            Ok(())
        })?;
        paths.sort();
        Ok(paths)
    }

    /// The attestations beside an artifact, and who signed them. One whose name is not its SHA-256 is
    /// damaged, and signed by nobody.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn attestations(&self, artifact: &Artifact, policy: &Policy) -> Result<Vec<Attestation>> {
        let mut found = Vec::new();
        for path in self.attestation_paths(artifact.digest)? {
            let Some(envelope) = self.read_attestation(&path)? else {
                found.push(Attestation { path, predicate_type: "damaged".into(), signers: Vec::new() });
                continue;
            };
            let predicate_type = claimed_type(&envelope);
            let signers = policy
                .statement::<Provenance>(&envelope, Right::attest(artifact.model()), "attestation")
                .ok()
                .filter(|statement| statement.subject == artifact.subject)
                .map(|statement| statement.signers().to_vec());
            found.push(Attestation { path, predicate_type, signers: signers.unwrap_or_default() });
        }
        Ok(found)
    }

    /// Verifies every stored byte of an artifact against its manifest. Needs no key.
    ///
    /// # Errors
    /// As [`verify::contents`].
    pub fn verify(&self, artifact: &Artifact, threads: Threads, progress: &dyn Progress) -> Result<Checked> {
        verify::contents(&artifact.manifest, &self.store, threads, progress)
    }
}

/// Whether the file name of an attestation is the SHA-256 of its bytes.
fn is_named_by_hash(path: &str, envelope: &[u8]) -> bool {
    path.strip_suffix(".dsse.json").is_some_and(|stem| stem.ends_with(&hex::encode(Sha256::digest(envelope))))
}

/// The predicate type an envelope claims to hold, for lists; nothing relies on it.
fn claimed_type(envelope: &[u8]) -> String {
    let statement = Envelope::parse(envelope)
        .ok()
        .and_then(|envelope| serde_json::from_slice::<serde_json::Value>(envelope.payload()).ok());
    let claimed = statement.as_ref().and_then(|statement| statement["predicateType"].as_str());
    let is_uri = |text: &&str| text.len() <= 200 && text.contains(':') && text.bytes().all(|b| b.is_ascii_graphic());
    claimed.filter(is_uri).unwrap_or("of no type").to_owned()
}
