//! Proposals as they lie in the vault: a record, and the signatures that are gathered for it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{Vault, chain::record_path, channel::channel_folder, revocations};
use crate::{
    error::{Error, Fault, Place, Result},
    keys::{KeyId, VerifyingKey},
    names::{ArtifactDigest, ChannelName, VersionName},
    provenance::{
        Chained, Envelope, MAX_ENVELOPE, PAYLOAD_TYPE, Predicate, Promotion, Revocation, Statement, peek,
        predicate_type,
    },
    store::{Created, Soon},
    trust::{Approved, Rooted},
    workers,
};

const FOLDER: &str = "proposals";
/// The most signatures of one proposal; more are an error, because none may be passed over unseen.
const MAX_APPROVALS: usize = 10_000;
/// The most files of proposals that are looked at: of all there ever were, because they are kept for auditors.
const MAX_PROPOSALS: usize = 1_000_000;
/// How many of them are read at once.
const MAX_AHEAD: usize = 32;

/// A proposal and how far it is.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The BLAKE3 of the record, by which it is approved.
    pub id: blake3::Hash,
    /// The channel that is to move; none if a version is to be revoked.
    pub channel: Option<ChannelName>,
    /// Its number in the chain.
    pub generation: u64,
    /// The version.
    pub version: VersionName,
    /// The artifact.
    pub artifact: ArtifactDigest,
    /// Why.
    pub reason: String,
    /// When it claims to have been made (RFC 3339).
    pub created: String,
    /// Until when it counts (RFC 3339).
    pub expires: Option<String>,
    /// Who asks for it.
    pub requester: String,
    /// Whose approval counts.
    pub approvers: Vec<String>,
    /// How many it takes.
    pub threshold: u64,
    /// Whether it came into force.
    pub published: bool,
    /// The generation that is in force now, if that is a later one.
    pub superseded: Option<u64>,
}

/// A record of either chain, judged.
#[derive(Debug, Clone)]
pub(super) enum Record {
    Promotion(ChannelName, Approved<Promotion>),
    Revocation(Approved<Revocation>),
}

impl Record {
    pub(super) fn judge(rooted: &Rooted, envelope: &Envelope) -> Result<Self> {
        match predicate_type(envelope.payload()).as_deref() {
            Some(Promotion::TYPE) => {
                let approved = rooted.promotion(envelope)?;
                let channel = approved.record.predicate.channel_name()?;
                Ok(Self::Promotion(channel, approved))
            }
            Some(Revocation::TYPE) => rooted.revocation(envelope).map(Self::Revocation),
            _ => Err(Error::format("proposal", "is neither a promotion nor a revocation")),
        }
    }

    pub(super) fn folder(&self) -> String {
        match self {
            Self::Promotion(channel, _) => channel_folder(channel),
            Self::Revocation(_) => revocations::FOLDER.to_owned(),
        }
    }

    pub(super) fn path(&self) -> String {
        record_path(&self.folder(), self.generation())
    }

    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::Promotion(_, approved) => approved.record.predicate.generation(),
            Self::Revocation(approved) => approved.record.predicate.generation(),
        }
    }

    pub(super) fn previous(&self) -> Option<blake3::Hash> {
        match self {
            Self::Promotion(_, approved) => approved.record.predicate.previous(),
            Self::Revocation(approved) => approved.record.predicate.previous(),
        }
    }

    pub(super) fn suffices(&self) -> bool {
        match self {
            Self::Promotion(_, approved) => approved.suffices(),
            Self::Revocation(approved) => approved.suffices(),
        }
    }

    pub(super) fn expiry(&self) -> Option<&str> {
        match self {
            Self::Promotion(_, approved) => approved.lapses.as_deref(),
            Self::Revocation(_) => None,
        }
    }

    pub(super) fn what(&self) -> String {
        match self {
            Self::Promotion(channel, _) => format!("generation {} of {channel}", self.generation()),
            Self::Revocation(_) => format!("revocation {}", self.generation()),
        }
    }

    pub(super) fn view(&self, published: bool) -> Result<Proposal> {
        fn of<R: Chained>(approved: &Approved<R>, channel: Option<ChannelName>, published: bool) -> Result<Proposal> {
            let predicate = &approved.record.predicate;
            Ok(Proposal {
                id: approved.digest,
                channel,
                generation: predicate.generation(),
                version: predicate.version_name()?,
                artifact: approved.record.subject.blake3,
                reason: predicate.reason().to_owned(),
                created: predicate.created().to_owned(),
                expires: predicate.expiry().map(str::to_owned),
                requester: approved.requester.to_string(),
                approvers: approved.approvers.iter().map(ToString::to_string).collect(),
                threshold: approved.threshold,
                published,
                superseded: None,
            })
        }
        match self {
            Self::Promotion(channel, approved) => of(approved, Some(channel.clone()), published),
            Self::Revocation(approved) => of(approved, None, published),
        }
    }
}

impl Vault {
    pub(super) fn proposal_ids(&self) -> Result<Vec<blake3::Hash>> {
        Ok(self.proposal_files()?.into_keys().map(blake3::Hash::from_bytes).collect())
    }

