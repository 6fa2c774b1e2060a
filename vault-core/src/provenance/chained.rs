//! Numbered records, each of which names the one before it: promotions of a channel, and revocations.

use serde::{Deserialize, Serialize};

use super::Predicate;
use crate::{
    canonical::{Hex, Time, objects},
    error::{Error, Result},
    keys::KeyId,
    names::{ChannelName, VersionName},
    secret::fill_random,
};

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 4096;

const DOCUMENT: &str = "record";

/// A record of a numbered chain, which several people may have to sign.
pub trait Chained: Predicate {
    /// Its number, from 1.
    fn generation(&self) -> u64;
    /// The BLAKE3 of the payload of the record before it.
    fn previous(&self) -> Option<blake3::Hash>;
    /// The key of who asked for it.
    fn requested_by(&self) -> KeyId;
    /// The version it is about.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no legal name.
    fn version_name(&self) -> Result<VersionName>;
    /// Why.
    fn reason(&self) -> &str;
    /// When it claims to have been made (RFC 3339).
    fn created(&self) -> &str;
    /// Until when it counts (RFC 3339), if that ends.
    fn expiry(&self) -> Option<&str>;

    /// Checks names, number and reason.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    fn check(&self) -> Result<()> {
        if self.generation() == 0 || self.version_name().is_err() {
            return Err(Error::format(DOCUMENT, "names no version or number"));
        }
        if !is_reason(self.reason()) {
            return Err(Error::format(DOCUMENT, "has a reason that is not one line of at most 4096 bytes"));
        }
        Ok(())
    }
}

/// What the records of every chain say.
#[derive(Debug, Clone)]
pub struct Link {
    /// The record's number, from 1.
    pub generation: u64,
    /// The BLAKE3 of the payload of the record before it.
    pub previous: Option<blake3::Hash>,
    /// The BLAKE3 of trust root version 1.
    pub trust_root: blake3::Hash,
    /// The key of who asks for it.
    pub requested_by: KeyId,
    /// Why.
    pub reason: String,
}

/// From its generation on, a channel points to this version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    channel: String,
    created: Time,
    expires: Time,
    generation: u64,
    model: String,
    nonce: Hex<16>,
    previous: Option<Hex<32>>,
    reason: String,
    requested_by: KeyId,
    trust_root: Hex<32>,
    version: String,
}

/// This version, and every other name of its artifact, is not to be opened any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    created: Time,
    generation: u64,
    model: String,
    nonce: Hex<16>,
    previous: Option<Hex<32>>,
    reason: String,
    requested_by: KeyId,
    trust_root: Hex<32>,
    version: String,
}

impl Promotion {
    /// A promotion of `name` to `channel`, made at `created`, that counts until `expires`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the reason is empty or too long; [`Error::Storage`] if there is no randomness.
    pub(crate) fn new(
        channel: &ChannelName,
        name: &VersionName,
        link: Link,
        created: Time,
        expires: Time,
    ) -> Result<Self> {
        if channel.model != name.model {
            return Err(Error::Misuse(format!("{name} is no version of the model of {channel}")));
        }
        Ok(Self {
            channel: channel.channel.to_string(),
            created,
            expires,
            generation: link.generation,
            model: name.model.to_string(),
            nonce: nonce()?,
            previous: link.previous.map(Into::into),
            reason: checked(link.reason)?,
            requested_by: link.requested_by,
            trust_root: link.trust_root.into(),
            version: name.version.to_string(),
        })
    }

    /// The channel it moves.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no legal name.
    pub fn channel_name(&self) -> Result<ChannelName> {
        Ok(ChannelName { model: self.model.parse()?, channel: self.channel.parse()? })
    }

    /// Until when it counts (RFC 3339).
    pub fn expires(&self) -> &str {
        self.expires.as_str()
    }

    pub(crate) fn created_at(&self) -> &Time {
        &self.created
    }

    /// When it ceases to count, if nothing counts for longer than so many seconds.
    pub(crate) fn lapses(&self, lifetime: u64) -> String {
        let most = self.created.seconds().saturating_add(i64::try_from(lifetime).unwrap_or(i64::MAX));
        Time::at(self.expires.seconds().min(most)).as_str().to_owned()
    }
}

impl Revocation {
    /// A revocation of `name`, made at `created`.
    ///
    /// # Errors
    /// As [`Promotion::new`].
    pub(crate) fn new(name: &VersionName, link: Link, created: Time) -> Result<Self> {
        Ok(Self {
            created,
            generation: link.generation,
            model: name.model.to_string(),
            nonce: nonce()?,
            previous: link.previous.map(Into::into),
            reason: checked(link.reason)?,
            requested_by: link.requested_by,
            trust_root: link.trust_root.into(),
            version: name.version.to_string(),
        })
    }
}

