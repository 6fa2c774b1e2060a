//! What a request brings to say who asks: a key or a token in its header, or the certificate of its connection.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    app::App,
    clients::Shown,
    identity::{PREFIX, Presented, Principal, token::Refusal},
    problem::Problem,
};

/// When somebody whose token cannot be judged may ask again, in seconds.
const PAUSE: u64 = 3;

/// What says who asks. What stands in the header counts before a certificate, and is never passed over for one.
#[derive(Debug)]
pub enum Evidence {
    /// The text of a key.
    Key(Zeroizing<String>),
    /// Something else in the header, which should be a token.
    Token(Zeroizing<String>),
    /// The certificates of the connection.
    Certificate(Shown),
}

/// Why nobody is known.
#[derive(Debug)]
pub enum Unknown {
    /// Somebody unknown asks, who is counted.
    Stranger(Problem),
    /// The registry cannot say.
    Failure(Problem),
}

impl Evidence {
    /// What a request brings.
    ///
    /// # Errors
    /// [`Unknown::Stranger`] if it brings nothing, or has a header of another form.
    pub fn of(request: &Request<Body>) -> Result<Self, Unknown> {
        let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => {
                let shown = request.extensions().get::<Shown>().cloned();
                return shown.map(Self::Certificate).ok_or_else(|| stranger("there is no key, token or certificate"));
            }
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        };
        let bearer = value.and_then(|text| text.split_once(' ')).filter(|(it, _)| it.eq_ignore_ascii_case("bearer"));
        let (_, token) = bearer.ok_or_else(|| stranger("the header Authorization is not one bearer token"))?;
        let text = Zeroizing::new(token.to_owned());
        Ok(if text.starts_with(PREFIX) { Self::Key(text) } else { Self::Token(text) })
    }

    /// Who it is.
    ///
    /// # Errors
    /// Why it is nobody.
    pub async fn principal(&self, app: &Arc<App>) -> Result<Principal, Unknown> {
        match self {
            Self::Key(text) => {
                let state = app.state().await.map_err(Unknown::Failure)?;
                let known = Presented::parse(text).and_then(|key| state.authenticate(&key, Timestamp::now()));
                known.ok_or_else(|| stranger("there is no such key, or it counts no more"))
            }
            Self::Token(text) => app.issuers.authenticate(text).await.map_err(refused),
            Self::Certificate(shown) => {
                let clients = app.clients.as_ref().ok_or(Refusal::Certificate);
                clients.and_then(|clients| clients.judge(shown)).map_err(refused)
            }
        }
    }
}

/// The answer to somebody unknown: the same whatever is wrong, which is written down.
fn stranger(reason: &str) -> Unknown {
    Unknown::Stranger(Problem::unauthenticated().because(reason))
}

fn refused(refusal: Refusal) -> Unknown {
    match refusal {
        // Who has a good token need not think that it is bad.
        Refusal::NoKeys => {
            let later = Problem::later(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be judged now", PAUSE);
            Unknown::Stranger(later.because(refusal.to_string()))
        }
        other => stranger(&other.to_string()),
    }
}
