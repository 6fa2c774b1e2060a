//! Whom to believe, and proof of having checked: [`Verified`] values are made here and nowhere else.

use std::{ops::Deref, sync::Arc};

use crate::{
    error::{Error, Result},
    keys::{KeyId, VerifyingKey},
    manifest::Manifest,
    names::{ArtifactDigest, ModelName, VersionName},
    provenance::{Envelope, Predicate, Statement, Subject, VersionRecord},
};

mod chain;
mod clock;
mod facts;
mod kept;
mod memory;
mod root;
mod rooted;
mod source;

pub use chain::{Candidate, Reached, UNSIGNED_SOURCE};
pub use clock::{Clock, TOLERANCE};
pub use facts::Changes;
pub(crate) use kept::Kept;
pub use memory::{Memory, Seen};
pub use root::{Holder, Key, MAX_ROOT, ROOT_PAYLOAD_TYPE, Release, Required, Role, Status, TrustRoot};
pub(crate) use rooted::NAMES;
pub use rooted::{Approved, Rooted};
pub use source::{draft, duration, to_toml};

/// Whose signatures are accepted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Policy {
    /// Any one of these keys.
    AnyOf(Vec<VerifyingKey>),
    /// The keys to which a trust root gives the right.
    Rooted(Arc<Rooted>),
    /// Nobody's is needed: whoever controls the store controls what is read. Contents are still checked against the
    /// manifest, and a manifest against the digest it was asked for by.
    InsecureSkipSignature,
}

/// What a signature is to be good for. Only a trust root tells rights apart.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    roles: &'static [Role],
    models: Models<'a>,
}

/// For which models somebody must hold a role.
#[derive(Debug, Clone, Copy)]
enum Models<'a> {
    /// For some model, whichever.
    Some,
    /// For this one.
    One(&'a ModelName),
    /// For all there are and will be: by a grant for `*`.
    All,
}

impl<'a> Models<'a> {
    fn of(model: Option<&'a ModelName>) -> Self {
        model.map_or(Self::Some, Self::One)
    }
}

impl<'a> Right<'a> {
    /// To seal versions of this model; of any, where an artifact is asked for by its digest.
    pub fn seal(model: Option<&'a ModelName>) -> Self {
        Self { roles: &[Role::Sealer], models: Models::of(model) }
    }

    /// To say who may open versions of this model.
    pub fn share(model: Option<&'a ModelName>) -> Self {
        Self { roles: &[Role::Sealer, Role::Share], models: Models::of(model) }
    }

    /// To retire versions of this model, and to shred its artifacts.
    pub fn retire(model: Option<&'a ModelName>) -> Self {
        Self { roles: &[Role::Sealer, Role::Release], models: Models::of(model) }
    }

    /// To shred any artifact, whatever it is a version of.
    pub fn retire_all() -> Self {
        Self { roles: &[Role::Sealer, Role::Release], models: Models::All }
    }

    /// To attest something about versions of this model.
    pub fn attest(model: Option<&'a ModelName>) -> Self {
        Self { roles: &[Role::Sealer, Role::Scanner, Role::Release], models: Models::of(model) }
    }

    /// To attest it in this role.
    pub fn attest_as(role: Role, model: Option<&'a ModelName>) -> Self {
        let roles: &[Role] = match role {
            Role::Sealer => &[Role::Sealer],
            Role::Scanner => &[Role::Scanner],
            Role::Release => &[Role::Release],
            _ => &[],
        };
        Self { roles, models: Models::of(model) }
    }

    /// Whether a trust root gives it to a key.
    fn is_held(&self, root: &TrustRoot, id: &KeyId) -> bool {
        self.roles.iter().any(|role| match self.models {
            Models::Some => root.holds(*role, id, None),
            Models::One(model) => root.holds(*role, id, Some(model)),
            Models::All => root.holds_for_all(*role, id),
        })
    }
}

