//! Straight to the bucket of a registry: content goes by presigned URLs, where the registry gives such, and through it where not.
//!
//! A registry that lies can name any URL. It is asked without credentials, over TLS (or on this machine), and only ciphertext is sent;
//! what comes is checked as whatever comes from a store. Whatever fails here is tried through the registry, which knows better why.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use object_store::{
    Extensions, GetRange, PutPayload,
    client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse},
    path::Path,
};
use reqwest::{ClientBuilder, redirect::Policy};
use serde::Deserialize;

use super::{
    Access, Address, Client, Refused,
    client::{AGENT, CONNECT, authorities},
};
use crate::{
    error::{Error, Result},
    store::{
        Presigned, Purpose,
        bucket::{Paced, Throttle, is_loopback},
    },
};

/// The fewest bytes that are worth asking for a URL.
const WORTH: u64 = 1 << 20;
/// Failures, one after the other, after which everything goes through the registry.
const MOST_FAILURES: u32 = 3;
/// How long a URL must still count.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// URLs for reading that are kept.
const MOST_KEPT: usize = 1024;
/// The longest answer about a URL, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Where content is.
const CONTENT: &str = "objects/";

/// What a registry says about a URL.
#[derive(Deserialize)]
struct Answer {
    /// None if everything goes through the registry.
    link: Option<WireLink>,
}

#[derive(Deserialize)]
struct WireLink {
    url: String,
    headers: BTreeMap<String, String>,
    expires: String,
}

impl WireLink {
    fn read(self) -> Option<Presigned> {
        Some(Presigned { url: self.url, headers: self.headers, expires: self.expires.parse().ok()? })
    }
}

/// What became of an object that was to go straight to the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landed {
    /// It is there, and was not.
    New,
    /// It was there before, and is what its name says.
    Exists,
}

/// The way past a registry.
#[derive(Debug)]
pub(super) struct Direct {
    /// Over TLS.
    far: HttpClient,
    /// To this machine, for a registry that is on it, too.
    near: Option<HttpClient>,
    failures: AtomicU32,
    reads: Mutex<HashMap<Path, Presigned>>,
}

impl Direct {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there are certificates that are none; [`Error::Storage`].
    pub(super) fn new(access: &Access, address: &Address, line: &Arc<Throttle>) -> Result<Self> {
        let failed = |error| Error::storage("HTTP client")(std::io::Error::other(error));
        let client =
            || ClientBuilder::new().http1_only().redirect(Policy::none()).connect_timeout(CONNECT).user_agent(AGENT);
        let far = client().https_only(true).tls_certs_merge(authorities(access)?).build().map_err(failed)?;
        let near = client().no_proxy().build().map_err(failed)?;
        Ok(Self {
            far: HttpClient::new(Paced::new(far, line)),
            near: is_loopback(&address.origin().replacen("https", "http", 1))
                .then(|| HttpClient::new(Paced::new(near, line))),
            failures: AtomicU32::new(if access.through { MOST_FAILURES } else { 0 }),
            reads: Mutex::default(),
        })
    }

    /// Reads a range of an object; none if that must go through the registry.
    pub(super) async fn read(&self, client: &Client, location: &Path, range: &GetRange) -> Option<HttpResponse> {
        let GetRange::Bounded(range) = range else { return None };
        if range.end.saturating_sub(range.start) < WORTH || !self.is_for(location) {
            return None;
        }
        let url = match self.kept(location) {
            Some(url) => url,
            None => self.ask(client, location, Purpose::Read).await.ok()??,
        };
        let mut request = url.request(Purpose::Read.method(), HttpRequestBody::empty())?;
        let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1)).parse().ok()?;
        request.headers_mut().insert("range", value);
        match self.send(&url, request).await {
            Some(answer) if is_range(&answer, range) => {
                self.failures.store(0, Ordering::Relaxed);
                let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
                if reads.len() >= MOST_KEPT {
                    reads.clear();
                }
                reads.insert(location.clone(), url);
                Some(answer)
            }
            _ => {
                self.reads.lock().unwrap_or_else(PoisonError::into_inner).remove(location);
                self.failed();
                None
            }
        }
    }

    /// Creates an object; none if that must go through the registry.
    pub(super) async fn create(
        &self,
        client: &Client,
        location: &Path,
        payload: &PutPayload,
        extensions: &Extensions,
    ) -> Option<Landed> {
        if (payload.content_length() as u64) < WORTH || !self.is_for(location) {
            return None;
        }
        let purpose = Purpose::Create;
        let url = self.ask(client, location, purpose).await.ok()??;
        let mut request = url.request(purpose.method(), payload.clone().into())?;
        request.extensions_mut().clone_from(extensions);
        let landed = match self.send(&url, request).await.map(|answer| answer.status().as_u16()) {
            Some(200..300) => Landed::New,
            Some(409 | 412) => Landed::Exists,
            _ => {
                self.failed();
                return None;
            }
        };
        // The registry reads it back: what is not what its name says is gone then.
        let request = client.request("PUT", &target(client, location), HttpRequestBody::empty()).ok()?;
        client.send(request).await.ok()?;
        self.failures.store(0, Ordering::Relaxed);
        Some(landed)
    }

    /// Whether an object may go this way: content, as long as it works.
    fn is_for(&self, location: &Path) -> bool {
        self.failures.load(Ordering::Relaxed) < MOST_FAILURES && location.as_ref().starts_with(CONTENT)
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn kept(&self, location: &Path) -> Option<Presigned> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get(location).filter(|url| counts(url)).cloned()
    }

    /// Asks for a URL. A registry that has none is not asked again.
    async fn ask(&self, client: &Client, location: &Path, purpose: Purpose) -> object_store::Result<Option<Presigned>> {
        let method = if purpose == Purpose::Read { "GET" } else { "POST" };
        let request = client.request(method, &target(client, location), HttpRequestBody::empty())?;
        let answer = match client.send(request).await {
            Ok(answer) => Client::body(answer, MAX_ANSWER).await?,
            Err(error) => {
                // An older registry does not know what it is asked for. Whatever else is wrong, the object itself will show.
                if Refused::within(&error).is_some_and(Refused::is_absent) {
                    self.failures.store(MOST_FAILURES, Ordering::Relaxed);
                }
                return Err(error);
            }
        };
        let link = serde_json::from_slice::<Answer>(&answer).ok().and_then(|answer| answer.link?.read());
        let link = link.filter(|link| is_plain(link, purpose));
        if link.is_none() {
            self.failures.store(MOST_FAILURES, Ordering::Relaxed);
        }
        Ok(link)
    }

    /// Sends a request to where a URL says, if that may be.
    async fn send(&self, url: &Presigned, request: HttpRequest) -> Option<HttpResponse> {
        // Nobody elsewhere may make a client talk to services of its own machine.
        let client = if is_loopback(&url.url) { self.near.as_ref()? } else { &self.far };
        client.execute(request).await.ok()
    }
}

