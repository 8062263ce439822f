//! Owns what is said on one connection: requests out of the received bytes, answers into the
//! outbox. Performs no operation and never waits; `session` does.

use std::time::Instant;

use heartbeat_protocol::{
    CONTINUE, Connection, Content, Door, Event, Next, Payload, Response, Route, Routed, Status,
    limits, route,
};

use crate::buffers::{LARGE_BYTES, OUTBOX_BYTES, SMALL_BYTES};
use crate::exchange::{Exchange, Name, Outbox};
use crate::metrics;
use crate::worker::{Remote, Worker};

/// Longest payload that is copied behind its head into one contiguous write; longer ones go out
/// as vectors.
const CONTIGUOUS_PAYLOAD_BYTES_MAX: u64 = 4096;

/// Gathered answers are sent once they are this long, however many requests are still here.
const GATHER_BYTES_MAX: usize =
    OUTBOX_BYTES - limits::RESPONSE_HEAD_BYTES_MAX - CONTIGUOUS_PAYLOAD_BYTES_MAX as usize;

/// Content that comes in a row and is at least this long is thrown away by the kernel, instead of
/// being read.
const DISCARD_BYTES_MIN: u64 = LARGE_BYTES as u64;

/// One connection's requests and answers.
pub(crate) struct Dialogue<'w> {
    worker: &'w Worker,
    remote: Remote,
    connection: Connection,
    /// What has been received; bytes before `input_start` are done with.
    input: Vec<u8>,
    input_start: usize,
    /// Answers that wait to be sent; none while there are none.
    outbox: Option<Box<Outbox>>,
    /// The request that is being read.
    request: Option<Open<'w>>,
    /// Its name, where there is an access log.
    name: Option<Box<Name>>,
    /// No request has come yet.
    is_fresh: bool,
}

/// A request whose head is here.
struct Open<'w> {
    routed: Routed<'w>,
    started: Instant,
    bytes_in: u64,
}

/// What there is to do next.
pub(crate) enum Action {
    /// Nothing yet.
    GoOn,
    /// Send the outbox, then get more of what the peer sends.
    Receive,
    /// See to an answer that is in the outbox.
    Deliver(Delivery),
    /// Nothing further.
    Stop,
}

/// An answer that has been encoded.
pub(crate) struct Delivery {
    /// The part that is too long for the outbox.
    pub(crate) large: Option<Large>,
    /// What comes after it.
    pub(crate) next: Next,
}

/// A payload that goes out as vectors, behind a head that starts at `head_start` of the outbox.
pub(crate) struct Large {
    pub(crate) head_start: usize,
    pub(crate) payload: Payload,
    pub(crate) exchange: Exchange,
}

impl<'w> Dialogue<'w> {
    pub(crate) fn new(worker: &'w Worker, remote: Remote) -> Self {
        Self {
            worker,
            remote,
            connection: Connection::new(),
            input: worker.buffers().small(),
            input_start: 0,
            outbox: None,
            request: None,
            name: worker.log().map(|_| Box::default()),
            is_fresh: true,
        }
    }

    /// Moves on by one event.
    pub(crate) fn advance(&mut self) -> Action {
        let input = &self.input[self.input_start..];
        let received = self.connection.receive(input);
        self.input_start += received.consumed;
        match received.event {
            Event::NeedData => Action::Receive,
            Event::Data(data) => {
                self.note_received(data.len());
                Action::GoOn
            }
            Event::EndOfMessage => Action::Deliver(self.answer_request()),
            Event::ExpectsContinue => {
                self.outbox().bytes.extend_from_slice(CONTINUE);
                Action::GoOn
            }
            Event::Rejected(rejection) => {
                // Within a body the head has given the name.
                if let (None, Some(name)) = (&self.request, &mut self.name) {
                    name.guess(input);
                }
                Action::Deliver(self.refuse(&Response::rejection(rejection)))
            }
            Event::Closed => Action::Stop,
            Event::Request(request) => {
                self.is_fresh = false;
                if let Some(name) = &mut self.name {
                    name.set(request.method_token, request.target_bytes);
                }
                let routed = route(&request, Door::Main, self.worker.site(), &self.worker.facts());
                if routed.response().status.is_refusal() {
                    self.connection.refuse();
                }
                self.request = Some(Open { routed, started: Instant::now(), bytes_in: 0 });
                Action::GoOn
            }
        }
    }

