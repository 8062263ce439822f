//! One connection, which is opened once and then carries one request after the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::net::TcpStream;

use crate::client::connect::{self, Opening};
use crate::client::facts::{Counters, PathFacts};
use crate::client::protocol::{self, Driver, Sender};
use crate::client::request::RequestForm;
use crate::client::stream::{Stream, Traffic, Transport};
use crate::client::{BodySink, ClientError, Request, Route, Target};
use crate::timing::ServerTiming;

/// An open connection, which carries one request at a time, in HTTP/2 as well. It has no time
/// limits of its own.
pub(crate) struct Connection {
    sender: Sender,
    // `None` once it has ended. The task that sends a request polls it. Dropping the connection
    // closes the socket, in HTTP/2 once the runtime has ended its tasks.
    driver: Option<Driver>,
    traffic: Arc<Traffic>,
    form: RequestForm,
    counters: Counters,
    // Whether an answer has arrived.
    has_answered: bool,
}

/// An answer without its body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All header fields.
    pub headers: HeaderMap,
    /// `Content-Length` as the server sent it, even if there is no body, as for HEAD; `None` if the
    /// body is chunked or ends with the connection.
    pub content_length: Option<u64>,
    /// Bytes of the body that were received.
    pub body_length: u64,
    /// Bytes that were read for it, including head and framing, but not TLS.
    pub bytes_received: u64,
    /// Bytes that were written for it, including head and framing, but not TLS.
    pub bytes_sent: u64,
}

/// How long the parts of a request took. Each is set when it ends, so that a request that is
/// abandoned leaves the times of the parts that had ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// The opening of the connection; empty if it was open already.
    pub opening: Opening,
    /// From passing the request to the open connection until the whole head of the answer has
    /// arrived.
    pub first_byte: Option<Duration>,
    /// From then on until the whole body has arrived.
    pub transfer: Option<Duration>,
    /// What the answer has shown about the path; set once the whole body has arrived. Of a request
    /// that failed, only the segments that this end has retransmitted are known.
    pub path: PathFacts,
}

impl Connection {
    /// Connects to `target` by `route`, and stores in `opening` how long the steps took. With
    /// `close`, every request on the connection asks the server to close it.
    ///
    /// # Errors
    ///
    /// A name without an address, an address without a listener, a proxy that opens no tunnel, a
    /// failed TLS handshake.
    pub(crate) async fn dial(
        target: &Target,
        route: &Route,
        close: bool,
        opening: &mut Opening,
    ) -> Result<Self, ClientError> {
        let traffic = Arc::new(Traffic::default());
        let stream = connect::open(target, route, Arc::clone(&traffic), opening).await?;
        let opened = match stream.speaks_http2(route.http) {
            true => protocol::open_two(stream).await,
            false => protocol::open_one(stream, route.header_fields_max).await,
        };
        let form = match &opened {
            Ok((Sender::Two { .. }, _)) => RequestForm::of_http2(target),
            _ => RequestForm::of_http1(target, route, close),
        };
        Self::with(opened, traffic, form)
    }

    /// Does the same over a TCP connection that the caller has opened, so that the caller can ask
    /// the kernel about its path.
    ///
    /// # Errors
    ///
    /// None that an established connection would cause.
    pub(crate) async fn over(tcp: TcpStream, close: bool) -> Result<Self, ClientError> {
        let traffic = Arc::new(Traffic::default());
        let stream = Stream::new(Transport::Plain(tcp), Arc::clone(&traffic));
        let opened = protocol::open_one(stream, Some(HEADER_FIELDS_MAX)).await;
        Self::with(opened, traffic, RequestForm::Direct { close })
    }

    fn with(
        opened: hyper::Result<(Sender, Driver)>,
        traffic: Arc<Traffic>,
        form: RequestForm,
    ) -> Result<Self, ClientError> {
        let (sender, driver) = opened.map_err(ClientError::Http)?;
        let counters = Counters::default();
        Ok(Self { sender, driver: Some(driver), traffic, form, counters, has_answered: false })
    }

