//! API keys: for those with the permission `admin`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use vault_core::error::Kind;

use crate::{
    app::App,
    identity::{NewKey, Principal},
    problem::Problem,
    rights::{Grant, Need, Permission},
};

/// The most grants of a key.
const MAX_GRANTS: usize = 100;
/// The longest that a rotated key goes on counting.
const MAX_OVERLAP: u64 = 30 * 24 * 3600;

fn administers(principal: &Principal) -> Result<(), Problem> {
    Ok(Need::of(&[Permission::Admin]).granted_by(&principal.grants)?)
}

fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|error| Problem::http(error.status(), error.body_text()))
}

fn shown_once(key: &NewKey) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({ "id": key.id, "key": key.expose() })))
}

/// All keys, without what is secret.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Problem> {
    administers(&principal)?;
    let state = app.blocking(|app| app.states.current()).await?;
    let now = Timestamp::now();
    let keys: Vec<_> = state
        .keys()
        .iter()
        .map(|(id, key)| {
            json!({
                "id": id, "name": key.name, "grants": key.grants, "created": key.created.to_string(),
                "expires": key.expires.map(|time| time.to_string()), "disabled": key.disabled, "counts": key.counts(now),
                "last_use": app.uses.last(id).map(|time| time.to_string()),
            })
        })
        .collect();
    Ok(Json(json!({ "keys": keys })))
}

/// A key that somebody asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    name: String,
    grants: Vec<Grant>,
    expires: Option<String>,
}

/// Adds a key.
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    administers(&principal)?;
    let Wanted { name, grants, expires } = read(body)?;
    if grants.len() > MAX_GRANTS {
        return Err(Problem::new(Kind::Usage, "a key has at most 100 grants"));
    }
    let expires = expires.map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| Problem::new(Kind::Usage, "`expires` is no time like 2026-11-21T20:00:00Z"))?;
    let key = app.blocking(move |app| app.states.add_key(&principal.id, &name, &grants, expires)).await?;
    Ok(shown_once(&key))
}

/// Disables a key, for ever.
pub async fn disable(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    administers(&principal)?;
    app.blocking(move |app| app.states.disable_key(&principal.id, &id)).await?;
    Ok(Json(json!({})))
}

/// How a key is replaced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    overlap_seconds: u64,
}

/// Replaces a key by another of the same rights. The old one goes on counting for a while.
pub async fn rotate(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Result<Json<Rotation>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    administers(&principal)?;
    let overlap = Duration::from_secs(read(body)?.overlap_seconds.min(MAX_OVERLAP));
    let key = app.blocking(move |app| app.states.rotate_key(&principal.id, &id, overlap)).await?;
    Ok(shown_once(&key))
}
