//! Asking a server of the S3 protocol one question at a time, to find out what is wrong with it, its configuration or its
//! client. Nothing is tried twice, nothing is interpreted: what an answer means is for whoever asked.

use std::{fmt, io, time::Duration};

use jiff::Timestamp;
use object_store::{
    ClientOptions,
    aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential},
    client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody},
};
use tokio::runtime::{Builder, Runtime};

use super::{
    Connection,
    bucket::{Connector, Throttle, between, shown},
};
use crate::error::{Error, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that is looked at, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The most characters of a server's own words.
const MAX_WORDS: usize = 300;
const DEFAULT_REGION: &str = "us-east-1";

/// One bucket, and who asks about it.
pub struct Examiner {
    runtime: Runtime,
    client: HttpClient,
    endpoint: String,
    bucket: String,
    prefix: String,
    region: String,
    credential: Option<std::sync::Arc<AwsCredential>>,
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// What to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// Whether anybody is there, without a signature.
    Hello,
    /// The first object of the vault.
    List,
    /// The beginning of an object of the vault.
    Read(&'a str),
    /// To create an object of the vault that is there already, with the bytes it has: a sound store refuses.
    CreateAgain(&'a str, &'a [u8]),
    /// Whether older versions of objects are kept.
    Versioning,
    /// Whether objects can be locked.
    ObjectLock,
    /// The policy of the bucket.
    Policy,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The error code of S3, such as `NoSuchBucket`.
    pub code: Option<String>,
    /// The server's own words about it, cut to a few hundred characters.
    pub message: Option<String>,
    /// The region the bucket is in, if the answer says so.
    pub region: Option<String>,
    /// The server's clock.
    pub date: Option<Timestamp>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the server did what it was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What stands between `<name>` and `</name>` in the body.
    pub fn tag(&self, name: &str) -> Option<String> {
        between(&String::from_utf8_lossy(&self.body), name).map(shown)
    }
}

impl Examiner {
    /// Looks at the vault at an `s3://` URL. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the URL names no bucket; [`Error::Storage`] if the settings do not fit.
    pub fn new(url: &str, connection: &Connection) -> Result<Self> {
        let unfit = || Error::Misuse(format!("{url:?}: a vault in S3 is s3://BUCKET/PREFIX"));
        let (_, rest) = url.split_once("://").ok_or_else(unfit)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/=+!".contains(&b));
        if bucket.is_empty() || !plain(bucket) || !plain(prefix) {
            return Err(unfit());
        }
        let setting = |name: &str| {
            let found = connection.settings.iter().find(|(found, value)| found == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let region = setting("AWS_REGION").unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter().find_map(setting);
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let options = ClientOptions::new()
            .with_allow_http(setting("AWS_ALLOW_HTTP").is_some_and(|value| value.eq_ignore_ascii_case("true")))
            .with_connect_timeout(PATIENCE)
            .with_timeout(PATIENCE);
        let connector = Connector::new(connection, Some(&endpoint), &Throttle::unlimited())?;
        let failed = |error: object_store::Error| Error::storage(url)(io::Error::from(error));
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build().map_err(Error::storage("async runtime"))?,
            client: connector.connect(&options).map_err(failed)?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            region,
            credential: None,
        })
    }

    /// Where requests go.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The region requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Gets credentials, from wherever the settings say; questions are signed with them from now on.
    ///
    /// # Errors
    /// [`Error::Storage`] with what the service that was asked for them says.
    pub fn authenticate(&mut self, connection: &Connection) -> Result<()> {
        if connection.settings.iter().any(|(name, value)| name == "AWS_SKIP_SIGNATURE" && value == "true") {
            return Ok(());
        }
        let mut builder = AmazonS3Builder::new().with_bucket_name(&self.bucket);
        for (name, value) in &connection.settings {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let retry = object_store::RetryConfig {
            max_retries: 1,
            retry_timeout: PATIENCE,
            ..object_store::RetryConfig::default()
        };
        let failed = |error: object_store::Error| Error::storage("credentials")(io::Error::from(error));
        let store = builder.with_retry(retry).with_client_options(ClientOptions::new().with_timeout(PATIENCE));
        let store = store.build().map_err(failed)?;
        let wait = async { tokio::time::timeout(PATIENCE, store.credentials().get_credential()).await };
        let late =
            |_| Error::storage("credentials")(io::Error::new(io::ErrorKind::TimedOut, "nobody answered in time"));
        self.credential = Some(self.runtime.block_on(wait).map_err(late)?.map_err(failed)?);
        Ok(())
    }

    /// Asks.
    ///
    /// # Errors
    /// [`Error::Storage`] if there is no answer, with every cause that is known: name, connection, certificate.
    pub fn ask(&self, question: Question<'_>) -> Result<Answer> {
        let request = self.request(question)?;
        self.runtime.block_on(self.send(request))
    }

    fn request(&self, question: Question<'_>) -> Result<HttpRequest> {
        let Self { endpoint, bucket, prefix, .. } = self;
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (method, target, body) = match question {
            Question::Hello => ("GET", "/".to_owned(), None),
            Question::List => {
                let prefix = folder.replace('/', "%2F").replace('=', "%3D").replace('+', "%2B").replace('!', "%21");
                ("GET", format!("/{bucket}?list-type=2&max-keys=1&prefix={prefix}"), None)
            }
            Question::Read(path) => ("GET", format!("/{bucket}/{folder}{path}"), None),
            Question::CreateAgain(path, bytes) => ("PUT", format!("/{bucket}/{folder}{path}"), Some(bytes)),
            Question::Versioning => ("GET", format!("/{bucket}?versioning="), None),
            Question::ObjectLock => ("GET", format!("/{bucket}?object-lock="), None),
            Question::Policy => ("GET", format!("/{bucket}?policy="), None),
        };
        let unfit = |why: &str| Error::Misuse(format!("{endpoint}: {why}"));
        let content = body.map_or_else(HttpRequestBody::empty, |bytes| HttpRequestBody::from(bytes.to_vec()));
        let mut request = HttpRequest::new(content);
        *request.method_mut() = method.parse().map_err(|_| unfit("is asked by no method"))?;
        *request.uri_mut() = format!("{endpoint}{target}").parse().map_err(|_| unfit("is no URL of a server"))?;
        match question {
            Question::Read(_) => {
                let range = format!("bytes=0-{}", MAX_BODY - 1).parse().map_err(|_| unfit("has no ranges"))?;
                request.headers_mut().insert("range", range);
            }
            Question::CreateAgain(..) => {
                let any = "*".parse().map_err(|_| unfit("has no conditions"))?;
                request.headers_mut().insert("if-none-match", any);
            }
            _ => {}
        }
        if let Some(credential) = self.credential.as_ref().filter(|_| question != Question::Hello) {
            let authorizer = AwsAuthorizer::new(credential, "s3", &self.region);
            let failed = |error: object_store::Error| Error::storage("signature")(io::Error::from(error));
            authorizer.try_authorize(&mut request, None).map_err(failed)?;
        }
        Ok(request)
    }

    async fn send(&self, request: HttpRequest) -> Result<Answer> {
        let failed = |text: String| Error::storage(&self.endpoint)(io::Error::other(text));
        let answer = self.client.execute(request).await.map_err(|error| failed(causes(&error)))?;
        let (head, body) = answer.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A connection that breaks later took nothing from what was said first.
        let mut stream = body.bytes_stream();
        let mut bytes = Vec::new();
        while bytes.len() < MAX_BODY
            && let Some(Ok(chunk)) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - bytes.len())]);
        }
        let mut answer = Answer {
            status: head.status.as_u16(),
            code: None,
            message: None,
            region: header("x-amz-bucket-region"),
            date: header("date").and_then(|text| jiff::fmt::rfc2822::parse(&text).ok()).map(|date| date.timestamp()),
            body: bytes,
        };
        if !answer.is_success() {
            answer.code = answer.tag("Code");
            answer.message = answer.tag("Message");
            answer.region = answer.region.take().or_else(|| answer.tag("Region"));
        }
        Ok(answer)
    }
}

/// An error and all that caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.iter().any(|said| said.contains(&text)) {
            words.push(text);
        }
        cause = inner.source();
    }
    words.join(": ").chars().take(MAX_WORDS).collect()
}
