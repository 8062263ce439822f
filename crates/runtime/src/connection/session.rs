//! Owns one connection while it needs a task: performs on a stream what its dialogue asks for,
//! under the time limits. Must not know header names, nor which system calls move the bytes.
//!
//! A session ends as soon as its connection is idle. The connection then waits for its next request
//! in the lane.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use heartbeat_protocol::{CONTINUE, CloseReason, Next};

use crate::connection::buffers::{LARGE_BYTES, SMALL_BYTES};
use crate::connection::dialogue::{Action, Delivery, Dialogue, GATHER_BYTES_MAX, Large, Reply};
use crate::connection::input::Input;
use crate::connection::outbox::Outbox;
use crate::connection::socket::Stream;
use crate::deadlines::{Wait, WatchId};
use crate::observe::end::End;
use crate::observe::tcp_facts;
use crate::os::sys;
use crate::send::arena::Slot;
use crate::send::outbound::Outbound;
use crate::worker::Worker;

/// How long a peer may take to read the last answer and to close (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection above the limit may take to send its request, before it is answered
/// without one, and how long it may take to close. Only a few of them are answered at a time.
const RESTRICTED_TIMEOUT: Duration = Duration::from_millis(250);
const RESTRICTED_LINGER: Duration = Duration::from_secs(1);

/// The most bytes that a peer may still send after the half-close.
const LINGER_BYTES_MAX: u64 = 256 << 20;

/// If a peer has acknowledged all but this many bytes of its answers, its connection may be closed:
/// the kernel then keeps no more than that.
const UNREAD_BYTES_MAX: usize = LARGE_BYTES;

/// The shortest and the longest pause between two looks at what a peer has acknowledged. Each pause
/// is twice as long as the one before.
const READER_PAUSE_MIN: Duration = Duration::from_millis(5);
const READER_PAUSE_MAX: Duration = Duration::from_millis(320);

/// If at least this many bytes of content follow in a row, the kernel discards them, and no buffer
/// receives them.
const DISCARD_BYTES_MIN: u64 = LARGE_BYTES as u64;

/// A connection being served.
pub(crate) struct Session<'w, S> {
    worker: &'w Worker,
    watch: WatchId,
    stream: S,
    dialogue: Dialogue<'w>,
    input: Input,
    /// Answers that wait to be sent; None while there are none.
    outbox: Option<Box<Outbox>>,
}

/// What a session begins with.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// What has been received and not been used.
    pub(crate) input: Input,
    /// Answers of which the first `sent` bytes have been sent.
    pub(crate) outbox: Option<Box<Outbox>>,
    pub(crate) sent: usize,
    /// Why the connection is over already. The session then only half-closes, drains and closes it.
    pub(crate) end: Option<End>,
}

impl<'w, S: Stream> Session<'w, S> {
    pub(crate) fn new(
        worker: &'w Worker,
        watch: WatchId,
        dialogue: Dialogue<'w>,
        stream: S,
    ) -> Self {
        Self { worker, watch, stream, dialogue, input: Input::default(), outbox: None }
    }

    /// Serves the connection until it is idle: it waits for its next request in the lane then.
    ///
    /// # Errors
    /// Why the connection is over instead.
    pub(crate) async fn run(&mut self, start: Start) -> Result<(), End> {
        match self.serve(start).await {
            Err(end) => Err(self.wait_until_read(end).await),
            idle => idle,
        }
    }

    async fn serve(&mut self, start: Start) -> Result<(), End> {
        if let Some(end) = start.end {
            return Err(end);
        }
        self.input = start.input;
        self.outbox = start.outbox;
        self.flush_from(start.sent).await?;
        loop {
            let (used, action) = self.dialogue.advance(self.input.unused());
            self.input.consume(used);
            match action {
                Action::GoOn => {}
                Action::Stop => return Err(End::Peer),
                Action::Continue => self.outbox().bytes.extend_from_slice(CONTINUE),
                Action::Receive => {
                    self.flush().await?;
                    if self.is_idle() && !self.dialogue.is_fresh {
                        return Ok(());
                    }
                    self.receive().await?;
                }
                Action::Answer(reply) => self.deliver(reply).await?,
            }
        }
    }

