//! What a registry lets into a vault: each object must be what its path says, by somebody who may say it.
//!
//! This keeps junk out; it makes nothing true. Readers check everything again, because a store can be written around.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    DOCUMENT, FORMAT, Lease, ObjectName, Outcome, Vault, WireVault,
    copy::{
        chains::is_withdrawal,
        records::{envelope, freshness, promotion, revocation},
    },
    gc::{documents, runs},
    promote::WITHDRAWN,
    proposals::Record,
    session,
    walk::root_folder,
};
use crate::{
    canonical,
    error::{Error, Fault, Place, Result},
    log::{Judge, LogKeys, MAX_PROOF_FILE, ProofName},
    manifest::{MAX_MANIFEST, Manifest},
    names::{ArtifactDigest, ChannelName, ModelName, VersionName},
    provenance::{Attested, Envelope, MAX_ENVELOPE, Predicate, Retirement, Shredding, Statement, VersionRecord},
    recipients::RecipientsRecord,
    trust::{Candidate, Clock, MAX_ROOT, Policy, Reached, Right, Role, Rooted},
};

/// More than a batch of the log may have: 256 entries of 16 KiB, and what stands before them.
const MAX_LOGGED: u64 = 8 << 20;
/// The longest document of a vault, in bytes.
const MAX_DOCUMENT: u64 = if MAX_MANIFEST > MAX_ENVELOPE { MAX_MANIFEST } else { MAX_ENVELOPE };
/// How old a statement of freshness may be when it is stored, in seconds.
const OLDEST_FRESHNESS: u64 = 3600;

impl ObjectName {
    /// The most bytes that an object of this kind may have; none for content, which is as long as a part or an index is.
    pub fn max_length(&self) -> Option<u64> {
        match self {
            Self::Content(_) => None,
            Self::Manifest(_) => Some(MAX_MANIFEST),
            Self::TrustRoot(..) => Some(2 * MAX_ROOT),
            Self::Session(_) | Self::Collection(_) => Some(MAX_DOCUMENT),
            Self::Vault => Some(super::MAX_VAULT_JSON),
            Self::LogEntries(_) | Self::LogTree(_) => Some(MAX_LOGGED),
            Self::LogProof(_) => Some(MAX_PROOF_FILE),
            _ => Some(MAX_ENVELOPE),
        }
    }
}

/// The version, and the channel if there is one, that a promotion, a revocation or a proposal of either is about; none for
/// records of other kinds, and for withdrawals. Nobody's signature is looked at.
pub fn moves(path: &str, bytes: &[u8]) -> Option<(VersionName, Option<ChannelName>)> {
    let is_chained = matches!(
        ObjectName::parse(path)?,
        ObjectName::Promotion(..) | ObjectName::Revocation(_) | ObjectName::Proposal(..)
    );
    let envelope = Envelope::parse_record(bytes).ok().filter(|_| is_chained)?;
    let described = super::proposals::described(blake3::hash(envelope.payload()), envelope.payload()).ok()?;
    Some((described.version, described.channel))
}

/// The model and the artifact of the version that a version record, or the outcome of a session, publishes; none for every other object.
/// Nobody's signature is looked at.
pub fn names(path: &str, bytes: &[u8]) -> Option<(ModelName, ArtifactDigest)> {
    let named = |name: VersionName, record: &[u8]| {
        let envelope = Envelope::parse_record(record).ok()?;
        let statement = Statement::<VersionRecord>::parse(envelope.payload()).ok()?;
        Some((name.model, statement.subject.blake3))
    };
    match ObjectName::parse(path)? {
        ObjectName::Version(name) => named(name, bytes),
        ObjectName::Session(_) => match Outcome::parse(bytes).ok()? {
            Outcome::Committed { path, record } => match ObjectName::parse(&path)? {
                ObjectName::Version(name) => named(name, &record),
                _ => None,
            },
            Outcome::Aborted => None,
        },
        _ => None,
    }
}

/// The version that the outcome of a session publishes, by whoever finishes it; none for every other object.
pub fn publishes(path: &str, bytes: &[u8]) -> Option<VersionName> {
    let Some((_, session::Part::Outcome)) = session::parse_path(path) else { return None };
    let Ok(Outcome::Committed { path, .. }) = Outcome::parse(bytes) else { return None };
    match ObjectName::parse(&path) {
        Some(ObjectName::Version(name)) => Some(name),
        _ => None,
    }
}

