//! Where metrics are asked for: plain HTTP, `GET /metrics` and nothing else, a few connections at a time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::{app::App, tls::Certificate};

/// Connections at a time, and how long each may last.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer waits for the vault to be read.
const LOOK: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How long to rest when the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

struct Scrape {
    app: Arc<App>,
    registry: Registry,
    /// One reading of the vault at a time.
    looking: Arc<Semaphore>,
}

/// Serves the metrics of `app`, for ever.
pub async fn serve(listener: TcpListener, app: Arc<App>, certificate: Arc<Certificate>) {
    let registry = app.metrics.registry(Arc::clone(&app), certificate);
    let scrape = Arc::new(Scrape { app, registry, looking: Arc::new(Semaphore::new(1)) });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let scrape = Arc::clone(&scrape);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| answer(Arc::clone(&scrape), request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD).keep_alive(false);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the business of whoever is at its other end.
            let _ = timeout(PATIENCE, connection).await;
        });
    }
}

async fn answer(scrape: Arc<Scrape>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let refused = |status| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(refused(StatusCode::NOT_FOUND));
    }
    if request.method() != Method::GET {
        return Ok(refused(StatusCode::METHOD_NOT_ALLOWED));
    }
    // So that ages say whether the vault can be read, and not whether somebody asked lately. Whoever comes while it is read
    // gets what is known.
    if let Ok(looking) = Arc::clone(&scrape.looking).try_acquire_owned() {
        let app = Arc::clone(&scrape.app);
        let look = tokio::spawn(async move {
            app.look().await;
            drop(looking);
        });
        let _ = timeout(LOOK, look).await;
    }
    let mut text = String::new();
    if encode(&mut text, &scrape.registry).is_err() {
        return Ok(refused(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    Ok(response)
}