    /// Answers one request of a connection that is above the limit, and closes.
    pub(crate) async fn turn_down(&mut self) -> End {
        self.dialogue.restrict();
        let _ = self.run(Start::default()).await;
        End::TurnedDown
    }

    /// Gives the buffers back, and returns the stream. The session is over.
    pub(crate) fn into_stream(mut self) -> S {
        let unsent = self.outbox.as_ref().map_or(0, |outbox| outbox.bytes_in());
        self.dialogue.note_unfinished(unsent);
        let buffers = &self.worker.buffers;
        self.input.release(buffers);
        if let Some(outbox) = self.outbox.take() {
            buffers.give_outbox(outbox);
        }
        self.stream
    }

    /// The answers that wait, from the spare outboxes if there are none yet.
    fn outbox(&mut self) -> &mut Outbox {
        self.outbox.get_or_insert_with(|| self.worker.buffers.outbox())
    }

    /// Whether no part of a next request has arrived.
    fn is_idle(&self) -> bool {
        self.dialogue.connection.is_idle() && self.input.unused().is_empty()
    }

    /// Whether this connection would keep a long part of a head while no memory is left. If many
    /// connections did so, the kernel would end the process.
    fn is_unaffordable(&self) -> bool {
        self.input.unused().len() >= SMALL_BYTES && !self.worker.has_memory()
    }

    /// Receives more, or discards it if nothing would read it.
    async fn receive(&mut self) -> Result<(), End> {
        if self.is_unaffordable() {
            return Err(self.deliver_last(Reply::TooLarge, End::Rejected).await);
        }
        let (wait, limit) = self.receive_wait();
        self.arm(wait, limit);
        let ahead = self.dialogue.connection.content_ahead();
        let result = if ahead >= DISCARD_BYTES_MIN && self.input.unused().is_empty() {
            let result = self.stream.discard(ahead).await;
            if let Ok(bytes) = result {
                self.dialogue.discarded(bytes);
            }
            // So the next read has a small buffer: it finds the head of the next chunk, and copies
            // little of the content.
            self.input.release(&self.worker.buffers);
            result
        } else {
            let buffer = self.input.take(&self.worker.buffers);
            let (result, buffer) = self.stream.receive(buffer).await;
            self.input.put(buffer);
            result
        };
        match result {
            Ok(0) => Err(self.receive_ended().await),
            Ok(_) => {
                if wait == Wait::Receive {
                    self.worker.deadlines.disarm(self.watch);
                }
                Ok(())
            }
            Err(error) if is_interrupted(&error) => Ok(()),
            Err(_) => Err(self.failed()),
        }
    }

    /// What the next receive waits for, and how long. The limit of a head also applies before the
    /// first head of a connection has begun.
    fn receive_wait(&self) -> (Wait, Duration) {
        let config = self.worker.config();
        if self.dialogue.is_restricted {
            // One limit for the whole request: a body that trickles in does not prolong it.
            (Wait::Head, config.header_timeout.min(RESTRICTED_TIMEOUT))
        } else if self.dialogue.connection.is_in_body() {
            (Wait::Receive, config.stall_timeout)
        } else {
            (Wait::Head, config.header_timeout)
        }
    }

    /// Handles EOF, real or caused by a deadline's shutdown(2).
    async fn receive_ended(&mut self) -> End {
        // At its deadline, a connection above the limit is answered even without a request.
        let is_idle = self.is_idle() && !self.dialogue.is_restricted;
        match self.worker.deadlines.expired(self.watch) {
            None if is_idle => End::Peer,
            // An incomplete message is not answered (RFC 9112 section 8).
            None => End::Aborted,
            // An idle connection closes without an answer.
            Some(_) if is_idle && self.worker.is_draining() => End::Drained,
            Some(wait) if is_idle => End::TimedOut(wait),
            Some(wait) => self.deliver_last(Reply::Timeout, End::TimedOut(wait)).await,
        }
    }

