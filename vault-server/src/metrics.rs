//! What a server counts, for Prometheus: `OpenMetrics` 1.0 on a [`listener`] of its own.
//!
//! Labels are bounded: the template of a route, one of a few methods, the class of a status. There is never a path, a model, a
//! name or an address in one, so nobody can make them many, and nothing is told that only some may know.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::MatchedPath,
    http::{Method, Request, StatusCode},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{app::App, publisher::Latest, tls::Certificate};

pub mod listener;

/// Upper bounds of how long an answer takes to begin, in seconds.
const BUCKETS: [f64; 13] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What was asked for.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    route: String,
    method: &'static str,
}

/// What was asked for, and how it ended.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: String,
    method: &'static str,
    status: &'static str,
}

/// The version of this program.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// The counters of a server. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    received: Counter,
    sent: Counter,
    connections: Gauge,
    /// Requests without a valid key, token or certificate.
    pub strangers: Counter,
    /// Requests that failed because the store, or this machine, did.
    pub store_errors: Counter,
    /// What was published of the vault's log.
    pub published: Latest,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            received: Counter::default(),
            sent: Counter::default(),
            connections: Gauge::default(),
            strangers: Counter::default(),
            store_errors: Counter::default(),
            published: Latest::default(),
        }
    }
}

/// The template of the route that a request takes, such as `/v1/keys/{id}/disable`.
pub fn route(request: &Request<Body>) -> String {
    request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned()
}

/// The name of a method; clients can make up others.
pub fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    }
}

impl Metrics {
    /// Counts an answer. How long it took is until its head was made; a body may follow.
    pub fn answered(&self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        let route = route.to_owned();
        self.requests.get_or_create(&Answered { route: route.clone(), method, status: class(status) }).inc();
        self.durations.get_or_create(&Asked { route, method }).observe(took.as_secs_f64());
    }

    /// Counts a connection as open until it is dropped, and the bytes inside of TLS.
    pub fn counted<S>(&self, inner: S) -> Counted<S> {
        self.connections.inc();
        Counted { inner, metrics: self.clone() }
    }

    /// All that is shown of a server.
    fn registry(&self, app: Arc<App>, certificate: Arc<Certificate>) -> Registry {
        let mut registry = Registry::with_prefix("mvault");
        registry.register("build", "The program", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        registry.register("http_requests", "Answers, by route, method and class of status", self.requests.clone());
        let took = "Time until an answer begins, by route and method";
        registry.register("http_request_duration_seconds", took, self.durations.clone());
        registry.register("received_bytes", "Bytes received inside of TLS", self.received.clone());
        registry.register("sent_bytes", "Bytes sent inside of TLS", self.sent.clone());
        registry.register("connections_open", "Connections that are secured and open", self.connections.clone());
        let refused = "Requests refused by a limit: of addresses, principals, strangers, transfers or memory";
        registry.register("limit_refusals", refused, app.gauges.refusals.clone());
        registry.register("authentication_failures", "Requests by nobody who is known", self.strangers.clone());
        let failed = "Requests that failed because the store or this machine did";
        registry.register("store_errors", failed, self.store_errors.clone());
        registry.register_collector(Box::new(Now { app, certificate }));
        registry
    }
}

/// What is looked up when somebody asks.
#[derive(Debug)]
struct Now {
    app: Arc<App>,
    certificate: Arc<Certificate>,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let value = ConstGauge::new(value);
            let described = encoder.encode_descriptor(name, help, None, value.metric_type())?;
            value.encode(described)
        };
        let usage = self.app.gauges.usage();
        gauge("transfers_in_use", "Objects on their way", usage.transfers)?;
        gauge("transfers_limit", "Objects that may be on their way at a time", usage.transfers_limit)?;
        gauge("memory_in_use_bytes", "Memory given to documents and objects on their way to a bucket", usage.memory)?;
        gauge("memory_limit_bytes", "Memory that may be given at a time", usage.memory_limit)?;
        if let Some(age) = self.app.state_age() {
            gauge("state_age_seconds", "Since the registry's own records were read last", age.as_secs_f64())?;
        }
        if let Some(age) = self.app.admissions.age() {
            gauge("trust_root_age_seconds", "Since the trust root was read last", age.as_secs_f64())?;
        }
        if let Some((size, age)) = self.app.metrics.published.get() {
            gauge("log_published_entries", "Entries that the newest checkpoint of the log covers", exactly(size))?;
            gauge("log_published_age_seconds", "Since the log was published as far as it was", age.as_secs_f64())?;
        }
        if let Some(time) = self.certificate.expires() {
            gauge(
                "certificate_expiry_timestamp_seconds",
                "When the certificate expires, Unix time",
                time.as_secs_f64(),
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a log has fewer than 2^53 entries")]
fn exactly(entries: u64) -> f64 {
    entries as f64
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.metrics.received.inc_by((buf.filled().len() - before) as u64);
        result
    }
}

impl<S> Counted<S> {
    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.metrics.sent.inc_by(*bytes as u64);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