/// A value that was checked against a [`Policy`]: a signature over it, or over something that fixes it, by an accepted
/// key. Only this module makes one.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    signers: Vec<KeyId>,
}

impl<T> Verified<T> {
    /// The accepted keys that signed; none under [`Policy::InsecureSkipSignature`].
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Gives up the proof.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Policy {
    /// Accepts any one of `keys`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is none.
    pub fn any_of(keys: Vec<VerifyingKey>) -> Result<Self> {
        if keys.is_empty() {
            return Err(Error::Misuse("no signer to believe".into()));
        }
        Ok(Self::AnyOf(keys))
    }

    /// The BLAKE3 of trust root version 1, which records made under it name.
    pub fn origin(&self) -> Option<blake3::Hash> {
        match self {
            Self::Rooted(rooted) => Some(rooted.origin()),
            _ => None,
        }
    }

    /// Whether a signature by this key would count for this.
    pub fn accepts(&self, id: &KeyId, right: Right<'_>) -> bool {
        match self {
            Self::AnyOf(keys) => keys.iter().any(|key| key.key_id() == *id),
            Self::Rooted(rooted) => rooted.accepts(id, right),
            Self::InsecureSkipSignature => true,
        }
    }

    /// Checks an envelope and reads the statement in it, in this order. `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are no envelope, or a signed statement breaks its format;
    /// [`Error::Untrusted`] if nobody accepted signed it, or it belongs to another trust root.
    pub fn statement<P: Predicate>(
        &self,
        envelope: &[u8],
        right: Right<'_>,
        what: &str,
    ) -> Result<Verified<Statement<P>>> {
        let envelope = Envelope::parse_record(envelope)?;
        let signers = self.signers(&envelope, right, what)?;
        let value = Statement::<P>::parse(envelope.payload())?;
        if self.origin().is_some_and(|origin| !value.predicate.belongs_to(&origin)) {
            return Err(Error::Untrusted { what: what.to_owned(), why: "was not made under this trust root" });
        }
        Ok(Verified { value, signers })
    }

    fn signers(&self, envelope: &Envelope, right: Right<'_>, what: &str) -> Result<Vec<KeyId>> {
        let untrusted = |why| Err(Error::Untrusted { what: what.to_owned(), why });
        if envelope.signatures().is_empty() && !matches!(self, Self::InsecureSkipSignature) {
            return untrusted("is not signed");
        }
        let keys = match self {
            Self::InsecureSkipSignature => return Ok(Vec::new()),
            Self::AnyOf(keys) => keys,
            Self::Rooted(rooted) => return rooted.signers(envelope, right, what),
        };
        let mut signers = Vec::new();
        for key in keys {
            let (id, signatures) = (key.key_id(), envelope.signatures_by(key));
            // The signature alone decides; but a vault says whose it is, and says so correctly.
            if signatures.iter().any(|signature| signature.keyid != id.to_hex()) {
                return Err(Error::format("envelope", "has a signature under the id of another key"));
            }
            if !signatures.is_empty() && !signers.contains(&id) {
                signers.push(id);
            }
        }
        if signers.is_empty() {
            return untrusted("has no valid signature by an accepted signer");
        }
        Ok(signers)
    }

    /// Checks a version record: signed, and for exactly this name.
    ///
    /// # Errors
    /// As [`Policy::statement`], and [`Error::Untrusted`] if it is the record of another name.
    pub fn version_record(&self, envelope: &[u8], name: &VersionName) -> Result<Verified<Statement<VersionRecord>>> {
        let what = format!("version record of {name}");
        let record = self.statement::<VersionRecord>(envelope, Right::seal(Some(&name.model)), &what)?;
        if !record.predicate.is_for(name) {
            return Err(Error::Untrusted { what, why: "is signed for another name" });
        }
        Ok(record)
    }

    /// Reads a manifest by its digest without anybody's signature.
    ///
    /// # Errors
    /// [`Error::Misuse`] unless the policy is [`Policy::InsecureSkipSignature`]; [`Error::Corrupt`] if the bytes are not
    /// what the digest names.
    pub fn unsigned_manifest(&self, digest: ArtifactDigest, bytes: &[u8]) -> Result<Verified<Manifest>> {
        if !matches!(self, Self::InsecureSkipSignature) {
            return Err(Error::Misuse("a manifest without a signature".into()));
        }
        check_digest(digest, bytes)?;
        Ok(Verified { value: Manifest::parse(bytes)?, signers: Vec::new() })
    }
}

impl<P: Predicate> Verified<Statement<P>> {
    /// The manifest this statement is about.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are not those the statement names, or break the format.
    pub fn manifest(&self, bytes: &[u8]) -> Result<Verified<Manifest>> {
        check_digest(self.subject.blake3, bytes)?;
        if Subject::of(bytes) != self.subject {
            return Err(Error::format("manifest", "has another SHA-256 than the statement about it"));
        }
        Ok(Verified { value: Manifest::parse(bytes)?, signers: self.signers.clone() })
    }
}

fn check_digest(expected: ArtifactDigest, bytes: &[u8]) -> Result<()> {
    use crate::error::{Fault, Place};
    let found = blake3::hash(bytes);
    if found == expected.hash() {
        return Ok(());
    }
    Err(Error::Corrupt {
        place: Place::Document("manifest"),
        fault: Fault::Digest { expected: expected.hash(), found },
    })
}

#[cfg(test)]
mod policy_tests {
    use super::*;
    use crate::{error::Kind, keys::SigningKey};

