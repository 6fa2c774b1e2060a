//! Objects: created once, read whole or in ranges, deleted by garbage collection alone.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use vault_core::{
    Error,
    error::Kind,
    manifest::MAX_MANIFEST,
    names::{ArtifactDigest, ChannelName, VersionName},
    store::Created,
    vault::{ObjectName, names, publishes},
};

use super::{
    api::{OfObjects, Refusals},
    body::{self, Content},
    check_vault, links,
};
use crate::{
    app::{App, Caller},
    policy::Rights,
    problem::Problem,
    rights::{Need, Permission, Resource},
};

/// For how long an object that is refused is read all the same.
const DISCARDING: Duration = Duration::from_secs(10);

/// Reads a path as the vault has it. Nothing in one needs an escape, so an escaped one is another spelling.
pub(super) fn named(app: &App, vault: &str, path: &str, raw: &str) -> Result<ObjectName, Problem> {
    check_vault(app, vault)?;
    let name = if raw.contains('%') { None } else { ObjectName::parse(path) };
    name.ok_or_else(|| Problem::new(Kind::Usage, "this is not the path of anything in a vault"))
}

/// An object, or a range of it.
#[utoipa::path(
    get, path = "/v1/vaults/{vault}/objects/{*path}", tag = "objects",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the object, not escaped"),
        ("range" = Option<String>, Header, description = "One range of bytes"),
        ("if-none-match" = Option<String>, Header, description = "An entity tag"),
    ),
    responses(
        (status = 200, description = "The object", body = [u8], content_type = "application/octet-stream"),
        (status = 206, description = "A range of it", body = [u8], content_type = "application/octet-stream"),
        (status = 304, description = "It is what the tag says"), Refusals, OfObjects)
)]
pub async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let name = named(&app, &vault, &path, request.uri().path())?;
    Need::to_read(&name).granted_by(&caller.rights)?;
    let there = path.clone();
    let found = app
        .blocking(move |app| {
            let Some(entry) = app.store.stat(&there)? else { return Ok(None) };
            Ok(Some((entry.modified, app.store.open_sized(&there, entry.size)?)))
        })
        .await?;
    let Some((modified, object)) = found else {
        return Err(Problem::new(Kind::NotFound, "there is no such object"));
    };
    let (length, tag) = (object.len(), tag(&name, object.len(), modified));
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|value| *value == tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let range = range(request.headers(), length)?;
    let (status, from, to) =
        range.map_or((StatusCode::OK, 0, length), |(from, to)| (StatusCode::PARTIAL_CONTENT, from, to));
    let body = if request.method() == Method::HEAD || from == to {
        Body::empty()
    } else {
        let place = app.gauges.transfer(&caller.principal.id).await?;
        body::outgoing(Arc::from(object), from..to, place, &app.limits)
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, (to - from).into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, tag);
    if let Ok(value) = HeaderValue::from_str(&http_date(modified)) {
        headers.insert(header::LAST_MODIFIED, value);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{length}", to - 1))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// An object never changes: content has its name for a tag, everything else the time at which it was stored.
fn tag(name: &ObjectName, length: u64, modified: Timestamp) -> HeaderValue {
    let text = match name {
        ObjectName::Content(hash) => format!("\"{hash}\""),
        _ => format!("\"{length}-{}\"", modified.as_millisecond()),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// RFC 9110 section 5.6.7.
fn http_date(time: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

/// The one range that is asked for. Several at a time are not given: nobody needs them, and they cost more than they bring.
fn range(headers: &HeaderMap, length: u64) -> Result<Option<(u64, u64)>, Problem> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let unfit =
        || Problem::http(StatusCode::RANGE_NOT_SATISFIABLE, format!("no such range: the object has {length} bytes"));
    let number =
        |text: &str| -> Option<u64> { text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten() };
    let (first, last) =
        value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-')).ok_or_else(unfit)?;
    let (from, to) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(length)),
        (Some(first), None) if last.is_empty() => (first, length),
        (None, Some(suffix)) if first.is_empty() => (length.saturating_sub(suffix), length),
        _ => return Err(unfit()),
    };
    if from < to { Ok(Some((from, to))) } else { Err(unfit()) }
}

/// Creates an object, if it is what its path says and nothing has its name.
#[utoipa::path(
    put, path = "/v1/vaults/{vault}/objects/{*path}", tag = "objects", request_body(content = [u8], content_type = "application/octet-stream"),
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the object, not escaped"),
        ("if-none-match" = String, Header, description = "`*`: objects are only ever created"),
    ),
    responses((status = 201, description = "It is stored, and durable"), Refusals, OfObjects)
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    match acceptable(&app, &caller, (&vault, &path), &request) {
        Ok((name, length)) => {
            let _place = app.gauges.transfer(&caller.principal.id).await?;
            store(&app, &caller, (name, path), length, request.into_body()).await
        }
        Err(problem) => {
            // Whoever is still sending would see a broken connection instead of the answer: they get a moment to end.
            let length = announced(&request).unwrap_or(0).min(app.limits.max_object);
            let rest = body::discard(request.into_body(), length, &app.limits);
            let _ = tokio::time::timeout(DISCARDING, rest).await;
            Err(problem)
        }
    }
}

