//! What a record must be to be copied or to replace another, whoever signed it: well formed, signed by somebody, and about
//! the very thing under whose name it stands.

use sha2::{Digest as _, Sha256};

use super::{Job, changed, placed};
use crate::{
    error::{Error, Fault, Place, Result},
    names::ChannelName,
    provenance::{Attested, Chained, Envelope, Freshness, MAX_ENVELOPE, Promotion, Revocation, Statement, Subject},
    recipients::RecipientsRecord,
    store::Created,
    trust::NAMES,
};

/// A record of the source that is to be copied.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) path: String,
    /// The BLAKE3 of the bytes that were judged.
    hash: blake3::Hash,
}

impl Planned {
    pub(super) fn new(path: String, bytes: &[u8]) -> Self {
        Self { path, hash: blake3::hash(bytes) }
    }
}

/// What stands under the path of a record in the target.
#[derive(Debug)]
pub(super) enum Standing {
    Absent,
    Same,
    Other(Vec<u8>),
}

impl Job<'_> {
    /// The bytes of a record that was judged.
    pub(super) fn again(&self, record: &Planned) -> Result<Vec<u8>> {
        let bytes = self.source.demand(&record.path, MAX_ENVELOPE)?;
        if blake3::hash(&bytes) == record.hash { Ok(bytes) } else { Err(changed(&placed(self.source, &record.path))) }
    }

    /// What the target has in the place of a record. What cannot be one is something else.
    pub(super) fn standing(&self, record: &Planned) -> Result<Standing> {
        match self.target.store.read(&record.path, MAX_ENVELOPE) {
            Ok(None) => Ok(Standing::Absent),
            Ok(Some(bytes)) if blake3::hash(&bytes) == record.hash => Ok(Standing::Same),
            Ok(Some(bytes)) => Ok(Standing::Other(bytes)),
            Err(Error::Corrupt { .. }) => Ok(Standing::Other(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Writes a record unless the target has it; says what the target has instead.
    pub(super) fn place(&mut self, record: &Planned) -> Result<Option<Vec<u8>>> {
        self.go_on()?;
        let mut standing = self.standing(record)?;
        if let Standing::Absent = standing {
            let bytes = self.again(record)?;
            if self.target.store.create(&record.path, &bytes)? == Created::New {
                self.report.records.copied(bytes.len() as u64);
                return Ok(None);
            }
            // Another writer was faster, or a repeated request found what it had written itself.
            standing = self.standing(record)?;
        }
        match standing {
            Standing::Other(bytes) => Ok(Some(bytes)),
            Standing::Same | Standing::Absent => {
                self.report.records.there(0);
                Ok(None)
            }
        }
    }

    /// Writes a record whose name is a hash of its bytes: whatever else stands there is damaged.
    pub(super) fn place_named(&mut self, record: &Planned) -> Result<()> {
        match self.place(record)? {
            None => Ok(()),
            Some(_) => Err(damaged(placed(self.target, &record.path), "is not what its name is the hash of")),
        }
    }
}

pub(super) fn damaged(path: String, rule: &str) -> Error {
    Error::Corrupt { place: Place::Object(path), fault: Fault::Format(rule.to_owned()) }
}

/// An envelope that somebody signed.
pub(in crate::vault) fn envelope(bytes: &[u8]) -> Result<Envelope> {
    let envelope = Envelope::parse_record(bytes)?;
    if envelope.signatures().is_empty() {
        return Err(Error::format("envelope", "is not signed"));
    }
    Ok(envelope)
}

pub(super) fn belongs_elsewhere() -> Error {
    Error::format("record", "is about something else than its path says")
}

pub(in crate::vault) fn promotion(
    envelope: &Envelope,
    channel: &ChannelName,
    generation: u64,
) -> Result<Statement<Promotion>> {
    let statement = Statement::<Promotion>::parse(envelope.payload())?;
    statement.predicate.check()?;
    let is_here = statement.predicate.channel_name()? == *channel && statement.predicate.generation() == generation;
    if is_here { Ok(statement) } else { Err(belongs_elsewhere()) }
}

pub(in crate::vault) fn revocation(envelope: &Envelope, generation: u64) -> Result<Statement<Revocation>> {
    let statement = Statement::<Revocation>::parse(envelope.payload())?;
    statement.predicate.check()?;
    if statement.predicate.generation() == generation { Ok(statement) } else { Err(belongs_elsewhere()) }
}

pub(in crate::vault) fn recipients(bytes: &[u8], subject: &Subject, generation: u64) -> Result<()> {
    let statement = Statement::<RecipientsRecord>::parse(envelope(bytes)?.payload())?;
    statement.predicate.stanzas()?;
    let is_here = statement.subject == *subject && statement.predicate.generation() == generation;
    if is_here { Ok(()) } else { Err(belongs_elsewhere()) }
}

/// An attestation under the SHA-256 that is its name.
pub(in crate::vault) fn attestation(bytes: &[u8], subject: &Subject, name: &str) -> Result<()> {
    let statement = Statement::<Attested>::parse(envelope(bytes)?.payload())?;
    let is_here = statement.subject == *subject && hex::encode(Sha256::digest(bytes)) == name;
    if is_here { Ok(()) } else { Err(belongs_elsewhere()) }
}

pub(in crate::vault) fn freshness(bytes: &[u8], channel: &ChannelName, number: u64) -> Result<()> {
    let statement = Statement::<Freshness>::parse(envelope(bytes)?.payload())?;
    let made = u64::try_from(statement.predicate.created().seconds()).unwrap_or(0);
    let is_here = statement.predicate.is_for(channel) && (made..=made.saturating_add(NAMES)).contains(&number);
    if is_here { Ok(()) } else { Err(belongs_elsewhere()) }
}
