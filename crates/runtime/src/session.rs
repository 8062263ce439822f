//! Owns one connection while it is served: drives the protocol's state machine over a stream.
//! Must not know header names, nor which system calls move the bytes.

use std::io;
use std::time::Duration;

use heartbeat_protocol::{
    CONTINUE, CloseReason, Connection, Content, Event, Next, Payload, Response, Routed, Status,
    limits, route,
};

use crate::buffers::BUFFER_BYTES;
use crate::deadlines::{Wait, Watch};
use crate::outbound::Outbound;
use crate::socket::Stream;
use crate::worker::Worker;

/// Longest payload that is copied behind its head into one contiguous write; longer ones go out
/// as vectors.
const CONTIGUOUS_PAYLOAD_BYTES_MAX: u64 = 4096;

/// Gathered answers are sent once they are this long, however many requests are still here.
const GATHER_BYTES_MAX: usize =
    BUFFER_BYTES - limits::RESPONSE_HEAD_BYTES_MAX - CONTIGUOUS_PAYLOAD_BYTES_MAX as usize;

/// Content that comes in a row and is at least this long is thrown away by the kernel, instead of
/// being read.
const DISCARD_BYTES_MIN: u64 = BUFFER_BYTES as u64;

/// How long a peer that is told to close gets to see the answer and close (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);

/// How much it may still send meanwhile, in bytes.
const LINGER_BYTES_MAX: u64 = 256 << 20;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed between requests, or asked to close.
    Peer,
    /// The peer closed or reset the connection inside a request or an answer.
    Aborted,
    /// A message was not understood.
    Rejected,
    /// A refused body was not read.
    BodyUnread,
    /// A wait took too long.
    TimedOut(Wait),
    /// This side is draining.
    Drained,
}

/// What a session does next, once it has an outcome.
type Step<T> = Result<T, End>;

/// A connection being served.
pub(crate) struct Session<'w, S> {
    worker: &'w Worker,
    watch: &'w Watch<'w>,
    stream: S,
    connection: Connection,
    /// What has been received; bytes before `input_start` are done with.
    input: Vec<u8>,
    input_start: usize,
    /// Answers that wait to be sent.
    output: Vec<u8>,
    /// The answer to the request whose body is being read.
    answer: Option<Routed<'w>>,
    /// No request has come yet.
    fresh: bool,
}

