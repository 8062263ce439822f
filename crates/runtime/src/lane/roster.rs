//! Owns the connections of a lane, and how the lane answers the bytes that they send. Must not
//! know the ring or the epoll set.

use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use heartbeat_protocol::Port;

use crate::connection::buffers::Buffers;
use crate::connection::dialogue::{Action, Dialogue, Reply};
use crate::connection::input::Input;
use crate::connection::outbox::{Mark, Outbox};
use crate::connection::session::{Start, has_unread};
use crate::deadlines::{Wait, WatchId};
use crate::handover::Rank;
use crate::observe::end::End;
use crate::os::sys::Registration;
use crate::place::Place;
use crate::worker::Worker;

/// If the answers to one read are longer than this, in bytes, a session takes over: it sends them
/// before it encodes further ones.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// A connection between two requests.
pub(crate) struct Client {
    /// Counts the connection until it is dropped. This is before the socket is closed, which the
    /// place names by number.
    pub(crate) place: Place,
    /// Its entry in the epoll set of the lane, if there is one: a session that never waits leaves
    /// it there. Dropped before the socket is closed.
    pub(crate) registration: Option<Registration>,
    pub(crate) stream: TcpStream,
    pub(crate) remote: IpAddr,
    /// Which listener it came through.
    pub(crate) port: Port,
    /// Whether no request has come yet.
    pub(crate) is_fresh: bool,
}

impl Client {
    /// Whether only health checks are answered, because the connection is above the limit.
    pub(crate) fn is_restricted(&self) -> bool {
        self.place.rank == Rank::Above
    }
}

/// A connection that leaves the lane, and what its session starts with.
pub(crate) struct Departure {
    pub(crate) client: Client,
    pub(crate) start: Start,
}

/// The connections of a lane, each at its place in the table of deadlines.
#[derive(Default)]
pub(super) struct Roster {
    clients: Vec<Option<Client>>,
}

/// What the lane has done with the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answers to all of them are in the outbox.
    Answered,
    /// A session takes over after the first `used` bytes, whose answers are in the outbox.
    Unusual { used: usize },
}

impl Roster {
    /// Takes a connection in, and starts to wait for its request.
    pub(super) fn insert(&mut self, worker: &Worker, client: Client) -> WatchId {
        let config = worker.config();
        let (wait, limit) = if client.is_fresh {
            (Wait::Head, config.header_timeout)
        } else {
            (Wait::Idle, config.idle_timeout)
        };
        let watch = client.place.watch;
        worker.deadlines.arm(watch, wait, limit, worker.clock.now_ms());
        let place = watch as usize;
        if self.clients.len() <= place {
            self.clients.resize_with(place + 1, || None);
        }
        self.clients[place] = Some(client);
        watch
    }

    /// The socket of a connection, if it is here.
    pub(super) fn socket(&self, watch: WatchId) -> Option<RawFd> {
        Some(self.clients.get(watch as usize)?.as_ref()?.stream.as_raw_fd())
    }

    /// Takes a connection out. Nothing is in flight on its socket.
    pub(super) fn remove(&mut self, watch: WatchId) -> Option<Client> {
        self.clients.get_mut(watch as usize)?.take()
    }

    /// Answers the requests in `input` up to the first unusual one.
    pub(super) fn answer(
        &mut self,
        worker: &Worker,
        watch: WatchId,
        input: &[u8],
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some(Some(client)) = self.clients.get_mut(watch as usize) else {
            return Verdict::Answered;
        };
        // Memory is used up: a session checks whether this peer reads its answers.
        if !worker.has_memory_for_unread() {
            return Verdict::Unusual { used: 0 };
        }
        let before = outbox.bytes.len();
        let mut dialogue = Dialogue::new(worker, client.remote, client.port, client.is_fresh);
        let verdict = answer(&mut dialogue, input, outbox);
        client.is_fresh = dialogue.is_fresh;
        worker.note_sending(outbox.bytes.len() - before);
        verdict
    }

    /// Handles EOF, real or caused by a deadline's shutdown(2). Returns Some if it needs a session.
    pub(super) fn end(&mut self, worker: &Worker, watch: WatchId) -> Option<Departure> {
        let client = self.remove(watch)?;
        let end = match worker.deadlines.expired(watch) {
            None => End::Peer,
            Some(_) if worker.is_draining() => End::Drained,
            Some(wait) => End::TimedOut(wait),
        };
        // If the peer has not read its answers, a session waits for that before the close. After
        // the idle timeout nobody waits any longer.
        if !matches!(end, End::TimedOut(_)) && has_unread(client.stream.as_raw_fd()) {
            let start = Start { end: Some(end), ..Start::default() };
            return Some(Departure { client, start });
        }
        worker.note_end(watch, end);
        None
    }

    /// Closes a connection on which a read has failed.
    pub(super) fn fail(&mut self, worker: &Worker, watch: WatchId) {
        if let Some(_client) = self.remove(watch) {
            let expired = worker.deadlines.expired(watch);
            worker.note_end(watch, expired.map_or(End::Aborted, End::TimedOut));
        }
    }
}

/// Starts to wait for the next request of a connection whose answers have been sent.
pub(super) fn wait_on(worker: &Worker, watch: WatchId, now_ms: u64) {
    worker.deadlines.disarm(watch);
    worker.deadlines.arm(watch, Wait::Idle, worker.config().idle_timeout, now_ms);
}

/// Answers the requests in `input` up to the first unusual one.
pub(crate) fn answer(dialogue: &mut Dialogue<'_>, input: &[u8], outbox: &mut Outbox) -> Verdict {
    // The end of the last request whose answer is in the outbox.
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
                dialogue.answer(Reply::Request, None, outbox);
                answered = used;
            }
            _ => return Verdict::Unusual { used: answered },
        }
    }
    Verdict::Answered
}

/// What a session starts with: the answers between two marks of `outbox`, of which `sent` bytes
/// have been sent, and the `received` bytes that follow their requests.
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
    Start { input: Input::new(received, buffers), outbox: unsent, sent, end: None }
}
