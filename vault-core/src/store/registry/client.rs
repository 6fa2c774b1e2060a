//! Requests to a registry and their answers.

use std::{error::Error as _, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse};
use reqwest::{Certificate, ClientBuilder, Identity, redirect::Policy};
use zeroize::Zeroizing;

use super::{Access, Address, Refused, Token};
use crate::{
    error::{Error, Result},
    store::{
        Connection,
        bucket::{Paced, Throttle},
    },
};

/// How long to wait for a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// What registries learn of this program.
pub(super) const AGENT: &str = concat!("model-vault/", env!("CARGO_PKG_VERSION"));

/// The most of a refusal's body that is looked at, in bytes.
const MAX_REFUSAL: usize = 64 << 10;
/// How rustls says that the other end refuses the connection, as it does over certificates.
const ALERT: &str = "received fatal alert: ";
/// The longest that a registry can make a client wait before it asks again.
const LONGEST_PAUSE: u64 = 30;

/// One vault of a registry, and who asks about it.
pub(in crate::store) struct Client {
    http: HttpClient,
    pub(super) address: Address,
    token: Option<Token>,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the URL names no registry or a certificate is none; [`Error::Storage`].
    pub(in crate::store) fn new(url: &str, connection: &Connection, line: &Arc<Throttle>) -> Result<Self> {
        let address = Address::parse(url)?;
        let http = HttpClient::new(Paced::new(http(url, &connection.access)?, line));
        Ok(Self { http, address, token: connection.access.token.clone() })
    }

    /// A request without headers of its own. `target` is a path of the API with its query.
    pub(super) fn request(
        &self,
        method: &str,
        target: &str,
        body: HttpRequestBody,
    ) -> object_store::Result<HttpRequest> {
        let length = body.content_length();
        let mut request = HttpRequest::new(body);
        let unfit = || Refused::unfit(format!("{target:?} cannot be asked for")).into_store();
        *request.method_mut() = method.parse().map_err(|_| unfit())?;
        *request.uri_mut() = format!("{}{target}", self.address.origin()).parse().map_err(|_| unfit())?;
        if method != "GET" && method != "HEAD" {
            request.headers_mut().insert("content-length", length.into());
        }
        if let Some(token) = &self.token {
            let value = Zeroizing::new([b"Bearer ", token.current().expose()].concat());
            request.headers_mut().insert("authorization", value.as_slice().try_into().map_err(|_| unfit())?);
            // Such a value is written to no log.
            request.headers_mut().values_mut().for_each(|value| value.set_sensitive(true));
        }
        Ok(request)
    }

    /// Sends a request. Every answer but a success is an error that [`Refused`] is in.
    pub(super) async fn send(&self, request: HttpRequest) -> object_store::Result<HttpResponse> {
        let answer = self.http.execute(request).await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let pause = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let body = beginning(answer, MAX_REFUSAL).await;
        let refused = Refused::new(status.as_u16(), &body);
        if let Some(pause) = pause.filter(|_| refused.is_transient()) {
            tokio::time::sleep(Duration::from_secs(pause.min(LONGEST_PAUSE))).await;
        }
        Err(refused.into_store())
    }

    /// A whole body of at most `most` bytes.
    pub(super) async fn body(answer: HttpResponse, most: usize) -> object_store::Result<Vec<u8>> {
        let mut stream = answer.into_body().bytes_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let chunk = chunk.map_err(unreachable)?;
            if bytes.len() + chunk.len() > most {
                return Err(Refused::unfit(format!("an answer is longer than {most} bytes")).into_store());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// Who is believed besides the authorities of the system.
///
/// # Errors
/// [`Error::Misuse`] if there are certificates that are none.
pub(super) fn authorities(access: &Access) -> Result<Vec<Certificate>> {
    let Some(pem) = &access.authorities else { return Ok(Vec::new()) };
    let unfit = |_| Error::Misuse("the file of certificates is not PEM".into());
    let certificates = Certificate::from_pem_bundle(pem).map_err(unfit)?;
    if certificates.is_empty() {
        return Err(Error::Misuse("the file of certificates holds none".into()));
    }
    Ok(certificates)
}

/// A client that goes nowhere else: neither token nor certificate is for those whom an answer may name.
fn http(url: &str, access: &Access) -> Result<reqwest::Client> {
    let mut builder = ClientBuilder::new()
        .http1_only()
        .https_only(true)
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .user_agent(AGENT);
    builder = builder.tls_certs_merge(authorities(access)?);
    if let Some(certificate) = &access.certificate {
        let unfit = |_| Error::Misuse("client certificate and key are not PEM, or one is missing".into());
        builder = builder.identity(Identity::from_pem(certificate.expose()).map_err(unfit)?);
    }
    builder.build().map_err(|error| match &access.certificate {
        // The words of TLS are not about files, and nothing else can be wrong.
        Some(_) => Error::Misuse("client certificate and key do not belong together".into()),
        None => Error::storage(url)(io::Error::other(error)),
    })
}

/// As much of a body as comes, which may be cut off.
async fn beginning(answer: HttpResponse, most: usize) -> Vec<u8> {
    let mut stream = answer.into_body().bytes_stream();
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < most
        && let Some(Ok(chunk)) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        let chunk: Bytes = chunk;
        bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
    }
    bytes
}

/// A failure of the connection. A certificate that is not believed will not be believed a moment later.
pub(super) fn unreachable(error: HttpError) -> object_store::Error {
    let mut cause = error.source();
    let mut words = error.to_string();
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    if error.kind() != HttpErrorKind::Decode && words.contains("certificate") {
        return Refused::unfit(format!("the registry is not believed: {words}")).into_store();
    }
    if let Some(alert) = words.strip_prefix(ALERT) {
        return Refused::at_the_door(alert).into_store();
    }
    object_store::Error::Generic { store: "registry", source: Box::new(error) }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address.origin(), self.address.vault())
    }
}
