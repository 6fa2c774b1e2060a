//! Signed statements: in-toto Statement v1 in DSSE v1 envelopes.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    canonical::{self, Hex, Time},
    error::{Error, Result},
    names::{ArtifactDigest, ModelName, Version, VersionName},
    recipients::RecipientsRecord,
    secret::fill_random,
};

mod attested;
mod chained;
mod dependency;
mod draft;
mod dsse;
mod ending;
mod slsa;

pub use crate::canonical::Object;
pub use attested::{Attested, PredicateType};
pub use chained::{Chained, Freshness, Link, MAX_REASON, Newest, Promotion, Revocation};
pub(crate) use chained::{peek, predicate_type};
pub use dependency::{Dependency, Role};
pub use draft::Draft;
pub(crate) use dsse::pae;
pub use dsse::{Envelope, MAX_ENVELOPE, PAYLOAD_TYPE, Signature};
pub use ending::{Retirement, Shredding};
pub use slsa::Provenance;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a statement says about its subject.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The `predicateType`.
    const TYPE: &'static str;
    /// Whether a statement of this type must be canonical JSON. Ours must; those that others define need not.
    const CANONICAL: bool;

    /// Whether it was made under the trust root whose version 1 has this BLAKE3. What others define names none.
    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        let _ = origin;
        true
    }

    /// The `predicateType` of this one.
    fn predicate_type(&self) -> &str {
        Self::TYPE
    }

    /// The same, now that the statement it stood in is known to have this `predicateType`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if that is the type of something else.
    fn of_type(self, found: &str) -> Result<Self> {
        if found == Self::TYPE {
            return Ok(self);
        }
        let rule = format!("is of type {found:?} instead of {:?}", Self::TYPE);
        Err(Error::format("statement", rule))
    }
}

/// An in-toto Statement v1 about one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<P> {
    /// The artifact it is about.
    pub subject: Subject,
    /// What it says.
    pub predicate: P,
}

/// The digests of a manifest, by which a statement names its artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// BLAKE3 of the manifest: the artifact digest.
    pub blake3: ArtifactDigest,
    /// SHA-256 of the manifest, for tools that know no BLAKE3.
    pub sha256: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStatement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    predicate: P,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<WireSubject>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSubject {
    digest: WireDigests,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDigests {
    blake3: Hex<32>,
    sha256: Hex<32>,
}

impl Subject {
    /// The subject for these manifest bytes.
    pub fn of(manifest: &[u8]) -> Self {
        Self { blake3: ArtifactDigest::of(manifest), sha256: Sha256::digest(manifest).into() }
    }
}

impl<P: Predicate> Statement<P> {
    const DOCUMENT: &'static str = "statement";

    /// The payload to sign.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the predicate has no canonical form.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let wire = WireStatement {
            statement_type: STATEMENT_TYPE.into(),
            predicate: &self.predicate,
            predicate_type: self.predicate.predicate_type().into(),
            subject: vec![WireSubject {
                digest: WireDigests { blake3: self.subject.blake3.hash().into(), sha256: Hex(self.subject.sha256) },
                name: self.subject.blake3.to_string(),
            }],
        };
        canonical::to_vec(Self::DOCUMENT, &wire)
    }

    /// Reads a payload. Only `trust` calls this on bytes that are to be believed, after it checked their signature.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not a statement of this type about exactly one artifact.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let wire: WireStatement<P> = if P::CANONICAL {
            canonical::from_slice(Self::DOCUMENT, payload)?
        } else {
            canonical::objects::from_slice(payload).map_err(|e| Error::format(Self::DOCUMENT, e.to_string()))?
        };
        if wire.statement_type != STATEMENT_TYPE {
            return Err(Error::format(Self::DOCUMENT, "is not an in-toto Statement v1"));
        }
        let predicate = wire.predicate.of_type(&wire.predicate_type)?;
        let [subject] = &wire.subject[..] else {
            return Err(Error::format(Self::DOCUMENT, "has not exactly one subject"));
        };
        let subject =
            Subject { blake3: blake3::Hash::from(subject.digest.blake3).into(), sha256: subject.digest.sha256.0 };
        if wire.subject[0].name != subject.blake3.to_string() {
            return Err(Error::format(Self::DOCUMENT, "has a subject whose name is not its digest"));
        }
        Ok(Self { subject, predicate })
    }
}

/// The version record: this artifact is `model:version`. The commit point of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    created: Time,
    model: String,
    nonce: Hex<16>,
    trust_root: Option<Hex<32>>,
    version: String,
}

impl Predicate for VersionRecord {
    const TYPE: &'static str = "https://mvault/version/v1";
    const CANONICAL: bool = true;

    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        self.trust_root == Some(Hex::from(*origin))
    }
}

impl VersionRecord {
    /// A record for `name`, made now, with a fresh nonce, under the trust root whose version 1 has this BLAKE3.
    ///
    /// # Errors
    /// [`Error::Storage`] if the operating system has no randomness to give.
    pub fn new(name: &VersionName, trust_root: Option<blake3::Hash>) -> Result<Self> {
        let mut nonce = [0; 16];
        fill_random(&mut nonce)?;
        Ok(Self {
            created: Time::now(),
            model: name.model.to_string(),
            nonce: Hex(nonce),
            trust_root: trust_root.map(Into::into),
            version: name.version.to_string(),
        })
    }

    /// The name it gives.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no legal name.
    pub fn name(&self) -> Result<VersionName> {
        let (model, version): (ModelName, Version) = (self.model.parse()?, self.version.parse()?);
        Ok(VersionName { model, version })
    }

    /// Whether it gives exactly this name.
    pub fn is_for(&self, name: &VersionName) -> bool {
        self.model == name.model.as_str() && self.version == name.version.as_str()
    }

    /// When it claims to have been made (RFC 3339); a claim, not evidence.
    pub fn created(&self) -> &str {
        self.created.as_str()
    }
}

impl Predicate for RecipientsRecord {
    const TYPE: &'static str = "https://mvault/recipients/v1";
    const CANONICAL: bool = true;

    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        self.is_under(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement<VersionRecord> {
        let name = "org/llama:1.4.0".parse().expect("a name");
        Statement { subject: Subject::of(b"manifest"), predicate: VersionRecord::new(&name, None).expect("randomness") }
    }

    #[test]
    fn a_statement_survives_writing_and_reading() {
        let payload = statement().to_vec().expect("written");
        let read = Statement::<VersionRecord>::parse(&payload).expect("read");
        assert_eq!(read.to_vec().expect("written"), payload);
        assert!(read.predicate.is_for(&"org/llama:1.4.0".parse().expect("a name")));
        assert!(!read.predicate.is_for(&"org/llama:1.4.1".parse().expect("a name")));
        assert_eq!(read.predicate.created().len(), "2026-11-21T20:00:00Z".len());
    }

    #[test]
    fn statements_of_another_shape_are_refused() {
        let good = String::from_utf8(statement().to_vec().expect("written")).expect("UTF-8");
        for (from, to) in [
            ("Statement/v1", "Statement/v0.1"),
            ("mvault/version/v1", "mvault/recipients/v1"),
            (r#""subject":[{"#, r#""subject":[],"x":[{"#),
            (r#""name":"b3:"#, r#""name":"b4:"#),
            (r#""predicate":{"#, r#""predicate":{"a":1,"#),
            ("{", "{ "),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Statement::<VersionRecord>::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
