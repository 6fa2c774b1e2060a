//! Requests whose bodies go out no faster than a line carries them.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::{Body, Client, Request, header::CONTENT_LENGTH};

use super::throttle::{Throttle, Waited};

/// What [`HttpService`] returns.
pub(super) type Answer<'f> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>;

/// A client that sends bodies in pieces, each when its turn on the line has come.
#[derive(Debug)]
pub(in crate::store) struct Paced {
    client: Client,
    line: Arc<Throttle>,
}

impl Paced {
    pub(in crate::store) fn new(client: Client, line: &Arc<Throttle>) -> Self {
        Self { client, line: Arc::clone(line) }
    }

    /// Sends a request piece by piece. [`Waited`] among its extensions is told how long it waits.
    async fn send(&self, request: HttpRequest, piece: u64) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url = head.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Decode, error))?;
        let waited = head.extensions.get::<Waited>().cloned().unwrap_or_default();
        let mut request = Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        // Of a stream nobody knows it, and stores refuse what comes in chunks.
        request.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| body.content_length().into());
        *request.body_mut() = Some(Body::wrap_stream(pieces(body, piece, Arc::clone(&self.line), waited)));
        let mut answer = self.client.execute(request).await.map_err(failed)?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut answer = HttpResponse::new(HttpResponseBody::new(Body::from(answer).map_err(failed)));
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }
}

impl HttpService for Paced {
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> Answer<'f>
    where
        's: 'f,
        Self: 'f,
    {
        match self.line.piece() {
            Some(piece) if request.body().content_length() > 0 => Box::pin(self.send(request, piece)),
            // As it is: nothing stands between the payload and the connection.
            _ => HttpService::call(&self.client, request),
        }
    }
}

/// A body in pieces of at most so many bytes, each at its time. Nothing is copied.
fn pieces(
    body: HttpRequestBody,
    most: u64,
    line: Arc<Throttle>,
    waited: Waited,
) -> impl Stream<Item = Result<Bytes, HttpError>> + Send {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    stream::unfold((body.into_data_stream(), Bytes::new()), move |(mut body, mut rest)| {
        let (line, waited) = (Arc::clone(&line), waited.clone());
        async move {
            while rest.is_empty() {
                match body.next().await? {
                    Ok(chunk) => rest = chunk,
                    Err(error) => return Some((Err(error), (body, rest))),
                }
            }
            let piece = rest.split_to(rest.len().min(most));
            line.pass(piece.len() as u64, &waited).await;
            Some((Ok(piece), (body, rest)))
        }
    })
}

/// A failure of the HTTP client, as the object store tells them apart.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() => HttpErrorKind::Decode,
        () if error.is_builder() => HttpErrorKind::Request,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}
