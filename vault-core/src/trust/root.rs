//! The trust root: which keys, of which holder, hold which role, for which models and channels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::clock::Clock;
use crate::{
    canonical::{self, Base64, Hex, Time, encode_base64},
    error::{Error, Result},
    keys::{KeyId, VerifyingKey},
    names::{ChannelName, ModelName, Pattern},
    provenance::{Predicate, PredicateType, Provenance},
};

/// The DSSE payload type of a trust root.
pub const ROOT_PAYLOAD_TYPE: &str = "application/vnd.mvault.trust-root.v1+json";
/// The longest trust root that is read, in bytes, without its envelope.
pub const MAX_ROOT: u64 = 1 << 20;

const DOCUMENT: &str = "trust root";
const FORMAT: &str = "mvault-trust/v1";
const MAX_KEYS: usize = 1024;
const MAX_GRANTS: usize = 256;
const MAX_HOLDER: usize = 128;
/// Ten years, in seconds: no promotion and no statement lives longer.
const MAX_LIFETIME: u64 = 3660 * 24 * 3600;

/// One version of the trust root, as it is signed. Whether it is to be believed, [`Reached`](super::Reached) finds out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    pub(super) created: Time,
    pub(super) expires: Time,
    format: String,
    pub(super) keys: BTreeMap<KeyId, Key>,
    pub(super) origin: Option<Hex<32>>,
    pub(super) previous: Option<Hex<32>>,
    pub(super) roles: Roles,
    pub(super) version: u64,
}

/// A key of the trust root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Who holds it. Thresholds count holders.
    pub(super) holder: Holder,
    /// The BLAKE3 of payloads whose signature by this key counts although the key is retired or past its time.
    pub(super) keeps: BTreeSet<Hex<32>>,
    pub(super) public: Public,
    pub(super) status: Status,
    pub(super) valid_from: Option<Time>,
    pub(super) valid_until: Option<Time>,
}

/// The public half of a key, in documents the base64 of its 44-byte SPKI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Public(pub(super) VerifyingKey);

impl Serialize for Public {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_base64(&self.0.to_spki_der()))
    }
}

impl<'de> Deserialize<'de> for Public {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Base64(spki) = Base64::<44>::deserialize(deserializer)?;
        VerifyingKey::from_spki_der(&*spki).map(Self).map_err(de::Error::custom)
    }
}

/// The name of a person, a team or a machine that holds keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Holder(String);

/// What has become of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It signs.
    Active,
    /// It signs no more; only the signatures that its `keeps` names count.
    Retired,
    /// Somebody else may have it: none of its signatures counts, whatever date they claim.
    Compromised,
}

/// A role of the trust root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Signs trust roots.
    Root,
    /// Signs version records, provenance and recipients.
    Sealer,
    /// Signs recipients.
    Share,
    /// Requests and approves promotions and revocations.
    Release,
    /// Says what the newest records are.
    Freshness,
    /// Signs attestations.
    Scanner,
    /// Signs the checkpoints of the log.
    Log,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    pub(super) freshness: Vec<Grant>,
    pub(super) log: Vec<Grant>,
    pub(super) release: Vec<Release>,
    pub(super) revocation: Threshold,
    pub(super) root: RootRole,
    pub(super) scanner: Vec<Grant>,
    pub(super) sealer: Vec<Grant>,
    pub(super) share: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootRole {
    pub(super) keys: BTreeSet<KeyId>,
    pub(super) threshold: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Threshold {
    pub(super) threshold: u64,
}

/// Keys that hold a role for models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    pub(super) keys: BTreeSet<KeyId>,
    pub(super) models: BTreeSet<Pattern>,
}

/// What it takes to move a channel. The first one that fits a channel governs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What an artifact must carry to be opened through the channel.
    pub(super) attestations: Vec<Required>,
    pub(super) channels: BTreeSet<Pattern>,
    /// The greatest age of the statement of freshness it demands, in seconds; none if it demands none.
    pub(super) freshness: Option<u64>,
    pub(super) keys: BTreeSet<KeyId>,
    /// How long a promotion counts unless it says otherwise, and at most, in seconds.
    pub(super) lifetime: u64,
    pub(super) models: BTreeSet<Pattern>,
    /// Whether who asks for a promotion counts among those who approve it.
    pub(super) requester_counts: bool,
    pub(super) threshold: u64,
}

