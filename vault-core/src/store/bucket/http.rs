//! The HTTP client below the object store: what a server may answer is bounded, and requests go nowhere else.
//!
//! The object store reads answers about failures, listings and deletions whole, follows redirects with a session token,
//! and puts what a server said into errors. A server that is hostile, or only chatty, is kept short here.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use jiff::SignedDuration;
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    },
    path::Path,
};
use reqwest::{Certificate, ClientBuilder, redirect::Policy};

use super::{
    paced::{Answer, Paced},
    throttle::Throttle,
};
use crate::{
    error::{Error, Result},
    store::{Connection, aws::CA_BUNDLE},
};

/// The most bytes that are read of a file of authorities.
const MAX_AUTHORITIES: u64 = 16 << 20;

/// The most bytes that are read of an answer about a failure.
const MAX_FAILURE: usize = 64 << 10;
/// The most bytes that are read of a page of a listing, which has at most 1000 entries.
const MAX_PAGE: usize = 8 << 20;
/// What servers learn of this program.
const AGENT: &str = concat!("model-vault/", env!("CARGO_PKG_VERSION"));
/// The most characters of a server's words that are shown.
const MAX_WORDS: usize = 300;

/// Makes clients.
#[derive(Debug, Clone)]
pub(in crate::store) struct Connector {
    /// Who may say who a server is, instead of the authorities of the system.
    authorities: Option<Vec<Certificate>>,
    /// Whether to pass by the proxy that the environment names: what is for this machine stays on it.
    direct: bool,
    /// What request bodies go out by.
    line: Arc<Throttle>,
}

impl Connector {
    /// For requests to `endpoint`, or to wherever a provider is, by way of `line`.
    ///
    /// # Errors
    /// [`Error::Storage`] if the settings name a file of authorities that cannot be read or has none.
    pub(in crate::store) fn new(connection: &Connection, endpoint: Option<&str>, line: &Arc<Throttle>) -> Result<Self> {
        let path = connection.settings.iter().find(|(name, value)| name == CA_BUNDLE && !value.is_empty());
        let authorities = path.map(|(_, path)| authorities(path)).transpose()?;
        Ok(Self { authorities, direct: endpoint.is_some_and(is_loopback), line: Arc::clone(line) })
    }
}

/// The authorities in a PEM file.
fn authorities(path: &str) -> Result<Vec<Certificate>> {
    let failed = Error::storage(format!("{CA_BUNDLE} {path}"));
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_AUTHORITIES).read_to_end(&mut pem));
    let all = read.and_then(|_| Certificate::from_pem_bundle(&pem).map_err(io::Error::other));
    match all {
        Ok(all) if all.is_empty() => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "has no certificate"))),
        all => all.map_err(failed),
    }
}

/// Whether plain HTTP goes nowhere but to this machine.
pub(in crate::store) fn is_loopback(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        // Before it stands who asks, and not where.
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |error| object_store::Error::Generic { store: "HTTP client", source: Box::new(error) };
        let mut builder = ClientBuilder::new().http1_only().redirect(Policy::none()).user_agent(AGENT);
        let limit = |key| {
            let limit = options.get_config_value(&key)?.parse::<SignedDuration>().ok()?;
            Duration::try_from(limit).ok()
        };
        if let Some(limit) = limit(ClientConfigKey::ConnectTimeout) {
            builder = builder.connect_timeout(limit);
        }
        if let Some(limit) = limit(ClientConfigKey::Timeout) {
            builder = builder.timeout(limit);
        }
        if let Some(authorities) = &self.authorities {
            builder = builder.tls_certs_only(authorities.clone());
        }
        if options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() != Some("true") {
            builder = builder.https_only(true);
        }
        if self.direct {
            builder = builder.no_proxy();
        }
        Ok(HttpClient::new(Bounded(Paced::new(builder.build().map_err(failed)?, &self.line))))
    }
}

/// A client that reads no more of small answers than they need.
#[derive(Debug)]
struct Bounded(Paced);

impl HttpService for Bounded {
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> Answer<'f>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let is_read = request.method() == "GET" || request.method() == "HEAD";
            let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
            let answer = self.0.call(request).await?;
            let (head, body) = answer.into_parts();
            let is_success = head.status.is_success();
            let body = match (is_success, is_read, is_list) {
                // The bytes of an object: whoever asked knows how many to take.
                (true, true, false) => body,
                (true, true, true) => without_unfit_keys(whole(body, MAX_PAGE).await?).into(),
                (true, false, _) => whole(body, MAX_FAILURE).await?.into(),
                (false, ..) => words(&beginning(body, MAX_FAILURE).await).into(),
            };
            Ok(HttpResponse::from_parts(head, body))
        })
    }
}