/// What an event asks of the session: it no longer borrows the input.
enum Action {
    Receive,
    Answer,
    Reject(Response<'static>),
    Continue,
    Nothing,
    Stop,
}

impl<'w, S: Stream> Session<'w, S> {
    pub(crate) fn new(worker: &'w Worker, watch: &'w Watch<'w>, stream: S) -> Self {
        Self {
            worker,
            watch,
            stream,
            connection: Connection::new(),
            input: worker.buffers().take(),
            input_start: 0,
            output: Vec::new(),
            answer: None,
            fresh: true,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) -> End {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        self.worker.buffers().give(self.input);
        self.worker.buffers().give(self.output);
        end
    }

    /// Tells the peer that there are too many connections, and closes.
    pub(crate) async fn turn_down(mut self) -> End {
        self.connection.close_after_answer();
        let response = Response::new(Status::ServiceUnavailable);
        self.answer(&response).await.err().unwrap_or(End::Drained)
    }

    async fn step(&mut self) -> Step<()> {
        let received = self.connection.receive(&self.input[self.input_start..]);
        self.input_start += received.consumed;
        let action = match received.event {
            Event::NeedData => Action::Receive,
            Event::Data(_) => Action::Nothing,
            Event::EndOfMessage => Action::Answer,
            Event::ExpectsContinue => Action::Continue,
            Event::Rejected(rejection) => Action::Reject(Response::rejection(rejection)),
            Event::Closed => Action::Stop,
            Event::Request(request) => {
                self.watch.disarm();
                self.fresh = false;
                let routed = route(&request, self.worker.site(), &self.worker.facts());
                if routed.response.status.is_refusal() {
                    self.connection.refuse();
                }
                self.answer = Some(routed);
                Action::Nothing
            }
        };
        match action {
            Action::Nothing => Ok(()),
            Action::Receive => self.receive().await,
            Action::Answer => {
                let routed = self.answer.take().expect("a message ends after its head");
                self.answer(&routed.response).await
            }
            Action::Reject(response) => self.answer(&response).await,
            Action::Continue => {
                self.output_buffer().extend_from_slice(CONTINUE);
                Ok(())
            }
            Action::Stop => Err(End::Peer),
        }
    }

    /// Sends what waits to be sent, then gets more of what the peer sends.
    async fn receive(&mut self) -> Step<()> {
        self.flush().await?;
        let ahead = self.connection.content_ahead();
        if ahead >= DISCARD_BYTES_MIN && self.input_start == self.input.len() {
            return self.discard(ahead).await;
        }
        self.make_room();
        let (wait, limit) = self.receive_wait();
        self.watch.arm(wait, limit, self.worker.clock());
        let input = std::mem::take(&mut self.input);
        let (result, input) = self.stream.receive(input).await;
        self.input = input;
        match result {
            Ok(0) => self.receive_ended().await,
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// What is being waited for, and how long. A head that trickles in has one limit for all of
    /// it, so that its wait is not begun anew by each byte.
    fn receive_wait(&self) -> (Wait, Duration) {
        let config = self.worker.config();
        if self.connection.is_in_body() {
            (Wait::Receive, config.stall_timeout)
        } else if self.waits_for_nothing() && !self.fresh {
            (Wait::Idle, config.idle_timeout)
        } else {
            (Wait::Head, config.header_timeout)
        }
    }

    /// Whether not a byte of a request is here.
    fn waits_for_nothing(&self) -> bool {
        self.connection.is_idle() && self.input.is_empty()
    }

    async fn discard(&mut self, ahead: u64) -> Step<()> {
        self.watch.arm(Wait::Receive, self.worker.config().stall_timeout, self.worker.clock());
        match self.stream.discard(ahead).await {
            Ok(0) => self.receive_ended().await,
            Ok(bytes) => {
                self.connection.skip(bytes as u64);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The peer has finished sending, or a deadline has made it look so.
    async fn receive_ended(&mut self) -> Step<()> {
        match self.watch.expired() {
            None if self.connection.is_idle() => Err(End::Peer),
            // An incomplete message is not answered (RFC 9112 section 8).
            None => Err(End::Aborted),
            Some(wait) if self.waits_for_nothing() => Err(self.idle_end(wait).await),
            Some(wait) => {
                self.answer = None;
                let (_, content) = self.encode(&Response::new(Status::RequestTimeout));
                debug_assert_eq!(content, Content::None);
                self.flush().await?;
                self.linger().await;
                Err(End::TimedOut(wait))
            }
        }
    }

    /// A connection that waits for nothing closes without a word, but not before what may be on
    /// its way from the peer has met this side's end.
    async fn idle_end(&mut self, wait: Wait) -> End {
        self.linger().await;
        if self.worker.phase().is_draining() { End::Drained } else { End::TimedOut(wait) }
    }

    /// Answers a request, or gathers the answer with those before it.
    async fn answer(&mut self, response: &Response<'_>) -> Step<()> {
        if self.worker.phase().is_draining() {
            self.connection.close_after_answer();
        }
        let head_start = self.output.len();
        let (_, content) = self.encode(response);
        match content {
            Content::Payload(payload) if payload.bytes > CONTIGUOUS_PAYLOAD_BYTES_MAX => {
                self.send_large(head_start, payload).await?;
            }
            Content::Payload(payload) => {
                let block = self.worker.arena().block();
                self.output.extend_from_slice(&block[..payload.bytes as usize]);
            }
            Content::Text { text, .. } => self.output.extend_from_slice(text.as_bytes()),
            Content::None | Content::Wire { .. } => {}
        }
        match self.connection.finish() {
            Next::Close(reason) => {
                self.flush().await?;
                Err(self.close(reason).await)
            }
            Next::KeepAlive if self.output.len() > GATHER_BYTES_MAX => self.flush().await,
            Next::KeepAlive => Ok(()),
        }
    }

    fn encode<'r>(&mut self, response: &Response<'r>) -> (Status, Content<'r>) {
        let mut output = std::mem::take(self.output_buffer());
        let sent =
            self.worker.clock().with_date(|date| self.connection.send(response, date, &mut output));
        self.output = output;
        sent
    }

    /// Sends the head, which starts at `head_start` of the output, and a payload that is too long
    /// to be copied.
    async fn send_large(&mut self, head_start: usize, payload: Payload) -> Step<()> {
        let slot = self.worker.arena().take_slot(&self.output[head_start..]);
        if slot.is_some() {
            self.output.truncate(head_start);
        }
        self.flush().await?;
        let mut outbound = Outbound::new(slot, payload);
        let result = self.send_outbound(&mut outbound).await;
        if let Some(slot) = outbound.abandon() {
            self.worker.release_slot(slot);
        }
        result
    }

    async fn send_outbound(&mut self, outbound: &mut Outbound) -> Step<()> {
        while !outbound.is_done() {
            self.watch.arm(Wait::Send, self.worker.config().stall_timeout, self.worker.clock());
            match self.stream.send_outbound(outbound).await {
                Ok(0) => return Err(End::Aborted),
                Ok(sent) => {
                    if let Some(slot) = outbound.advance(sent) {
                        self.worker.release_slot(slot);
                    }
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.watch.disarm();
        Ok(())
    }

    /// Sends everything that waits to be sent.
    async fn flush(&mut self) -> Step<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            self.watch.arm(Wait::Send, self.worker.config().stall_timeout, self.worker.clock());
            let output = std::mem::take(&mut self.output);
            let (result, output) = self.stream.send(output, sent).await;
            self.output = output;
            match result {
                Ok(0) => return Err(End::Aborted),
                Ok(bytes) => sent += bytes,
                Err(error) => return Err(self.failed(&error)),
            }
        }
        if sent > 0 {
            self.watch.disarm();
            self.worker.buffers().give(std::mem::take(&mut self.output));
        }
        Ok(())
    }

    /// Closes after the last answer. Unless the peer has closed and nothing of it is unread, the
    /// close would be a reset, and take the answer with it.
    async fn close(&mut self, reason: CloseReason) -> End {
        let unread = self.input_start < self.input.len();
        if reason != CloseReason::Peer || unread {
            self.linger().await;
        }
        match reason {
            CloseReason::Peer => End::Peer,
            CloseReason::Server => End::Drained,
            CloseReason::Rejected => End::Rejected,
            CloseReason::BodyUnread => End::BodyUnread,
        }
    }

    /// Half-closes, and throws away what the peer sends until it closes too, for a while.
    async fn linger(&mut self) {
        self.stream.shutdown_send();
        self.watch.arm(Wait::Linger, LINGER, self.worker.clock());
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match self.stream.discard(left).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left -= bytes as u64,
            }
        }
    }

    /// Why an operation has failed.
    fn failed(&mut self, _error: &io::Error) -> End {
        match self.watch.expired() {
            Some(wait) => {
                self.stream.reset_on_close();
                End::TimedOut(wait)
            }
            None => End::Aborted,
        }
    }

    /// Makes room behind what is left of the input.
    fn make_room(&mut self) {
        if self.input_start > 0 {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
        if self.input.len() == self.input.capacity() {
            // A head of its full length; the limits of the protocol end it there.
            self.input.reserve(limits::HEAD_BYTES_MAX);
        }
    }

    fn output_buffer(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = self.worker.buffers().take();
        }
        &mut self.output
    }
}