/// An attestation that a channel demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Required {
    /// The `predicateType`.
    pub predicate_type: String,
    /// The role of who must have signed it: sealer, release or scanner.
    pub role: Role,
}

impl TrustRoot {
    /// A root with these members; to be checked with [`TrustRoot::check`].
    pub(super) fn assemble(
        (version, origin, previous): (u64, Option<Hex<32>>, Option<Hex<32>>),
        (created, expires): (Time, Time),
        keys: BTreeMap<KeyId, Key>,
        roles: Roles,
    ) -> Self {
        Self { created, expires, format: FORMAT.into(), keys, origin, previous, roles, version }
    }

    /// Reads the payload of a trust root's envelope. Nobody vouches for it yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        if payload.len() as u64 > MAX_ROOT {
            return Err(Error::limit(DOCUMENT, "length", MAX_ROOT));
        }
        let root: Self = canonical::from_slice(DOCUMENT, payload)?;
        root.check()?;
        Ok(root)
    }

    /// The payload to sign.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.check()?;
        let payload = canonical::to_vec(DOCUMENT, self)?;
        if payload.len() as u64 > MAX_ROOT {
            return Err(Error::limit(DOCUMENT, "length", MAX_ROOT));
        }
        Ok(payload)
    }

    /// Its number, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it ends to count (RFC 3339).
    pub fn expires(&self) -> &str {
        self.expires.as_str()
    }

    /// When it claims to have been made (RFC 3339).
    pub fn created(&self) -> &str {
        self.created.as_str()
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = (&KeyId, &Key)> {
        self.keys.iter()
    }

    /// Who holds this key.
    pub fn holder(&self, id: &KeyId) -> Option<&Holder> {
        self.keys.get(id).map(|key| &key.holder)
    }

    /// The BLAKE3 of version 1, given the BLAKE3 of this one.
    pub(super) fn origin_or(&self, own: blake3::Hash) -> blake3::Hash {
        self.origin.map_or(own, Into::into)
    }

    /// Whether a signature of `payload` by this key counts at this time. `None` for keys that are not listed.
    pub(super) fn counts(&self, id: &KeyId, payload: &blake3::Hash, clock: Clock) -> bool {
        let Some(key) = self.keys.get(id) else { return false };
        let within = key.valid_from.as_ref().is_none_or(|from| clock.has_begun(from))
            && key.valid_until.as_ref().is_none_or(|until| !clock.is_over(until));
        match key.status {
            Status::Compromised => false,
            _ if key.keeps.contains(&Hex::from(*payload)) => true,
            Status::Retired => false,
            Status::Active => within,
        }
    }

    /// Whether this key holds a role for a model; for any model if none is given. Keys of a release role hold it here
    /// for any channel.
    pub fn holds(&self, role: Role, id: &KeyId, model: Option<&ModelName>) -> bool {
        self.holds_where(role, id, |models| model.is_none_or(|m| models.iter().any(|p| p.matches(m.as_str()))))
    }

    /// Whether this key holds a role for all models: by a grant that says `*`.
    pub fn holds_for_all(&self, role: Role, id: &KeyId) -> bool {
        self.holds_where(role, id, |models| models.iter().any(|pattern| pattern.as_str() == "*"))
    }

    fn holds_where(&self, role: Role, id: &KeyId, fits: impl Fn(&BTreeSet<Pattern>) -> bool) -> bool {
        let granted = |grants: &[Grant]| grants.iter().any(|grant| grant.keys.contains(id) && fits(&grant.models));
        match role {
            Role::Root => self.roles.root.keys.contains(id),
            Role::Sealer => granted(&self.roles.sealer),
            Role::Share => granted(&self.roles.share),
            Role::Release => self.roles.release.iter().any(|grant| grant.keys.contains(id) && fits(&grant.models)),
            Role::Freshness => granted(&self.roles.freshness),
            Role::Scanner => granted(&self.roles.scanner),
            Role::Log => granted(&self.roles.log),
        }
    }

    /// The roles that a key holds for any model.
    pub fn roles_of(&self, id: &KeyId) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| self.holds(*role, id, None)).collect()
    }

    /// The rule that governs a channel: the first that fits.
    pub fn release(&self, channel: &ChannelName) -> Option<&Release> {
        let fits = |patterns: &BTreeSet<Pattern>, name: &str| patterns.iter().any(|p| p.matches(name));
        self.roles
            .release
            .iter()
            .find(|rule| fits(&rule.models, channel.model.as_str()) && fits(&rule.channels, channel.channel.as_str()))
    }

    /// How many holders of release keys it takes to revoke a version.
    pub fn revocation_threshold(&self) -> u64 {
        self.roles.revocation.threshold
    }

    /// What a document must be to be a trust root at all.
    fn check(&self) -> Result<()> {
        let rule = |rule: String| Err(Error::format(DOCUMENT, rule));
        if self.format != FORMAT {
            return rule(format!("is of format {:?}", self.format));
        }
        let first = self.version == 1;
        if self.version == 0 || first != self.previous.is_none() || first != self.origin.is_none() {
            return rule("version 1 has neither `origin` nor `previous`, every later one has both".into());
        }
        if self.version >= 1 << 53 {
            return Err(Error::limit(DOCUMENT, "version", 1 << 53));
        }
        if self.expires.seconds() <= self.created.seconds() {
            return rule("expires before it was created".into());
        }
        if self.keys.len() > MAX_KEYS {
            return Err(Error::limit(DOCUMENT, "number of keys", MAX_KEYS as u64));
        }
        for (id, key) in &self.keys {
            let found = key.verifying_key().key_id();
            if found != *id {
                return rule(format!("has the key {found} under another id"));
            }
        }
        self.roles.check(self)
    }
}

