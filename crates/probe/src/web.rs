//! The web page with the metrics, and the endpoints that an orchestrator probes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::accept::prefers_protobuf;
use crate::client::RequestBody;
use crate::metrics::{Metrics, PROTOBUF_TYPE};
use crate::page::{self, History};

/// Listens on all addresses, of both families if IPv6 is enabled.
///
/// # Errors
///
/// The port is taken, or its use is not permitted.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    let both = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await;
    match both {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        other => other,
    }
}

/// What is served beside the endpoints for an orchestrator.
pub(crate) trait Site: Send + Sync + 'static {
    /// The page at `path`, which is in lower case; `None` if there is none.
    fn page(&self, path: &str, query: Option<&str>) -> impl Future<Output = Option<Page>> + Send;

    /// What is shown with the status 404 if there is no page at `path`.
    fn missing(&self, _path: &str) -> Option<Page> {
        None
    }

    /// The metrics in Prometheus' protobuf; `None` if there is only text.
    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }
}

/// One page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The media type of the body.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Bytes,
}

impl Site for Metrics {
    async fn page(&self, path: &str, _: Option<&str>) -> Option<Page> {
        match path {
            "/" => rendered(self.history(), HTML_TYPE, page::probes).await,
            "/probes.json" => rendered(self.history(), JSON_TYPE, page::probes_json).await,
            "/metrics" => Some(Page { content_type: METRICS_TYPE, body: self.page().into() }),
            _ => None,
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(Metrics::protobuf(self))
    }
}

/// Renders the last hour on a separate thread, because this one sends the requests.
async fn rendered(
    history: Arc<History>,
    content_type: &'static str,
    render: fn(&History) -> String,
) -> Option<Page> {
    let body = tokio::task::spawn_blocking(move || render(&history)).await.ok()?;
    Some(Page { content_type, body: body.into() })
}

/// Serves the pages of `site` forever. Every client is accepted: above the limit the connection
/// that was idle for the longest time is closed, so that nobody can lock out an orchestrator by
/// holding connections.
pub(crate) async fn serve(listener: TcpListener, site: impl Site, readiness: Readiness) {
    let visitors = Visitors::default();
    let site = Arc::new(site);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Mostly the descriptors are used up. They are freed later, and an immediate retry
            // would spin.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let visitor = visitors.enter(Instant::now());
        let (site, readiness) = (Arc::clone(&site), readiness.clone());
        tokio::spawn(async move { attend(stream, visitor, &*site, &readiness).await });
    }
}

