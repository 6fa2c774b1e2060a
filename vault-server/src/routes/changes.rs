//! Changes that take two people: what waits, who agrees, the policies in force, and rights for a while.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use vault_core::names::Pattern;

use super::{
    api::{OfDocuments, Refusals},
    keys::administers,
    pages,
};
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

/// What became of a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct Became {
    /// `in-force`, `waiting` or `rejected`.
    state: &'static str,
    /// The id under which it waits for another person.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

/// What became of a change, and the status that says so.
pub(super) fn answer(outcome: &Outcome) -> (StatusCode, Json<Became>) {
    match outcome {
        Outcome::InForce => (StatusCode::CREATED, Json(Became { state: "in-force", change: None })),
        Outcome::Waits(id) => (StatusCode::ACCEPTED, Json(Became { state: "waiting", change: Some(id.clone()) })),
    }
}

/// A change that waits for a second person.
#[derive(Debug, Serialize, ToSchema)]
pub struct Waiting {
    id: String,
    /// The id of who proposed it, and the person behind that.
    by: String,
    holder: String,
    reason: String,
    created: String,
    expires: String,
    /// What is to change, each with its kind in `event`.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Value>,
}

/// Changes that wait.
#[derive(Debug, Serialize, ToSchema)]
pub struct Changes {
    changes: Vec<Waiting>,
    /// Whether there are more behind them.
    more: bool,
}

/// What waits for a second person: all of it for those who administer, their own for others.
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes",
    params(
        ("after" = Option<String>, Query, description = "The id behind which the page begins: the last of the one before"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000, description = "The most entries"),
    ),
    responses((status = 200, body = Changes), Refusals)
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    part: pages::Asked,
) -> Result<Json<Changes>, Problem> {
    let part = pages::read(part)?;
    let state = app.blocking(|app| app.states.current()).await?;
    let (sees_all, now) = (administers(&caller).is_ok(), Timestamp::now());
    let is_theirs = |one: &Proposal| one.is_alive(&state, now) && (sees_all || one.by == caller.principal.id);
    let (changes, more) = part.of(state.proposals(), |id, one| is_theirs(one).then(|| shown(id, one)));
    Ok(Json(Changes { changes, more }))
}

fn shown(id: &str, proposal: &Proposal) -> Waiting {
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
    Waiting {
        id: id.to_owned(),
        by: by.clone(),
        holder: holder.clone(),
        reason: reason.clone(),
        created: created.to_string(),
        expires: expires.to_string(),
        changes,
    }
}

/// Agrees to a change.
#[utoipa::path(
    post, path = "/v1/changes/{id}/approve", tag = "changes", params(("id" = String, Path, description = "The change's id")),
    responses((status = 200, body = Became), Refusals)
)]
pub async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Became>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.approve(&caller.author(), &id)).await?;
    Ok(Json(Became { state: "in-force", change: None }))
}

/// Ends a change that waits.
#[utoipa::path(
    post, path = "/v1/changes/{id}/reject", tag = "changes", params(("id" = String, Path, description = "The change's id")),
    responses((status = 200, body = Became), Refusals)
)]
pub async fn reject(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Became>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.reject(&caller.author(), &id)).await?;
    Ok(Json(Became { state: "rejected", change: None }))
}

/// Policies, and what they may speak of.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoliciesInForce {
    /// In Cedar.
    text: String,
    /// The schema, in Cedar.
    schema: &'static str,
}

/// The policies in force.
#[utoipa::path(get, path = "/v1/policies", tag = "policies", responses((status = 200, body = PoliciesInForce), Refusals))]
pub async fn policies(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<PoliciesInForce>, Problem> {
    administers(&caller)?;
    let state = app.blocking(|app| app.states.current()).await?;
    Ok(Json(PoliciesInForce { text: state.policies().text().to_owned(), schema: crate::policy::SCHEMA }))
}

/// Policies that somebody wants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedPolicies {
    text: String,
    reason: String,
}

/// Puts policies in the place of those there are.
#[utoipa::path(
    post, path = "/v1/policies", tag = "policies", request_body = WantedPolicies,
    responses((status = 201, body = Became), (status = 202, body = Became), Refusals, OfDocuments)
)]
pub async fn set_policies(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<WantedPolicies>, JsonRejection>,
) -> Result<(StatusCode, Json<Became>), Problem> {
    administers(&caller)?;
    let WantedPolicies { text, reason } = read(body)?;
    let became = app.blocking(move |app| app.states.set_policies(&caller.author(), &reason, &text)).await?;
    Ok(answer(&became))
}

/// Rights that somebody wants for a while.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedElevation {
    permissions: BTreeSet<Permission>,
    #[schema(value_type = String)]
    models: Pattern,
    #[schema(value_type = String)]
    channels: Pattern,
    seconds: u64,
    reason: String,
}

/// Asks for rights for a while. Whoever is known may ask; another person, who administers, agrees or does not.
#[utoipa::path(
    post, path = "/v1/elevations", tag = "changes", request_body = WantedElevation,
    responses((status = 201, body = Became), (status = 202, body = Became), Refusals, OfDocuments)
)]
pub async fn elevate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<WantedElevation>, JsonRejection>,
) -> Result<(StatusCode, Json<Became>), Problem> {
    let WantedElevation { permissions, models, channels, seconds, reason } = read(body)?;
    let grant = Grant { permissions, models, channels, networks: Vec::new(), until: None };
    let time = Duration::from_secs(seconds);
    let became = app.blocking(move |app| app.states.elevate(&caller.author(), &reason, &grant, time)).await?;
    Ok(answer(&became))
}
