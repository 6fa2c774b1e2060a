//! The end of versions and artifacts: retired versions, shredded artifacts.

use serde::{Deserialize, Serialize};

use super::{
    Predicate,
    chained::{checked, is_reason, nonce},
};
use crate::{
    canonical::{Hex, Time},
    error::{Error, Result},
    names::VersionName,
};

const DOCUMENT: &str = "record";

/// This version is no longer kept: garbage collection may delete its contents. Its name stays taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    created: Time,
    model: String,
    nonce: Hex<16>,
    reason: String,
    trust_root: Option<Hex<32>>,
    version: String,
}

/// Every wrapped key of this artifact is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shredding {
    created: Time,
    nonce: Hex<16>,
    reason: String,
    trust_root: Option<Hex<32>>,
}

impl Predicate for Retirement {
    const TYPE: &'static str = "https://mvault/retirement/v1";
    const CANONICAL: bool = true;

    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        self.trust_root == Some(Hex::from(*origin))
    }
}

impl Predicate for Shredding {
    const TYPE: &'static str = "https://mvault/shredding/v1";
    const CANONICAL: bool = true;

    fn belongs_to(&self, origin: &blake3::Hash) -> bool {
        self.trust_root == Some(Hex::from(*origin))
    }
}

impl Retirement {
    /// A retirement of `name`, made now, under the trust root whose version 1 has this BLAKE3.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the reason is empty or too long; [`Error::Storage`] if there is no randomness.
    pub(crate) fn new(name: &VersionName, reason: &str, trust_root: Option<blake3::Hash>) -> Result<Self> {
        Ok(Self {
            created: Time::now(),
            model: name.model.to_string(),
            nonce: nonce()?,
            reason: checked(reason.to_owned())?,
            trust_root: trust_root.map(Into::into),
            version: name.version.to_string(),
        })
    }

    /// The version it retires.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is no legal name, or the reason is none.
    pub fn version_name(&self) -> Result<VersionName> {
        check_reason(&self.reason)?;
        match (self.model.parse(), self.version.parse()) {
            (Ok(model), Ok(version)) => Ok(VersionName { model, version }),
            _ => Err(Error::format(DOCUMENT, "names no version")),
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When it claims to have been made (RFC 3339).
    pub fn created(&self) -> &str {
        self.created.as_str()
    }
}

impl Shredding {
    /// A shredding, recorded now.
    ///
    /// # Errors
    /// As [`Retirement::new`].
    pub(crate) fn new(reason: &str, trust_root: Option<blake3::Hash>) -> Result<Self> {
        Ok(Self {
            created: Time::now(),
            nonce: nonce()?,
            reason: checked(reason.to_owned())?,
            trust_root: trust_root.map(Into::into),
        })
    }

    /// Checks the reason.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check(&self) -> Result<()> {
        check_reason(&self.reason)
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When it claims to have been made (RFC 3339).
    pub fn created(&self) -> &str {
        self.created.as_str()
    }
}

fn check_reason(reason: &str) -> Result<()> {
    if is_reason(reason) {
        return Ok(());
    }
    Err(Error::format(DOCUMENT, "has a reason that is not one line of at most 4096 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::{Statement, Subject};

    #[test]
    fn a_retirement_survives_writing_and_reading_and_other_shapes_are_refused() {
        let name: VersionName = "a/b:1".parse().expect("a name");
        let predicate = Retirement::new(&name, "superseded", None).expect("legal");
        let payload = Statement { subject: Subject::of(b"m"), predicate }.to_vec().expect("written");
        let read = Statement::<Retirement>::parse(&payload).expect("read").predicate;
        assert_eq!(read.version_name().expect("a name"), name);
        assert_eq!(read.reason(), "superseded");
        let text = String::from_utf8(payload).expect("text");
        for (from, to) in [("retirement/v1", "shredding/v1"), ("\"reason\"", "\"reazon\""), ("a/b", "a//b")] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text);
            let read = Statement::<Retirement>::parse(bad.as_bytes()).and_then(|s| s.predicate.version_name());
            assert!(read.is_err(), "{bad}");
        }
        let empty = text.replacen("superseded", " ", 1);
        assert!(Statement::<Retirement>::parse(empty.as_bytes()).expect("read").predicate.version_name().is_err());
        assert!(matches!(Retirement::new(&name, "a\nb", None), Err(Error::Misuse(_))));
    }

    #[test]
    fn a_shredding_survives_writing_and_reading_and_belongs_to_its_root() {
        let origin = blake3::hash(b"root");
        let predicate = Shredding::new("leaked", Some(origin)).expect("legal");
        assert!(predicate.belongs_to(&origin) && !predicate.belongs_to(&blake3::hash(b"other")));
        let payload = Statement { subject: Subject::of(b"m"), predicate }.to_vec().expect("written");
        let read = Statement::<Shredding>::parse(&payload).expect("read").predicate;
        assert_eq!(read.reason(), "leaked");
        read.check().expect("good");
        assert!(Statement::<Retirement>::parse(&payload).is_err());
        assert!(matches!(Shredding::new("", None), Err(Error::Misuse(_))));
    }
}