fn announced(request: &Request<Body>) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// What is to be created and how long it is, if that may be, as far as is known before the body.
fn acceptable(
    app: &App,
    caller: &Caller,
    (vault, path): (&str, &str),
    request: &Request<Body>,
) -> Result<(ObjectName, u64), Problem> {
    let name = named(app, vault, path, request.uri().path())?;
    Need::to_create(&name).granted_by(&caller.rights)?;
    if request.headers().get(header::IF_NONE_MATCH).is_none_or(|value| value != "*") {
        let detail = "objects are only ever created: send `If-None-Match: *`";
        return Err(Problem::http(StatusCode::PRECONDITION_REQUIRED, detail));
    }
    let Some(length) = announced(request) else {
        return Err(Problem::http(StatusCode::LENGTH_REQUIRED, "send the length of the object"));
    };
    let most = name.max_length().unwrap_or(app.limits.max_object).min(app.limits.max_object);
    if length > most {
        let detail = format!("the object has {length} bytes, and may have {most}");
        return Err(Problem::http(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok((name, length))
}

async fn store(
    app: &Arc<App>,
    caller: &Caller,
    (name, path): (ObjectName, String),
    length: u64,
    body: Body,
) -> Result<StatusCode, Problem> {
    let receive = body::Incoming::new(body, length, &app.limits);
    let deadline = app.limits.body(length);
    let late = |_| Problem::http(StatusCode::REQUEST_TIMEOUT, "the object took too long to arrive");
    let stored = if let ObjectName::Content(hash) = name {
        let stored = async {
            let content = Content::start(app, &path, hash, length).await?.receive(receive).await?;
            // It took a while: do they still count?
            Need::to_create(&name).granted_by(&app.again(caller).await?)?;
            content.finish().await
        };
        tokio::time::timeout(deadline, stored).await.map_err(late)??
    } else {
        let _room = app.gauges.memory(length).await?;
        let bytes = tokio::time::timeout(deadline, receive.whole()).await.map_err(late)??;
        document(app, caller, &name, &path, bytes).await?
    };
    match stored {
        Created::New => Ok(StatusCode::CREATED),
        Created::Exists => Err(Error::Conflict { what: path }.into()),
    }
}

/// Everything that is not content is small, and judged before it is stored.
async fn document(
    app: &Arc<App>,
    caller: &Caller,
    name: &ObjectName,
    path: &str,
    bytes: Vec<u8>,
) -> Result<Created, Problem> {
    if let ObjectName::Manifest(_) = name {
        links::all_is_right(app, caller, &bytes).await?;
    }
    if let Some((_, artifact)) = names(path, &bytes) {
        let manifest = format!("artifacts/{}/manifest.json", artifact.to_hex());
        if let Some(manifest) = app.blocking(move |app| app.store.read(&manifest, MAX_MANIFEST)).await? {
            links::all_is_right(app, caller, &manifest).await?;
        }
    }
    let rights = app.again(caller).await?;
    Need::to_create(name).granted_by(&rights)?;
    let (there, document, artifact) = (path.to_owned(), bytes.clone(), artifact(name));
    let (about, owner) = app
        .blocking(move |app| {
            let owner = artifact.map(|artifact| app.owners.of(artifact)).transpose()?.flatten();
            Ok((app.admissions.about(&there, &document)?, owner))
        })
        .await?;
    may_say(&rights, path, &bytes, about)?;
    // Administrators mend what went wrong with somebody's.
    let owner = owner.filter(|_| Need::of(&[Permission::Admin]).granted_by(&rights).is_err());
    if let Some(model) = &owner {
        Need::to_create_of(name, model).granted_by(&rights)?;
    }
    let about_artifact = self::artifact(name);
    let (path, is_root, who) = (path.to_owned(), matches!(name, ObjectName::TrustRoot(..)), caller.principal.clone());
    app.blocking(move |app| {
        app.admissions.current()?.judge_of(&path, &bytes, owner.as_ref())?;
        if let Some(artifact) = about_artifact {
            app.owners.begin(artifact, &who.id)?;
        }
        let created = app.store.create(&path, &bytes)?;
        // Also when it was there: whoever repeats a request wants to know that it is logged, too.
        let is_there = || app.store.read(&path, bytes.len() as u64).is_ok_and(|there| there.as_ref() == Some(&bytes));
        if created == Created::New || is_there() {
            if let Some((model, artifact)) = names(&path, &bytes) {
                app.owners.note(artifact, &model, Some(&who.id))?;
            }
            app.chronicle.record(&path, &bytes, Some(&who), created == Created::Exists)?;
        }
        if is_root {
            app.admissions.forget();
        }
        Ok(created)
    })
    .await
}

/// The artifact that a record is about, which its path names.
fn artifact(name: &ObjectName) -> Option<ArtifactDigest> {
    match name {
        ObjectName::Recipients(artifact, _)
        | ObjectName::Attestation(artifact, _)
        | ObjectName::Shredding(artifact, _) => Some(*artifact),
        _ => None,
    }
}

/// What a proposal, a revocation or the end of a session is about is in it, not in its path.
fn may_say(
    rights: &Rights,
    path: &str,
    bytes: &[u8],
    about: Option<(VersionName, Option<ChannelName>)>,
) -> Result<(), Problem> {
    use Permission::{Approve, Promote, Seal, Sign};
    if let Some(version) = publishes(path, bytes) {
        return Ok(Need::any(&[Seal], Resource::Model(&version.model)).granted_by(rights)?);
    }
    match about {
        None => Ok(()),
        Some((_, Some(channel))) => Ok(Need::any(&[Promote, Approve], Resource::Channel(&channel)).granted_by(rights)?),
        Some((version, None)) => Ok(Need::any(&[Sign, Approve], Resource::Model(&version.model)).granted_by(rights)?),
    }
}

/// Deletes an object.
#[utoipa::path(
    delete, path = "/v1/vaults/{vault}/objects/{*path}", tag = "objects",
    params(
        ("vault" = String, Path, description = "The name of the vault"),
        ("path" = String, Path, description = "The path of the object, not escaped"),
    ),
    responses((status = 204, description = "It is gone"), Refusals, OfObjects)
)]
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((vault, path)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    let name = named(&app, &vault, &path, request.uri().path())?;
    Need::to_delete(&name).granted_by(&caller.rights)?;
    app.blocking(move |app| {
        // Before it is gone: what cannot be logged is not done.
        app.chronicle.removal(&path, &caller.principal)?;
        app.store.delete(&path)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_given_and_several_are_not() {
        let ask = |text: &str| {
            let headers = [(header::RANGE, HeaderValue::from_str(text).expect("a value"))].into_iter().collect();
            range(&headers, 10).map_err(|problem| problem.status())
        };
        assert_eq!(ask("bytes=0-0"), Ok(Some((0, 1))));
        assert_eq!(ask("bytes=2-"), Ok(Some((2, 10))));
        assert_eq!(ask("bytes=-3"), Ok(Some((7, 10))));
        assert_eq!(ask("bytes=-99"), Ok(Some((0, 10))));
        assert_eq!(ask("bytes=5-18446744073709551615"), Ok(Some((5, 10))));
        let many = format!("bytes=0-0{}", ",0-0".repeat(5000));
        for bad in [
            "bytes=10-",
            "bytes=3-2",
            "bytes=-0",
            "bytes=",
            "bytes=-",
            "lines=1-2",
            "bytes=0-0,2-3",
            "bytes=+1-2",
            &many,
        ] {
            assert_eq!(ask(bad), Err(416), "{bad}");
        }
        assert_eq!(range(&HeaderMap::new(), 10).map_err(|problem| problem.status()), Ok(None));
    }
}