    /// Sends `request`, passes the body of the answer to `sink` as it arrives, and stores in
    /// `phases` how long the parts took. If the future is dropped before it is done, the connection
    /// is unusable.
    ///
    /// # Errors
    ///
    /// A connection that breaks or closes too early; an answer that is not HTTP of the version
    /// that the connection has.
    pub(crate) async fn request(
        &mut self,
        request: &Request,
        sink: &mut dyn BodySink,
        phases: &mut Phases,
    ) -> Result<Answer, ClientError> {
        let start = Instant::now();
        let (received, sent) = (self.traffic.received(), self.traffic.sent());
        let asked = self.sender.send(request.message(&self.form));
        let response = drive(&mut self.driver, asked).await;
        let response = response.map_err(|error| match self.form.expects_http2() {
            true if !self.has_answered => ClientError::NoHttp2(error),
            _ => ClientError::of_http(error, 0),
        })?;
        self.has_answered = true;
        phases.first_byte = Some(start.elapsed());
        let start = Instant::now();
        let (head, body) = Response::into_parts(response);
        let content_length = content_length(&head.headers);
        sink.begin(&head.headers);
        let body_length = self.receive(body, sink).await?;
        phases.transfer = Some(start.elapsed());
        let told = ServerTiming::of(&head.headers);
        phases.path = self.counters.facts(told, self.traffic.kernel());
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            content_length,
            body_length,
            bytes_received: self.traffic.received() - received,
            bytes_sent: self.traffic.sent() - sent,
        })
    }

    /// Whether another request may be sent on it; reads a close that has arrived meanwhile.
    pub(crate) async fn is_reusable(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            poll_driver(&mut self.driver, cx);
            Poll::Ready(self.driver.is_some() && self.sender.poll_ready(cx))
        })
        .await
    }

    /// Whether it is a connection of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Two { .. })
    }

    /// What is left of the connection after it was closed.
    pub(super) fn remains(&self) -> Remains {
        Remains { traffic: Arc::clone(&self.traffic), counters: self.counters }
    }

    /// Bytes received since the connection was opened.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.traffic.received()
    }

    async fn receive(
        &mut self,
        body: Incoming,
        sink: &mut dyn BodySink,
    ) -> Result<u64, ClientError> {
        let mut body = body;
        let mut received = 0;
        while let Some(frame) = drive(&mut self.driver, next_frame(&mut body)).await {
            let frame = frame.map_err(|error| ClientError::of_http(error, received))?;
            if let Some(bytes) = frame.data_ref() {
                received += bytes.len() as u64;
                sink.take(bytes);
            }
        }
        // hyper ends a body that the server has reset with NO_ERROR as if it were complete.
        if self.is_http2() && !body.is_end_stream() {
            return Err(ClientError::Truncated { received });
        }
        Ok(received)
    }
}

// Polls the connection while something that depends on it is awaited. That is polled first: its
// result may have arrived already, and the connection reads a body only when someone waits for it.
async fn drive<F: Future>(driver: &mut Option<Driver>, wanted: F) -> F::Output {
    let mut wanted = std::pin::pin!(wanted);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        poll_driver(driver, cx);
        wanted.as_mut().poll(cx)
    })
    .await
}

fn poll_driver(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.poll(cx).is_ready()) {
        *driver = None;
    }
}

/// Counts what a connection has retransmitted for its last request, if that has failed.
pub(super) struct Remains {
    traffic: Arc<Traffic>,
    counters: Counters,
}

impl Remains {
    /// Segments that this end has retransmitted for the last request, once the
    /// connection is closed.
    pub(super) fn retransmitted_up(mut self) -> u64 {
        self.counters.facts(None, self.traffic.kernel()).retransmitted_up
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    // RFC 9112 section 6.3: Transfer-Encoding overrides a Content-Length.
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

async fn next_frame(
    body: &mut Incoming,
) -> Option<Result<hyper::body::Frame<hyper::body::Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// The most header fields of an answer to a probe. WebV limits only their bytes, and some gateways
/// add more than hyper's [`FIELDS_DEFAULT`].
pub(crate) const HEADER_FIELDS_MAX: usize = 1000;
/// The limit that hyper has by default. Up to it, hyper reads the header fields on the stack. With
/// a larger limit it allocates memory for each answer, which would slow a load down.
pub(super) const FIELDS_DEFAULT: usize = 100;