impl Key {
    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What has become of it.
    pub fn status(&self) -> Status {
        self.status
    }

    /// From when and until when it counts (RFC 3339).
    pub fn validity(&self) -> (Option<&str>, Option<&str>) {
        (self.valid_from.as_ref().map(Time::as_str), self.valid_until.as_ref().map(Time::as_str))
    }

    /// What has become of it, if nothing that it signs now counts.
    pub(super) fn unusable(&self, clock: Clock) -> Option<&'static str> {
        match self.status {
            Status::Compromised => Some("is compromised, as the trust root says"),
            Status::Retired => Some("is retired, as the trust root says"),
            Status::Active if self.valid_until.as_ref().is_some_and(|until| clock.is_over(until)) => {
                Some("is past its time, as the trust root says")
            }
            Status::Active if self.valid_from.as_ref().is_some_and(|from| !clock.has_begun(from)) => {
                Some("is before its time, as the trust root says")
            }
            Status::Active => None,
        }
    }

    /// How many signatures of it are kept.
    pub fn kept(&self) -> usize {
        self.keeps.len()
    }

    /// The key itself.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public.0
    }
}

impl Role {
    const ALL: [Self; 7] =
        [Self::Root, Self::Sealer, Self::Share, Self::Release, Self::Freshness, Self::Scanner, Self::Log];

    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Sealer => "sealer",
            Self::Share => "share",
            Self::Release => "release",
            Self::Freshness => "freshness",
            Self::Scanner => "scanner",
            Self::Log => "log",
        }
    }
}

impl Release {
    /// How many holders must approve.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Whether who asks counts among them.
    pub fn requester_counts(&self) -> bool {
        self.requester_counts
    }

    /// How long a promotion counts, in seconds.
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// The greatest age of the statement of freshness it demands, in seconds.
    pub fn freshness(&self) -> Option<u64> {
        self.freshness
    }

    /// What an artifact must carry.
    pub fn attestations(&self) -> &[Required] {
        &self.attestations
    }
}

