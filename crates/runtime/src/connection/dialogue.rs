//! Owns the requests and answers of one connection: it takes requests out of received bytes, and
//! puts answers into an outbox. It performs no I/O and never waits; `session` and the lane do.

use std::net::IpAddr;
use std::time::Instant;

use heartbeat_protocol::{
    Connection, Content, Event, Next, Payload, Persistence, Port, Rejection, Response, Route,
    Routed, ServerTiming, Status, limits, route,
};

use crate::connection::outbox::{OUTBOX_BYTES, Outbox};
use crate::observe::exchange::Exchange;
use crate::observe::{name, scrape};
use crate::worker::Worker;

/// Longest payload that is copied behind its head into one contiguous write. `send` decides how a
/// longer one is sent.
pub(crate) const CONTIGUOUS_PAYLOAD_BYTES_MAX: u64 = 4096;

/// Longest answer that is copied into an outbox, its head included.
pub(crate) const CONTIGUOUS_BYTES_MAX: usize =
    limits::RESPONSE_HEAD_BYTES_MAX + CONTIGUOUS_PAYLOAD_BYTES_MAX as usize;

/// Gathered answers are sent once they are longer than this, even if more requests have arrived.
pub(crate) const GATHER_BYTES_MAX: usize = OUTBOX_BYTES - CONTIGUOUS_BYTES_MAX;

/// One connection's requests and answers.
pub(crate) struct Dialogue<'w> {
    worker: &'w Worker,
    remote: IpAddr,
    port: Port,
    /// The state of the protocol. The session asks it, and only this file changes it.
    pub(crate) connection: Connection,
    /// The request that is being read.
    request: Option<Open<'w>>,
    /// Its method and path, if there is an access log.
    name: Option<String>,
    /// Whether no request has come yet.
    pub(crate) is_fresh: bool,
    /// Whether the connection is above the limit: only one more request is answered, and with 503
    /// unless it asks for the health of the server.
    pub(crate) is_restricted: bool,
}

/// A request whose head is complete.
struct Open<'w> {
    routed: Routed<'w>,
    started: Instant,
    /// When the last byte of its body had arrived, if its answer reports times.
    received: Option<Instant>,
    bytes_in: u64,
}

impl Open<'_> {
    /// Adds how long the body took to arrive, and how long the answer took after that.
    fn with_times(&self, mut timing: ServerTiming) -> ServerTiming {
        let received = self.received.unwrap_or(self.started);
        timing.app_us = received.elapsed().as_micros() as u64;
        if self.bytes_in > 0 {
            timing.recv_us = Some(received.duration_since(self.started).as_micros() as u64);
            timing.recv_bytes = Some(self.bytes_in);
        }
        timing
    }
}

/// What there is to do next.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing yet: there may be further events in the input.
    GoOn,
    /// Send what waits, then receive more.
    Receive,
    /// Send [`heartbeat_protocol::CONTINUE`].
    Continue,
    /// Answer by [`Dialogue::answer`].
    Answer(Reply),
    /// Nothing: the connection is over.
    Stop,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The request that has been read.
    Request,
    /// A message that was not understood.
    Rejection(Rejection),
    /// A message that did not arrive in time.
    Timeout,
    /// A head that is too long for the memory that is left.
    TooLarge,
}

/// An answer that has been encoded.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The part that is too long for the outbox.
    pub(crate) large: Option<Large>,
    /// What follows the answer.
    pub(crate) next: Next,
}

/// A payload that is not copied into the outbox. Its head starts at `head_start` there.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) head_start: usize,
    pub(crate) payload: Payload,
    pub(crate) exchange: Exchange,
}

impl<'w> Dialogue<'w> {
    /// A connection that waits for a request, its first one if `is_fresh`.
    pub(crate) fn new(worker: &'w Worker, remote: IpAddr, port: Port, is_fresh: bool) -> Self {
        Self {
            worker,
            remote,
            port,
            connection: Connection::new(),
            request: None,
            name: worker.log().map(|_| worker.buffers.name()),
            is_fresh,
            is_restricted: false,
        }
    }

