//! What the server answers, one file for each thing there is.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use utoipa::{OpenApi as _, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};
use vault_core::error::Kind;

use self::api::Api;
use crate::{app::App, problem::Problem, repeats};

mod api;
mod body;
mod changes;
mod health;
mod keys;
mod links;
mod listing;
mod objects;
mod pages;
mod people;
mod whoami;

pub use health::Readiness;

/// The longest document about the registry itself, in bytes, and how long it may take to arrive.
const MAX_DOCUMENT: usize = 512 << 10;
const PATIENCE: Duration = Duration::from_secs(15);
/// What is read at most of one that is too long, in bytes.
const MAX_DISCARDED: u64 = 16 << 20;

/// What is answered whoever asks, and to those who are known only; and the description of both (OpenAPI 3.1).
pub fn all(app: &Arc<App>) -> (Router<Arc<App>>, Router<Arc<App>>, OpenApi) {
    let (everybody, mut described) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .split_for_parts();
    let documents = OpenApiRouter::new()
        .routes(routes!(whoami::show))
        .routes(routes!(keys::list, keys::add))
        .routes(routes!(keys::disable))
        .routes(routes!(keys::rotate))
        .routes(routes!(changes::list))
        .routes(routes!(changes::approve))
        .routes(routes!(changes::reject))
        .routes(routes!(changes::policies, changes::set_policies))
        .routes(routes!(changes::elevate))
        .routes(routes!(people::show))
        .layer(middleware::from_fn_with_state(Arc::clone(app), repeats::once))
        .layer(middleware::from_fn_with_state(Arc::clone(app), gather));
    let objects = OpenApiRouter::new()
        .routes(routes!(listing::page))
        .routes(routes!(objects::read, objects::create, objects::delete))
        .routes(routes!(links::read, links::create, links::landed));
    let (known, of_known) = documents.merge(objects).split_for_parts();
    described.merge(of_known);
    let described = api::served(described);
    let text = described.to_json().unwrap_or_default();
    let serve = move || async move { ([(header::CONTENT_TYPE, "application/json")], text) };
    (everybody.route("/v1/openapi.json", get(serve)), known, described)
}

fn too_long() -> Problem {
    Problem::http(StatusCode::PAYLOAD_TOO_LARGE, format!("a document here has at most {MAX_DOCUMENT} bytes"))
}

/// Takes a body that is a small document, in a short time.
async fn gather(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(length) = announced.filter(|length: &u64| *length > MAX_DOCUMENT as u64) {
        // Whoever is still sending would see a broken connection instead of the answer: they get a moment to end.
        let _ = tokio::time::timeout(PATIENCE, body::discard(body, length.min(MAX_DISCARDED), &app.limits)).await;
        return too_long().into_response();
    }
    let most = announced.unwrap_or(MAX_DOCUMENT as u64);
    let _room = match app.gauges.memory(most).await {
        Ok(room) => room,
        Err(problem) => return problem.into_response(),
    };
    let gathered = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let problem = match gathered {
        Ok(Ok(body)) => return next.run(Request::from_parts(head, Body::from(body.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(),
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
