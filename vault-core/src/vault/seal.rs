//! Sealing into a vault, in the order that makes a crash harmless: parts, trees, manifest, recipients, attestations, and
//! the version record last; all of it under a lease, so that garbage collection keeps away.

use super::{
    Deduplication, ReuseCache, Vault, Work, manifest_path, recipients_path, session::Beating, stem, version_path,
    versions_folder,
};
use crate::{
    error::{Error, Result},
    index::Notes,
    keys::Signer,
    names::{ArtifactDigest, VersionName},
    oms::Signed,
    provenance::{Envelope, Predicate, Provenance, Statement, Subject, VersionRecord},
    recipients::RecipientsRecord,
    seal::{self, Options, Saved, resume},
    source::Input,
    store::Created,
    workers::Progress,
    wrap::{self, Audience},
};

/// What to seal, as what, for whom and by whom.
#[derive(Debug)]
pub struct SealRequest<'a> {
    /// The name to publish.
    pub name: VersionName,
    /// The files.
    pub inputs: Vec<Input<'a>>,
    /// Who is to be able to open it.
    pub audience: Audience,
    /// Whose signature it carries.
    pub signer: &'a dyn Signer,
    /// The BLAKE3 of version 1 of the trust root that it is sealed under.
    pub trust_root: Option<blake3::Hash>,
    /// How it came to be; what every seal knows by default.
    pub provenance: Option<Provenance>,
    /// How it came to be, for the encrypted index: known only to those who can open it.
    pub private_provenance: Option<Provenance>,
    /// What the files must be, as somebody signed it; the bundle is kept in the encrypted index.
    pub vendor: Option<&'a Signed>,
    /// What of it need not be stored twice.
    pub deduplication: Deduplication<'a>,
    /// Where this machine remembers what it sealed, so that it can reuse it without a key that opens it.
    pub cache: Option<&'a ReuseCache>,
    /// How to seal.
    pub options: Options,
}

/// What a seal published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The name.
    pub name: VersionName,
    /// The artifact's digest.
    pub digest: ArtifactDigest,
    /// Number of files.
    pub files: usize,
    /// Bytes of plaintext.
    pub plaintext: u64,
    /// Bytes of ciphertext, the index and what was reused included.
    pub sealed: u64,
    /// Bytes of ciphertext that were stored now: all but what was reused.
    pub stored: u64,
    /// What was reused.
    pub saved: Saved,
}

impl Vault {
    /// Seals an artifact and publishes it under its name.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the version exists, also if it differs only by case: noticed before anything is sealed,
    /// and again before the commit (two seals that commit twins at the very same moment both succeed). Otherwise as
    /// [`seal::seal`]; [`Error::Lost`] if garbage collection ended the session of a seal that stood still for longer than its
    /// grace. After an error nothing is published, except that the store may fail in the very last step: then the version is
    /// there, or the next garbage collection publishes it, see [`Session::commit`](super::Session::commit).
    pub fn seal(&self, request: SealRequest<'_>, progress: &dyn Progress) -> Result<Receipt> {
        self.seal_in(request, None, progress)
    }

