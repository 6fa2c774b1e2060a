//! Signing URLs for others, and trying whether the store honours what was signed.
//!
//! Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use jiff::Timestamp;
use object_store::{
    ObjectStoreExt as _,
    client::{HttpClient, HttpConnector as _, HttpRequestBody, HttpResponse},
    path::Path,
    signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer},
};

use super::{Connector, Shared, connect::options, location};
use crate::{
    error::{Error, Result},
    parts::object_path,
    secret::fill_random,
    store::{Deletion, Presigned, Purpose},
};

/// How long a URL of a trial counts.
const LIFETIME: Duration = Duration::from_mins(5);
/// How long one request of a trial may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a URL counts that is to end in a trial, and how long to wait then. Clocks may be apart by what is between.
const SHORT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(8));

/// What a signature covers besides the URL: such a request replaces nothing.
const CONDITION: (&str, &str) = ("if-none-match", "*");

/// What signs, and what requests are tried with.
pub(super) struct Signing {
    signer: Arc<dyn Signer>,
    /// Where the vault is in the bucket.
    prefix: Path,
    http: HttpClient,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer's own Debug may show its configuration.
        f.debug_struct("Signing").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Signing {
    pub(super) fn new(
        signer: Arc<dyn Signer>,
        prefix: Path,
        connector: &Connector,
        allow_http: bool,
    ) -> object_store::Result<Self> {
        let http = connector.connect(&options().with_allow_http(allow_http))?;
        Ok(Self { signer, prefix, http })
    }

    async fn sign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Presigned> {
        let location: Path = self.prefix.parts().chain(location(path)?.parts()).collect();
        let mut headers = BTreeMap::new();
        let mut signed = SignedUrlOptions::new();
        if purpose == Purpose::Create {
            let (name, value) = CONDITION;
            headers.insert(name.to_owned(), value.to_owned());
            signed = signed.with_signed_header(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let method = match purpose {
            Purpose::Read => Method::GET,
            Purpose::Create => Method::PUT,
            Purpose::Delete => Method::DELETE,
        };
        let expires = Timestamp::now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let url = self.signer.signed_url_opts(method, &location, lifetime, &signed).await;
        let url = url.map_err(|error| Error::storage(path)(io::Error::from(error)))?;
        Ok(Presigned { url: url.into(), headers, expires })
    }

    /// The status of the answer to a request with a presigned URL, and its body if that is as short as the trial's.
    async fn send(&self, presigned: &Presigned, purpose: Purpose, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let request = presigned.request(purpose.method(), HttpRequestBody::from(body.to_vec()));
        let request = request.ok_or_else(|| failed("a URL cannot be asked for"))?;
        let answer = tokio::time::timeout(PATIENCE, self.http.execute(request)).await;
        let answer = answer.map_err(|_| failed("no answer"))?.map_err(|error| failed(&error.to_string()))?;
        let status = answer.status().as_u16();
        Ok((status, beginning(answer, 64).await))
    }

    /// Does what a URL is for, and what it is not for.
    async fn holds(&self, path: &str, bytes: &[u8]) -> Result<bool> {
        let url = self.sign(path, Purpose::Create, LIFETIME).await?;
        let unconditional = Presigned { headers: BTreeMap::new(), ..url.clone() };
        let refused: [(Presigned, Purpose, &[u8]); 3] = [
            // Without the condition somebody could replace what is there.
            (unconditional.clone(), Purpose::Create, bytes),
            (elsewhere(&url), Purpose::Create, bytes),
            // What may be created may not be read thereby.
            (unconditional, Purpose::Read, b""),
        ];
        for (url, purpose, body) in &refused {
            if !is_refused(self.send(url, *purpose, body).await?.0)? {
                return Ok(false);
            }
        }
        let read = self.sign(path, Purpose::Read, LIFETIME).await?;
        let is_created = !is_refused(self.send(&url, Purpose::Create, bytes).await?.0)?;
        let is_once = is_refused(self.send(&url, Purpose::Create, bytes).await?.0)?;
        let (status, found) = self.send(&read, Purpose::Read, b"").await?;
        let is_read = !is_refused(status)? && found == bytes;
        let is_for_reading = is_refused(self.send(&read, Purpose::Create, bytes).await?.0)?;
        Ok(is_created && is_once && is_read && is_for_reading)
    }
}

impl Shared {
    pub(super) async fn presign(&self, path: &str, purpose: Purpose, lifetime: Duration) -> Result<Option<Presigned>> {
        match &self.signing {
            None => Ok(None),
            Some(signing) => signing.sign(path, purpose, lifetime).await.map(Some),
        }
    }

    /// Tries it, with an object that nobody names.
    pub(super) async fn presigns(&self) -> Result<bool> {
        let Some(signing) = &self.signing else { return Ok(false) };
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        let path = object_path(&blake3::hash(&bytes));
        let holds = signing.holds(&path, &bytes).await;
        // Garbage collection finds it, should this fail.
        let _ = self.store.delete(&location(&path)?).await;
        holds
    }

    /// Deletes an object for as long as a URL lasts.
    pub(super) async fn delete_by(&self, path: &str, permit: &Presigned) -> Deletion {
        let Some(signing) = &self.signing else { return Deletion::impossible(path) };
        let mut attempts = self.attempts(path);
        let mut is_answered = true;
        loop {
            let failure = match signing.send(permit, Purpose::Delete, b"").await {
                // Some say of what is absent that it is.
                Ok((200..300 | 404, _)) => return Deletion { result: Ok(()), is_answered },
                Ok((status @ (408 | 429 | 500..), _)) => {
                    // What stands between may give up on what goes on behind it.
                    is_answered &= status == 429;
                    io::Error::other(format!("HTTP status {status}"))
                }
                Ok((status, _)) => {
                    let why = format!("the store refuses to delete it by a signed URL: HTTP status {status}");
                    let error = Error::storage(path)(io::Error::new(io::ErrorKind::PermissionDenied, why));
                    return Deletion { result: Err(error), is_answered };
                }
                Err(error) => {
                    is_answered = false;
                    io::Error::other(error)
                }
            };
            if let Err(error) = attempts.wait(failure).await {
                return Deletion { result: Err(error), is_answered };
            }
        }
    }

    /// Tries it, with an object that is there.
    pub(super) async fn expires(&self, path: &str) -> Result<bool> {
        let Some(signing) = &self.signing else { return Ok(false) };
        let url = signing.sign(path, Purpose::Delete, SHORT.0).await?;
        let (status, _) = signing.send(&url, Purpose::Delete, b"").await?;
        // A server that knows no such requests may say of anything that it is absent, and another that it did what it did not.
        if !(200..300).contains(&status) || self.head(path).await?.is_some() {
            return Ok(false);
        }
        tokio::time::sleep(SHORT.1).await;
        // One that fails over such a question has not refused it.
        let (status, _) = signing.send(&url, Purpose::Delete, b"").await?;
        Ok((400..500).contains(&status) && ![404, 408, 429].contains(&status))
    }
}

/// The same URL for another object.
fn elsewhere(url: &Presigned) -> Presigned {
    let (path, query) = url.url.split_once('?').unwrap_or((&url.url, ""));
    Presigned { url: format!("{path}x?{query}"), ..url.clone() }
}

/// Whether a store refuses; one that is busy, or has failed, has said neither.
fn is_refused(status: u16) -> Result<bool> {
    match status {
        200..300 => Ok(false),
        408 | 429 => Err(failed("the store is busy")),
        400..500 => Ok(true),
        _ => Err(failed(&format!("HTTP status {status}"))),
    }
}

fn failed(why: &str) -> Error {
    Error::storage("trial of presigned URLs")(io::Error::other(why.to_owned()))
}

/// The first bytes of an answer.
async fn beginning(answer: HttpResponse, most: usize) -> Vec<u8> {
    let mut stream = answer.into_body().bytes_stream();
    let mut bytes = Vec::new();
    while bytes.len() < most
        && let Some(Ok(chunk)) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
    }
    bytes
}
