//! Presigned URLs: content straight between a client and the bucket, where the bucket has such.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, Request, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use vault_core::{
    Error,
    error::Kind,
    manifest::Manifest,
    parts::object_path,
    store::{Presigned, Purpose},
    vault::ObjectName,
};

use super::{api::Refusals, objects::named};
use crate::{
    app::{App, Caller},
    direct::Settled,
    problem::Problem,
    rights::Need,
};

/// What a client does instead of asking the registry for an object itself.
#[derive(Serialize, ToSchema)]
pub struct Link {
    /// The URL, with headers that the request must have; none where content goes through the registry.
    link: Option<Signed>,
}

/// A presigned URL.
#[derive(Serialize, ToSchema)]
pub struct Signed {
    /// The URL.
    url: String,
    /// Headers that the request must have.
    headers: BTreeMap<String, String>,
    /// When it ends.
    expires: String,
}

impl From<Presigned> for Signed {
    fn from(presigned: Presigned) -> Self {
        let Presigned { url, headers, expires } = presigned;
        Self { url, headers, expires: expires.to_string() }
    }
}

/// It is there, and what its name says.
#[derive(Debug, Serialize, ToSchema)]
pub struct Landed {}

/// The hash of the content that a path names. Everything else is small, and goes through the registry.
fn content(app: &App, vault: &str, path: &str, request: &Request) -> Result<(ObjectName, blake3::Hash), Problem> {
    match named(app, vault, path, request.uri().path())? {
        ObjectName::Content(hash) => Ok((ObjectName::Content(hash), hash)),
        _ => Err(Problem::new(Kind::Usage, "only content goes past the registry: paths that begin with `objects/`")),
    }
}

async fn link(app: &Arc<App>, path: String, purpose: Purpose) -> Result<Json<Link>, Problem> {
    let link = app
        .blocking(move |app| {
            if app.direct.works(&app.store) { app.store.presign(&path, purpose, app.limits.link()) } else { Ok(None) }
        })
        .await?;
    Ok(Json(Link { link: link.map(Signed::from) }))
}

/// A URL to read content with.
#[utoipa::path(
    get, path = "/v1/vaults/{vault}/links/{*path}", tag = "links",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the content, not escaped"),
    ),
    responses((status = 200, body = Link), Refusals)
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Link>, Problem> {
    let (name, _) = content(&app, &vault, &path, &request)?;
    Need::to_read(&name).granted_by(&caller.rights)?;
    link(&app, path, Purpose::Read).await
}

/// A URL to create content with. It is not there for anybody until the registry was told that it landed.
#[utoipa::path(
    post, path = "/v1/vaults/{vault}/links/{*path}", tag = "links",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the content, not escaped"),
    ),
    responses((status = 200, body = Link), Refusals)
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Link>, Problem> {
    let (name, hash) = content(&app, &vault, &path, &request)?;
    Need::to_create(&name).granted_by(&caller.rights)?;
    let there = app.blocking(move |app| app.direct.is_right(&app.store, &hash)).await?;
    if there {
        return Err(Error::Conflict { what: path }.into());
    }
    link(&app, path, Purpose::Create).await
}

/// Content was stored by a presigned URL: it is read back and hashed. What is not what its name says is removed.
#[utoipa::path(
    put, path = "/v1/vaults/{vault}/links/{*path}", tag = "links",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the content, not escaped"),
    ),
    responses((status = 200, body = Landed), Refusals)
)]
pub async fn landed(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Landed>, Problem> {
    let (name, hash) = content(&app, &vault, &path, &request)?;
    Need::to_create(&name).granted_by(&caller.rights)?;
    match settle(&app, &caller, hash).await? {
        Settled::Right => Ok(Json(Landed {})),
        Settled::Absent | Settled::Removed => Err(Error::NotFound { what: path }.into()),
    }
}

/// Of what a manifest names, all that is there is what its name says. Where nothing goes past the registry there is nothing to see to.
pub(super) async fn all_is_right(app: &Arc<App>, caller: &Caller, manifest: &[u8]) -> Result<(), Problem> {
    if !app.blocking(|app| Ok(app.direct.may_be(&app.store))).await? {
        return Ok(());
    }
    let manifest = Manifest::parse(manifest)?;
    for (hash, _) in manifest.objects() {
        // What is not there yet can still come: a copy brings the manifest first. Before a version names it, it is looked at again.
        if settle(app, caller, hash).await? == Settled::Removed {
            return Err(Error::NotFound { what: object_path(&hash) }.into());
        }
    }
    Ok(())
}

/// Reads content back, if it was not read before.
async fn settle(app: &Arc<App>, caller: &Caller, hash: blake3::Hash) -> Result<Settled, Problem> {
    let place = app.gauges.reading(&caller.principal.id).await?;
    app.blocking(move |app| {
        // Held to the end, even if whoever asked has left.
        let _place = place;
        app.direct.settle(&app.store, &hash)
    })
    .await
}
