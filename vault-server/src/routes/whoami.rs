//! Who asks, and what they may do.

use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::identity::Principal;

/// What the registry knows of whoever asks.
pub async fn show(Extension(principal): Extension<Principal>) -> Json<Value> {
    Json(json!({ "id": principal.id, "name": principal.name, "grants": principal.grants }))
}
