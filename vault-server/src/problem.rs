//! What an answer says when something was not done: RFC 9457, from the one error type of the core by its one table.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use vault_core::{Error, error::Kind};

use crate::rights::Missing;

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: Kind,
    status: u16,
    detail: String,
    /// What is written down and not told, because it is about this machine.
    internal: Option<String>,
    /// Whether the store or this machine failed.
    failed: bool,
    retry_after: Option<u64>,
    /// The permission that was missing, if that was it.
    missing: Option<Box<Missing>>,
}

impl Problem {
    /// A refusal with the status that its class has.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.http_status(),
            detail: detail.into(),
            internal: None,
            failed: false,
            retry_after: None,
            missing: None,
        }
    }

    /// A refusal about HTTP itself, with a status that says more than its class.
    pub fn http(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status: status.as_u16(), ..Self::new(Kind::Usage, detail) }
    }

    /// Nobody whom the registry knows asks.
    pub fn unauthenticated() -> Self {
        let detail = "who asks is not known: there is no valid key, token or certificate in the request";
        Self { status: StatusCode::UNAUTHORIZED.as_u16(), ..Self::new(Kind::Denied, detail) }
    }

    /// The same, with the reason why, which is written down and not told: whoever guesses learns nothing.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { internal: Some(reason.into()), ..self }
    }

    /// Too much is going on; it may be asked again after so many seconds.
    pub fn later(status: StatusCode, detail: &str, seconds: u64) -> Self {
        let retry_after = Some(seconds);
        Self { status: status.as_u16(), retry_after, ..Self::new(Kind::Operational, detail) }
    }

    /// What went wrong with the registry itself: that is written down and not told.
    #[must_use]
    pub fn of_the_registry(self) -> Self {
        let told = "the registry cannot read its own records; its log says why";
        let why = self.reason().to_owned();
        Self { internal: Some(why), failed: true, ..Self::later(StatusCode::SERVICE_UNAVAILABLE, told, 5) }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What is written down about it.
    pub fn reason(&self) -> &str {
        self.internal.as_deref().unwrap_or(&self.detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error.kind() {
            // Paths and addresses of this machine are nobody's business.
            Kind::Operational => {
                let told = Self::new(Kind::Operational, "the store of the registry failed; its log says why");
                Self { internal: Some(error.to_string()), failed: true, ..told }
            }
            kind => Self::new(kind, error.to_string()),
        }
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        Self { missing: Some(Box::new(missing.clone())), ..Self::new(Kind::Denied, missing.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = self.kind.as_str();
        let body = json!({
            "type": format!("https://mvault/problems/{kind}"),
            "title": status.canonical_reason().unwrap_or("refused"),
            "status": self.status,
            "kind": kind,
            "detail": self.detail,
        });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.failed {
            response.extensions_mut().insert(Failed);
        }
        // What is written down about it, for the layer that does.
        response.extensions_mut().insert(Reason(self.reason().to_owned()));
        if let Some(missing) = self.missing {
            response.extensions_mut().insert(*missing);
        }
        response
    }
}

/// That the store or this machine failed, beside its response.
#[derive(Debug, Clone, Copy)]
pub struct Failed;

/// Why something was not done, beside its response.
#[derive(Debug, Clone)]
pub struct Reason(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_status_and_failures_of_the_machine_stay_here() {
        for kind in Kind::ALL {
            assert_eq!(Problem::new(kind, "x").into_response().status().as_u16(), kind.http_status());
        }
        let secret = Error::storage("/srv/models/secret-place")(std::io::Error::other("disk"));
        let problem = Problem::from(secret);
        assert!(!problem.detail.contains("secret-place") && problem.reason().contains("secret-place"));
        assert!(problem.into_response().extensions().get::<Failed>().is_some(), "it is counted");
        let answer = Problem::unauthenticated().into_response();
        assert!(answer.extensions().get::<Failed>().is_none());
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let later = Problem::later(StatusCode::TOO_MANY_REQUESTS, "slow down", 7).into_response();
        assert_eq!((later.status().as_u16(), &later.headers()[header::RETRY_AFTER]), (429, &HeaderValue::from(7)));
    }
}
