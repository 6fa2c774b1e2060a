//! Who is behind the pseudonyms of the log.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};

use super::api::Refusals;
use crate::{
    app::{App, Caller},
    people::Person,
    problem::Problem,
    rights::{Need, Permission},
};

/// Somebody, for those who audit.
#[utoipa::path(
    get, path = "/v1/people/{pseudonym}", tag = "log", params(("pseudonym" = String, Path, description = "An actor of the log")),
    responses((status = 200, body = Person), Refusals)
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(pseudonym): Path<String>,
) -> Result<Json<Person>, Problem> {
    Need::of(&[Permission::Audit]).granted_by(&caller.rights)?;
    Ok(Json(app.blocking(move |app| app.people.resolve(&pseudonym)).await?))
}
