//! The page with the metrics, and the probes of an orchestrator.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::client::RequestBody;
use crate::metrics::Metrics;

/// Listens on all addresses, of both families where IPv6 is on.
///
/// # Errors
///
/// The port is taken, or not allowed.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    let both = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await;
    match both {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        other => other,
    }
}

/// Serves the pages for ever.
pub async fn serve(listener: TcpListener, metrics: Metrics) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed, so that it never fails.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly: they come back, and trying at once would only spin.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = answer(request.method(), request.uri().path(), &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            // One that breaks off is its own concern.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME_MAX)
                .max_buf_size(BUFFER_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
    }
}

fn answer(method: &Method, path: &str, metrics: &Metrics) -> Response<RequestBody> {
    let (content_type, page) = match path.to_ascii_lowercase().as_str() {
        "/metrics" => (METRICS_TYPE, Bytes::from(metrics.page())),
        "/healthz" => (TEXT_TYPE, Bytes::from_static(b"pass")),
        "/readyz" => (TEXT_TYPE, Bytes::from_static(b"ready")),
        "/version" => (TEXT_TYPE, Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes())),
        _ => return empty(StatusCode::NOT_FOUND),
    };
    if method != Method::GET && method != Method::HEAD {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(RequestBody::Bytes(page));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn empty(status: StatusCode) -> Response<RequestBody> {
    let mut response = Response::new(RequestBody::Empty);
    *response.status_mut() = status;
    response
}

const TEXT_TYPE: &str = "text/plain";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
// A few scrapers and kubelets; more is somebody who is not meant.
const CONNECTIONS_MAX: usize = 64;
// Between two scrapes, too: a minute is the slowest common interval.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
// Heads of scrapers are well below it, and 8 KiB is the least that the library takes.
const BUFFER_MAX: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
