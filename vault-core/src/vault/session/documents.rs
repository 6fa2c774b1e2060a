//! The documents of a session: leases and the outcome. They coordinate honest writers and authenticate nothing.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, Hex, decode_base64, encode_base64},
    error::{Error, Result},
    names::{ArtifactDigest, VersionName},
    provenance::{Envelope, MAX_ENVELOPE, Statement, VersionRecord},
    vault::{listing::parse_version_path, version_path},
};

const LEASE: &str = "lease";
const LEASE_FORMAT: &str = "mvault-lease/v1";
const OUTCOME: &str = "session outcome";
const OUTCOME_FORMAT: &str = "mvault-session-outcome/v1";
/// More artifacts than any writer builds on.
const MAX_PINS: usize = 10_000;
/// A lease with that many pins.
pub(in crate::vault) const MAX_LEASE: u64 = 1 << 20;
/// An envelope in base64.
pub(in crate::vault) const MAX_OUTCOME: u64 = MAX_ENVELOPE.div_ceil(3) * 4 + 4096;
/// The longest name of a kind of work.
const MAX_KIND: usize = 32;

/// What a session is for. It claims nothing, and a reader takes any word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Sealing.
    Seal,
    /// Sealing a version that reuses streams of another one.
    Reuse,
    /// Copying from another vault.
    Copy,
    /// Restoring objects from another vault.
    Repair,
}

/// A sign of life of a session. How old it is, the store says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the session is for: a lower-case word.
    pub kind: String,
    /// The artifacts it builds on, ascending.
    pub pins: Vec<ArtifactDigest>,
}

/// How a session ended: created once, by whoever was first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// By its writer, who publishes this next.
    Committed {
        /// The path of the version record.
        path: String,
        /// The version record: an envelope.
        record: Vec<u8>,
    },
    /// By garbage collection, or by a writer that gave up. Nothing is published.
    Aborted,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLease {
    format: String,
    kind: String,
    pins: Vec<Hex<32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOutcome {
    format: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl Work {
    /// The word in the lease.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Reuse => "reuse",
            Self::Copy => "copy",
            Self::Repair => "repair",
        }
    }
}

impl Lease {
    /// Reads a lease.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_LEASE {
            return Err(Error::limit(LEASE, "length", MAX_LEASE));
        }
        let wire: WireLease = canonical::from_slice(LEASE, bytes)?;
        if wire.format != LEASE_FORMAT {
            return Err(Error::format(LEASE, format!("is of format {:?}", wire.format)));
        }
        let is_word = (1..=MAX_KIND).contains(&wire.kind.len()) && wire.kind.bytes().all(|b| b.is_ascii_lowercase());
        if !is_word {
            return Err(Error::format(LEASE, "has a `kind` that is no lower-case word"));
        }
        if wire.pins.len() > MAX_PINS {
            return Err(Error::limit(LEASE, "number of pins", MAX_PINS as u64));
        }
        if !wire.pins.is_sorted_by(|a, b| a < b) {
            return Err(Error::format(LEASE, "has pins that do not ascend"));
        }
        Ok(Self { kind: wire.kind, pins: wire.pins.into_iter().map(|pin| blake3::Hash::from(pin).into()).collect() })
    }

    /// Writes it. The pins ascend.
    ///
    /// # Errors
    /// [`Error::Misuse`] for more than 10 000 pins.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        if self.pins.len() > MAX_PINS {
            return Err(Error::Misuse(format!("a session pins at most {MAX_PINS} artifacts, not {}", self.pins.len())));
        }
        let pins = self.pins.iter().map(|pin| Hex::from(pin.hash())).collect();
        canonical::to_vec(LEASE, &WireLease { format: LEASE_FORMAT.into(), kind: self.kind.clone(), pins })
    }
}

