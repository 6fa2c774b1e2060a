//! The objects of a vault behind a registry, as an object store.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use object_store::{
    Attributes, CopyOptions, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    client::{HttpRequestBody, HttpResponse},
    path::Path,
};
use serde::Deserialize;

use super::{
    Refused,
    client::{Client, unreachable},
    direct::{Direct, Landed},
};
use crate::store::{Connection, bucket::Throttle};

type Result<T> = object_store::Result<T>;
type Listing = BoxStream<'static, Result<ObjectMeta>>;

/// Entries that are asked for at a time.
const PAGE: usize = 1000;
/// The longest page that is read, in bytes: a thousand of the longest paths, twice.
const MAX_PAGE: usize = 4 << 20;

/// RFC 9110 section 15.3.7.
pub(super) const PARTIAL_CONTENT: u16 = 206;

/// One page of a listing.
#[derive(Deserialize)]
struct WirePage {
    objects: Vec<WireEntry>,
    more: bool,
}

#[derive(Deserialize)]
struct WireEntry {
    path: String,
    size: u64,
    modified: String,
}

impl Client {
    fn target(&self, location: &Path) -> String {
        format!("/v1/vaults/{}/objects/{location}", self.address.vault())
    }

    async fn page(&self, prefix: Option<&Path>, after: &str) -> Result<WirePage> {
        let escape = |text: &str| text.replace('+', "%2B");
        let prefix = prefix.map_or_else(String::new, |prefix| escape(prefix.as_ref()));
        let (vault, after) = (self.address.vault(), escape(after));
        let target = format!("/v1/vaults/{vault}/objects?prefix={prefix}&after={after}&limit={PAGE}");
        let answer = self.send(self.request("GET", &target, HttpRequestBody::empty())?).await?;
        let body = Self::body(answer, MAX_PAGE).await?;
        serde_json::from_slice(&body).map_err(|error| unfit(&format!("a listing: {error}")))
    }
}

/// The objects of a vault.
#[derive(Debug)]
pub(in crate::store) struct Objects(Arc<Client>, Direct);

