//! From a reference to a verified manifest.

use super::{
    Vault, artifact_folder, chain::record_path, channel::channel_folder, manifest_path, recipients_path, version_path,
};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, ChannelName, ModelName, Reference, VersionName},
    provenance::{Envelope, MAX_ENVELOPE, Provenance, Statement, Subject, VersionRecord},
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
    /// The version record that was checked; none for an artifact that was asked for by its digest.
    pub record: Option<Record>,
    /// The BLAKE3 of the payload of the promotion that led here.
    pub promotion: Option<blake3::Hash>,
}

/// A version record that counts, where it lies, and its envelope.
type Vouched = (Verified<Statement<VersionRecord>>, String, Vec<u8>);

/// A record that something rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub path: String,
    /// The BLAKE3 of its bytes.
    pub digest: blake3::Hash,
    /// The keys that it names as its signers, ascending: a claim, unless somebody checked it.
    pub signers: Vec<KeyId>,
}

impl Record {
    pub(super) fn new(path: String, bytes: &[u8]) -> Self {
        Self { path, digest: blake3::hash(bytes), signers: Envelope::signers_claimed_in(bytes) }
    }
}

impl Artifact {
    /// One that was asked for by its digest.
    pub(super) fn of_digest(digest: ArtifactDigest, manifest: Verified<Manifest>, subject: Subject) -> Self {
        Self { name: None, channel: None, digest, manifest, subject, record: None, promotion: None }
    }

    /// The model it was asked for as a version of.
    pub fn model(&self) -> Option<&ModelName> {
        self.name.as_ref().map(|name| &name.model)
    }
}

impl Vault {
    /// Finds an artifact and verifies its manifest: by name through a version record for exactly this name, in its own place or added
    /// later by somebody else ([`Vault::sign_version`]); by digest through a provenance attestation; signed by somebody whom `policy`
    /// accepts.
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
        let path = version_path(name);
        let Some(envelope) = self.store.read(&path, MAX_ENVELOPE)? else {
            return Err(Error::NotFound { what: format!("version {name}") });
        };
        let (record, path, envelope) = match policy.version_record(&envelope, name) {
            Ok(record) => (record, path, envelope),
            Err(error @ Error::Untrusted { .. }) => self.vouched(&envelope, name, policy)?.ok_or(error)?,
            Err(error) => return Err(error),
        };
        let digest = record.subject.blake3;
        self.expect_artifact(digest);
        let bytes = self.demand(&manifest_path(digest), MAX_MANIFEST)?;
        let manifest = record.manifest(&bytes)?;
        let subject = record.subject;
        let record = Some(Record::new(path, &envelope));
        Ok(Artifact { name: Some(name.clone()), channel: None, digest, manifest, subject, record, promotion: None })
    }

    /// A version record by somebody who is accepted, among the attestations of the artifact that a record by others names: each of
    /// them says by itself that the artifact is what the name stands for, so that it does not matter where it lies.
    fn vouched(&self, by_others: &[u8], name: &VersionName, policy: &Policy) -> Result<Option<Vouched>> {
        let named = Envelope::parse_record(by_others).and_then(|e| Statement::<VersionRecord>::parse(e.payload()));
        let Ok(Statement { subject, .. }) = named else { return Ok(None) };
        for path in self.attestation_paths(subject.blake3)? {
            let envelope = match self.read_attestation(&path) {
                Ok(envelope) => envelope,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => continue,
            };
            if let Ok(record) = policy.version_record(&envelope, name)
                && record.subject == subject
            {
                return Ok(Some((record, path, envelope)));
            }
        }
        Ok(None)
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
            return Ok(Artifact::of_digest(digest, manifest, subject));
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
                Ok(manifest) => return Ok(Artifact::of_digest(digest, manifest, subject)),
                // A manifest that is not what the digest names is no attestation's fault.
                Err(error) if digest != subject.blake3 => return Err(error),
                Err(error @ Error::Untrusted { .. }) => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// The records that say that this is what was asked for: the version record, and the promotion if a channel was asked.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it was asked for by its digest; [`Error::Lost`] if the store shows another promotion than the one
    /// that was checked; [`Error::Storage`].
    pub fn records(&self, artifact: &Artifact) -> Result<Vec<Record>> {
        let Some(record) = &artifact.record else {
            let rule = "was asked for by its digest, for which no single record speaks; name a version or channel";
            return Err(Error::Misuse(format!("{} {rule}", artifact.digest)));
        };
        let mut records = vec![record.clone()];
        if let (Some((channel, generation)), Some(payload)) = (&artifact.channel, artifact.promotion) {
            let path = record_path(&channel_folder(channel), *generation);
            let bytes = self.demand(&path, MAX_ENVELOPE)?;
            if blake3::hash(Envelope::parse_record(&bytes)?.payload()) != payload {
                return Err(Error::Lost { what: path, why: "it is not the promotion any more that was checked" });
            }
            records.push(Record::new(path, &bytes));
        }
        Ok(records)
    }

    /// The version record of this name as it stands in the store: nobody's signature is checked.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Storage`].
    pub fn version_record(&self, name: &VersionName) -> Result<Record> {
        self.record_at(&version_path(name))
    }

    /// Any record as it stands in the store: nobody's signature is checked.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Storage`].
    pub fn record_at(&self, path: &str) -> Result<Record> {
        let bytes = self.store.read(path, MAX_ENVELOPE)?;
        let bytes = bytes.ok_or_else(|| Error::NotFound { what: path.to_owned() })?;
        Ok(Record::new(path.to_owned(), &bytes))
    }

    /// Verifies every stored byte of an artifact against its manifest. Needs no key.
    ///
    /// # Errors
    /// As [`verify::contents`].
    pub fn verify(&self, artifact: &Artifact, threads: Threads, progress: &dyn Progress) -> Result<Checked> {
        verify::contents(&artifact.manifest, &self.store, threads, progress)
    }
}