/// Whose records are let in.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Anybody's that are well formed: the vault has no trust root.
    WellFormed,
    /// Those to whom this trust root gives the right.
    Rooted(Arc<Rooted>),
    /// Nobody's, until a version of this trust root is published that has not expired.
    Expired(Box<Reached>),
}

fn expired(root: &Reached) -> Error {
    let what = format!("trust root version {}", root.root().version());
    Error::Stale { what, why: "it has expired, and no later one is there" }
}

impl Admission {
    /// Refuses an object that is not what its path says. Content is not looked at: whoever stores it hashes it on its way.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed or about something else; [`Error::Untrusted`] if nobody signed it who may.
    pub fn judge(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.judge_of(path, bytes, None)
    }

    /// The same; what is about an artifact, and belongs to a model by that, must be by somebody who may say it of this one.
    ///
    /// # Errors
    /// As [`Admission::judge`].
    pub fn judge_of(&self, path: &str, bytes: &[u8], model: Option<&ModelName>) -> Result<()> {
        let name = ObjectName::parse(path)
            .ok_or_else(|| Error::Misuse(format!("{path:?} is not the path of anything in a vault")))?;
        if name.max_length().is_some_and(|most| bytes.len() as u64 > most) {
            let limit = name.max_length().unwrap_or(0);
            return Err(Error::Corrupt {
                place: Place::Object(path.to_owned()),
                fault: Fault::Limit { what: "length", limit },
            });
        }
        self.judge_named(&name, (path, model), bytes).map_err(|error| error.at(Place::Object(path.to_owned())))
    }

    fn judge_named(&self, name: &ObjectName, (path, model): (&str, Option<&ModelName>), bytes: &[u8]) -> Result<()> {
        match name {
            ObjectName::Vault => vault_document(bytes),
            // Of the log, entries are claims, and junk burns one attempt at a place; tiles and checkpoints are checked by
            // whoever reads them.
            ObjectName::Content(_) | ObjectName::LogEntries(_) | ObjectName::LogTree(_) => Ok(()),
            ObjectName::LogProof(name) => self.proof(name, bytes),
            ObjectName::Manifest(digest) => manifest(*digest, bytes),
            ObjectName::Recipients(digest, generation) => {
                let statement = self.statement::<RecipientsRecord>(bytes, Right::share(model), path)?;
                statement.predicate.stanzas()?;
                is_here(statement.subject.blake3 == *digest && statement.predicate.generation() == *generation)
            }
            ObjectName::Attestation(digest, sha256) => {
                let statement = self.statement::<Attested>(bytes, Right::attest(model), path)?;
                is_here(statement.subject.blake3 == *digest)?;
                is_named(bytes, sha256)
            }
            ObjectName::Shredding(digest, sha256) => {
                let statement = self.statement::<Shredding>(bytes, Right::retire(model), path)?;
                is_here(statement.subject.blake3 == *digest)?;
                is_named(bytes, sha256)
            }
            ObjectName::Version(name) => self.version(name, bytes),
            ObjectName::Promotion(channel, generation) => self.promotion(channel, *generation, bytes),
            ObjectName::Freshness(channel, second) => match self.rooted()? {
                None => freshness(bytes, channel, *second),
                Some(rooted) => rooted.freshness(bytes, channel, *second, OLDEST_FRESHNESS).map(drop),
            },
            ObjectName::Retirement(name, sha256) => {
                let statement = self.statement::<Retirement>(bytes, Right::retire(Some(&name.model)), path)?;
                is_here(statement.predicate.version_name()? == *name)?;
                is_named(bytes, sha256)
            }
            ObjectName::Revocation(generation) => self.revocation(*generation, bytes),
            ObjectName::Proposal(id, sha256) => self.proposal(*id, sha256, bytes),
            ObjectName::TrustRoot(version, sha256) => {
                self.trust_root(*version, bytes)?;
                is_named(bytes, sha256)
            }
            ObjectName::Session(_) => self.session(path, bytes),
            ObjectName::Collection(_) => collection(path, bytes),
        }
    }

