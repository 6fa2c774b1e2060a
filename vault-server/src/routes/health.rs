//! Whether the process is there, and whether it can serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State, http::StatusCode};
use tokio::sync::Mutex;

use super::api::Refusals;
use crate::{app::App, problem::Problem};

/// How long what was found counts.
const FRESH: Duration = Duration::from_secs(1);
/// The longest `vault.json`, in bytes.
const MAX_VAULT_JSON: u64 = 4096;

/// The process is there.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200), Refusals))]
pub async fn alive() -> StatusCode {
    StatusCode::OK
}

/// Whether the vault was there, when somebody looked last.
pub type Readiness = Mutex<Option<(Instant, Result<bool, Problem>)>>;

/// The vault answers, and the records of the registry are current. What was found counts for a second, whoever asks.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses((status = 200), Refusals))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<StatusCode, Problem> {
    app.state().await?;
    let mut known = app.readiness.lock().await;
    let found = if let Some(found) = known.take().filter(|(since, _)| since.elapsed() < FRESH) {
        found
    } else {
        let look = app.blocking(|app| Ok(app.store.read("vault.json", MAX_VAULT_JSON)?.is_some()));
        (Instant::now(), look.await)
    };
    let is_there = known.insert(found).1.clone()?;
    if is_there {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, "the vault is not there", 5))
    }
}