    /// The same, in a session that an interrupted seal can be gone on with, if there is one.
    pub(super) fn seal_in(
        &self,
        request: SealRequest<'_>,
        session: Option<&resume::Session>,
        progress: &dyn Progress,
    ) -> Result<Receipt> {
        let SealRequest { name, inputs, audience, signer, trust_root, vendor, options, .. } = request;
        let SealRequest { provenance, private_provenance, deduplication, cache, .. } = request;
        audience.check()?;
        deduplication.check(&audience)?;
        self.check_name_is_free(&name)?;

        let provenance_note = private_provenance.map(|private| private.to_text()).transpose()?;
        let notes = Notes { provenance: provenance_note, ..Notes::default() };
        let (reuse, pins) = (deduplication.reuse(), deduplication.pins());
        let lease = match session {
            None => self.open_session(Work::Seal, &pins)?,
            Some(session) => self.continue_session(&session_id(session), Work::Seal)?,
        };
        lease.rely_on(&self.relied_on(&pins)?)?;
        let sink = Beating { store: &self.store, session: &lease };
        let sealed = match session {
            None => seal::seal_reusing(inputs, reuse, notes, vendor, &sink, options, progress)?,
            Some(session) => resume::seal(inputs, notes, vendor, &sink, (options, reuse, session), progress)?,
        };
        if let Deduplication::Reuse(previous) = deduplication {
            previous.compare(self, &sealed.manifest, &sealed.index, progress)?;
            self.check_reused(&sealed.manifest, options.threads, progress)?;
        }
        let manifest = sealed.manifest.to_vec()?;
        let subject = Subject::of(&manifest);
        let digest = subject.blake3;
        // Parts and trees are durable before anything names them.
        self.store.sync()?;
        self.create_new(&manifest_path(digest), &manifest)?;

        // Whoever goes on with this seal must not wrap the same key to fewer people.
        session.map_or(Ok(()), |session| session.note_audience(&audience))?;
        let stanzas = wrap::wrap(&sealed.dek, digest, &audience)?;
        let recipients = RecipientsRecord::new(1, None, trust_root, &stanzas)?;
        self.create_new(&recipients_path(digest, 1), &sign(subject, recipients, signer)?)?;
        let provenance = provenance.unwrap_or_else(|| Provenance::of_seal(&name));
        self.add_attestation(digest, &sign(subject, provenance, signer)?)?;
        self.store.sync()?;

        // Somebody may have published the name, or its twin, while this was being sealed.
        self.check_name_is_free(&name)?;
        let record = sign(subject, VersionRecord::new(&name, trust_root)?, signer)?;
        if let Some(cache) = cache {
            cache.remember(digest, &sealed.manifest, &sealed.dek, &sealed.index)?;
        }
        lease.commit(&name, &record).inspect_err(|error| {
            // After another error the version may be there.
            if let (Error::Conflict { .. } | Error::Lost { .. }, Some(cache)) = (error, cache) {
                cache.forget(digest);
            }
        })?;
        let reused: u64 = sealed.manifest.reused_streams().map(|(_, stream, _)| stream.layout.length()).sum();
        Ok(Receipt {
            digest,
            files: sealed.index.files().len(),
            plaintext: sealed.index.total_size(),
            sealed: sealed.manifest.sealed_len(),
            stored: sealed.manifest.sealed_len() - reused,
            saved: sealed.saved,
            name,
        })
    }

    fn check_name_is_free(&self, name: &VersionName) -> Result<()> {
        let folder = versions_folder(name);
        self.store.list(&folder, &mut |entry| match stem(&entry.path, &folder) {
            Some(existing) if existing.eq_ignore_ascii_case(name.version.as_str()) => {
                Err(Error::Conflict { what: format!("version {}:{existing}", name.model) })
            }
            _ => Ok(()),
        })
    }

    pub(super) fn commit_version(&self, name: &VersionName, record: &[u8]) -> Result<()> {
        let path = version_path(name);
        match self.store.create(&path, record)? {
            Created::New => {}
            // A store whose client repeats requests may say so about this very record; its nonce tells.
            Created::Exists if self.holds(&path, record)? => {}
            Created::Exists => return Err(Error::Conflict { what: format!("version {name}") }),
        }
        self.store.sync()
    }

    /// Creates an object that nobody else can have created: its content, or its name, is random.
    pub(super) fn create_new(&self, path: &str, bytes: &[u8]) -> Result<()> {
        match self.store.create(path, bytes)? {
            Created::New => Ok(()),
            Created::Exists if self.holds(path, bytes)? => Ok(()),
            Created::Exists => Err(Error::Conflict { what: path.to_owned() }),
        }
    }

    /// Whether these bytes stand there. What cannot be read is no conflict: it may well be ours.
    fn holds(&self, path: &str, bytes: &[u8]) -> Result<bool> {
        match self.store.read(path, bytes.len() as u64) {
            Ok(found) => Ok(found.as_deref() == Some(bytes)),
            Err(Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The lease of a seal that is gone on with is that of its first run: what that stored is as old as it.
pub(super) fn session_id(session: &resume::Session) -> String {
    let digest = blake3::hash(&[b"mvault/v1 session", &session.artifact_id()[..]].concat());
    hex::encode(&digest.as_bytes()[..16])
}

/// Signs a statement about an artifact.
pub(super) fn sign<P: Predicate>(subject: Subject, predicate: P, signer: &dyn Signer) -> Result<Vec<u8>> {
    Envelope::sign(Statement { subject, predicate }.to_vec()?, signer)?.to_vec()
}
