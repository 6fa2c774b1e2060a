//! Whether the process is there, and whether it can serve.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use crate::{app::App, problem::Problem};

/// The longest `vault.json`, in bytes.
const MAX_VAULT_JSON: u64 = 4096;

/// The process is there.
pub async fn alive() -> StatusCode {
    StatusCode::OK
}

/// The vault answers, and the records of the registry are current.
pub async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, Problem> {
    let look = |app: &App| {
        app.states.current()?;
        app.store.read("vault.json", MAX_VAULT_JSON)
    };
    match app.blocking(look).await? {
        Some(_) => Ok(StatusCode::OK),
        None => Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, "the vault is not there", 5)),
    }
}
