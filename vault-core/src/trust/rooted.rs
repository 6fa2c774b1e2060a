//! A trust root at work: whose signatures count now, for what.

use std::collections::BTreeSet;

use super::{
    Right, Verified,
    chain::Reached,
    clock::Clock,
    root::{Holder, Release, Role, TrustRoot},
};
use crate::{
    error::{Error, Result},
    keys::{KeyId, VerifyingKey},
    names::{ChannelName, ModelName},
    provenance::{Chained, Envelope, Freshness, Promotion, Revocation, Statement},
};

/// The trust root reached last, at the time at which records are judged.
#[derive(Debug, Clone)]
pub struct Rooted {
    reached: Reached,
    clock: Clock,
    /// Whether signatures count although their keys are retired, compromised or past their time.
    regardless: bool,
    /// Whether every listed key counts as one of the rule.
    listed: bool,
}

/// How many seconds behind its time a statement of freshness may stand, if others took the names before.
pub(crate) const NAMES: u64 = 100;

/// A record that enough holders signed.
#[derive(Debug, Clone)]
pub struct Approved<R> {
    /// The record.
    pub record: Statement<R>,
    /// The BLAKE3 of its payload.
    pub digest: blake3::Hash,
    /// Who asked for it.
    pub requester: Holder,
    /// Whose approval counts.
    pub approvers: BTreeSet<Holder>,
    /// How many it takes.
    pub threshold: u64,
    /// When it ceases to count (RFC 3339): when it says, or when the rule's lifetime is over, whatever comes first.
    pub lapses: Option<String>,
}

impl Rooted {
    /// Judges by this root, at this time.
    ///
    /// # Errors
    /// [`Error::Stale`] if the root has expired.
    pub fn new(reached: Reached, clock: Clock) -> Result<Self> {
        if reached.is_expired(clock) {
            let what = format!("trust root version {}", reached.root().version());
            return Err(Error::Stale { what, why: "it has expired, and no later one is there" });
        }
        Ok(Self { reached, clock, regardless: false, listed: false })
    }

    /// Judges as if no key were retired, compromised or past its time: whether something counted once.
    pub(crate) fn regardless(&self) -> Self {
        Self { regardless: true, ..self.clone() }
    }

    /// The same, and as if every key that is listed had a place in every rule: for a record that is known to have counted under the
    /// rules of its time, whether it is still shown with its signatures.
    pub(crate) fn by_whoever_is_listed(&self) -> Self {
        Self { listed: true, ..self.regardless() }
    }

    /// The root reached.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The root's document.
    pub fn root(&self) -> &TrustRoot {
        self.reached.root()
    }

    /// The BLAKE3 of trust root version 1.
    pub fn origin(&self) -> blake3::Hash {
        self.reached.origin()
    }

    /// The time at which records are judged.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether a new signature by this key counts now for anything.
    pub fn is_usable(&self, id: &KeyId) -> bool {
        let unlisted = blake3::Hash::from_bytes([0; 32]);
        self.root().counts(id, &unlisted, self.clock)
    }

    /// That a key may not do something: because of what has become of it, or else for the reason given.
    pub(crate) fn not_allowed(&self, id: &KeyId, why: &'static str) -> Error {
        let Some(key) = self.root().keys.get(id) else {
            return Error::Untrusted { what: format!("key {id}"), why };
        };
        let why = key.unusable(self.clock).unwrap_or(why);
        Error::Untrusted { what: format!("key {id} of {}", key.holder()), why }
    }

    /// Whether a signature by this key of the payload with this BLAKE3 counts now.
    pub(crate) fn counts(&self, id: &KeyId, payload: &blake3::Hash) -> bool {
        self.root().counts(id, payload, self.clock)
    }

    /// The keys that hold a role for any model and may sign now.
    pub fn keys_of(&self, role: Role) -> Vec<VerifyingKey> {
        let holds = |id: &KeyId| self.is_usable(id) && self.root().holds(role, id, None);
        self.root().keys().filter(|(id, _)| holds(id)).map(|(_, key)| key.verifying_key().clone()).collect()
    }

    /// Whether a new signature by this key would count for this now.
    pub(super) fn accepts(&self, id: &KeyId, right: Right<'_>) -> bool {
        self.is_usable(id) && right.is_held(self.root(), id)
    }