impl Roles {
    /// The roles that are grants for models and nothing more, in the order of their names in sources.
    pub(super) fn plain(&self) -> [(&'static str, &[Grant]); 5] {
        [
            ("sealer", &self.sealer),
            ("share", &self.share),
            ("freshness", &self.freshness),
            ("scanner", &self.scanner),
            ("log", &self.log),
        ]
    }

    fn check(&self, root: &TrustRoot) -> Result<()> {
        let plain = self.plain().map(|(_, grants)| grants);
        let grants = plain.iter().map(|grants| grants.len()).sum::<usize>() + self.release.len();
        if grants > MAX_GRANTS {
            return Err(Error::limit(DOCUMENT, "number of grants", MAX_GRANTS as u64));
        }
        root.check_threshold("root", &self.root.keys, self.root.threshold)?;
        for grant in plain.into_iter().flatten() {
            root.check_keys(&grant.keys)?;
        }
        for rule in &self.release {
            root.check_threshold("release", &rule.keys, rule.threshold)?;
            rule.check()?;
        }
        let releasing: BTreeSet<KeyId> = self.release.iter().flat_map(|rule| &rule.keys).copied().collect();
        if releasing.is_empty() && self.revocation.threshold == 1 {
            return Ok(());
        }
        root.check_threshold("revocation", &releasing, self.revocation.threshold)
    }
}

impl Release {
    fn check(&self) -> Result<()> {
        let rule = |rule: &str| Err(Error::format(DOCUMENT, rule));
        if !(1..=MAX_LIFETIME).contains(&self.lifetime) {
            return rule("has a release `lifetime` of nothing or of more than ten years");
        }
        if self.freshness.is_some_and(|age| !(1..=MAX_LIFETIME).contains(&age)) {
            return rule("has a release `freshness` of nothing or of more than ten years");
        }
        if self.attestations.len() > MAX_GRANTS {
            return Err(Error::limit(DOCUMENT, "number of required attestations", MAX_GRANTS as u64));
        }
        for required in &self.attestations {
            if required.predicate_type.parse::<PredicateType>().is_err() {
                return rule("requires an attestation whose type is no URI");
            }
            if !matches!(required.role, Role::Sealer | Role::Release | Role::Scanner) {
                return rule("requires an attestation by a role that attests nothing");
            }
            // Every seal carries it, and only a sealer's counts.
            if required.predicate_type == Provenance::TYPE && required.role != Role::Sealer {
                return rule(
                    "requires provenance by another role than sealer, and only sealers say how an artifact came to be",
                );
            }
        }
        Ok(())
    }
}

impl TrustRoot {
    fn check_keys(&self, keys: &BTreeSet<KeyId>) -> Result<()> {
        match keys.iter().find(|id| !self.keys.contains_key(id)) {
            Some(id) => Err(Error::format(DOCUMENT, format!("gives a role to the key {id}, which it does not list"))),
            None => Ok(()),
        }
    }

    /// A threshold that the active keys cannot meet would lock everybody out.
    fn check_threshold(&self, role: &str, keys: &BTreeSet<KeyId>, threshold: u64) -> Result<()> {
        self.check_keys(keys)?;
        let active = keys.iter().filter_map(|id| self.keys.get(id)).filter(|key| key.status == Status::Active);
        let holders = active.map(|key| &key.holder).collect::<BTreeSet<_>>().len() as u64;
        if threshold == 0 || threshold > holders {
            let fault = format!("has a {role} threshold of {threshold} for {holders} holders of active keys");
            return Err(Error::format(DOCUMENT, fault));
        }
        Ok(())
    }
}

impl Holder {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Holder {
    type Error = Error;

    /// 1 to 128 characters `A-Z a-z 0-9 . _ @ + -`, starting with a letter or digit.
    fn try_from(text: String) -> Result<Self> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
        if first && text.len() <= MAX_HOLDER && text.bytes().all(legal) {
            return Ok(Self(text));
        }
        Err(Error::Misuse(format!("{text:?} is not the name of a holder: 1 to 128 characters A-Z a-z 0-9 . _ @ + -")))
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.0
    }
}
