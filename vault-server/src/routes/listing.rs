//! Listings of objects, in pages.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};
use vault_core::{
    store::{check_path, check_prefix},
    vault::ObjectName,
};

use super::check_vault;
use crate::{
    app::App,
    identity::Principal,
    problem::Problem,
    rights::{Grant, Need},
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

/// The next page of what whoever asks may see. The rest is not there for them.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(vault): Path<String>,
    part: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    check_vault(&app, &vault)?;
    let unfit = |error: axum::extract::rejection::QueryRejection| Problem::http(error.status(), error.body_text());
    let Query(Part { prefix, after, limit }) = part.map_err(unfit)?;
    check_prefix(&prefix)?;
    if !after.is_empty() {
        check_path(&after)?;
    }
    let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let entries = app
        .blocking(move |app| {
            let keep = |path: &str| is_visible(path, &principal.grants);
            // One more says whether there is more.
            app.store.page(&prefix, &after, limit + 1, &keep)
        })
        .await?;
    let objects: Vec<_> = entries
        .iter()
        .take(limit)
        .map(|entry| json!({ "path": entry.path, "size": entry.size, "modified": entry.modified.to_string() }))
        .collect();
    Ok(Json(json!({ "objects": objects, "more": entries.len() > limit })))
}

/// Whether somebody with these grants may see an object. What has no place in a vault is nobody's.
fn is_visible(path: &str, grants: &[Grant]) -> bool {
    ObjectName::parse(path).is_some_and(|name| Need::to_read(&name).granted_by(grants).is_ok())
}