    /// Whether not a byte of a request is here, and the connection may close without loss.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        self.connection.is_idle() && !self.has_unread()
    }

    /// Whether no request has come yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether a request's body is being read.
    pub(crate) fn is_in_body(&self) -> bool {
        self.connection.is_in_body()
    }

    /// Whether the peer has sent more than has been read.
    pub(crate) fn has_unread(&self) -> bool {
        self.input_start < self.input.len()
    }

    /// Bytes of content that may be thrown away unseen, where that is worth it.
    pub(crate) fn discardable(&self) -> Option<u64> {
        let ahead = self.connection.content_ahead();
        (ahead >= DISCARD_BYTES_MIN && !self.has_unread()).then_some(ahead)
    }

    /// Notes that content has been thrown away unseen.
    pub(crate) fn discarded(&mut self, bytes: usize) {
        self.connection.skip(bytes as u64);
        self.note_received(bytes);
    }

    /// The read buffer, with room behind what is left in it. It comes back by
    /// [`Dialogue::set_input`].
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        self.make_room();
        std::mem::take(&mut self.input)
    }

    pub(crate) fn set_input(&mut self, input: Vec<u8>) {
        self.input = input;
    }

    /// The answers that wait to be sent. They come back by [`Dialogue::settle`].
    pub(crate) fn take_outbox(&mut self) -> Option<Box<Outbox>> {
        self.outbox.take()
    }

    /// Whether so much waits to be sent that it is not gathered further.
    pub(crate) fn is_gathered(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.bytes.len() > GATHER_BYTES_MAX)
    }

    /// The outbox is out: counts and logs its exchanges, and gives it back.
    pub(crate) fn settle(&mut self, mut outbox: Box<Outbox>) {
        outbox.settle(self.worker, self.remote);
        self.worker.buffers().give_outbox(outbox);
    }

    /// A large answer is out.
    pub(crate) fn settle_large(&mut self, exchange: Exchange) {
        self.remember(exchange);
        if let Some(outbox) = self.outbox.take() {
            self.settle(outbox);
        }
    }

    /// The answer of a request that did not come in time.
    pub(crate) fn time_out(&mut self) -> Delivery {
        if let (None, Some(name)) = (&self.request, &mut self.name) {
            name.guess(&self.input[self.input_start..]);
        }
        self.refuse(&Response::new(Status::RequestTimeout))
    }

    /// The answer of a connection too many. It is no request's: nothing is counted or logged.
    pub(crate) fn turn_down(&mut self) -> Delivery {
        self.connection.close_after_answer();
        self.encode(&Response::new(Status::ServiceUnavailable));
        Delivery { large: None, next: self.connection.finish() }
    }

    /// The outbox, from the spare ones where there is none yet.
    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        self.outbox.get_or_insert_with(|| self.worker.buffers().outbox())
    }

    /// Answers the request that has been read.
    fn answer_request(&mut self) -> Delivery {
        let Open { routed, started, bytes_in } =
            self.request.take().expect("a message ends after its head");
        let response = routed.response();
        let exchange = Exchange::new(routed.route, response.status, started, bytes_in);
        if routed.route == Route::Metrics && response.status == Status::Ok {
            let text = metrics::render(self.worker.process());
            let content = Content::Text { media_type: metrics::MEDIA_TYPE, text: &text };
            return self.answer(&Response::with_content(content), exchange);
        }
        self.answer(&response, exchange)
    }

    /// Answers what was not understood, or did not come in time.
    fn refuse(&mut self, response: &Response<'_>) -> Delivery {
        let open = self.request.take();
        let (started, bytes_in) =
            open.map_or_else(|| (Instant::now(), 0), |open| (open.started, open.bytes_in));
        let exchange = Exchange::new(Route::Other, response.status, started, bytes_in);
        self.answer(response, exchange)
    }

    /// Puts an answer into the outbox, behind those that wait there.
    fn answer(&mut self, response: &Response<'_>, mut exchange: Exchange) -> Delivery {
        if self.worker.phase().is_draining() {
            self.connection.close_after_answer();
        }
        let head_start = self.outbox().bytes.len();
        let (status, content) = self.encode(response);
        exchange.status = status;
        exchange.bytes_out = content.bytes();
        match content {
            Content::Payload(payload) => {
                exchange.payload_bytes = Some(payload.bytes);
                if payload.bytes > CONTIGUOUS_PAYLOAD_BYTES_MAX {
                    let large = Some(Large { head_start, payload, exchange });
                    return Delivery { large, next: self.connection.finish() };
                }
                let block = &self.worker.arena().block()[..payload.bytes as usize];
                self.outbox().bytes.extend_from_slice(block);
            }
            Content::Text { text, .. } => self.outbox().bytes.extend_from_slice(text.as_bytes()),
            Content::None | Content::Wire { .. } => {}
        }
        self.remember(exchange);
        Delivery { large: None, next: self.connection.finish() }
    }

    fn remember(&mut self, exchange: Exchange) {
        let name = self.name.take();
        self.outbox().push(exchange, name.as_deref());
        self.name = name;
    }

    fn encode<'r>(&mut self, response: &Response<'r>) -> (Status, Content<'r>) {
        let mut bytes = std::mem::take(&mut self.outbox().bytes);
        let clock = self.worker.clock();
        let sent = clock.with_date(|date| self.connection.send(response, date, &mut bytes));
        self.outbox().bytes = bytes;
        sent
    }

    fn note_received(&mut self, bytes: usize) {
        if let Some(request) = &mut self.request {
            request.bytes_in += bytes as u64;
        }
    }

    /// Makes room behind what is left of the input, in a buffer of the size that the last read
    /// has shown to be right.
    fn make_room(&mut self) {
        let left = self.input.len() - self.input_start;
        let buffers = self.worker.buffers();
        if left == 0 {
            let was_full = self.input.len() == self.input.capacity();
            self.input.clear();
            match self.input.capacity() {
                SMALL_BYTES if was_full => self.replace_input(buffers.large()),
                capacity if capacity > SMALL_BYTES && !was_full => {
                    self.replace_input(buffers.small());
                }
                _ => {}
            }
        } else {
            self.input.drain(..self.input_start);
            if left == SMALL_BYTES {
                let mut larger = buffers.large();
                larger.extend_from_slice(&self.input);
                self.replace_input(larger);
            } else if left == self.input.capacity() {
                // A head of its full length; the limits of the protocol end it there.
                self.input.reserve(limits::HEAD_BYTES_MAX);
            }
        }
        self.input_start = 0;
    }

    fn replace_input(&mut self, input: Vec<u8>) {
        self.worker.buffers().give(std::mem::replace(&mut self.input, input));
    }
}

impl Drop for Dialogue<'_> {
    fn drop(&mut self) {
        let buffers = self.worker.buffers();
        buffers.give(std::mem::take(&mut self.input));
        if let Some(outbox) = self.outbox.take() {
            buffers.give_outbox(outbox);
        }
    }
}