async fn attend(stream: TcpStream, visitor: Visitor, site: &impl Site, readiness: &Readiness) {
    let service = service_fn(|request: Request<Incoming>| {
        visitor.asks(Instant::now());
        async move { Ok::<_, Infallible>(answer(&request, site, readiness).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let silent = async {
        tokio::time::sleep(FIRST_HEAD_MAX).await;
        if visitor.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    // A client that closes the connection early is not an error of the server.
    tokio::select! {
        _ = served => {}
        () = silent => {}
        () = visitor.make_room() => {}
    }
}

/// Whether the program is ready for an orchestrator: it sends requests, and its end has not begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether it is ready from now on.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The open connections.
#[derive(Clone, Default)]
struct Visitors(Arc<Mutex<Vec<Presence>>>);

struct Presence {
    asked: bool,
    since: Instant,
    leave: Arc<Notify>,
}

/// One open connection; it leaves the others when it is dropped. `leave` is also what it is known
/// by: a number could be given again while the connection that had it before is still ending.
struct Visitor {
    leave: Arc<Notify>,
    all: Visitors,
}

impl Visitors {
    fn enter(&self, now: Instant) -> Visitor {
        let leave = Arc::new(Notify::new());
        let mut present = self.present();
        if present.len() >= CONNECTIONS_MAX {
            let idlest = (0..present.len()).min_by_key(|index| present[*index].since);
            if let Some(idlest) = idlest {
                present.swap_remove(idlest).leave.notify_one();
            }
        }
        present.push(Presence { asked: false, since: now, leave: Arc::clone(&leave) });
        drop(present);
        Visitor { leave, all: self.clone() }
    }

    fn present(&self) -> MutexGuard<'_, Vec<Presence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    fn asks(&self, now: Instant) {
        let mut present = self.all.present();
        if let Some(presence) = present.iter_mut().find(|presence| self.is(presence)) {
            (presence.asked, presence.since) = (true, now);
        }
    }

    fn has_asked(&self) -> bool {
        self.all.present().iter().any(|presence| self.is(presence) && presence.asked)
    }

    fn is(&self, presence: &Presence) -> bool {
        Arc::ptr_eq(&presence.leave, &self.leave)
    }

    /// Waits until another connection needs the place.
    async fn make_room(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.all.present().retain(|presence| !self.is(presence));
    }
}

async fn answer(
    request: &Request<Incoming>,
    site: &impl Site,
    readiness: &Readiness,
) -> Response<RequestBody> {
    let plain = |text: &'static str| Some(Page { content_type: TEXT_TYPE, body: text.into() });
    let path = request.uri().path().to_ascii_lowercase();
    let is_ready = readiness.is_ready();
    let page = match path.as_str() {
        "/healthz" => plain("pass"),
        "/readyz" if !is_ready => plain("not ready"),
        "/readyz" => plain("ready"),
        "/version" => plain(env!("CARGO_PKG_VERSION")),
        "/metrics" if prefers_protobuf(request.headers()) => match site.protobuf() {
            Some(body) => Some(Page { content_type: PROTOBUF_TYPE, body: body.into() }),
            None => site.page(&path, request.uri().query()).await,
        },
        path => site.page(path, request.uri().query()).await,
    };
    let status = match &page {
        None => StatusCode::NOT_FOUND,
        Some(_) if path == "/readyz" && !is_ready => StatusCode::SERVICE_UNAVAILABLE,
        Some(_) => StatusCode::OK,
    };
    let Some(page) = page.or_else(|| site.missing(&path)) else { return empty(status) };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(RequestBody::Bytes(page.body));
    *response.status_mut() = status;
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
/// The media type of a page for people.
pub(crate) const HTML_TYPE: &str = "text/html; charset=utf-8";
/// The media type of a page for programs.
pub(crate) const JSON_TYPE: &str = "application/json";
/// The media type of the page for Prometheus.
pub(crate) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
// A page runs no script and loads nothing, even if text from elsewhere was not escaped.
const HTML_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
// Enough for a few scrapers and kubelets; others have no business here.
const CONNECTIONS_MAX: usize = 64;
// A kubelet and a scraper send their request as soon as they are connected.
const FIRST_HEAD_MAX: Duration = Duration::from_secs(5);
// A minute is the longest common interval between two scrapes.
const IDLE_MAX: Duration = Duration::from_secs(75);
// Scrapers send much smaller heads, and the library accepts no less than 8 KiB.
const BUFFER_MAX: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_limit_the_connection_that_was_idle_for_longest_is_closed() {
        let (visitors, start) = (Visitors::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut open: Vec<_> =
            (0..CONNECTIONS_MAX as u64).map(|second| visitors.enter(at(second))).collect();
        // The first one sends a request, so that the second one is closed.
        open[0].asks(at(1000));
        open.push(visitors.enter(at(1001)));
        let present =
            |visitor: &Visitor| visitors.present().iter().any(|presence| visitor.is(presence));
        let gone: Vec<_> = (0..open.len()).filter(|index| !present(&open[*index])).collect();
        assert_eq!(gone, [1]);
        assert_eq!(visitors.present().len(), CONNECTIONS_MAX);
        drop(open);
        assert_eq!(visitors.present().len(), 0);
    }

    #[test]
    fn a_request_of_a_connection_that_was_closed_does_not_count_for_the_one_in_its_place() {
        let (visitors, start) = (Visitors::default(), Instant::now());
        let open: Vec<_> = (0..CONNECTIONS_MAX).map(|_| visitors.enter(start)).collect();
        let last = &open[CONNECTIONS_MAX - 1];
        for other in &open[..CONNECTIONS_MAX - 1] {
            other.asks(start + Duration::from_secs(1));
        }
        let newcomer = visitors.enter(start + Duration::from_secs(2));
        last.asks(start + Duration::from_secs(3));
        assert!(!last.has_asked() && !newcomer.has_asked());
    }
}