    /// Notes that the connection is above the limit.
    pub(crate) fn restrict(&mut self) {
        self.is_restricted = true;
        self.connection.close_after_answer();
    }

    /// Whether the answer to the request that has been read reports times and the path.
    pub(crate) fn wants_timing(&self) -> bool {
        self.request.as_ref().is_some_and(|open| open.routed.wants_timing())
    }

    /// Moves on by one event, and returns how many bytes of `input` it has used.
    pub(crate) fn advance(&mut self, input: &[u8]) -> (usize, Action) {
        let received = self.connection.receive(input);
        let action = match received.event {
            Event::NeedData => Action::Receive,
            Event::Data(data) => {
                self.note_received(data.len());
                Action::GoOn
            }
            Event::EndOfMessage => {
                if self.wants_timing()
                    && let Some(open) = &mut self.request
                {
                    open.received = Some(Instant::now());
                }
                Action::Answer(Reply::Request)
            }
            Event::ExpectsContinue => Action::Continue,
            Event::Rejected(rejection) => {
                self.guess_name(&input[received.consumed..]);
                Action::Answer(Reply::Rejection(rejection))
            }
            Event::Closed => Action::Stop,
            Event::Request(request) => {
                self.is_fresh = false;
                if let Some(name) = &mut self.name {
                    name::set(name, request.method_token, request.target_bytes);
                }
                let routed =
                    route(&request, self.port, &self.worker.config().site, &self.worker.facts());
                // A server that is full does not wait for an upload.
                let is_turned_down = self.is_restricted && routed.route != Route::Health;
                if is_turned_down || routed.response().status.is_refusal() {
                    self.connection.refuse();
                }
                self.request =
                    Some(Open { routed, started: Instant::now(), received: None, bytes_in: 0 });
                Action::GoOn
            }
        };
        (received.consumed, action)
    }

    /// Notes that content has been discarded without being read.
    pub(crate) fn discarded(&mut self, bytes: usize) {
        self.connection.skip(bytes as u64);
        self.note_received(bytes);
    }

    /// Whether the answer to the request that has been read is short, needs nothing but an outbox,
    /// and keeps the connection.
    pub(crate) fn is_brief(&self) -> bool {
        let Some(Open { routed, .. }) = &self.request else { return false };
        let bytes = match routed.response().content {
            Content::Wire { message_bytes, .. } => message_bytes,
            content => content.bytes(),
        };
        bytes <= CONTIGUOUS_PAYLOAD_BYTES_MAX
            && routed.route != Route::Metrics
            && !routed.wants_timing()
            && !self.connection.is_in_body()
            && !self.is_restricted
            && self.connection.persistence() != Persistence::Close
            && !self.worker.is_draining()
    }

    /// Puts the answer to `reply` into `outbox`, behind those that wait there. If the answer
    /// [`Dialogue::wants_timing`], `timing` has the figures of the path, and the times are added.
    pub(crate) fn answer(
        &mut self,
        reply: Reply,
        timing: Option<ServerTiming>,
        outbox: &mut Outbox,
    ) -> Delivery {
        let open = self.request.take();
        if reply == Reply::TooLarge {
            self.connection.close_after_answer();
        }
        let (route, response) = self.choose(reply, open.as_ref());
        let exchange = Exchange {
            route,
            status: response.status,
            started: open.as_ref().map_or_else(Instant::now, |open| open.started),
            remote: self.remote,
            payload_bytes: None,
            bytes_out: 0,
            bytes_in: open.as_ref().map_or(0, |open| open.bytes_in),
        };
        if route == Route::Metrics && response.status == Status::Ok {
            let text = scrape::render(&self.worker.shared);
            let content = Content::Text { media_type: scrape::MEDIA_TYPE, text: &text };
            return self.encode_answer(&Response::with_content(content), exchange, outbox);
        }
        if let (Some(timing), Some(open)) = (timing, &open) {
            let timing = open.with_times(timing);
            return self.encode_answer(&response.with_timing(&timing), exchange, outbox);
        }
        self.encode_answer(&response, exchange, outbox)
    }

