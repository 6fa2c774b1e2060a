//! What the server answers, one file for each thing there is.

use std::sync::Arc;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use vault_core::error::Kind;

use crate::{app::App, problem::Problem};

mod body;
mod health;
mod keys;
mod listing;
mod objects;
mod whoami;

/// What is answered whoever asks.
pub fn for_everybody() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready))
}

/// What is answered to those who are known.
pub fn for_principals() -> Router<Arc<App>> {
    let object = get(objects::read).put(objects::create).delete(objects::delete);
    Router::new()
        .route("/v1/whoami", get(whoami::show))
        .route("/v1/keys", get(keys::list).post(keys::add))
        .route("/v1/keys/{id}/disable", post(keys::disable))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/vaults/{vault}/objects", get(listing::page))
        .route("/v1/vaults/{vault}/objects/{*path}", object)
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
