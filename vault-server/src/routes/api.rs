//! The description of the API (OpenAPI 3.1), made of the code that answers.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::{
    IntoResponses, Modify, OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, OpenApi as Document, RefOr, Response, ResponseBuilder,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

/// A refusal (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is written by `problem`, and described here")]
pub(super) struct Refusal {
    /// The class as a URI.
    r#type: String,
    title: String,
    status: u16,
    /// The class: what `mvault` makes its exit code of.
    kind: String,
    detail: String,
}

/// What any request may be answered with.
const ANYWHERE: [StatusCode; 12] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Refusals that any request may meet.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        ANYWHERE.into_iter().map(|status| (status.as_str().to_owned(), RefOr::T(refusal(status)))).collect()
    }
}

/// Refusals that only documents in a body meet.
pub(super) struct OfDocuments;

impl IntoResponses for OfDocuments {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        [(status.as_str().to_owned(), RefOr::T(refusal(status)))].into()
    }
}

/// Refusals that only objects meet.
pub(super) struct OfObjects;

impl IntoResponses for OfObjects {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let some = [StatusCode::LENGTH_REQUIRED, StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::PRECONDITION_REQUIRED];
        some.into_iter().map(|status| (status.as_str().to_owned(), RefOr::T(refusal(status)))).collect()
    }
}

fn refusal(status: StatusCode) -> Response {
    let content = ContentBuilder::new().schema(Some(Refusal::schema())).build();
    let reason = status.canonical_reason().unwrap_or("refused");
    ResponseBuilder::new().description(reason).content("application/problem+json", content).build()
}

/// The parts that are not about one route.
#[derive(OpenApi)]
#[openapi(info(title = "Model Vault registry", description = "See docs/API.md"), modifiers(&Keys))]
pub(super) struct Api;

/// Keys and tokens.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", bearer);
        document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    }
}

/// The document as it is served: a path that takes the rest of a URL is written as OpenAPI has it.
pub(super) fn served(mut document: Document) -> Document {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*path}", "{path}"), item)).collect();
    document
}
