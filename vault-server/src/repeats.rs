//! Requests that are repeated because their answer was lost: with the same `Idempotency-Key`, they are done once and answered alike.
//!
//! Answers are kept by the instance that gave them, for a while, and for whom they were given. Another instance, or a restarted one,
//! does the request again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use vault_core::error::Kind;

use crate::{
    app::{App, Caller},
    problem::Problem,
};

/// The header (draft-ietf-httpapi-idempotency-key-header).
const HEADER: &str = "idempotency-key";
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, in characters.
const MAX_KEY: usize = 128;
/// How long answers are kept.
const KEPT: Duration = Duration::from_mins(15);
/// The most answers that are kept; they are small. The most of one principal.
const MAX_KEPT: usize = 4096;
const MAX_OF_ONE: usize = 256;

/// Who asked, and the key they gave.
type Name = (String, String);

/// Answers that may be asked for again.
#[derive(Default)]
pub struct Repeats(Mutex<HashMap<Name, Kept>>);

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Answers hold new keys.
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

struct Kept {
    since: Instant,
    /// The BLAKE3 of the request.
    request: blake3::Hash,
    /// None while the first one is under way.
    answer: Option<(StatusCode, HeaderMap, Bytes)>,
}

/// What is to be done with a request.
enum Turn {
    First,
    Again(Response),
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &Name, request: blake3::Hash) -> Result<Turn, Problem> {
        let mut kept = self.lock();
        kept.retain(|_, one| one.since.elapsed() < KEPT);
        if let Some(one) = kept.get(name) {
            if one.request != request {
                let detail = "this idempotency key was used for another request";
                return Err(Problem::http(StatusCode::UNPROCESSABLE_ENTITY, detail));
            }
            let Some((status, headers, body)) = &one.answer else {
                return Err(Problem::later(StatusCode::CONFLICT, "the same request is under way", 1));
            };
            let mut response = (*status, headers.clone(), Body::from(body.clone())).into_response();
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            return Ok(Turn::Again(response));
        }
        let of_one = kept.keys().filter(|(principal, _)| *principal == name.0).count();
        if kept.len() >= MAX_KEPT || of_one >= MAX_OF_ONE {
            return Err(Problem::later(StatusCode::TOO_MANY_REQUESTS, "too many idempotency keys", 60));
        }
        kept.insert(name.clone(), Kept { since: Instant::now(), request, answer: None });
        Ok(Turn::First)
    }
}

/// Forgets a request that came to nothing, or that nobody waited for: it may be tried again.
struct Pending {
    app: Arc<App>,
    name: Name,
    done: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            self.app.repeats.lock().remove(&self.name);
        }
    }
}

/// Does a request with an idempotency key once. It is behind whatever gathers bodies, and knows who asks.
pub async fn once(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    match named(&request) {
        Ok(None) => next.run(request).await,
        Ok(Some(name)) => keyed(app, name, request, next).await.unwrap_or_else(Problem::into_response),
        Err(problem) => problem.into_response(),
    }
}

fn named(request: &Request<Body>) -> Result<Option<Name>, Problem> {
    let mut values = request.headers().get_all(HEADER).iter();
    let (Some(value), Some(caller)) = (values.next(), request.extensions().get::<Caller>()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    match (text, values.next()) {
        (Some(text), None) => Ok(Some((caller.principal.id.clone(), text.to_owned()))),
        _ => Err(Problem::http(StatusCode::BAD_REQUEST, "an idempotency key is one text of at most 128 characters")),
    }
}

async fn keyed(app: Arc<App>, name: Name, request: Request<Body>, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let broken = |_| Problem::http(StatusCode::BAD_REQUEST, "the document broke off on its way");
    let body = body.collect().await.map_err(broken)?.to_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.uri.path().as_bytes()).update(&[0]).update(&body);
    if let Turn::Again(response) = app.repeats.begin(&name, hasher.finalize())? {
        return Ok(response);
    }
    let request = Request::from_parts(head, Body::from(body));
    // Done to its end also if whoever asked leaves, or a repetition would be done beside it.
    let done = tokio::spawn(async move {
        let mut pending = Pending { app, name, done: false };
        let (head, body) = next.run(request).await.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        if head.status.is_success() {
            pending.done = true;
            if let Some(kept) = pending.app.repeats.lock().get_mut(&pending.name) {
                kept.answer = Some((head.status, head.headers.clone(), body.clone()));
            }
        }
        Ok(Response::from_parts(head, Body::from(body)))
    });
    let failed = |error: tokio::task::JoinError| {
        Problem::new(Kind::Operational, "the request failed").because(error.to_string())
    };
    done.await.map_err(failed)?
}
