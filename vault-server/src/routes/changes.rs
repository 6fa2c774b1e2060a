//! Changes that take two people: what waits, who agrees, the policies in force, and rights for a while.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use vault_core::names::Pattern;

use super::keys::administers;
use crate::{
    app::{App, Caller},
    problem::Problem,
    rights::{Grant, Permission},
    state::{Change, Outcome, Proposal},
};

/// Reads a body of JSON.
pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|error| Problem::http(error.status(), error.body_text()))
}

pub(super) fn no_reason() -> String {
    "none given".to_owned()
}

/// What became of a change: `in-force`, or `waiting` under an id.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::InForce => json!({ "state": "in-force" }),
        Outcome::Waits(id) => json!({ "state": "waiting", "change": id }),
    }
}

fn answer(became: &Outcome) -> (StatusCode, Json<Value>) {
    let is_waiting = matches!(became, Outcome::Waits(_));
    (if is_waiting { StatusCode::ACCEPTED } else { StatusCode::CREATED }, Json(outcome(became)))
}

/// What waits for a second person: all of it for those who administer, their own for others.
pub async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Json<Value>, Problem> {
    let state = app.blocking(|app| app.states.current()).await?;
    let (sees_all, now) = (administers(&caller).is_ok(), Timestamp::now());
    let waiting =
        state.proposals().iter().filter(|(_, one)| now < one.expires && (sees_all || one.by == caller.principal.id));
    let changes: Vec<_> = waiting.map(|(id, one)| shown(id, one)).collect();
    Ok(Json(json!({ "changes": changes })))
}

fn shown(id: &str, proposal: &Proposal) -> Value {
    let Proposal { by, holder, reason, created, expires, changes } = proposal;
    // The hash of a key says nothing to anybody.
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut value = serde_json::to_value(change).unwrap_or_default();
            if let (Change::KeyAdded { .. }, Some(fields)) = (change, value.as_object_mut()) {
                fields.remove("hash");
            }
            value
        })
        .collect();
    json!({
        "id": id, "by": by, "holder": holder, "reason": reason, "created": created.to_string(),
        "expires": expires.to_string(), "changes": changes,
    })
}

/// Agrees to a change.
pub async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.approve(&caller.principal, &id)).await?;
    Ok(Json(outcome(&Outcome::InForce)))
}

/// Ends a change that waits.
pub async fn reject(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.reject(&caller.principal, &id)).await?;
    Ok(Json(json!({ "state": "rejected" })))
}

/// The policies in force.
pub async fn policies(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    administers(&caller)?;
    let state = app.blocking(|app| app.states.current()).await?;
    Ok(Json(json!({ "text": state.policies().text(), "schema": crate::policy::SCHEMA })))
}

/// Policies that somebody wants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedPolicies {
    text: String,
    reason: String,
}

/// Puts policies in the place of those there are.
pub async fn set_policies(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<WantedPolicies>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    administers(&caller)?;
    let WantedPolicies { text, reason } = read(body)?;
    let became = app.blocking(move |app| app.states.set_policies(&caller.principal, &reason, &text)).await?;
    Ok(answer(&became))
}

/// Rights that somebody wants for a while.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedElevation {
    permissions: BTreeSet<Permission>,
    models: Pattern,
    channels: Pattern,
    seconds: u64,
    reason: String,
}

/// Asks for rights for a while. Whoever is known may ask; another person, who administers, agrees or does not.
pub async fn elevate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<WantedElevation>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let WantedElevation { permissions, models, channels, seconds, reason } = read(body)?;
    let grant = Grant { permissions, models, channels, networks: Vec::new(), until: None };
    let time = Duration::from_secs(seconds);
    let became = app.blocking(move |app| app.states.elevate(&caller.principal, &reason, &grant, time)).await?;
    Ok(answer(&became))
}