impl Outcome {
    /// Reads an outcome. A record in it is one of the version that its path says; who signed it is not looked at.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_OUTCOME {
            return Err(Error::limit(OUTCOME, "length", MAX_OUTCOME));
        }
        let wire: WireOutcome = canonical::from_slice(OUTCOME, bytes)?;
        if wire.format != OUTCOME_FORMAT {
            return Err(Error::format(OUTCOME, format!("is of format {:?}", wire.format)));
        }
        match (wire.outcome.as_str(), wire.path, wire.record) {
            ("aborted", None, None) => Ok(Self::Aborted),
            ("committed", Some(path), Some(text)) => {
                let record = decode_base64(&text).filter(|bytes| encode_base64(bytes) == text);
                let record = record.ok_or_else(|| Error::format(OUTCOME, "has a `record` that is no base64"))?;
                let outcome = Self::Committed { path, record };
                outcome.version()?;
                Ok(outcome)
            }
            _ => Err(Error::format(OUTCOME, "is neither `committed` with a record nor `aborted`")),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is too long.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let (outcome, path, record) = match self {
            Self::Aborted => ("aborted", None, None),
            Self::Committed { path, record } => ("committed", Some(path.clone()), Some(encode_base64(record))),
        };
        let wire = WireOutcome { format: OUTCOME_FORMAT.into(), outcome: outcome.into(), path, record };
        let bytes = canonical::to_vec(OUTCOME, &wire)?;
        if bytes.len() as u64 > MAX_OUTCOME {
            return Err(Error::limit(OUTCOME, "length", MAX_OUTCOME));
        }
        Ok(bytes)
    }

    /// The version that a committed session publishes and the artifact it names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if path and record do not agree, or the record is none.
    pub fn version(&self) -> Result<Option<(VersionName, ArtifactDigest)>> {
        let Self::Committed { path, record } = self else { return Ok(None) };
        let name = parse_version_path(path).filter(|name| version_path(name) == *path);
        let name = name.ok_or_else(|| Error::format(OUTCOME, "has a `path` that is none of a version record"))?;
        let envelope = Envelope::parse_record(record)?;
        let statement = Statement::<VersionRecord>::parse(envelope.payload())?;
        if !statement.predicate.is_for(&name) {
            return Err(Error::format(OUTCOME, "has a record of another version than its path says"));
        }
        Ok(Some((name, statement.subject.blake3)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::SigningKey, provenance::Subject};

    fn record(name: &str) -> Vec<u8> {
        let predicate = VersionRecord::new(&name.parse().expect(name), None).expect("randomness");
        let statement = Statement { subject: Subject::of(b"manifest"), predicate }.to_vec().expect("written");
        let key = SigningKey::generate().expect("key");
        Envelope::sign(statement, &key).expect("signed").to_vec().expect("written")
    }

    #[test]
    fn a_lease_has_one_spelling_and_its_pins_ascend() {
        let mut pins = [ArtifactDigest::of(b"1"), ArtifactDigest::of(b"2")];
        pins.sort_by_key(|pin| *pin.hash().as_bytes());
        let lease = Lease { kind: Work::Copy.as_str().into(), pins: pins.to_vec() };
        let bytes = lease.to_vec().expect("written");
        assert_eq!(Lease::parse(&bytes).expect("read"), lease);
        let text = String::from_utf8(bytes).expect("text");
        let (a, b) = (pins[0].to_hex(), pins[1].to_hex());
        for (from, to) in [
            ("{", "{ "),
            ("lease/v1", "lease/v2"),
            ("\"copy\"", "\"Copy\""),
            ("\"copy\"", "\"\""),
            (a.as_str(), b.as_str()),
            (a.as_str(), "00"),
            ("\"kind\"", "\"a\":1,\"kind\""),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert!(Lease::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = Lease { kind: "copy".into(), pins: vec![pins[0]; MAX_PINS + 1] };
        assert!(matches!(many.to_vec(), Err(Error::Misuse(_))));
        assert!(Lease::parse(&vec![b' '; 1 << 21]).is_err());
    }

    #[test]
    fn the_largest_lease_can_be_read_again() {
        let mut pins: Vec<_> = (0..MAX_PINS).map(|n| ArtifactDigest::of(&n.to_be_bytes())).collect();
        pins.sort_by_key(|pin| *pin.hash().as_bytes());
        let lease = Lease { kind: "copy".into(), pins };
        assert_eq!(Lease::parse(&lease.to_vec().expect("written")).expect("read"), lease);
    }

    #[test]
    fn an_outcome_publishes_exactly_the_version_its_record_names() {
        let name: VersionName = "a/b:1".parse().expect("a name");
        let outcome = Outcome::committed(&name, record("a/b:1")).expect("agrees");
        let bytes = outcome.to_vec().expect("written");
        assert_eq!(Outcome::parse(&bytes).expect("read"), outcome);
        assert_eq!(outcome.version().expect("good"), Some((name.clone(), ArtifactDigest::of(b"manifest"))));
        let aborted = Outcome::Aborted.to_vec().expect("written");
        assert_eq!(Outcome::parse(&aborted).expect("read"), Outcome::Aborted);

        assert!(matches!(Outcome::committed(&name, record("a/b:2")), Err(Error::Misuse(_))));
        assert!(matches!(Outcome::committed(&name, b"{}".to_vec()), Err(Error::Misuse(_))));
        let text = String::from_utf8(bytes).expect("text");
        for (from, to) in [
            ("committed", "aborted"),
            ("committed", "done"),
            ("versions/1.", "versions/2."),
            ("models/a/b/versions/1.", "vault.json/../1."),
            ("outcome/v1", "outcome/v2"),
            ("\"record\":\"", "\"record\":\"*"),
            ("{", "{ "),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert!(Outcome::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let bare = br#"{"format":"mvault-session-outcome/v1","outcome":"committed"}"#;
        assert!(Outcome::parse(bare).is_err());
    }
}