    /// Sends the answer to a message that has not arrived whole. The connection is over because of
    /// `end`, unless the peer is gone before the answer has been sent.
    async fn deliver_last(&mut self, reply: Reply, end: End) -> End {
        self.dialogue.guess_name(self.input.unused());
        // The memory is free from now on, because the peer may take long to read the answer.
        self.input.release(&self.worker.buffers);
        match self.deliver(reply).await {
            Err(End::Aborted) => End::Aborted,
            _ => end,
        }
    }

    /// Sends the answer to `reply`, or gathers it with those before it.
    async fn deliver(&mut self, reply: Reply) -> Result<(), End> {
        let timing = self
            .dialogue
            .wants_timing()
            .then(|| self.stream.fd().map(tcp_facts::server_timing).unwrap_or_default());
        let outbox = self.outbox.get_or_insert_with(|| self.worker.buffers.outbox());
        let Delivery { large, next } = self.dialogue.answer(reply, timing, outbox);
        if let Some(large) = large {
            self.send_large(large).await?;
        }
        let is_gathered =
            self.outbox.as_ref().is_some_and(|outbox| outbox.bytes.len() > GATHER_BYTES_MAX);
        if next == Next::KeepAlive && !is_gathered {
            return Ok(());
        }
        self.flush().await?;
        let Next::Close(reason) = next else { return Ok(()) };
        // A plain close is safe if the peer asked for it and everything that it sent has been read.
        // Otherwise it could become a reset, and the answer could be lost.
        if reason != CloseReason::Peer || !self.input.unused().is_empty() || self.discard_arrived()
        {
            self.linger().await;
        }
        Err(ended_by(reason))
    }

    /// Sends an answer that is too long for the outbox, behind what waits there.
    async fn send_large(&mut self, large: Large) -> Result<(), End> {
        let slot = self.take_slot(large.head_start);
        let mut outbound = Outbound::new(slot, large.payload);
        let sent = match self.flush().await {
            Ok(()) => self.send_outbound(&mut outbound).await,
            Err(end) => Err(end),
        };
        if let Err(end) = sent {
            // No exchange counts what was moved for an answer that did not end.
            let (sent, _) = outbound.payload_rest();
            self.worker.counters().response_body_bytes.add(sent);
            self.worker.counters().request_body_bytes.add(large.exchange.bytes_in);
            return Err(end);
        }
        self.worker.deadlines.disarm(self.watch);
        let outbox = self.outbox.get_or_insert_with(|| self.worker.buffers.outbox());
        self.dialogue.remember(large.exchange, outbox);
        self.settle();
        Ok(())
    }

    async fn send_outbound(&mut self, outbound: &mut Outbound) -> Result<(), End> {
        while !outbound.is_done() {
            self.arm(Wait::Send, self.worker.config().stall_timeout);
            match self.stream.send_outbound(outbound).await {
                Ok(0) => return Err(End::Aborted),
                Ok(sent) => outbound.advance(sent),
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return Err(self.failed()),
            }
        }
        Ok(())
    }

    /// Moves the head of a large answer from the end of the outbox into a slot. If no slot is free,
    /// the head stays in the outbox, and is sent with what waits there.
    fn take_slot(&mut self, head_start: usize) -> Option<Slot> {
        let arena = &self.worker.arena;
        let outbox = self.outbox.as_mut()?;
        let slot = arena.take_slot(&outbox.bytes[head_start..])?;
        outbox.bytes.truncate(head_start);
        Some(slot)
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.flush_from(0).await
    }

