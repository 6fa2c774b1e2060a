//! API keys: for those with the permission `admin`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vault_core::error::Kind;

use crate::{
    app::{App, Caller},
    identity::NewKey,
    problem::Problem,
    rights::{Grant, Need, Permission},
    state::{Key, Outcome, WantedKey},
};

use super::{
    api::{OfDocuments, Refusals},
    changes::{self, Became},
    pages,
};

/// The most grants of a key.
const MAX_GRANTS: usize = 100;
/// The longest that a rotated key goes on counting.
const MAX_OVERLAP: u64 = 30 * 24 * 3600;

/// Whether somebody may change who may what.
pub(super) fn administers(caller: &Caller) -> Result<(), Problem> {
    Ok(Need::of(&[Permission::Admin]).granted_by(&caller.rights)?)
}

/// A key is in no other answer than this one. Whether it counts yet is said beside it.
fn shown_once(key: &NewKey, outcome: &Outcome) -> (StatusCode, Json<NewKeyAnswer>) {
    let (status, Json(became)) = changes::answer(outcome);
    (status, Json(NewKeyAnswer { id: key.id.clone(), key: key.expose().to_owned(), became }))
}

/// A new key, and whether it counts.
#[derive(Serialize, ToSchema)]
pub struct NewKeyAnswer {
    /// Its id.
    id: String,
    /// The key. It is shown this once.
    key: String,
    #[serde(flatten)]
    became: Became,
}

/// It is done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {}

/// A key as it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedKey {
    id: String,
    name: String,
    holder: String,
    grants: Vec<Grant>,
    created: String,
    expires: Option<String>,
    disabled: bool,
    /// Whether it opens anything now.
    counts: bool,
    /// When this instance saw it last, since it began.
    last_use: Option<String>,
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    keys: Vec<ListedKey>,
    /// Whether there are more behind them.
    more: bool,
}

/// Keys, without what is secret.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    params(
        ("after" = Option<String>, Query, description = "The id behind which the page begins: the last of the one before"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000, description = "The most entries"),
    ),
    responses((status = 200, body = Keys), Refusals)
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    part: pages::Asked,
) -> Result<Json<Keys>, Problem> {
    administers(&caller)?;
    let part = pages::read(part)?;
    let state = app.blocking(|app| app.states.current()).await?;
    let now = Timestamp::now();
    let listed = |id: &String, key: &Key| ListedKey {
        id: id.clone(),
        name: key.name.clone(),
        holder: key.holder.clone(),
        grants: key.grants.clone(),
        created: key.created.to_string(),
        expires: key.expires.map(|time| time.to_string()),
        disabled: key.disabled.is_some(),
        counts: key.counts(now),
        last_use: app.uses.last(id).map(|time| time.to_string()),
    };
    let (keys, more) = part.of(state.keys(), |id, key| Some(listed(id, key)));
    Ok(Json(Keys { keys, more }))
}

/// A key that somebody asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedKey)]
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
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = Wanted,
    responses((status = 201, body = NewKeyAnswer), (status = 202, body = NewKeyAnswer), Refusals, OfDocuments)
)]
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), Problem> {
    administers(&caller)?;
    let Wanted { name, holder, grants, expires, reason } = changes::read(body)?;
    if grants.len() > MAX_GRANTS {
        return Err(Problem::new(Kind::Usage, "a key has at most 100 grants"));
    }
    let expires = expires.map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| Problem::new(Kind::Usage, "`expires` is no time like 2026-11-21T20:00:00Z"))?;
    let wanted = WantedKey { holder: holder.unwrap_or_else(|| name.clone()), name, grants, expires };
    let (key, outcome) = app.blocking(move |app| app.states.add_key(&caller.author(), &reason, &wanted)).await?;
    Ok(shown_once(&key, &outcome))
}

/// Disables a key, for ever.
#[utoipa::path(
    post, path = "/v1/keys/{id}/disable", tag = "keys", params(("id" = String, Path, description = "The key's id")),
    responses((status = 200, body = Done), Refusals)
)]
pub async fn disable(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    administers(&caller)?;
    app.blocking(move |app| app.states.disable_key(&caller.author(), &id)).await?;
    Ok(Json(Done {}))
}

/// How a key is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    overlap_seconds: u64,
}

/// Replaces a key by another of the same rights. The old one goes on counting for a while.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path, description = "The key's id")),
    request_body = Rotation,
    responses((status = 201, body = NewKeyAnswer), (status = 202, body = NewKeyAnswer), Refusals, OfDocuments)
)]
pub async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Json<Rotation>, JsonRejection>,
) -> Result<(StatusCode, Json<NewKeyAnswer>), Problem> {
    administers(&caller)?;
    let overlap = Duration::from_secs(changes::read(body)?.overlap_seconds.min(MAX_OVERLAP));
    let (key, outcome) = app.blocking(move |app| app.states.rotate_key(&caller.author(), &id, overlap)).await?;
    Ok(shown_once(&key, &outcome))
}