/// The whole of an answer of at most `most` bytes.
async fn whole(body: HttpResponseBody, most: usize) -> Result<Bytes, HttpError> {
    let mut all = BytesMut::new();
    let mut stream = body.bytes_stream();
    while let Some(chunk) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        all.extend_from_slice(&chunk?);
        if all.len() > most {
            let error = io::Error::other(format!("an answer of more than {most} bytes"));
            return Err(HttpError::new(HttpErrorKind::Decode, error));
        }
    }
    Ok(all.freeze())
}

/// As much of an answer as came, and at most `most` bytes: that a connection breaks takes nothing from what was said.
async fn beginning(body: HttpResponseBody, most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut stream = body.bytes_stream();
    while all.len() < most
        && let Some(Ok(chunk)) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
    {
        all.extend_from_slice(&chunk[..chunk.len().min(most - all.len())]);
    }
    all
}

/// What a server said about a failure: of XML only the code and the message. Amazon's answer to a wrong signature shows
/// the request with its session token.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    if text.trim_start().starts_with('<') {
        let element = |name| Some(format!("<{name}>{}</{name}>", shown(between(&text, name)?)));
        return ["Code", "Message"].into_iter().filter_map(element).collect();
    }
    shown(&text)
}

/// What stands in the first element of this name.
pub(in crate::store) fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// Text of a server as it may be shown.
pub(in crate::store) fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_WORDS).collect()
}

/// A page of a listing without the keys that are no paths, such as `a//b`. No writer of vaults makes them, and one of
/// them would otherwise make all of its folder unreadable.
fn without_unfit_keys(page: Bytes) -> Bytes {
    const ENTRY: (&str, &str) = ("<Contents>", "</Contents>");
    let Ok(text) = std::str::from_utf8(&page) else { return page };
    let (mut kept, mut rest, mut dropped) = (String::new(), text, false);
    while let Some(start) = rest.find(ENTRY.0) {
        let Some(length) = rest[start..].find(ENTRY.1).map(|end| end + ENTRY.1.len()) else { break };
        let (before, entry) = (&rest[..start], &rest[start..start + length]);
        kept += before;
        if between(entry, "Key").is_some_and(is_path) {
            kept += entry;
        } else {
            dropped = true;
        }
        rest = &rest[start + length..];
    }
    if !dropped {
        return page;
    }
    kept += rest;
    kept.into()
}

/// Whether a key, as XML has it, is a path below which something can be.
fn is_path(key: &str) -> bool {
    // Other entities than these are of characters that no path has.
    let key = key.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    let key = key.replace("&amp;", "&");
    !key.is_empty() && !key.ends_with('/') && Path::parse(&key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for here in ["http://127.0.0.1:8333", "http://localhost/x", "http://[::1]:9000"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in [
            "https://127.0.0.1",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "",
            "http://127.0.0.1:80@example.com/",
            "http://localhost@example.com",
        ] {
            assert!(!is_loopback(there), "{there}");
        }
    }

    #[test]
    fn limits_of_time_are_understood_as_the_object_store_writes_them() {
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(10));
        let text = options.get_config_value(&ClientConfigKey::ConnectTimeout).expect("set");
        assert_eq!(text.parse::<SignedDuration>().expect("a duration"), SignedDuration::from_secs(10));
        assert_eq!(options.with_timeout_disabled().get_config_value(&ClientConfigKey::Timeout), None);
    }

    #[test]
    fn what_a_server_says_is_cut_to_code_and_message() {
        let said = "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The request\nsignature \
                    we calculated</Message><CanonicalRequest>x-amz-security-token:SECRET</CanonicalRequest></Error>";
        let short = words(said.as_bytes());
        assert_eq!(short, "<Code>SignatureDoesNotMatch</Code><Message>The requestsignature we calculated</Message>");
        assert_eq!(words(&[b'x'; 1000]).len(), MAX_WORDS);
        assert_eq!(words(b"<html>token</html>"), "");
        assert_eq!(words(b"no \x1b[31mred"), "no [31mred");
    }

    #[test]
    fn keys_that_are_no_paths_are_left_out_of_a_page() {
        let entry = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let page = |keys: &[&str]| {
            let entries: String = keys.iter().map(|key| entry(key)).collect();
            format!("<ListBucketResult><Name>b</Name>{entries}<IsTruncated>false</IsTruncated></ListBucketResult>")
        };
        let good = ["a/b", "a/c&amp;d", "x/1.dsse.json"];
        let all = page(&good);
        assert_eq!(without_unfit_keys(all.clone().into()), all);
        let hostile = page(&["a//b", "a/b", "a/../b", "", "a/c&amp;d", "models/", "./x", "x/1.dsse.json"]);
        assert_eq!(without_unfit_keys(hostile.into()), all);
        for odd in ["", "<Contents>", "<Contents></Contents>", "</Contents><Contents>"] {
            without_unfit_keys(odd.to_owned().into());
        }
    }
}