    /// Sends everything that waits to be sent, except for the first `sent` bytes.
    async fn flush_from(&mut self, mut sent: usize) -> Result<(), End> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        let mut bytes = std::mem::take(&mut outbox.bytes);
        while sent < bytes.len() {
            self.arm(Wait::Send, self.worker.config().stall_timeout);
            let (result, buffer) = self.stream.send(bytes, sent).await;
            bytes = buffer;
            match result {
                Ok(0) => return Err(End::Aborted),
                Ok(count) => sent += count,
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return Err(self.failed()),
            }
        }
        if sent > 0 {
            self.worker.deadlines.disarm(self.watch);
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.bytes = bytes;
        }
        self.settle();
        Ok(())
    }

    /// Counts and logs the exchanges of the outbox, which has been sent, and gives it back.
    fn settle(&mut self) {
        if let Some(mut outbox) = self.outbox.take() {
            let tcp = || self.stream.fd().and_then(|socket| self.worker.tcp_for_log(socket));
            outbox.settle_all(self.worker.counters(), self.worker.log(), tcp);
            self.worker.buffers.give_outbox(outbox);
        }
    }

    /// Half-closes, and discards what the peer sends, until it closes too or a limit of time or
    /// bytes is reached. If a deadline has shut the read side down, this discards only what has
    /// arrived already: the kernel answers later bytes with a reset.
    async fn linger(&mut self) {
        self.stream.shutdown_send();
        let limit = if self.dialogue.is_restricted { RESTRICTED_LINGER } else { LINGER };
        self.arm(Wait::Linger, limit);
        self.discard_rest().await;
    }

    /// Waits before the close until the peer has read its answers, except for a short rest. After
    /// the close the kernel would keep an answer that nobody reads for minutes, and no limit of the
    /// server would count it. Returns why the connection is over: if the peer acknowledges nothing
    /// for the stall timeout, that is the reason, and the close becomes a reset.
    async fn wait_until_read(&mut self, end: End) -> End {
        // In this case the close is a reset already.
        if end == End::TimedOut(Wait::Send) || !self.has_unread() {
            return end;
        }
        self.stream.shutdown_send();
        self.arm(Wait::Send, self.worker.config().stall_timeout);
        let mut pause = READER_PAUSE_MIN;
        while self.has_unread() {
            if !self.worker.deadlines.is_armed(self.watch) {
                return self.failed();
            }
            // Boxed, because it is rare.
            Box::pin(monoio::time::sleep(pause)).await;
            pause = (pause * 2).min(READER_PAUSE_MAX);
            self.discard_arrived();
        }
        end
    }

    fn has_unread(&self) -> bool {
        self.stream.fd().is_some_and(has_unread)
    }

    /// Discards what has arrived, without waiting. Returns whether there was something.
    fn discard_arrived(&self) -> bool {
        let discard = |socket| sys::discard_received(socket, LINGER_BYTES_MAX as usize);
        matches!(self.stream.fd().map(discard), Some(Ok(1..)))
    }

    /// Discards what the peer sends until it closes, a deadline has passed, or a limit of bytes is
    /// reached.
    async fn discard_rest(&mut self) {
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match self.stream.discard(left).await {
                Ok(bytes @ 1..) => left -= bytes as u64,
                Err(error) if is_interrupted(&error) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Starts a wait of up to `limit`.
    fn arm(&self, wait: Wait, limit: Duration) {
        self.worker.deadlines.arm(self.watch, wait, limit, self.worker.clock.now_ms());
    }

    /// Why an operation has failed. If a deadline ended it, the close becomes a reset.
    fn failed(&mut self) -> End {
        match self.worker.deadlines.expired(self.watch) {
            Some(wait) => {
                self.stream.reset_on_close();
                End::TimedOut(wait)
            }
            None => End::Aborted,
        }
    }
}

/// Whether the peer has not read a long part of its answers yet, so that the kernel would keep that
/// part after a close.
pub(crate) fn has_unread(socket: RawFd) -> bool {
    sys::unacknowledged_bytes(socket).is_ok_and(|bytes| bytes > UNREAD_BYTES_MAX)
        // After a reset nothing is kept, but the number stays.
        && sys::tcp_info(socket).is_ok_and(|info| !info.is_closed())
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

fn ended_by(reason: CloseReason) -> End {
    match reason {
        CloseReason::Peer => End::Peer,
        CloseReason::Server => End::Drained,
        CloseReason::Rejected => End::Rejected,
        CloseReason::BodyUnread => End::BodyUnread,
    }
}
