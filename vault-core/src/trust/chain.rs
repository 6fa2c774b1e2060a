//! From a pinned trust root forward, one version at a time, as TUF does
//! (<https://theupdateframework.github.io/specification/latest/#update-root>).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    clock::Clock,
    root::{Holder, ROOT_PAYLOAD_TYPE, Status, TrustRoot},
};
use crate::{
    error::{Error, Result},
    keys::KeyId,
    provenance::Envelope,
};

/// What an error says of a source that is given for a trust root.
pub const UNSIGNED_SOURCE: &str = "is a source that is not signed yet";

/// A trust root that is believed: because it was pinned, or because the ones before it vouch for it.
#[derive(Debug, Clone)]
pub struct Reached {
    root: TrustRoot,
    digest: blake3::Hash,
    envelope: Vec<u8>,
}

impl Reached {
    /// Starts from a trust root that the caller believes. It must still be signed as it demands itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed; [`Error::Untrusted`] if too few of its own root holders signed it.
    pub fn pin(envelope: &[u8]) -> Result<Self> {
        if is_source(envelope) {
            return Err(Error::format("trust root", UNSIGNED_SOURCE));
        }
        let candidate = Candidate::parse(envelope)?;
        candidate.demand(&candidate.root, &candidate.root)?;
        Ok(candidate.reached())
    }

    /// Takes the next version, if this one and it itself vouch for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed or not exactly the next of this one; [`Error::Untrusted`] if too few holders
    /// of this one or of the next signed it.
    pub fn next(&self, envelope: &[u8]) -> Result<Self> {
        self.follow(Candidate::parse(envelope)?)
    }

    /// The same of one that was read already.
    ///
    /// # Errors
    /// As [`Reached::next`].
    pub(crate) fn follow(&self, candidate: Candidate) -> Result<Self> {
        self.check_next(&candidate)?;
        candidate.demand(&self.root, &candidate.root)?;
        candidate.demand(&candidate.root, &candidate.root)?;
        Ok(candidate.reached())
    }

    /// Whether a trust root says that it is the next version of this one, whoever signed it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not.
    pub fn check_next(&self, candidate: &Candidate) -> Result<()> {
        let refuse = |rule: String| Err(Error::format("trust root", rule));
        let (found, expected) = (candidate.root.version, self.root.version + 1);
        if found != expected {
            return refuse(format!("is version {found} where version {expected} is expected"));
        }
        if candidate.root.previous.map(blake3::Hash::from) != Some(self.digest) {
            return refuse(format!("follows another version {} than the one reached", self.root.version));
        }
        if candidate.root.origin.map(blake3::Hash::from) != Some(self.origin()) {
            return refuse("descends from another version 1".into());
        }
        Ok(())
    }

    /// The document.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// The BLAKE3 of its payload.
    pub fn digest(&self) -> blake3::Hash {
        self.digest
    }

    /// The BLAKE3 of the payload of version 1, by which every record names the trust it belongs to.
    pub fn origin(&self) -> blake3::Hash {
        self.root.origin_or(self.digest)
    }

    /// Its envelope.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// Whether it has expired.
    pub fn is_expired(&self, clock: Clock) -> bool {
        clock.is_over(&self.root.expires)
    }
}

/// Whether this looks like a source, and not like a trust root that was made of one.
fn is_source(bytes: &[u8]) -> bool {
    let head = b"[roles.root]";
    bytes.trim_ascii_start().first() != Some(&b'{') && bytes.windows(head.len()).any(|window| window == head)
}

/// A trust root that nobody vouches for yet.
#[derive(Debug)]
pub struct Candidate {
    root: TrustRoot,
    envelope: Envelope,
    bytes: Vec<u8>,
    /// Which keys were looked at, and whether they signed.
    signed: RefCell<BTreeMap<KeyId, bool>>,
}

impl Candidate {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let envelope = Envelope::parse_record_of(bytes, ROOT_PAYLOAD_TYPE)?;
        let root = TrustRoot::parse(envelope.payload())?;
        Ok(Self { root, envelope, bytes: bytes.to_vec(), signed: RefCell::default() })
    }

    /// The same, after a look at which of its own keys signed it: what takes the longest, and what a reader can do ahead.
    ///
    /// # Errors
    /// As [`Candidate::parse`].
    pub(crate) fn parse_ahead(bytes: &[u8]) -> Result<Self> {
        let candidate = Self::parse(bytes)?;
        candidate.signed(&candidate.root);
        Ok(candidate)
    }

    /// The document.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// The BLAKE3 of its payload.
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(self.envelope.payload())
    }

    /// The holders of its own root keys who signed it, and how many it takes.
    pub fn progress(&self) -> (BTreeSet<Holder>, u64) {
        (self.holders(&self.root, &self.root), self.root.roles.root.threshold)
    }

    /// The holders of the root keys of the version before who signed it, and how many that one demands.
    pub fn progress_before(&self, before: &TrustRoot) -> (BTreeSet<Holder>, u64) {
        (self.holders(before, &self.root), before.roles.root.threshold)
    }

    /// The root holders of `by` who signed this, leaving out keys that `newest` calls compromised.
    ///
    /// Times of validity play no part: a root's own expiry limits it, and an old step must stay possible.
    fn holders(&self, by: &TrustRoot, newest: &TrustRoot) -> BTreeSet<Holder> {
        let status = |root: &TrustRoot, id: &KeyId| root.keys.get(id).map(|key| key.status);
        let counts = |id: &&KeyId| {
            by.roles.root.keys.contains(id)
                && status(by, id) == Some(Status::Active)
                && status(newest, id) != Some(Status::Compromised)
        };
        self.signed(by).iter().filter(counts).filter_map(|id| by.holder(id)).cloned().collect()
    }

    /// The keys that signed. A key is the same in every root, because its id is its hash; so one look is enough.
    fn signed(&self, by: &TrustRoot) -> BTreeSet<KeyId> {
        let mut known = self.signed.borrow_mut();
        for id in self.envelope.claimed_signers() {
            let Some(key) = by.keys.get(&id).filter(|_| !known.contains_key(&id)) else { continue };
            known.insert(id, self.envelope.is_signed_by(key.verifying_key()));
        }
        known.iter().filter(|(_, signed)| **signed).map(|(id, _)| *id).collect()
    }

    fn demand(&self, by: &TrustRoot, newest: &TrustRoot) -> Result<()> {
        if self.holders(by, newest).len() as u64 >= by.roles.root.threshold {
            return Ok(());
        }
        let what = format!("trust root version {}", self.root.version);
        Err(Error::Untrusted {
            what,
            why: if by.version == self.root.version {
                "is not signed by as many holders of its own root keys as it demands"
            } else {
                "is not signed by as many holders of root keys as the version before it demands"
            },
        })
    }

    fn reached(self) -> Reached {
        let digest = self.digest();
        Reached { root: self.root, digest, envelope: self.bytes }
    }
}
