//! Connections: how many, how long they may take to say what they want, and how they end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use crate::{
    audit::Audit,
    clients::Shown,
    limits::{Gauges, Limits},
    metrics::Metrics,
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long whoever failed at it has to read why.
const LINGER: Duration = Duration::from_secs(1);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The most header fields of a request.
const MAX_FIELDS: usize = 64;
/// How long to rest when the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// Serves until `stop` is done, then lets requests that have begun finish.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    gauges: Arc<Gauges>,
    (audit, metrics): (Arc<dyn Audit>, Metrics),
    stop: impl Future<Output = ()>,
) {
    let (places, acceptor) = (Arc::new(Semaphore::new(limits.connections)), TlsAcceptor::from(tls));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            // No connection is taken for which there is no place: the system keeps it waiting.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let Ok(place) = place else { break };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        // One address does not take all places.
        let Some(share) = gauges.connection(address.ip()) else { continue };
        let (acceptor, router, watcher, metrics) =
            (acceptor.clone(), router.clone(), graceful.watcher(), metrics.clone());
        tokio::spawn(async move {
            let _places = (place, share);
            let Some(stream) = secure(&acceptor, stream).await else { return };
            let shown = shown(&stream);
            let service = router.map_request(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(address));
                if let Some(shown) = &shown {
                    request.extensions_mut().insert(shown.clone());
                }
                request
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(limits.idle())
                .max_buf_size(MAX_HEAD)
                .max_headers(MAX_FIELDS);
            let mut stream = TimeoutStream::new(metrics.counted(stream));
            stream.set_write_timeout(Some(limits.idle()));
            let connection =
                builder.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
            // How a connection ends is the business of whoever is at its other end.
            let _ = watcher.watch(connection).await;
        });
    }
    drop(listener);
    audit.note("stopping: no new connections; requests that have begun go on");
    let drain = Duration::from_secs(limits.drain_seconds);
    match timeout(drain, graceful.shutdown()).await {
        Ok(()) => audit.note("stopped: every request was finished"),
        Err(_) => audit.note("stopped: requests that took too long were cut off"),
    }
}

async fn secure(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    // Small answers are not to wait for more.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE, acceptor.accept(stream).into_fallible()).await.ok()? {
        Ok(stream) => Some(stream),
        Err((_, stream)) => {
            let _ = timeout(LINGER, part(stream)).await;
            None
        }
    }
}

/// Closes a connection so that the other end reads why: what it has sent meanwhile is taken, or the system would say that the
/// connection broke.
async fn part(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_HEAD as u64), &mut tokio::io::sink()).await.map(drop)
}

/// The certificates that the client showed.
fn shown(stream: &TlsStream<TcpStream>) -> Option<Shown> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    Some(Shown(certificates.iter().map(|one| one.clone().into_owned()).collect()))
}

/// From where a request comes.
pub fn address(request: &Request<Body>) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}
