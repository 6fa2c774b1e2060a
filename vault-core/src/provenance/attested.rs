//! Predicates of any type: evaluation reports, scan results, model cards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Object, Predicate, Provenance};
use crate::error::{Error, Result};

const DOCUMENT: &str = "predicate";
/// The longest `predicateType`, in bytes.
const MAX_TYPE: usize = 200;
/// Where the types begin that this format defines. Statements of those mean something to it and are made by it alone.
const OURS: &str = "https://mvault/";

/// A `predicateType`: a URI (RFC 3986) of at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PredicateType(String);

impl PredicateType {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this format defines it.
    pub fn is_ours(&self) -> bool {
        self.0.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
    }
}

impl FromStr for PredicateType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_uri(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Misuse(format!("{text:?} is not a predicate type: a URI of at most {MAX_TYPE} bytes")))
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scheme, and after it nothing that a URI cannot hold. `"`, `<`, `>`, `\`, `^`, backquote, `{`, `|` and `}` are not in RFC 3986.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    text.len() <= MAX_TYPE
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&b))
}

/// A predicate of the type that its statement names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attested {
    #[serde(skip)]
    predicate_type: String,
    predicate: Object,
}

impl Predicate for Attested {
    /// Any.
    const TYPE: &'static str = "";
    const CANONICAL: bool = false;

    fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    fn of_type(mut self, found: &str) -> Result<Self> {
        if !is_uri(found) {
            return Err(Error::format("statement", "has a `predicateType` that is no URI"));
        }
        found.clone_into(&mut self.predicate_type);
        Ok(self)
    }
}

impl Attested {
    /// Reads a predicate that is to be signed: a JSON object of at most 1 MiB, 64 levels deep, no key twice, every number
    /// exact. SLSA provenance is checked as [`Provenance::parse`] does.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a type that this format defines; [`Error::Corrupt`] with the rule the predicate breaks.
    pub fn parse(predicate_type: &PredicateType, bytes: &[u8]) -> Result<Self> {
        if predicate_type.is_ours() {
            return Err(Error::Misuse(format!("predicates of type {predicate_type} are not for others to write")));
        }
        if predicate_type.as_str() == Provenance::TYPE {
            Provenance::parse(bytes)?;
        }
        let predicate = Object::parse(DOCUMENT, bytes)?;
        if predicate.members().is_empty() {
            return Err(Error::format(DOCUMENT, "says nothing"));
        }
        Ok(Self { predicate_type: predicate_type.to_string(), predicate })
    }

    /// What it says.
    pub fn predicate(&self) -> &Object {
        &self.predicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Kind,
        provenance::{Statement, Subject},
    };

    fn predicate_type(text: &str) -> PredicateType {
        text.parse().expect(text)
    }

    #[test]
    fn a_predicate_of_any_type_survives_writing_and_reading() {
        let kind = predicate_type("https://example.com/evaluation/v1");
        let predicate = Attested::parse(&kind, br#"{"scores": {"mmlu": 0.5}, "b": [1]}"#).expect("legal");
        let statement = Statement { subject: Subject::of(b"manifest"), predicate };
        let payload = statement.to_vec().expect("written");
        let read = Statement::<Attested>::parse(&payload).expect("read");
        assert_eq!(read, statement);
        assert_eq!(read.predicate.predicate_type(), kind.as_str());
        assert!(Statement::<Provenance>::parse(&payload).is_err(), "another type");
    }

    #[test]
    fn predicate_types_are_uris() {
        for good in ["https://spdx.dev/Document/v2.3", "urn:x", "a+b-c.1:?#[]@!$&'()*+,;=%20"] {
            assert_eq!(predicate_type(good).to_string(), good);
        }
        let long = format!("a:{}", "x".repeat(MAX_TYPE));
        for bad in ["", "report", "a:", ":a", "1a:b", "a:b c", "a:\u{e4}", "a:\n", "a:<b>", "a:\"", "a_b:c", &long] {
            assert!(bad.parse::<PredicateType>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_statement_whose_type_is_no_uri_is_refused() {
        let predicate = Attested::parse(&predicate_type("a:report"), br#"{"a":1}"#).expect("legal");
        let payload = Statement { subject: Subject::of(b"manifest"), predicate }.to_vec().expect("written");
        let bad = String::from_utf8(payload).expect("UTF-8").replace("a:report", "report\\n");
        assert!(Statement::<Attested>::parse(bad.as_bytes()).is_err());
    }

    #[test]
    fn types_of_this_format_and_predicates_against_the_rules_are_refused() {
        for ours in ["https://mvault/version/v1", "https://mvault/recipients/v1", "HTTPS://MVAULT/x"] {
            let refused = Attested::parse(&predicate_type(ours), br#"{"a":1}"#).expect_err(ours);
            assert_eq!(refused.kind(), Kind::Usage, "{ours}");
        }
        assert!(Attested::parse(&predicate_type("https://mvault.example/x"), br#"{"a":1}"#).is_ok());
        for bad in ["{}", "[]", "1", r#"{"a":1,"a":1}"#, r#"{"a":9007199254740993}"#, "{\"a\":1}x"] {
            assert!(Attested::parse(&predicate_type("a:b"), bad.as_bytes()).is_err(), "{bad}");
        }
        let provenance = predicate_type(Provenance::TYPE);
        assert!(Attested::parse(&provenance, br#"{"a":1}"#).is_err(), "SLSA demands more");
    }
}
