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
    app::{App, Caller},
    identity::NewKey,
    problem::Problem,
    rights::{Grant, Need, Permission},
    state::{Outcome, WantedKey},
};

use super::changes;

/// The most grants of a key.
const MAX_GRANTS: usize = 100;
/// The longest that a rotated key goes on counting.
const MAX_OVERLAP: u64 = 30 * 24 * 3600;

/// Whether somebody may change who may what.
pub(super) fn administers(caller: &Caller) -> Result<(), Problem> {
    Ok(Need::of(&[Permission::Admin]).granted_by(&caller.rights)?)
}

/// A key is in no other answer than this one. Whether it counts yet is said beside it.
fn shown_once(key: &NewKey, outcome: &Outcome) -> (StatusCode, Json<Value>) {
    let mut answer = changes::outcome(outcome);
    answer["id"] = json!(key.id);
    answer["key"] = json!(key.expose());
    let is_waiting = matches!(outcome, Outcome::Waits(_));
    (if is_waiting { StatusCode::ACCEPTED } else { StatusCode::CREATED }, Json(answer))
}

/// All keys, without what is secret.
pub async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Json<Value>, Problem> {
    administers(&caller)?;
    let state = app.blocking(|app| app.states.current()).await?;
    let now = Timestamp::now();
    let keys: Vec<_> = state
        .keys()
        .iter()
        .map(|(id, key)| {
            json!({
                "id": id, "name": key.name, "holder": key.holder, "grants": key.grants, "created": key.created.to_string(),
                "expires": key.expires.map(|time| time.to_string()), "disabled": key.disabled.is_some(), "counts": key.counts(now),
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
    /// The person behind it; the name if nobody is said.
    holder: Option<String>,
    grants: Vec<Grant>,
    expires: Option<String>,
    #[serde(default = "changes::no_reason")]
    reason: String,
}

/// Adds a key.
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    administers(&caller)?;
    let Wanted { name, holder, grants, expires, reason } = changes::read(body)?;
    if grants.len() > MAX_GRANTS {
        return Err(Problem::new(Kind::Usage, "a key has at most 100 grants"));
    }
    let expires = expires.map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| Problem::new(Kind::Usage, "`expires` is no time like 2026-11-21T20:00:00Z"))?;
    let wanted = WantedKey { holder: holder.unwrap_or_else(|| name.clone()), name, grants, expires };
    let (key, outcome) = app.blocking(move |app| app.states.add_key(&caller.principal, &reason, &wanted)).await?;
    Ok(shown_once(&key, &outcome))
}

/// Disables a key, for ever.
pub async fn disable(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.disable_key(&caller.principal.id, &id)).await?;
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
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Json<Rotation>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    administers(&caller)?;
    let overlap = Duration::from_secs(changes::read(body)?.overlap_seconds.min(MAX_OVERLAP));
    let (key, outcome) = app.blocking(move |app| app.states.rotate_key(&caller.principal, &id, overlap)).await?;
    Ok(shown_once(&key, &outcome))
}
