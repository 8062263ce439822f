//! Owns the connections of a lane, and how the lane answers the bytes that they send. Knows no ring
//! and no epoll set.

use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use heartbeat_protocol::Door;

use crate::connection::buffers::Buffers;
use crate::connection::dialogue::{Action, Dialogue, Reply};
use crate::connection::input::Input;
use crate::connection::outbox::{Mark, Outbox};
use crate::connection::session::Start;
use crate::deadlines::{Wait, WatchId};
use crate::observe::end::End;
use crate::place::Place;
use crate::worker::Worker;

/// Answers to one read, in bytes, after which a session takes over: it sends them before it encodes
/// further ones.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// A connection between two requests.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) remote: IpAddr,
    /// Whether no request has arrived yet.
    pub(crate) is_fresh: bool,
    /// Counts the connection until it is dropped.
    pub(crate) place: Place,
}

/// A connection that leaves the lane, and why.
#[derive(Debug)]
pub(crate) enum Departure {
    /// There is something to do that needs a session.
    Serve(Client, Start),
    /// Half-close, drain, then close.
    Close(Client, End),
}

/// The connections of a lane, each with an index.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    client: Client,
    watch: WatchId,
}

/// How far the lane has answered the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answers to all of them are in the outbox.
    Answered,
    /// A session takes over behind the first `used` bytes, whose answers are in the outbox.
    Unusual { used: usize },
}

impl Roster {
    /// Takes a connection in, and starts to wait for its request.
    pub(super) fn insert(&mut self, worker: &Worker, client: Client) -> u32 {
        let watch = worker.deadlines().add(client.stream.as_raw_fd());
        let config = worker.config();
        let (wait, limit) = if client.is_fresh {
            (Wait::Head, config.header_timeout)
        } else {
            (Wait::Idle, config.idle_timeout)
        };
        worker.deadlines().arm(watch, wait, limit, worker.clock().now_ms());
        let entry = Some(Entry { client, watch });
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            return index;
        }
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }

    /// The socket of a connection that is here.
    pub(super) fn socket(&self, index: u32) -> Option<RawFd> {
        let entry = self.entries.get(index as usize)?.as_ref()?;
        Some(entry.client.stream.as_raw_fd())
    }

    /// Takes a connection out. Nothing is in flight on its socket.
    pub(super) fn remove(&mut self, worker: &Worker, index: u32) -> Option<Client> {
        let Entry { client, watch } = self.entries.get_mut(index as usize)?.take()?;
        worker.deadlines().remove(watch);
        self.free.push(index);
        Some(client)
    }

    /// Starts to wait for the next request of a connection whose answers have been sent.
    pub(super) fn wait_on(&self, worker: &Worker, index: u32, now_ms: u64) {
        if let Some(Some(entry)) = self.entries.get(index as usize) {
            let limit = worker.config().idle_timeout;
            worker.deadlines().arm(entry.watch, Wait::Idle, limit, now_ms);
        }
    }

    /// Answers the requests in `input` as far as they are usual.
    pub(super) fn answer(
        &mut self,
        worker: &Worker,
        index: u32,
        input: &[u8],
        outbox: &mut Outbox,
    ) -> Verdict {
        match self.entries.get_mut(index as usize) {
            Some(Some(Entry { client, .. })) => {
                answer(worker, client.remote, &mut client.is_fresh, input, outbox)
            }
            _ => Verdict::Answered,
        }
    }

    /// EOF, real or caused by a deadline's shutdown(2). Some if that needs a session.
    pub(super) fn end(&mut self, worker: &Worker, index: u32) -> Option<Departure> {
        let expired = self.expired(worker, index);
        let client = self.remove(worker, index)?;
        let end = match expired {
            None => {
                worker.counters().note_end(End::Peer);
                return None;
            }
            Some(_) if worker.is_draining() => End::Drained,
            Some(wait) => End::TimedOut(wait),
        };
        // Bytes from the peer that arrive after a plain close would make it a reset.
        Some(Departure::Close(client, end))
    }

    /// A read has failed: the connection is closed.
    pub(super) fn fail(&mut self, worker: &Worker, index: u32) {
        let end = self.expired(worker, index).map_or(End::Aborted, End::TimedOut);
        if self.remove(worker, index).is_some() {
            worker.counters().note_end(end);
        }
    }

    fn expired(&self, worker: &Worker, index: u32) -> Option<Wait> {
        let entry = self.entries.get(index as usize)?.as_ref()?;
        worker.deadlines().expired(entry.watch)
    }
}

/// Answers the requests of one peer in `input` as far as they are usual.
pub(crate) fn answer(
    worker: &Worker,
    remote: IpAddr,
    is_fresh: &mut bool,
    input: &[u8],
    outbox: &mut Outbox,
) -> Verdict {
    let mut dialogue = Dialogue::new(worker, remote, Door::Main, *is_fresh);
    // Behind the last request whose answer is in the outbox.
    let mut answered = 0;
    let mut used = 0;
    let end = outbox.bytes.len() + ANSWER_BYTES_MAX;
    while answered < input.len() {
        if outbox.bytes.len() > end {
            return Verdict::Unusual { used: answered };
        }
        let (bytes, action) = dialogue.advance(&input[used..]);
        used += bytes;
        match action {
            Action::GoOn => {}
            Action::Answer(Reply::Request) if dialogue.is_brief() => {
                dialogue.answer(Reply::Request, outbox);
                *is_fresh = false;
                answered = used;
            }
            _ => return Verdict::Unusual { used: answered },
        }
    }
    Verdict::Answered
}

/// What a session starts with: the answers between two marks of `outbox`, of which `sent` bytes
/// have been sent, and `received` bytes behind their requests.
pub(crate) fn session_start(
    buffers: &Buffers,
    outbox: &Outbox,
    (from, until): (Mark, Mark),
    sent: usize,
    received: &[u8],
) -> Start {
    let unsent = (from != until).then(|| {
        let mut unsent = buffers.outbox();
        outbox.copy_range(from, until, &mut unsent);
        unsent
    });
    Start { input: Input::new(received, buffers), outbox: unsent, sent }
}