    /// The answer to `reply`, and the kind of resource that it counts for.
    fn choose<'o>(&self, reply: Reply, open: Option<&'o Open<'_>>) -> (Route, Response<'o>) {
        match (reply, open) {
            (Reply::Request, Some(open))
                if self.is_restricted && open.routed.route != Route::Health =>
            {
                (open.routed.route, Response::new(Status::ServiceUnavailable))
            }
            (Reply::Request, Some(open)) => (open.routed.route, open.routed.response()),
            (Reply::Request, None) => unreachable!("a message ends after its head"),
            (Reply::Rejection(rejection), _) => (Route::Other, Response::rejection(rejection)),
            (Reply::TooLarge, _) => (Route::Other, Response::rejection(Rejection::HeadTooLarge)),
            (Reply::Timeout, _) if self.is_restricted => {
                (Route::Other, Response::new(Status::ServiceUnavailable))
            }
            // The request was refused before its body stalled. The answer keeps that status.
            (Reply::Timeout, Some(open)) if self.connection.is_refused() => {
                (open.routed.route, open.routed.response())
            }
            (Reply::Timeout, _) => (Route::Other, Response::new(Status::RequestTimeout)),
        }
    }

    /// Adds the exchange of an answer to `outbox`. It is complete once the bytes in `outbox` have
    /// been sent.
    pub(crate) fn remember(&mut self, exchange: Exchange, outbox: &mut Outbox) {
        outbox.push(exchange, self.name.as_deref());
    }

    /// Guesses the name of a message that was not understood or did not come in time.
    pub(crate) fn guess_name(&mut self, input: &[u8]) {
        // If the head of the request has been read, the name is known.
        if let (None, Some(name)) = (&self.request, &mut self.name) {
            name::guess(name, input);
        }
    }

    fn encode_answer(
        &mut self,
        response: &Response<'_>,
        mut exchange: Exchange,
        outbox: &mut Outbox,
    ) -> Delivery {
        if self.worker.is_draining() {
            self.connection.close_after_answer();
        }
        let head_start = outbox.bytes.len();
        let clock = &self.worker.clock;
        let (status, content) =
            clock.with_date(|date| self.connection.send(response, date, &mut outbox.bytes));
        exchange.status = status;
        exchange.bytes_out = content.bytes();
        match content {
            Content::Payload(payload) => {
                exchange.payload_bytes = Some(payload.bytes);
                if payload.bytes > CONTIGUOUS_PAYLOAD_BYTES_MAX {
                    let large = Some(Large { head_start, payload, exchange });
                    return Delivery { large, next: self.connection.finish() };
                }
                let block = &self.worker.arena.block()[..payload.bytes as usize];
                outbox.bytes.extend_from_slice(block);
            }
            Content::Text { text, .. } => outbox.bytes.extend_from_slice(text.as_bytes()),
            Content::None | Content::Wire { .. } => {}
        }
        self.remember(exchange, outbox);
        Delivery { large: None, next: self.connection.finish() }
    }

    /// Counts what has arrived of a body that does not end, and the `unanswered_bytes` of bodies
    /// whose answers could not be sent. No exchange counts them.
    pub(crate) fn note_unfinished(&self, unanswered_bytes: u64) {
        let bytes = self.request.as_ref().map_or(0, |open| open.bytes_in);
        self.worker.counters().request_body_bytes.add(bytes + unanswered_bytes);
    }

    fn note_received(&mut self, bytes: usize) {
        if let Some(request) = &mut self.request {
            request.bytes_in += bytes as u64;
        }
    }
}

impl Drop for Dialogue<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.worker.buffers.give_name(name);
        }
    }
}