    /// The files of every proposal there ever was, by the BLAKE3 of the record.
    fn proposal_files(&self) -> Result<BTreeMap<[u8; 32], Vec<String>>> {
        let (mut found, mut files) = (BTreeMap::<_, Vec<_>>::new(), 0);
        self.store.names(FOLDER, &mut |path| {
            let id = path.split('/').nth(1).and_then(|hex| ArtifactDigest::from_hex(hex).ok());
            if let Some(id) = id {
                found.entry(*id.hash().as_bytes()).or_default().push(path);
                files += 1;
            }
            if files > MAX_PROPOSALS {
                let fault = Fault::Limit { what: "number of proposals", limit: MAX_PROPOSALS as u64 };
                return Err(Error::Corrupt { place: Place::Object(FOLDER.to_owned()), fault });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Another proposal than `but` for this number of this chain that one of these keys signed so
    /// that it binds, whatever else it is, and which key.
    pub(super) fn proposal_signed(
        &self,
        but: blake3::Hash,
        (chain, generation): (&str, u64),
        keys: &[VerifyingKey],
        binds: &(dyn Fn(&KeyId, &blake3::Hash) -> bool + Sync),
    ) -> Result<Option<(blake3::Hash, KeyId)>> {
        let files: Vec<_> = self
            .proposal_files()?
            .into_iter()
            .map(|(id, paths)| (blake3::Hash::from_bytes(id), paths))
            .filter(|(id, _)| *id != but)
            .flat_map(|(id, paths)| paths.into_iter().map(move |path| (id, path)))
            .collect();
        for some in files.chunks(MAX_AHEAD) {
            self.store.soon(&some.iter().map(|(_, path)| Soon::Read { path, cap: MAX_ENVELOPE }).collect::<Vec<_>>());
            let signed = workers::map(some, |(id, path)| {
                let envelope = match self.record(path) {
                    Ok(envelope) if blake3::hash(envelope.payload()) == *id => envelope,
                    Err(error @ Error::Storage { .. }) => return Err(error),
                    _ => return Ok(None),
                };
                let payload = envelope.payload();
                if peek(payload).map_or(true, |(number, _)| number != generation)
                    || place(payload).as_deref() != Some(chain)
                {
                    return Ok(None);
                }
                let by = |key: &&VerifyingKey| binds(&key.key_id(), id) && envelope.is_signed_by(key);
                Ok(keys.iter().find(by).map(|key| (*id, key.key_id())))
            });
            for one in signed {
                if let Some(found) = one? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn proposal_paths(&self, id: blake3::Hash) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        self.store.list(&format!("{FOLDER}/{}", id.to_hex()), &mut |entry| {
            if paths.len() == MAX_APPROVALS {
                let fault = Fault::Limit { what: "number of approvals", limit: MAX_APPROVALS as u64 };
                return Err(Error::Corrupt { place: Place::Object(format!("{FOLDER}/{}", id.to_hex())), fault });
            }
            paths.push(entry.path);
            Ok(())
        })?;
        paths.sort();
        Ok(paths)
    }

    /// A proposal with all signatures that count.
    pub(super) fn proposal(&self, id: blake3::Hash, rooted: &Rooted) -> Result<Envelope> {
        let mut gathered: Option<Envelope> = None;
        for path in self.proposal_paths(id)? {
            let envelope = match self.record(&path) {
                Ok(envelope) if blake3::hash(envelope.payload()) == id => envelope,
                Err(error @ Error::Storage { .. }) => return Err(error),
                _ => continue,
            };
            let counting = rooted.counting(&envelope);
            let gathered =
                gathered.get_or_insert_with(|| Envelope::unsigned(PAYLOAD_TYPE, envelope.payload().to_vec()));
            gathered.merge(&counting);
        }
        gathered.ok_or_else(|| Error::NotFound { what: format!("proposal {id}") })
    }

    pub(super) fn add_signature(&self, id: blake3::Hash, envelope: &Envelope) -> Result<()> {
        let bytes = envelope.to_vec()?;
        let name = hex::encode(Sha256::digest(&bytes));
        // The same signature twice is one.
        let (Created::New | Created::Exists) =
            self.store.create(&format!("{FOLDER}/{}/{name}.dsse.json", id.to_hex()), &bytes)?;
        self.store.sync()
    }
}

/// A proposal as it says itself, whoever signed it.
pub(super) fn described(id: blake3::Hash, payload: &[u8]) -> Result<Proposal> {
    fn of<R: Chained>(id: blake3::Hash, statement: &Statement<R>, channel: Option<ChannelName>) -> Result<Proposal> {
        let predicate = &statement.predicate;
        predicate.check()?;
        Ok(Proposal {
            id,
            channel,
            generation: predicate.generation(),
            version: predicate.version_name()?,
            artifact: statement.subject.blake3,
            reason: predicate.reason().to_owned(),
            created: predicate.created().to_owned(),
            expires: predicate.expiry().map(str::to_owned),
            requester: predicate.requested_by().to_string(),
            approvers: Vec::new(),
            threshold: 0,
            published: false,
            superseded: None,
        })
    }
    match predicate_type(payload).as_deref() {
        Some(Promotion::TYPE) => {
            let statement = Statement::<Promotion>::parse(payload)?;
            let channel = statement.predicate.channel_name()?;
            of(id, &statement, Some(channel))
        }
        Some(Revocation::TYPE) => of(id, &Statement::<Revocation>::parse(payload)?, None),
        _ => Err(Error::format("proposal", "is neither a promotion nor a revocation")),
    }
}

/// The folder that a record is for, as it says itself.
fn place(payload: &[u8]) -> Option<String> {
    match predicate_type(payload)?.as_str() {
        Promotion::TYPE => {
            let statement = Statement::<Promotion>::parse(payload).ok()?;
            statement.predicate.channel_name().ok().map(|channel| channel_folder(&channel))
        }
        Revocation::TYPE => Some(revocations::FOLDER.to_owned()),
        _ => None,
    }
}