    /// The keys that signed and have this right now.
    pub(super) fn signers(&self, envelope: &Envelope, right: Right<'_>, what: &str) -> Result<Vec<KeyId>> {
        let holds = |id: &KeyId| right.is_held(self.root(), id);
        let signers = self.signed(envelope, holds);
        if signers.is_empty() {
            let why = if self.signed(envelope, |_| true).is_empty() {
                "has no valid signature by a key that the trust root lets sign now"
            } else {
                "is signed by a key to which the trust root does not give this right"
            };
            return Err(Error::Untrusted { what: what.to_owned(), why });
        }
        Ok(signers)
    }

    /// The keys that signed, count now and are wanted.
    fn signed(&self, envelope: &Envelope, wanted: impl Fn(&KeyId) -> bool) -> Vec<KeyId> {
        let digest = blake3::hash(envelope.payload());
        let counts = |id: &KeyId| {
            let now = || self.regardless || self.root().counts(id, &digest, self.clock);
            let key = self.root().keys.get(id).filter(|_| now());
            key.is_some_and(|key| envelope.is_signed_by(key.verifying_key()))
        };
        envelope.claimed_signers().into_iter().filter(|id| wanted(id) && counts(id)).collect()
    }

    fn holders<'a>(&self, ids: impl IntoIterator<Item = &'a KeyId>) -> BTreeSet<Holder> {
        ids.into_iter().filter_map(|id| self.root().holder(id)).cloned().collect()
    }

    /// The rule that governs a channel.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if there is none: then nobody may move it.
    pub fn release(&self, channel: &ChannelName) -> Result<&Release> {
        let none = || Error::Untrusted { what: channel.to_string(), why: "is governed by no rule of the trust root" };
        self.root().release(channel).ok_or_else(none)
    }

    /// Judges a promotion as it is signed so far. Whether that is enough, [`Approved::suffices`] says.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it breaks the format; [`Error::Untrusted`] if whoever asks for it did not sign it or may not
    /// ask, or it belongs to another trust root.
    pub fn promotion(&self, envelope: &Envelope) -> Result<Approved<Promotion>> {
        let record = Statement::<Promotion>::parse(envelope.payload())?;
        let channel = record.predicate.channel_name().map_err(|_| not_a_name())?;
        let rule = self.release(&channel)?;
        let what = format!("generation {} of {channel}", record.predicate.generation());
        let all: BTreeSet<KeyId>;
        let keys = if self.listed {
            all = self.root().keys().map(|(id, _)| *id).collect();
            &all
        } else {
            &rule.keys
        };
        let may_ask = |id: &KeyId| keys.contains(id) || self.root().holds(Role::Sealer, id, Some(&channel.model));
        if !self.clock.has_begun(record.predicate.created_at()) {
            return Err(Error::Untrusted { what, why: "was made in the future" });
        }
        let lapses = record.predicate.lapses(rule.lifetime);
        let mut approved = self.approved(record, envelope, &what, rule.threshold, keys, may_ask)?;
        if !rule.requester_counts {
            approved.approvers.remove(&approved.requester);
        }
        approved.lapses = Some(lapses);
        Ok(approved)
    }

    /// Judges a revocation as it is signed so far; any release key of the model may ask for it and counts.
    ///
    /// # Errors
    /// As [`Rooted::promotion`].
    pub fn revocation(&self, envelope: &Envelope) -> Result<Approved<Revocation>> {
        let record = Statement::<Revocation>::parse(envelope.payload())?;
        let model = record.predicate.version_name().map_err(|_| not_a_name())?.model;
        let what = format!("revocation {}", record.predicate.generation());
        let keys = self.release_keys(&model);
        let threshold = self.root().revocation_threshold();
        self.approved(record, envelope, &what, threshold, &keys, |id| keys.contains(id))
    }

    /// Whether those who hold these keys, whose signatures count, are enough to revoke versions of this model.
    pub(crate) fn suffice_to_revoke(&self, signers: &[KeyId], model: &ModelName) -> bool {
        let keys = self.release_keys(model);
        let holders = self.holders(signers.iter().filter(|id| keys.contains(id)));
        holders.len() as u64 >= self.root().revocation_threshold()
    }

    /// The keys that hold a release role for any channel of a model.
    fn release_keys(&self, model: &ModelName) -> BTreeSet<KeyId> {
        self.root().keys.keys().filter(|id| self.root().holds(Role::Release, id, Some(model))).copied().collect()
    }

    /// Whether this key may ask for a promotion of the channel, and whether it may approve one.
    ///
    /// # Errors
    /// As [`Rooted::release`].
    pub fn may_promote(&self, id: &KeyId, channel: &ChannelName) -> Result<(bool, bool)> {
        let usable = self.is_usable(id);
        let approves = usable && self.release(channel)?.keys.contains(id);
        Ok((approves || usable && self.root().holds(Role::Sealer, id, Some(&channel.model)), approves))
    }

    /// Whether this key may ask for a revocation of versions of the model, and approve one.
    pub fn may_revoke(&self, id: &KeyId, model: &ModelName) -> bool {
        self.is_usable(id) && self.release_keys(model).contains(id)
    }

    fn approved<R: Chained>(
        &self,
        record: Statement<R>,
        envelope: &Envelope,
        what: &str,
        threshold: u64,
        keys: &BTreeSet<KeyId>,
        may_ask: impl Fn(&KeyId) -> bool,
    ) -> Result<Approved<R>> {
        record.predicate.check()?;
        let untrusted = |why| Err(Error::Untrusted { what: what.to_owned(), why });
        if !record.predicate.belongs_to(&self.origin()) {
            return untrusted("was not made under this trust root");
        }
        let asked = record.predicate.requested_by();
        let signed = self.signed(envelope, |id| keys.contains(id) || *id == asked);
        if !signed.contains(&asked) {
            return untrusted("is not signed by the key that it says asks for it");
        }
        if !may_ask(&asked) {
            return untrusted("is asked for by a key to which the trust root does not give this right");
        }
        let Some(requester) = self.root().holder(&asked).cloned() else {
            return untrusted("is asked for by a key that the trust root does not list");
        };
        let approvers = self.holders(signed.iter().filter(|id| keys.contains(id)));
        let digest = blake3::hash(envelope.payload());
        Ok(Approved { record, digest, requester, approvers, threshold, lapses: None })
    }

    /// Whose signatures under an envelope count.
    pub(crate) fn counted_signers(&self, envelope: &Envelope) -> Vec<KeyId> {
        self.signed(envelope, |_| true)
    }

    /// The envelope with only the signatures that count.
    pub(crate) fn counting(&self, envelope: &Envelope) -> Envelope {
        let signed = self.signed(envelope, |_| true);
        let keys =
            signed.iter().filter_map(|id| Some(self.root().keys.get(id)?.verifying_key().clone())).collect::<Vec<_>>();
        envelope.signed_only_by(&keys)
    }

    /// Checks a statement of freshness about a channel: its role, its trust root, its time.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Untrusted`], also if it stands under a `number` that is not its time; [`Error::Stale`] if
    /// it has expired or is older than `oldest` seconds.
    pub fn freshness(
        &self,
        envelope: &[u8],
        channel: &ChannelName,
        number: u64,
        oldest: u64,
    ) -> Result<Verified<Statement<Freshness>>> {
        let what = format!("the statement of freshness for {channel}");
        let envelope = Envelope::parse_record(envelope)?;
        let holds = |id: &KeyId| self.root().holds(Role::Freshness, id, Some(&channel.model));
        let signers = self.signed(&envelope, holds);
        let untrusted = |why| Err(Error::Untrusted { what: what.clone(), why });
        if signers.is_empty() {
            return untrusted("has no valid signature by a freshness key");
        }
        let value = Statement::<Freshness>::parse(envelope.payload())?;
        let predicate = &value.predicate;
        if !crate::provenance::Predicate::belongs_to(predicate, &self.origin()) || !predicate.is_for(channel) {
            return untrusted("is about something else");
        }
        let made = u64::try_from(predicate.created().seconds()).unwrap_or(0);
        if !(made..=made.saturating_add(NAMES)).contains(&number) {
            return untrusted("stands under another time than it says");
        }
        if !self.clock.has_begun(predicate.created()) {
            return untrusted("was made in the future");
        }
        if self.clock.is_over(predicate.expires()) {
            return Err(Error::Stale { what, why: "it has expired" });
        }
        let age = self.clock.age(predicate.created());
        if age > oldest.saturating_add(super::TOLERANCE.unsigned_abs()) {
            return Err(Error::Stale { what, why: "it is older than the trust root allows" });
        }
        Ok(Verified { value, signers })
    }
}

impl<R> Approved<R> {
    /// Whether enough holders approve.
    pub fn suffices(&self) -> bool {
        self.approvers.len() as u64 >= self.threshold
    }
}

fn not_a_name() -> Error {
    Error::format("record", "names no model, version or channel")
}
