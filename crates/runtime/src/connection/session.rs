//! Owns one connection while it is served: performs on a stream what its dialogue asks for, under
//! the time limits. Must not know header names, nor which system calls move the bytes.
//!
//! The future of a session is what an idle connection costs, so little is kept across a wait.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use heartbeat_protocol::{CloseReason, Next};

use crate::connection::dialogue::{Action, Delivery, Dialogue, Large};
use crate::connection::socket::Stream;
use crate::deadlines::{Wait, Watch};
use crate::observe::end::End;
use crate::send::arena::Slot;
use crate::send::outbound::Outbound;
use crate::worker::Worker;

/// How long a peer that is told to close gets to see the answer and close (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);

/// How much it may still send meanwhile, in bytes.
const LINGER_BYTES_MAX: u64 = 256 << 20;

/// A connection being served.
pub(crate) struct Session<'w, S> {
    worker: &'w Worker,
    watch: &'w Watch<'w>,
    stream: S,
    dialogue: Dialogue<'w>,
}

/// How a wait for the peer went on.
enum Received {
    Bytes,
    /// The answer of a request that did not come in time, and which wait that was.
    TimedOut(Delivery, Wait),
    End(End),
    /// The end, but not before the peer has seen this side's.
    Close(End),
}

impl<'w, S: Stream> Session<'w, S> {
    pub(crate) fn new(worker: &'w Worker, watch: &'w Watch<'w>, remote: IpAddr, stream: S) -> Self {
        Self { worker, watch, stream, dialogue: Dialogue::new(worker, remote) }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(&mut self) -> End {
        // Why the connection closes once the delivery below is out, where that is settled.
        let mut timed_out = None;
        loop {
            let mut delivery = match self.dialogue.advance() {
                Action::GoOn => continue,
                Action::Deliver(delivery) => delivery,
                Action::Stop => return End::Peer,
                Action::Receive => {
                    if let Err(end) = self.flush().await {
                        return end;
                    }
                    match self.receive().await {
                        Received::Bytes => continue,
                        Received::End(end) => return end,
                        Received::Close(end) => {
                            self.linger().await;
                            return end;
                        }
                        Received::TimedOut(delivery, wait) => {
                            timed_out = Some(End::TimedOut(wait));
                            delivery
                        }
                    }
                }
            };
            if let Some(Large { head_start, payload, exchange }) = delivery.large.take() {
                let slot = self.take_slot(head_start);
                let mut outbound = Outbound::new(slot, payload);
                let mut sent = self.flush().await;
                if sent.is_ok() {
                    sent = self.send_outbound(&mut outbound).await;
                }
                if let Some(slot) = outbound.abandon() {
                    self.worker.release_slot(slot);
                }
                match sent {
                    Ok(()) => self.dialogue.settle_large(exchange),
                    Err(end) => return end,
                }
            }
            match delivery.next {
                Next::KeepAlive if !self.dialogue.is_gathered() => continue,
                Next::KeepAlive | Next::Close(_) => {
                    if let Err(end) = self.flush().await {
                        return end;
                    }
                }
            }
            if let Next::Close(reason) = delivery.next {
                // Unless the peer has closed and nothing of it is unread, a close would be a
                // reset, and take the answer with it.
                if reason != CloseReason::Peer || self.dialogue.has_unread() {
                    self.linger().await;
                }
                return timed_out.unwrap_or_else(|| ended_by(reason));
            }
        }
    }

    /// Tells the peer that there are too many connections, and closes.
    pub(crate) async fn turn_down(&mut self) -> End {
        self.dialogue.turn_down();
        if self.flush().await.is_ok() {
            self.linger().await;
        }
        End::TurnedDown
    }

    /// Gets more of what the peer sends, or throws it away where nobody would look at it.
    async fn receive(&mut self) -> Received {
        let (wait, limit) = self.receive_wait();
        self.watch.arm(wait, limit, self.worker.clock());
        let result = match self.dialogue.discardable() {
            Some(bytes_max) => {
                let result = self.stream.discard(bytes_max).await;
                if let Ok(bytes) = result {
                    self.dialogue.discarded(bytes);
                }
                result
            }
            None => {
                let input = self.dialogue.take_input();
                let (result, input) = self.stream.receive(input).await;
                self.dialogue.set_input(input);
                result
            }
        };
        match result {
            Ok(0) => self.receive_ended(),
            Ok(_) => {
                if !self.watch.is_for_head() {
                    self.watch.disarm();
                }
                Received::Bytes
            }
            Err(error) if is_interrupted(&error) => Received::Bytes,
            Err(_) => Received::End(self.failed()),
        }
    }

    /// What is being waited for, and how long. The first head of a connection is waited for like
    /// one that has begun; between requests there is more patience.
    fn receive_wait(&self) -> (Wait, Duration) {
        let config = self.worker.config();
        if self.dialogue.is_in_body() {
            (Wait::Receive, config.stall_timeout)
        } else if self.dialogue.waits_for_nothing() && !self.dialogue.is_fresh() {
            (Wait::Idle, config.idle_timeout)
        } else {
            (Wait::Head, config.header_timeout)
        }
    }

    /// The peer has finished sending, or a deadline has made it look so.
    fn receive_ended(&mut self) -> Received {
        let waits_for_nothing = self.dialogue.waits_for_nothing();
        match self.watch.expired() {
            None if waits_for_nothing => Received::End(End::Peer),
            // An incomplete message is not answered (RFC 9112 section 8).
            None => Received::End(End::Aborted),
            // A connection that waits for nothing closes without a word, but not before what may
            // be on its way from the peer has met this side's end.
            Some(_) if waits_for_nothing && self.worker.is_draining() => {
                Received::Close(End::Drained)
            }
            Some(wait) if waits_for_nothing => Received::Close(End::TimedOut(wait)),
            Some(wait) => Received::TimedOut(self.dialogue.time_out(), wait),
        }
    }

    /// Moves the head of a large answer from the end of the outbox into a slot; where there is
    /// none, it stays and goes out with what waits there.
    fn take_slot(&mut self, head_start: usize) -> Option<Slot> {
        let outbox = self.dialogue.outbox();
        let slot = self.worker.arena().take_slot(&outbox.bytes[head_start..])?;
        outbox.bytes.truncate(head_start);
        Some(slot)
    }

    async fn send_outbound(&mut self, outbound: &mut Outbound) -> Result<(), End> {
        while !outbound.is_done() {
            self.watch.arm(Wait::Send, self.worker.config().stall_timeout, self.worker.clock());
            match self.stream.send_outbound(outbound).await {
                Ok(0) => return Err(End::Aborted),
                Ok(sent) => {
                    if let Some(slot) = outbound.advance(sent) {
                        self.worker.release_slot(slot);
                    }
                }
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return Err(self.failed()),
            }
        }
        self.watch.disarm();
        Ok(())
    }

    /// Sends everything that waits to be sent.
    async fn flush(&mut self) -> Result<(), End> {
        let Some(mut outbox) = self.dialogue.take_outbox() else { return Ok(()) };
        let mut sent = 0;
        while sent < outbox.bytes.len() {
            self.watch.arm(Wait::Send, self.worker.config().stall_timeout, self.worker.clock());
            let bytes = std::mem::take(&mut outbox.bytes);
            let (result, bytes) = self.stream.send(bytes, sent).await;
            outbox.bytes = bytes;
            match result {
                Ok(0) => return Err(End::Aborted),
                Ok(bytes) => sent += bytes,
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return Err(self.failed()),
            }
        }
        if sent > 0 {
            self.watch.disarm();
        }
        self.dialogue.settle(outbox);
        Ok(())
    }

    /// Half-closes, and throws away what the peer sends until it closes too, for a while.
    async fn linger(&mut self) {
        self.stream.shutdown_send();
        self.watch.arm(Wait::Linger, LINGER, self.worker.clock());
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match self.stream.discard(left).await {
                Ok(bytes @ 1..) => left -= bytes as u64,
                Err(error) if is_interrupted(&error) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Why an operation has failed.
    fn failed(&mut self) -> End {
        match self.watch.expired() {
            Some(wait) => {
                self.stream.reset_on_close();
                End::TimedOut(wait)
            }
            None => End::Aborted,
        }
    }
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