pub(super) fn nonce() -> Result<Hex<16>> {
    let mut nonce = [0; 16];
    fill_random(&mut nonce)?;
    Ok(Hex(nonce))
}

pub(super) fn is_reason(reason: &str) -> bool {
    !reason.trim().is_empty() && reason.len() <= MAX_REASON && !reason.chars().any(char::is_control)
}

pub(super) fn checked(reason: String) -> Result<String> {
    if !is_reason(&reason) {
        return Err(Error::Misuse(format!(
            "the reason must be one line of at most {MAX_REASON} bytes that says something"
        )));
    }
    Ok(reason)
}

macro_rules! chained {
    ($record:ty, $type:literal, $expiry:expr) => {
        impl Predicate for $record {
            const TYPE: &'static str = $type;
            const CANONICAL: bool = true;

            fn belongs_to(&self, origin: &blake3::Hash) -> bool {
                self.trust_root == Hex::from(*origin)
            }
        }

        impl Chained for $record {
            fn generation(&self) -> u64 {
                self.generation
            }

            fn previous(&self) -> Option<blake3::Hash> {
                self.previous.map(Into::into)
            }

            fn requested_by(&self) -> KeyId {
                self.requested_by
            }

            fn version_name(&self) -> Result<VersionName> {
                Ok(VersionName { model: self.model.parse()?, version: self.version.parse()? })
            }

            fn reason(&self) -> &str {
                &self.reason
            }

            fn created(&self) -> &str {
                self.created.as_str()
            }

            fn expiry(&self) -> Option<&str> {
                let expiry: fn(&Self) -> Option<&Time> = $expiry;
                expiry(self).map(Time::as_str)
            }
        }
    };
}

chained!(Promotion, "https://mvault/promotion/v1", |record| Some(&record.expires));
chained!(Revocation, "https://mvault/revocation/v1", |_| None);

/// The type of predicate that a payload claims to hold.
pub(crate) fn predicate_type(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Statement {
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    objects::from_slice::<Statement>(payload).ok().map(|statement| statement.predicate_type)
}

/// What a link of a chain says, read without judging who signed it.
pub(crate) fn peek(payload: &[u8]) -> Result<(u64, Option<blake3::Hash>)> {
    #[derive(Deserialize)]
    struct Statement {
        predicate: Peek,
    }
    #[derive(Deserialize)]
    struct Peek {
        generation: u64,
        previous: Option<Hex<32>>,
    }
    let peeked: Statement = objects::from_slice(payload).map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
    Ok((peeked.predicate.generation, peeked.predicate.previous.map(Into::into)))
}

/// What is newest, said by a key that is asked often: so that a store cannot hide a newer record for long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    channel: String,
    created: Time,
    expires: Time,
    head: WireHead,
    model: String,
    revocations: Option<WireHead>,
    root_version: u64,
    trust_root: Hex<32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHead {
    digest: Hex<32>,
    generation: u64,
}

/// The newest record of a chain: its number and the BLAKE3 of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub generation: u64,
    /// The BLAKE3 of its payload.
    pub digest: blake3::Hash,
}

impl Predicate for Freshness {
    const TYPE: &'static str = "https://mvault/freshness/v1";
    const CANONICAL: bool = true;

    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        self.trust_root == Hex::from(*origin)
    }
}

impl Freshness {
    /// What is newest of `channel` and of the revocations, as seen at `created`.
    pub(crate) fn new(
        channel: &ChannelName,
        (head, revocations): (Newest, Option<Newest>),
        (trust_root, root_version): (blake3::Hash, u64),
        (created, expires): (Time, Time),
    ) -> Self {
        Self {
            channel: channel.channel.to_string(),
            created,
            expires,
            head: head.into(),
            model: channel.model.to_string(),
            revocations: revocations.map(Into::into),
            root_version,
            trust_root: trust_root.into(),
        }
    }

    /// Whether it is about this channel.
    pub fn is_for(&self, channel: &ChannelName) -> bool {
        self.model == channel.model.as_str() && self.channel == channel.channel.as_str()
    }

    /// The newest promotion.
    pub fn head(&self) -> Newest {
        self.head.into()
    }

    /// The newest revocation.
    pub fn revocations(&self) -> Option<Newest> {
        self.revocations.map(Into::into)
    }

    /// The newest version of the trust root.
    pub fn root_version(&self) -> u64 {
        self.root_version
    }

    pub(crate) fn created(&self) -> &Time {
        &self.created
    }

    pub(crate) fn expires(&self) -> &Time {
        &self.expires
    }
}

impl From<Newest> for WireHead {
    fn from(newest: Newest) -> Self {
        Self { digest: newest.digest.into(), generation: newest.generation }
    }
}

impl From<WireHead> for Newest {
    fn from(wire: WireHead) -> Self {
        Self { generation: wire.generation, digest: wire.digest.into() }
    }
}
