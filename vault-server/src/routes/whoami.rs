//! Who asks, and what they may do.

use std::collections::BTreeSet;

use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::Refusals;
use crate::{app::Caller, identity::Means, rights::Grant};

/// Whoever asks, as the registry knows them.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhoAmI {
    id: String,
    name: String,
    /// The person behind it.
    holder: String,
    means: Means,
    groups: BTreeSet<String>,
    acr: Option<String>,
    amr: BTreeSet<String>,
    /// What they may of themselves; policies may permit and forbid more.
    grants: Vec<Grant>,
}

/// Who asks.
#[utoipa::path(get, path = "/v1/whoami", tag = "identity", responses((status = 200, body = WhoAmI), Refusals))]
pub async fn show(Extension(Caller { principal, .. }): Extension<Caller>) -> Json<WhoAmI> {
    Json(WhoAmI {
        id: principal.id,
        name: principal.name,
        holder: principal.holder,
        means: principal.means,
        groups: principal.groups,
        acr: principal.acr,
        amr: principal.amr,
        grants: principal.grants,
    })
}