    /// A statement that somebody signed, or somebody who may.
    fn statement<P: Predicate>(&self, bytes: &[u8], right: Right<'_>, what: &str) -> Result<Statement<P>> {
        match self {
            Self::WellFormed => Statement::parse(envelope(bytes)?.payload()),
            Self::Rooted(rooted) => {
                let policy = Policy::Rooted(Arc::clone(rooted));
                Ok(policy.statement::<P>(bytes, right, what)?.into_inner())
            }
            Self::Expired(root) => Err(expired(root)),
        }
    }

    /// Who may sign what; none if anybody may.
    pub(super) fn rooted(&self) -> Result<Option<&Rooted>> {
        match self {
            Self::WellFormed => Ok(None),
            Self::Rooted(rooted) => Ok(Some(rooted)),
            Self::Expired(root) => Err(expired(root)),
        }
    }

    fn version(&self, name: &VersionName, bytes: &[u8]) -> Result<()> {
        let what = format!("version record of {name}");
        let statement = self.statement::<VersionRecord>(bytes, Right::seal(Some(&name.model)), &what)?;
        is_here(statement.predicate.is_for(name))
    }

    fn promotion(&self, channel: &ChannelName, generation: u64, bytes: &[u8]) -> Result<()> {
        let rooted = self.rooted()?;
        if let Some(judged) = withdrawal(bytes, rooted) {
            return judged;
        }
        let envelope = envelope(bytes)?;
        promotion(&envelope, channel, generation)?;
        let Some(rooted) = rooted else { return Ok(()) };
        let approved = rooted.promotion(&envelope)?;
        suffices(approved.suffices(), || format!("generation {generation} of {channel}"))
    }

    fn revocation(&self, generation: u64, bytes: &[u8]) -> Result<()> {
        let rooted = self.rooted()?;
        if let Some(judged) = withdrawal(bytes, rooted) {
            return judged;
        }
        let envelope = envelope(bytes)?;
        revocation(&envelope, generation)?;
        let Some(rooted) = rooted else { return Ok(()) };
        suffices(rooted.revocation(&envelope)?.suffices(), || format!("revocation {generation}"))
    }

