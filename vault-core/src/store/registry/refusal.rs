//! What a registry says instead of doing as it was asked.

use std::fmt;

use serde::Deserialize;

use crate::error::{Error, Fault, Kind, Place};

/// The most characters of a registry's own words.
const MAX_WORDS: usize = 500;

/// An answer that is a refusal: a problem document (RFC 9457), or whatever stands between.
#[derive(Debug)]
pub(in crate::store) struct Refused {
    status: u16,
    /// The class that the registry names; none if it is not the registry that answers.
    kind: Option<Kind>,
    detail: String,
}

/// As much of a problem document as is needed.
#[derive(Deserialize)]
struct Problem {
    kind: String,
    detail: String,
}

impl Refused {
    /// From the status and the beginning of the body.
    pub(super) fn new(status: u16, body: &[u8]) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).ok();
        let known = problem.and_then(|problem| Some((Kind::from_name(&problem.kind)?, problem.detail)));
        let (kind, detail) = known.map_or((None, format!("HTTP status {status}")), |(kind, text)| (Some(kind), text));
        // Its words are shown on a terminal.
        let detail = detail.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        Self { status, kind, detail }
    }

    /// Something that is wrong with the answer, or with the connection for good.
    pub(super) fn unfit(detail: impl Into<String>) -> Self {
        Self { status: 0, kind: None, detail: detail.into() }
    }

    /// The registry hangs up on whoever shows this certificate, or none. `alert` is how TLS calls the reason.
    pub(super) fn at_the_door(alert: &str) -> Self {
        let detail = format!("the registry does not accept the client certificate, or wants one ({alert})");
        Self { status: 0, kind: Some(Kind::Denied), detail }
    }

    /// The refusal that an error of the object store is about.
    pub(in crate::store) fn within(error: &object_store::Error) -> Option<&Self> {
        match error {
            object_store::Error::Generic { source, .. } => source.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(in crate::store) fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..)
    }

    /// Whether it is a refusal that does not say why, and not that there is no such object.
    pub(super) fn is_unexplained(&self) -> bool {
        self.kind.is_none() && (400..500).contains(&self.status) && !self.is_absent() && !self.is_transient()
    }

    /// Whether something has the name already.
    pub(super) fn is_taken(&self) -> bool {
        self.status == 412
    }

    pub(super) fn is_absent(&self) -> bool {
        self.status == 404
    }

    /// As an error about an object, or about the registry.
    pub(in crate::store) fn about(&self, what: &str) -> Error {
        let (what, detail) = (what.to_owned(), self.detail.clone());
        match self.kind {
            Some(Kind::Denied) => Error::Denied { what, why: detail },
            Some(Kind::Integrity) => Error::Corrupt { place: Place::Object(what), fault: Fault::Format(detail) },
            Some(Kind::Authenticity) => {
                Error::Untrusted { what: format!("{what}: {detail}"), why: "the registry refuses it" }
            }
            Some(Kind::Stale) => Error::Stale { what, why: "the registry says so" },
            Some(Kind::NoKey) => Error::WrongKey { what: format!("{what}: {detail}"), why: "says the registry" },
            Some(Kind::Conflict) => Error::Conflict { what },
            Some(Kind::NotFound) => Error::NotFound { what },
            Some(Kind::Usage) => Error::Misuse(format!("{what}: {detail}")),
            Some(Kind::Operational) | None => Error::storage(what)(std::io::Error::other(self.to_string())),
        }
    }

    pub(super) fn into_store(self) -> object_store::Error {
        object_store::Error::Generic { store: "registry", source: Box::new(self) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.kind) {
            (0, _) => f.write_str(&self.detail),
            (_, Some(_)) => write!(f, "the registry says: {}", self.detail),
            (_, None) => write!(f, "{}, which is no answer of a registry", self.detail),
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_comes_back_as_itself() {
        for kind in Kind::ALL {
            let body =
                format!(r#"{{"type":"x","title":"t","status":400,"kind":"{}","detail":"why\u001b"}}"#, kind.as_str());
            let refused = Refused::new(kind.http_status(), body.as_bytes());
            let error = refused.about("a/b");
            assert_eq!(error.kind(), kind);
            let text = error.to_string();
            assert!(text.contains("a/b") && !text.contains('\u{1b}'), "{text}");
            assert_eq!(refused.is_transient(), kind == Kind::Operational);
        }
    }

    #[test]
    fn what_is_no_problem_document_is_an_operational_failure() {
        for body in [&b""[..], b"<html>", br#"{"kind":"nonsense","detail":"x"}"#, br#"{"kind":"denied"}"#] {
            let error = Refused::new(403, body).about("a/b");
            assert_eq!(error.kind(), Kind::Operational);
            assert_eq!(error.to_string(), "a/b: HTTP status 403, which is no answer of a registry");
        }
        assert!(Refused::new(429, b"").is_transient() && !Refused::new(400, b"").is_transient());
        let long = format!(r#"{{"kind":"denied","detail":"{}"}}"#, "x".repeat(5000));
        assert!(Refused::new(403, long.as_bytes()).about("a").to_string().len() < 600);
    }
}