/// Whether an answer is the range that was asked for.
fn is_range(answer: &HttpResponse, range: &std::ops::Range<u64>) -> bool {
    let said = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
    let expected = format!("bytes {}-{}/", range.start, range.end.saturating_sub(1));
    answer.status().as_u16() == super::objects::PARTIAL_CONTENT && said.is_some_and(|said| said.starts_with(&expected))
}

fn target(client: &Client, location: &Path) -> String {
    format!("/v1/vaults/{}/links/{location}", client.address.vault())
}

/// Whether the request has no headers but those that the purpose takes. Others might mean something where the URL leads.
fn is_plain(url: &Presigned, purpose: Purpose) -> bool {
    url.headers.iter().all(|(name, value)| purpose == Purpose::Create && name == "if-none-match" && value == "*")
}

/// Whether a URL will still count when a request with it begins.
fn counts(url: &Presigned) -> bool {
    Timestamp::now().checked_add(MARGIN).is_ok_and(|soon| soon < url.expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Address {
        Address::parse("https://localhost:8443/main").expect("an address")
    }

    #[test]
    fn a_registry_elsewhere_leads_nobody_to_their_own_machine() {
        let elsewhere = Address::parse("https://registry.example/main").expect("an address");
        assert!(Direct::new(&Access::default(), &elsewhere, &Throttle::unlimited()).expect("a client").near.is_none());
        assert!(Direct::new(&Access::default(), &here(), &Throttle::unlimited()).expect("a client").near.is_some());
    }

    #[test]
    fn only_content_goes_past_a_registry_and_only_as_long_as_that_works() {
        let direct = Direct::new(&Access::default(), &here(), &Throttle::unlimited()).expect("a client");
        let at = |path: &str| Path::parse(path).expect("a path");
        assert!(direct.is_for(&at("objects/ab/abcd")));
        for other in ["models/a/versions/1.dsse.json", "objects2/a", "artifacts/x/manifest.json"] {
            assert!(!direct.is_for(&at(other)), "{other}");
        }
        for _ in 0..MOST_FAILURES {
            assert!(direct.is_for(&at("objects/ab/abcd")));
            direct.failed();
        }
        assert!(!direct.is_for(&at("objects/ab/abcd")));
        let through = Direct::new(&Access { through: true, ..Access::default() }, &here(), &Throttle::unlimited())
            .expect("a client");
        assert!(!through.is_for(&at("objects/ab/abcd")));
    }

    #[tokio::test]
    async fn plain_http_goes_nowhere_but_to_this_machine() {
        let direct = Direct::new(&Access::default(), &here(), &Throttle::unlimited()).expect("a client");
        // Nobody answers at either; one is asked, the other is not.
        for url in [
            "http://192.0.2.1/x",
            "http://127.0.0.1:1@192.0.2.1/x",
            "ftp://192.0.2.1/x",
            "file:///etc/passwd",
            "/x",
            "https://1.2.3.4.5/",
        ] {
            let url = Presigned { url: url.into(), headers: BTreeMap::new(), expires: Timestamp::MAX };
            let Some(request) = url.request("GET", HttpRequestBody::empty()) else { continue };
            let begun = std::time::Instant::now();
            assert!(direct.send(&url, request).await.is_none());
            assert!(begun.elapsed() < CONNECT / 2, "refused before a connection");
        }
    }

    #[test]
    fn a_request_has_the_headers_of_its_purpose_and_no_others() {
        let url = |headers: &[(&str, &str)]| Presigned {
            url: "https://h".into(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            expires: Timestamp::MAX,
        };
        assert!(is_plain(&url(&[("if-none-match", "*")]), Purpose::Create));
        assert!(is_plain(&url(&[]), Purpose::Read));
        for (headers, purpose) in [
            (&[("content-length", "8")], Purpose::Create),
            (&[("authorization", "x")], Purpose::Create),
            (&[("if-none-match", "*")], Purpose::Read),
            (&[("metadata-flavor", "Google")], Purpose::Read),
        ] {
            assert!(!is_plain(&url(headers), purpose), "{headers:?}");
        }
    }

    #[test]
    fn a_url_that_is_about_to_end_is_not_used() {
        let ends = |seconds| Presigned {
            url: "https://h".into(),
            headers: BTreeMap::new(),
            expires: Timestamp::now() + SignedDuration::from_secs(seconds),
        };
        assert!(counts(&ends(60)) && !counts(&ends(20)) && !counts(&ends(-1)));
    }
}