    fn record(name: &str, key: &SigningKey) -> Vec<u8> {
        let predicate = VersionRecord::new(&name.parse().expect("a name"), None).expect("randomness");
        let statement = Statement { subject: Subject::of(b"manifest"), predicate };
        Envelope::sign(statement.to_vec().expect("written"), key).expect("signed").to_vec().expect("written")
    }

    fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
        result.expect_err("refused").kind()
    }

    #[test]
    fn a_version_record_counts_for_its_signer_and_its_name_only() {
        let (key, other) = (SigningKey::generate().expect("key"), SigningKey::generate().expect("key"));
        let name = "m:1".parse().expect("a name");
        let envelope = record("m:1", &key);
        let both = Policy::any_of(vec![other.verifying_key(), key.verifying_key()]).expect("keys");
        let verified = both.version_record(&envelope, &name).expect("signed");
        assert_eq!(verified.signers(), [key.verifying_key().key_id()]);

        let only_other = Policy::any_of(vec![other.verifying_key()]).expect("keys");
        assert_eq!(kind(only_other.version_record(&envelope, &name)), Kind::Authenticity);
        assert_eq!(kind(both.version_record(&envelope, &"m:2".parse().expect("a name"))), Kind::Authenticity);
        assert_eq!(kind(both.version_record(b"{}", &name)), Kind::Integrity);
        assert_eq!(kind(verified.manifest(b"another manifest")), Kind::Integrity);
        assert_eq!(kind(Policy::any_of(Vec::new())), Kind::Usage);
    }

    #[test]
    fn skipping_signatures_must_be_asked_for() {
        let key = SigningKey::generate().expect("key");
        let policy = Policy::any_of(vec![key.verifying_key()]).expect("keys");
        assert_eq!(kind(policy.unsigned_manifest(ArtifactDigest::of(b""), b"")), Kind::Usage);
        let skip = Policy::InsecureSkipSignature;
        assert_eq!(kind(skip.unsigned_manifest(ArtifactDigest::of(b"a"), b"b")), Kind::Integrity);
        let stranger = record("m:1", &key);
        assert!(skip.version_record(&stranger, &"m:1".parse().expect("a name")).expect("skipped").signers().is_empty());
    }
}