    /// Each lies under the record's digest with one or more signatures; the first is that of who asks.
    fn proposal(&self, id: blake3::Hash, sha256: &str, bytes: &[u8]) -> Result<()> {
        is_named(bytes, sha256)?;
        let envelope = envelope(bytes)?;
        is_here(blake3::hash(envelope.payload()) == id)?;
        super::proposals::described(id, envelope.payload())?;
        let Some(rooted) = self.rooted()? else { return Ok(()) };
        match Record::judge(rooted, &envelope) {
            Ok(_) => Ok(()),
            // An approval stands alone: its record is signed by the approver and not by who asked.
            Err(Error::Untrusted { .. }) if !rooted.counting(&envelope).signatures().is_empty() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next of the trust root, or one like those that led to it; the first vouches for itself.
    fn trust_root(&self, version: u64, bytes: &[u8]) -> Result<()> {
        let candidate = Candidate::parse(bytes)?;
        is_here(candidate.root().version() == version)?;
        let reached = match self {
            Self::WellFormed if version == 1 => return Reached::pin(bytes).map(drop),
            Self::WellFormed => return Ok(()),
            Self::Rooted(rooted) => rooted.reached(),
            Self::Expired(reached) => reached,
        };
        if version > reached.root().version() {
            return reached.next(bytes).map(drop);
        }
        let root = Reached::pin(bytes)?;
        if root.origin() == reached.origin() {
            return Ok(());
        }
        let what = format!("trust root version {version}");
        Err(Error::Untrusted { what, why: "descends from another version 1 than that of this vault" })
    }

    /// If the trust root has keys of logs, one of them signed it: no other would count for its readers.
    fn proof(&self, name: &ProofName, bytes: &[u8]) -> Result<()> {
        let proof = name.check(bytes)?;
        match self {
            Self::WellFormed => Ok(()),
            Self::Rooted(rooted) if rooted.keys_of(Role::Log).is_empty() => Ok(()),
            Self::Rooted(rooted) => proof.verify(&Judge::new(LogKeys::Rooted(Arc::clone(rooted))), None).map(drop),
            Self::Expired(root) => Err(expired(root)),
        }
    }

    fn session(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let Some((_, session::Part::Outcome)) = session::parse_path(path) else {
            return Lease::parse(bytes).map(drop);
        };
        match Outcome::parse(bytes)? {
            Outcome::Committed { path, record } => match ObjectName::parse(&path) {
                Some(ObjectName::Version(name)) => self.version(&name, &record),
                _ => is_here(false),
            },
            Outcome::Aborted => Ok(()),
        }
    }
}

impl Vault {
    /// Admission by the newest version of a trust root that this vault leads to from `pinned`.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if two valid roots have one number; [`Error::Storage`].
    pub fn admission(&self, pinned: &Reached, clock: Clock) -> Result<Admission> {
        let reached = self.walk(pinned.clone(), &mut Vec::new())?;
        if reached.is_expired(clock) {
            return Ok(Admission::Expired(Box::new(reached)));
        }
        Ok(Admission::Rooted(Arc::new(Rooted::new(reached, clock)?)))
    }

    /// The one version 1 of a trust root that was published in this vault; none if there is none.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if there are several, so that somebody has to say which is meant; [`Error::Storage`].
    pub fn first_root(&self) -> Result<Option<Reached>> {
        let mut first: Option<Reached> = None;
        for path in self.root_paths(1)? {
            let Ok(root) = Reached::pin(&self.demand(&path, MAX_ENVELOPE)?) else { continue };
            if first.as_ref().is_some_and(|first| first.digest() != root.digest()) {
                let what = format!("{} of {}", root_folder(1), self.store.describe());
                return Err(Error::Untrusted { what, why: "holds several trust roots: name the one to believe" });
            }
            first = Some(root);
        }
        Ok(first)
    }
}

fn vault_document(bytes: &[u8]) -> Result<()> {
    let wire: WireVault = canonical::from_slice(DOCUMENT, bytes)?;
    if wire.format == FORMAT { Ok(()) } else { Err(Error::format(DOCUMENT, "is of another format")) }
}

fn manifest(digest: ArtifactDigest, bytes: &[u8]) -> Result<()> {
    let found = blake3::hash(bytes);
    if found != digest.hash() {
        let fault = Fault::Digest { expected: digest.hash(), found };
        return Err(Error::Corrupt { place: Place::Document("manifest"), fault });
    }
    Manifest::parse(bytes).map(drop)
}

/// Whether a withdrawal counts; none for what is another kind of record. It names a proposal, and no number: that it was made for
/// the one under which it stands is not looked at, since all it does there is burn it.
fn withdrawal(bytes: &[u8], rooted: Option<&Rooted>) -> Option<Result<()>> {
    Envelope::parse_record_of(bytes, WITHDRAWN).ok()?;
    if is_withdrawal(bytes, rooted) {
        return Some(Ok(()));
    }
    let why = "is not signed by a key that the trust root lists";
    Some(Err(Error::Untrusted { what: "withdrawal".into(), why }))
}

fn collection(path: &str, bytes: &[u8]) -> Result<()> {
    match runs::parse_path(path).map(|(_, part)| part) {
        Some(runs::Part::Start) => documents::Started::parse(bytes).map(drop),
        Some(runs::Part::List(_)) => documents::Condemned::parse(bytes).map(drop),
        Some(runs::Part::Decision) => documents::Decision::parse(bytes).map(drop),
        Some(runs::Part::Promise) => documents::Promise::parse(bytes).map(drop),
        Some(runs::Part::Revocation) => documents::Revocation::parse(bytes).map(drop),
        Some(runs::Part::Done) => documents::Done::parse(bytes).map(drop),
        None => is_here(false),
    }
}

fn suffices(is_enough: bool, what: impl FnOnce() -> String) -> Result<()> {
    if is_enough {
        return Ok(());
    }
    Err(Error::Untrusted { what: what(), why: "is not approved by enough holders" })
}

fn is_here(is_here: bool) -> Result<()> {
    if is_here { Ok(()) } else { Err(Error::format("record", "is about something else than its path says")) }
}

fn is_named(bytes: &[u8], sha256: &str) -> Result<()> {
    if hex::encode(Sha256::digest(bytes)) == sha256 {
        return Ok(());
    }
    Err(Error::format("record", "is not what its name is the SHA-256 of"))
}
