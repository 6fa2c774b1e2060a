//! Traces: a span for each request and for each of its calls of the store, sent to a collector by OTLP over HTTP.
//!
//! A span has the template of the route, the method, the status and the id of the request, which is in the log too. It never has
//! a path, a query, a header or who asked. Spans wait in a queue of fixed length for a thread of their own: if the collector is
//! slow or gone they are dropped, and nobody waits.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span},
};
use tokio::runtime::Handle;
use vault_core::{Error, Result};

/// How long a span waits for others before they are sent.
const DELAY: Duration = Duration::from_secs(1);
/// Spans that wait; more are dropped.
const QUEUE: usize = 2048;
/// Spans that are sent at a time.
const BATCH: usize = 512;
/// How long a collector may take, and how long the last spans may take when the server stops.
const PATIENCE: Duration = Duration::from_secs(5);
const LAST: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// The request that is being answered.
    static CURRENT: Current;
}

#[derive(Debug)]
struct Current {
    tracer: SdkTracer,
    context: Context,
}

/// Where spans go.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Sends to the collector at `endpoint`, such as `http://127.0.0.1:4318`; without one, where the environment says
    /// (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    ///
    /// # Errors
    /// [`Error::Misuse`] if that is no URL.
    pub fn to(endpoint: Option<&str>, runtime: Handle) -> Result<Self> {
        let unfit = |error: &dyn std::fmt::Display| Error::Misuse(format!("`traces.endpoint`: {error}"));
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| unfit(&error))?;
        let mut exporter = SpanExporter::builder().with_http().with_http_client(Sender { client, runtime });
        exporter = exporter.with_timeout(PATIENCE);
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        let exporter = exporter.build().map_err(|error| unfit(&error))?;
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(DELAY)
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder()
            .with_service_name("mvault-server")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider =
            SdkTracerProvider::builder().with_span_processor(batches).with_resource(resource.build()).build();
        Ok(Self { tracer: provider.tracer("mvault-server"), provider })
    }

    /// A span for a request, below the one that its `traceparent` names (W3C Trace Context).
    fn begin(&self, request: &Request<Body>, route: &str, id: &str) -> Context {
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let method = crate::metrics::method(request.method());
        let span = self.tracer.span_builder(format!("{method} {route}")).with_kind(SpanKind::Server);
        let span = span.with_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("mvault.request", id.to_owned()),
        ]);
        parent.with_span(span.start_with_context(&self.tracer, &parent))
    }

    /// Sends what is left. Blocks for a moment.
    pub fn stop(&self) {
        // What cannot be sent is lost.
        let _ = self.provider.shutdown_with_timeout(LAST);
    }
}

/// What happens to a request, under a span of its own if there are traces.
#[derive(Debug)]
pub struct Traced {
    current: Option<Current>,
}

impl Traced {
    /// Begins.
    pub fn begin(traces: Option<&Arc<Traces>>, request: &Request<Body>, route: &str, id: &str) -> Self {
        let begin =
            |traces: &Arc<Traces>| Current { tracer: traces.tracer.clone(), context: traces.begin(request, route, id) };
        Self { current: traces.map(begin) }
    }

    /// Does the work, and ends the span with the status that comes of it.
    pub async fn run<T>(self, work: impl Future<Output = T>, status: impl FnOnce(&T) -> StatusCode) -> T {
        let Some(current) = self.current else { return work.await };
        let context = current.context.clone();
        let result = CURRENT.scope(current, work).await;
        let (span, status) = (context.span(), status(&result));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end();
        result
    }
}

/// A span for a call of the store, below that of the request; it ends when it is dropped.
pub fn store_call() -> Option<Span> {
    CURRENT.try_with(|current| current.tracer.start_with_context("store", &current.context)).ok()
}

/// Sends from the runtime of the server; whoever waits for it need not be on it.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let status = self.runtime.spawn(async move { client.execute(request).await.map(|answer| answer.status()) });
        // What a collector says besides is not read.
        Ok(Response::builder().status(status.await??).body(Bytes::new())?)
    }
}
