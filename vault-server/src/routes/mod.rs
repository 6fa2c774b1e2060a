//! What the server answers, one file for each thing there is.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use vault_core::error::Kind;

use crate::{app::App, problem::Problem};

mod body;
mod changes;
mod health;
mod keys;
mod listing;
mod objects;
mod people;
mod whoami;

pub use health::Readiness;

/// The longest document about the registry itself, in bytes, and how long it may take to arrive.
const MAX_DOCUMENT: usize = 512 << 10;
const PATIENCE: Duration = Duration::from_secs(15);

/// What is answered whoever asks.
pub fn for_everybody() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready))
}

/// What is answered to those who are known.
pub fn for_principals() -> Router<Arc<App>> {
    let object = get(objects::read).put(objects::create).delete(objects::delete);
    let documents = Router::new()
        .route("/v1/whoami", get(whoami::show))
        .route("/v1/keys", get(keys::list).post(keys::add))
        .route("/v1/keys/{id}/disable", post(keys::disable))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/changes", get(changes::list))
        .route("/v1/changes/{id}/approve", post(changes::approve))
        .route("/v1/changes/{id}/reject", post(changes::reject))
        .route("/v1/policies", get(changes::policies).post(changes::set_policies))
        .route("/v1/elevations", post(changes::elevate))
        .route("/v1/people/{pseudonym}", get(people::show))
        .layer(middleware::from_fn(gather));
    documents
        .route("/v1/vaults/{vault}/objects", get(listing::page))
        .route("/v1/vaults/{vault}/objects/{*path}", object)
}

/// Takes a body that is a small document, in a short time.
async fn gather(request: Request<Body>, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let gathered = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let problem = match gathered {
        Ok(Ok(body)) => return next.run(Request::from_parts(head, Body::from(body.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Problem::http(StatusCode::PAYLOAD_TOO_LARGE, format!("a document here has at most {MAX_DOCUMENT} bytes"))
        }
        Ok(Err(_)) => Problem::http(StatusCode::BAD_REQUEST, "the document broke off on its way"),
        Err(_) => Problem::http(StatusCode::REQUEST_TIMEOUT, "the document took too long to arrive"),
    };
    problem.into_response()
}

/// Whatever else is asked for.
pub async fn nowhere() -> Problem {
    Problem::new(Kind::NotFound, "there is nothing of this name in the API")
}

/// What is there and cannot be asked for in this way.
pub async fn not_so() -> Problem {
    Problem::http(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this resource")
}

/// Refuses any vault but the one there is.
fn check_vault(app: &App, vault: &str) -> Result<(), Problem> {
    if vault == app.name { Ok(()) } else { Err(Problem::new(Kind::NotFound, "there is no vault of this name")) }
}
