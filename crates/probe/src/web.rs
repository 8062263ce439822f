//! The page with the metrics, and the probes of an orchestrator.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::client::RequestBody;
use crate::metrics::Metrics;
use crate::page;

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

/// What is served beside the probes of an orchestrator.
pub trait Site: Send + Sync + 'static {
    /// The page at `path`, which is in lower case; none if there is none.
    fn page(&self, path: &str, query: Option<&str>) -> impl Future<Output = Option<Page>> + Send;
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Of the body.
    pub content_type: &'static str,
    /// The whole of it.
    pub body: Bytes,
}

impl Site for Metrics {
    async fn page(&self, path: &str, _: Option<&str>) -> Option<Page> {
        match path {
            "/" => {
                let history = self.history();
                // Rendered on a thread of its own: the one that probes has better things to do.
                let page = tokio::task::spawn_blocking(move || page::probes(&history));
                Some(Page { content_type: HTML_TYPE, body: page.await.ok()?.into() })
            }
            "/metrics" => Some(Page { content_type: METRICS_TYPE, body: self.page().into() }),
            _ => None,
        }
    }
}

/// Serves the pages of `site` for ever.
pub async fn serve(listener: TcpListener, site: impl Site) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let site = Arc::new(site);
    loop {
        // Never closed, so that it never fails.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly: they come back, and trying at once would only spin.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let site = Arc::clone(&site);
                async move { Ok::<_, Infallible>(answer(&request, &*site).await) }
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

async fn answer(request: &Request<Incoming>, site: &impl Site) -> Response<RequestBody> {
    let text = |text: &'static str| Some(Page { content_type: TEXT_TYPE, body: text.into() });
    let path = request.uri().path().to_ascii_lowercase();
    let page = match path.as_str() {
        "/healthz" => text("pass"),
        "/readyz" => text("ready"),
        "/version" => text(env!("CARGO_PKG_VERSION")),
        path => site.page(path, request.uri().query()).await,
    };
    let Some(page) = page else { return empty(StatusCode::NOT_FOUND) };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(RequestBody::Bytes(page.body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if page.content_type == HTML_TYPE {
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(HTML_POLICY));
    }
    response
}

fn empty(status: StatusCode) -> Response<RequestBody> {
    let mut response = Response::new(RequestBody::Empty);
    *response.status_mut() = status;
    response
}

const TEXT_TYPE: &str = "text/plain";
/// Of a page for people.
pub const HTML_TYPE: &str = "text/html; charset=utf-8";
/// Of a page for programs.
pub const JSON_TYPE: &str = "application/json";
/// Of the page for Prometheus.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
// Nothing runs on a page and nothing is loaded by it, whatever text has come into it.
const HTML_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
// A few scrapers and kubelets; more is somebody who is not meant.
const CONNECTIONS_MAX: usize = 64;
// Between two scrapes, too: a minute is the slowest common interval.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
// Heads of scrapers are well below it, and 8 KiB is the least that the library takes.
const BUFFER_MAX: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
