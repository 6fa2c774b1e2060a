//! Proposing, approving and publishing: how several people move a channel or revoke a version.
//!
//! A proposal is the record itself with the signature of who asks for it. Every approval is one more signature of the same
//! bytes. When enough holders have signed, anybody publishes it, under its number. Each step creates one object, so a crash
//! anywhere leaves a proposal that can be approved or published later.

use super::{
    Gate,
    chain::{is_within_reach, record_path},
    channel::channel_folder,
    gc,
    proposals::{Proposal, Record, described},
    revocations,
    tip::Base,
    withdrawn,
};
use crate::{
    error::{Error, Result},
    keys::{KeyId, Signer, VerifyingKey},
    names::{ArtifactDigest, ChannelName, Reference, VersionName},
    provenance::{Chained, Envelope, Link, MAX_ENVELOPE, Newest, PAYLOAD_TYPE, Promotion, Revocation, Statement},
    store::Created,
    trust::TOLERANCE,
};

/// The payload type of what takes a generation out of use.
pub(super) const WITHDRAWN: &str = "application/vnd.mvault.withdrawn.v1+json";

impl Gate<'_> {
    /// Asks for a channel to point to a version, as its next generation. Published at once if that needs nobody else.
    ///
    /// `lifetime` is in seconds; what the trust root says is the default and the most.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the key may not ask, or the version does not verify or is revoked; [`Error::Gone`] if it is
    /// retired; [`Error::Lost`] if its contents are being collected; [`Error::Conflict`] if the
    /// key signed another record for this generation; [`Error::Misuse`] if the reason or lifetime cannot be.
    pub fn propose_promotion(
        &mut self,
        channel: &ChannelName,
        name: &VersionName,
        (reason, lifetime): (&str, Option<u64>),
        signer: &dyn Signer,
    ) -> Result<Proposal> {
        let id = signer.verifying_key().key_id();
        if !self.rooted.may_promote(&id, channel)?.0 {
            return Err(self.rooted.not_allowed(&id, "is not given the right to ask for a promotion to this channel"));
        }
        let most = self.rooted.release(channel)?.lifetime();
        let lifetime = lifetime.unwrap_or(most);
        if lifetime == 0 || lifetime > most {
            return Err(Error::Misuse(format!(
                "the trust root lets a promotion to {channel} count for at most {most} seconds"
            )));
        }
        let artifact = self.resolve(&Reference::Version(name.clone()))?;
        self.vault.refuse_retired(name, artifact.digest, &self.policy())?;
        self.check_attestations(channel, &artifact)?;
        let Base { head, above } = self.base(channel)?;
        let folder = channel_folder(channel);
        let link = self.next_link(&folder, (head.map(|head| head.newest()), above), reason, id)?;
        let clock = self.rooted.clock();
        let promotion = Promotion::new(channel, name, link, clock.time(), clock.after(lifetime))?;
        self.propose(&Statement { subject: artifact.subject, predicate: promotion }, &folder, signer)
    }

    /// Asks for a version to be revoked. Published at once if that needs nobody else.
    ///
    /// # Errors
    /// As [`Gate::propose_promotion`]; [`Error::Conflict`] if it is revoked already.
    pub fn propose_revocation(&mut self, name: &VersionName, reason: &str, signer: &dyn Signer) -> Result<Proposal> {
        let id = signer.verifying_key().key_id();
        if !self.rooted.may_revoke(&id, &name.model) {
            return Err(self.rooted.not_allowed(&id, "is not given the right to revoke versions of this model"));
        }
        let artifact = self.vault.resolve(&Reference::Version(name.clone()), &self.policy())?;
        self.reload_revocations()?;
        if self.revocations.contains(artifact.digest, Some(&name.model)) {
            return Err(Error::Conflict { what: format!("a revocation of {name}") });
        }
        let link = self.next_link(revocations::FOLDER, self.last_revocation(), reason, id)?;
        let revocation = Revocation::new(name, link, self.rooted.clock().time())?;
        self.propose(&Statement { subject: artifact.subject, predicate: revocation }, revocations::FOLDER, signer)
    }

    /// The revocation that the next one follows, and the number that it is above: clients that saw that one look for what is new
    /// behind it.
    fn last_revocation(&self) -> (Option<Newest>, u64) {
        let seen = [self.revocations.newest(), self.memory.revocations()];
        let above = seen.into_iter().flatten().map(|newest| newest.generation).max();
        (self.revocations.base(), above.unwrap_or(0))
    }

    /// The first free number behind the newest record.
    fn next_link(
        &self,
        folder: &str,
        (head, above): (Option<Newest>, u64),
        reason: &str,
        requested_by: KeyId,
    ) -> Result<Link> {
        let taken = self.vault.numbers(folder)?;
        let first = above + 1;
        let last = first.saturating_add(taken.len() as u64);
        let generation = (first..=last).find(|n| taken.binary_search(n).is_err()).unwrap_or(last);
        let lower = taken.partition_point(|n| *n < generation);
        if !is_within_reach(generation, lower) {
            return Err(Error::Conflict { what: format!("every next number of {folder}") });
        }
        Ok(Link {
            generation,
            previous: head.map(|head| head.digest),
            trust_root: self.rooted.origin(),
            requested_by,
            reason: reason.to_owned(),
        })
    }

    fn propose<R: Chained>(&mut self, record: &Statement<R>, chain: &str, signer: &dyn Signer) -> Result<Proposal> {
        let key = signer.verifying_key().key_id();
        // Whoever asked for this before and was interrupted may sign nothing else under its number: the same is asked again.
        let payload = match self.memory.asked(&key, chain)? {
            Some(asked) if is_same_request(&asked, record) => asked,
            _ => record.to_vec()?,
        };
        let id = blake3::hash(&payload);
        let generation = record.predicate.generation();
        if self.memory.approved(&key, chain, generation).is_none_or(|signed| signed == id) {
            self.memory.ask(&key, chain, &payload);
        }
        self.sign_once(chain, generation, id, signer)?;
        let envelope = Envelope::sign(payload, signer)?;
        self.vault.add_signature(id, &envelope)?;
        self.advance(id, &envelope)
    }

    /// Adds an approval to a proposal, and publishes it if that is the last one it needs. With `expected`, only if it is
    /// about this artifact.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such proposal; [`Error::Stale`] if it has expired; [`Error::Untrusted`] if the key
    /// may not approve it, or what it is about does not verify or is revoked; [`Error::Conflict`] if the generation is taken
    /// or the key signed another record for it.
    pub fn approve(
        &mut self,
        id: blake3::Hash,
        expected: Option<ArtifactDigest>,
        signer: &dyn Signer,
    ) -> Result<Proposal> {
        let envelope = self.vault.proposal(id, &self.rooted)?;
        let record = Record::judge(&self.rooted, &envelope)?;
        let about = record.view(false)?.artifact;
        if expected.is_some_and(|expected| expected != about) {
            return Err(Error::Untrusted { what: record.what(), why: "is about another artifact than expected" });
        }
        if self.is_published(&record, id)? {
            return self.view_published(&record);
        }
        self.check_current(&record)?;
        let key = signer.verifying_key().key_id();
        self.check_right(&record, key)?;
        self.sign_once(&record.folder(), record.generation(), id, signer)?;
        let mut approval = Envelope::unsigned(PAYLOAD_TYPE, envelope.payload().to_vec());
        approval.add_signature(signer)?;
        self.vault.add_signature(id, &approval)?;
        // Read anew: somebody else may have approved at the same time.
        let mut envelope = self.vault.proposal(id, &self.rooted)?;
        envelope.merge(&approval);
        self.advance(id, &envelope)
    }

    /// Publishes a proposal that has all its approvals.
    ///
    /// # Errors
    /// As [`Gate::approve`]; [`Error::Untrusted`] if approvals are missing.
    pub fn publish(&mut self, id: blake3::Hash) -> Result<Proposal> {
        let envelope = self.vault.proposal(id, &self.rooted)?;
        let record = Record::judge(&self.rooted, &envelope)?;
        if !record.suffices() {
            return Err(Error::Untrusted { what: record.what(), why: "is not approved by enough holders" });
        }
        self.advance(id, &envelope)
    }

    /// Takes the number of a proposal out of use, so that whoever signed it can sign something else. Who asked for it may,
    /// and everybody who may approve it.
    ///
    /// Readers go by what stands under a number. A store that hides the withdrawal can still show a proposal that had all
    /// its approvals; one that had not is harmless.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the key may neither ask for it nor approve it; [`Error::Conflict`] if the number is taken.
    pub fn withdraw(&mut self, id: blake3::Hash, signer: &dyn Signer) -> Result<Proposal> {
        let key = signer.verifying_key().key_id();
        let (envelope, has_asked) = self.proposal_or_asked(id, &signer.verifying_key())?;
        let mut proposal = described(id, envelope.payload())?;
        if !withdrawn::may_withdraw(&self.rooted, &key, &proposal, has_asked)? {
            return Err(not_allowed(key, "is neither that of who asked for this nor one that may approve it"));
        }
        let folder = proposal.channel.as_ref().map_or_else(|| revocations::FOLDER.to_owned(), channel_folder);
        let mut withdrawn = Envelope::unsigned(WITHDRAWN, withdrawn::payload(id));
        withdrawn.add_signature(signer)?;
        match self.vault.store.create(&record_path(&folder, proposal.generation), &withdrawn.to_vec()?)? {
            Created::New => self.vault.store.sync()?,
            Created::Exists => return Err(Error::Conflict { what: format!("generation {}", proposal.generation) }),
        }
        proposal.published = false;
        Ok(proposal)
    }

    /// A proposal as far as it is, whether it can still come into force or not: what an approval would sign.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such proposal; [`Error::Untrusted`] if who asks for it may not; [`Error::Storage`].
    pub fn look(&mut self, id: blake3::Hash) -> Result<Proposal> {
        let envelope = self.vault.proposal(id, &self.rooted)?;
        let record = Record::judge(&self.rooted, &envelope)?;
        if self.is_published(&record, id)? { self.view_published(&record) } else { record.view(false) }
    }

    /// The proposals that could still come into force, the oldest generation first.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn proposals(&mut self) -> Result<Vec<Proposal>> {
        let mut open = Vec::new();
        for id in self.vault.proposal_ids()? {
            let judged = self.vault.proposal(id, &self.rooted).and_then(|e| Record::judge(&self.rooted, &e));
            let record = match judged {
                Ok(record) => record,
                Err(error @ Error::Storage { .. }) => return Err(error),
                Err(_) => continue,
            };
            let over = record.expiry().is_some_and(|expiry| self.rooted.clock().is_past(expiry));
            if !over && !self.is_taken(&record)? {
                open.push(record.view(false)?);
            }
        }
        open.sort_by(|a, b| (&a.channel, a.generation).cmp(&(&b.channel, b.generation)));
        Ok(open)
    }

    /// Publishes the record if enough holders signed it.
    fn advance(&mut self, id: blake3::Hash, envelope: &Envelope) -> Result<Proposal> {
        let record = Record::judge(&self.rooted, envelope)?;
        if self.is_published(&record, id)? {
            return self.view_published(&record);
        }
        if !record.suffices() {
            return record.view(false);
        }
        self.check_current(&record)?;
        let published = self.rooted.counting(envelope).to_vec()?;
        let (Created::New | Created::Exists) = self.vault.store.create(&record.path(), &published)?;
        if !self.is_published(&record, id)? {
            return Err(Error::Conflict { what: record.what() });
        }
        self.vault.store.sync()?;
        self.remember(&record)?;
        record.view(true)
    }

    /// Reads the chain anew, so that what was just published is remembered.
    fn remember(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Promotion(channel, _) => {
                self.head(channel)?;
            }
            Record::Revocation(_) => self.reload_revocations()?,
        }
        Ok(())
    }

    fn reload_revocations(&mut self) -> Result<()> {
        self.revocations = self.all_of_revocations()?;
        Ok(())
    }

    /// A record that came into force, and what is in force now if that is another one.
    fn view_published(&mut self, record: &Record) -> Result<Proposal> {
        let mut proposal = record.view(true)?;
        if let Record::Promotion(channel, _) = record {
            let newest = self.head(channel)?.map(|head| head.newest().generation);
            proposal.superseded = newest.filter(|newest| *newest > record.generation());
        }
        Ok(proposal)
    }

    /// Whether anything stands under the number of a record.
    fn is_taken(&self, record: &Record) -> Result<bool> {
        match self.vault.store.read(&record.path(), MAX_ENVELOPE) {
            Ok(bytes) => Ok(bytes.is_some()),
            Err(Error::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether this very record stands under its number, with all the signatures it takes.
    fn is_published(&self, record: &Record, id: blake3::Hash) -> Result<bool> {
        let there = match self.vault.store.read(&record.path(), MAX_ENVELOPE) {
            Ok(bytes) => bytes.and_then(|bytes| Envelope::parse_record(&bytes).ok()),
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(there.is_some_and(|envelope| {
            blake3::hash(envelope.payload()) == id
                && Record::judge(&self.rooted, &envelope).is_ok_and(|record| record.suffices())
        }))
    }

    /// Whether a record may still come into force: not expired, the next of its chain, about something that verifies.
    fn check_current(&mut self, record: &Record) -> Result<()> {
        if record.expiry().is_some_and(|expiry| self.rooted.clock().is_past(expiry)) {
            return Err(Error::Stale { what: record.what(), why: "it has expired, and its approvals with it" });
        }
        let (newest, above) = match record {
            Record::Promotion(channel, approved) => {
                let Base { head: base, above } = self.base(channel)?;
                let made = |promotion: &Promotion| promotion.created_at().seconds();
                let before = base.as_ref().map(|base| made(&base.approved.record.predicate));
                if before.is_some_and(|before| made(&approved.record.predicate).saturating_add(TOLERANCE) < before) {
                    let why = "claims to be made before the promotion that it follows";
                    return Err(Error::Untrusted { what: record.what(), why });
                }
                (base.map(|base| base.newest()), above)
            }
            Record::Revocation(_) => {
                self.reload_revocations()?;
                self.last_revocation()
            }
        };
        let taken = || Err(Error::Conflict { what: record.what() });
        if record.previous() != newest.map(|newest| newest.digest)
            || above >= record.generation()
            || self.is_taken(record)?
        {
            return taken();
        }
        let (name, subject) = match record {
            Record::Promotion(_, approved) => (approved.record.predicate.version_name()?, approved.record.subject),
            Record::Revocation(approved) => (approved.record.predicate.version_name()?, approved.record.subject),
        };
        let artifact = self.vault.resolve(&Reference::Version(name.clone()), &self.policy())?;
        if artifact.subject != subject {
            let what = format!("{name} in {}", record.what());
            return Err(Error::Untrusted { what, why: "is another artifact than the one proposed" });
        }
        let Record::Promotion(channel, _) = record else { return Ok(()) };
        // The proposal is in the vault by now, so that no collection that starts from here on deletes its contents; one that
        // started before is called off, or makes this fail.
        self.vault.refuse_retired(&name, artifact.digest, &self.policy())?;
        gc::runs::protect(self.vault, &self.vault.paths_of(artifact.digest)?.into_iter().collect())?;
        self.refuse_revoked(artifact.digest, Some(&name.model), &name.to_string())?;
        self.check_attestations(channel, &artifact)
    }

    fn check_right(&self, record: &Record, key: KeyId) -> Result<()> {
        let may = match record {
            Record::Promotion(channel, _) => self.rooted.may_promote(&key, channel)?.1,
            Record::Revocation(approved) => {
                self.rooted.may_revoke(&key, &approved.record.predicate.version_name()?.model)
            }
        };
        if may { Ok(()) } else { Err(self.rooted.not_allowed(&key, "is not given the right to approve this")) }
    }

    /// Notes that this key signs this record, unless it or another key of its holder signed another one for the same generation: as
    /// far as this client remembers, and as far as the proposals of the vault show.
    fn sign_once(&mut self, chain: &str, generation: u64, id: blake3::Hash, signer: &dyn Signer) -> Result<()> {
        let own = signer.verifying_key();
        let mut keys = self.keys_of_holder(&own);
        keys.push(own.clone());
        let taken = |key: KeyId, other: blake3::Hash| Error::Conflict {
            what: format!(
                "a signature by key {key} of another record, b3:{other}, for generation {generation} of {chain}"
            ),
        };
        // What a key signed that is retired or stolen binds nobody, unless it still counts.
        let binds = |key: &KeyId, other: &blake3::Hash| *key == own.key_id() || self.rooted.counts(key, other);
        for key in keys.iter().map(VerifyingKey::key_id) {
            let other = self.memory.approved(&key, chain, generation);
            if let Some(other) = other.filter(|other| *other != id && binds(&key, other)) {
                return Err(taken(key, other));
            }
        }
        if let Some((other, key)) = self.vault.proposal_signed(id, (chain, generation), &keys, &binds)? {
            return Err(taken(key, other));
        }
        self.memory.approve(&own.key_id(), chain, generation, id);
        // Before the signature leaves this machine.
        self.memory.save()
    }

    /// The other keys of whoever holds this one.
    fn keys_of_holder(&self, key: &VerifyingKey) -> Vec<VerifyingKey> {
        let (root, id) = (self.rooted.root(), key.key_id());
        let Some(holder) = root.holder(&id) else { return Vec::new() };
        let others = root.keys().filter(|(other, key)| **other != id && key.holder() == holder);
        others.map(|(_, key)| key.verifying_key().clone()).collect()
    }

    /// A proposal of the vault; or one that this key asked for, as far as this client remembers, and that did not get there.
    fn proposal_or_asked(&self, id: blake3::Hash, key: &VerifyingKey) -> Result<(Envelope, bool)> {
        match self.vault.proposal(id, &self.rooted) {
            Ok(envelope) => {
                let has_asked = envelope.is_signed_by(key);
                Ok((envelope, has_asked))
            }
            Err(error @ Error::NotFound { .. }) => match self.memory.asked_record(&key.key_id(), id)? {
                Some(payload) => Ok((Envelope::unsigned(PAYLOAD_TYPE, payload), true)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// Whether a payload asks for what this record does, and still could.
fn is_same_request<R: Chained>(asked: &[u8], record: &Statement<R>) -> bool {
    let Ok(asked) = Statement::<R>::parse(asked) else { return false };
    let (before, now) = (&asked.predicate, &record.predicate);
    let says = |r: &R| (r.generation(), r.previous(), r.requested_by(), r.reason().to_owned(), lifetime(r));
    let version = |r: &R| r.version_name().ok();
    // Times have one spelling, so they compare as text.
    let counts = before.expiry().is_none_or(|expiry| expiry > now.created());
    asked.subject == record.subject && says(before) == says(now) && version(before) == version(now) && counts
}

/// How long a record counts, in seconds, if that ends.
fn lifetime<R: Chained>(record: &R) -> Option<i64> {
    let seconds = |text: &str| Some(text.parse::<jiff::Timestamp>().ok()?.as_second());
    seconds(record.expiry()?)?.checked_sub(seconds(record.created())?)
}

fn not_allowed(key: KeyId, why: &'static str) -> Error {
    Error::Untrusted { what: format!("key {key}"), why }
}