impl Objects {
    /// As [`Client::new`].
    pub(in crate::store) fn new(
        url: &str,
        connection: &Connection,
        line: &Arc<Throttle>,
    ) -> crate::error::Result<Self> {
        let client = Client::new(url, connection, line)?;
        let direct = Direct::new(&connection.access, &client.address, line)?;
        Ok(Self(Arc::new(client), direct))
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Objects {
    /// Why an object is not given, if asking for its first byte says more.
    async fn explained(&self, location: &Path, error: object_store::Error) -> object_store::Error {
        let ask = async {
            let mut request = self.0.request("GET", &self.0.target(location), HttpRequestBody::empty())?;
            let first = "bytes=0-0".parse().map_err(|_| unfit("a range cannot be asked for"))?;
            request.headers_mut().insert("range", first);
            self.0.send(request).await
        };
        ask.await.err().unwrap_or(error)
    }
}

/// What is left of a listing.
struct Walk {
    client: Arc<Client>,
    prefix: Option<Path>,
    after: String,
    page: VecDeque<ObjectMeta>,
    more: bool,
}

impl Walk {
    async fn next(mut self) -> Result<Option<(ObjectMeta, Self)>> {
        while self.page.is_empty() && self.more {
            let page = self.client.page(self.prefix.as_ref(), &self.after).await?;
            self.more = page.more && !page.objects.is_empty();
            for entry in page.objects {
                // In order, or a registry could make a listing last for ever.
                if entry.path <= self.after {
                    return Err(unfit("a listing is not in order"));
                }
                self.after.clone_from(&entry.path);
                let location = Path::parse(&entry.path)?;
                if self.prefix.as_ref().is_some_and(|prefix| !location.prefix_matches(prefix)) {
                    return Err(unfit("a listing has objects of another folder"));
                }
                self.page.push_back(meta(location, entry.size, entry.modified.parse().ok()));
            }
        }
        Ok(self.page.pop_front().map(|meta| (meta, self)))
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return Err(unsupported("replacing objects"));
        }
        let stored = PutResult { e_tag: None, version: None, extensions: Extensions::default() };
        match self.1.create(&self.0, location, &payload, &options.extensions).await {
            Some(Landed::New) => return Ok(stored),
            Some(Landed::Exists) => {
                let source = "it was there when it was to go straight to the bucket".into();
                return Err(object_store::Error::AlreadyExists { path: location.to_string(), source });
            }
            None => {}
        }
        let mut request = self.0.request("PUT", &self.0.target(location), payload.into())?;
        *request.extensions_mut() = options.extensions;
        for (name, value) in [("if-none-match", "*"), ("content-type", "application/octet-stream")] {
            let value = value.parse().map_err(|_| unfit("a condition cannot be asked for"))?;
            request.headers_mut().insert(name, value);
        }
        match self.0.send(request).await {
            Ok(_) => Ok(stored),
            Err(error) if Refused::within(&error).is_some_and(Refused::is_taken) => {
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
            }
            Err(error) => Err(error),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(range) = options.range.as_ref().filter(|_| !options.head)
            && let Some(answer) = self.1.read(&self.0, location, range).await
        {
            return given(location, answer);
        }
        let method = if options.head { "HEAD" } else { "GET" };
        let mut request = self.0.request(method, &self.0.target(location), HttpRequestBody::empty())?;
        if let Some(range) = &options.range {
            let text = match range {
                GetRange::Bounded(range) => format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
                GetRange::Offset(from) => format!("bytes={from}-"),
                GetRange::Suffix(last) => format!("bytes=-{last}"),
            };
            let value = text.parse().map_err(|_| unfit("a range cannot be asked for"))?;
            request.headers_mut().insert("range", value);
        }
        let answer = match self.0.send(request).await {
            // The refusal of a HEAD has no body that would say why.
            Err(error) if options.head && Refused::within(&error).is_some_and(Refused::is_unexplained) => {
                return Err(self.explained(location, error).await);
            }
            Err(error) if Refused::within(&error).is_some_and(Refused::is_absent) => {
                return Err(object_store::Error::NotFound { path: location.to_string(), source: Box::new(error) });
            }
            other => other?,
        };
        given(location, answer)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = Arc::clone(&self.0);
        let delete = move |location: Path| {
            let client = Arc::clone(&client);
            async move {
                let request = client.request("DELETE", &client.target(&location), HttpRequestBody::empty())?;
                client.send(request).await.map(|_| location)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> Listing {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> Listing {
        let walk = Walk {
            client: Arc::clone(&self.0),
            prefix: prefix.cloned(),
            after: offset.to_string(),
            page: VecDeque::new(),
            more: true,
        };
        stream::try_unfold(walk, Walk::next).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unsupported("listing of folders"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("uploading in pieces"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("copying on the server"))
    }
}

fn unsupported(what: &str) -> object_store::Error {
    object_store::Error::NotSupported { source: format!("{what} is nothing a registry does").into() }
}

fn unfit(why: &str) -> object_store::Error {
    Refused::unfit(format!("the registry does not keep to its protocol: {why}")).into_store()
}

fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// An object or a range of it, as it was answered.
fn given(location: &Path, answer: HttpResponse) -> Result<GetResult> {
    let (size, range) = extent(&answer)?;
    let meta = meta(location.clone(), size, modified(&answer));
    let body = answer.into_body().bytes_stream().map_err(unreachable);
    Ok(GetResult {
        payload: GetResultPayload::Stream(body.boxed()),
        meta,
        range,
        attributes: Attributes::new(),
        extensions: Extensions::default(),
    })
}

/// The length of an object, and which bytes of it an answer holds.
fn extent(answer: &HttpResponse) -> Result<(u64, Range<u64>)> {
    if answer.status().as_u16() == PARTIAL_CONTENT {
        let parse = |text: &str| {
            let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
            (first <= last && last < size).then_some((size, first..last + 1))
        };
        return header(answer, "content-range").and_then(parse).ok_or_else(|| unfit("a range is not described"));
    }
    let size = header(answer, "content-length").and_then(|text| text.parse().ok());
    size.map(|size: u64| (size, 0..size)).ok_or_else(|| unfit("an answer has no length"))
}

/// When an object was stored, to the second.
fn modified(answer: &HttpResponse) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(header(answer, "last-modified")?).ok()?;
    Some(time.timestamp())
}

fn meta(location: Path, size: u64, modified: Option<Timestamp>) -> ObjectMeta {
    let millis = modified.map_or(0, Timestamp::as_millisecond);
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    ObjectMeta { location, last_modified: time.into(), size, e_tag: None, version: None }
}
