//! Who asks, and what they may do.

use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::app::Caller;

/// What the registry knows of whoever asks. `grants` is what they may of themselves; policies may permit and forbid more.
pub async fn show(Extension(Caller { principal, .. }): Extension<Caller>) -> Json<Value> {
    Json(json!({
        "id": principal.id, "name": principal.name, "holder": principal.holder, "means": principal.means,
        "groups": principal.groups, "acr": principal.acr, "amr": principal.amr, "grants": principal.grants,
    }))
}
