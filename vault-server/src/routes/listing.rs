//! Listings of objects, in pages.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vault_core::{
    store::{Entry, check_path, check_prefix},
    vault::ObjectName,
};

use super::{api::Refusals, check_vault};
use crate::{
    app::{App, Caller},
    policy::Rights,
    problem::Problem,
    rights::Need,
};

/// The most entries of a page.
const MAX_PAGE: usize = 1000;

/// Which part of a listing is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

/// An object as it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listed {
    path: String,
    size: u64,
    modified: String,
}

/// A page of objects, in the byte order of their paths.
#[derive(Debug, Serialize, ToSchema)]
pub struct Objects {
    objects: Vec<Listed>,
    /// Whether there is more behind it.
    more: bool,
}

/// The next page of what whoever asks may see. The rest is not there for them.
#[utoipa::path(
    get, path = "/v1/vaults/{vault}/objects", tag = "objects",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("prefix" = Option<String>, Query, description = "A folder; everything without it"),
        ("after" = Option<String>, Query, description = "The path behind which the page begins: the last of the one before"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000, description = "The most entries"),
    ),
    responses((status = 200, body = Objects), Refusals)
)]
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    part: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Objects>, Problem> {
    check_vault(&app, &vault)?;
    let unfit = |error: axum::extract::rejection::QueryRejection| Problem::http(error.status(), error.body_text());
    let Query(Part { prefix, after, limit }) = part.map_err(unfit)?;
    check_prefix(&prefix)?;
    if !after.is_empty() {
        check_path(&after)?;
    }
    let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let place = app.gauges.listing(&caller.principal.id).await?;
    let entries = app
        .blocking(move |app| {
            // Held to the end, even if whoever asked has left.
            let _place = place;
            let seen = RefCell::new(HashMap::new());
            let keep = |path: &str| is_visible(path, &prefix, &caller.rights, &seen);
            // One more says whether there is more.
            app.store.page(&prefix, &after, limit + 1, &keep)
        })
        .await?;
    let more = entries.len() > limit;
    let listed = |entry: Entry| Listed { path: entry.path, size: entry.size, modified: entry.modified.to_string() };
    Ok(Json(Objects { objects: entries.into_iter().take(limit).map(listed).collect(), more }))
}

/// Whether somebody with these rights may see an object in a listing below a prefix. What has no place in a vault is nobody's. What is
/// decided of a model or channel is decided once for a page.
fn is_visible(path: &str, prefix: &str, rights: &Rights, seen: &RefCell<HashMap<String, bool>>) -> bool {
    let Some(name) = ObjectName::parse(path) else { return false };
    let need = Need::to_list(&name, prefix);
    *seen.borrow_mut().entry(need.about()).or_insert_with(|| need.granted_by(rights).is_ok())
}
