//! Owns the lane of a worker on epoll: one read and one write for each connection that has sent
//! something, and no buffer for an idle one.
//!
//! A socket stays in the epoll set while a session has it, until that session waits. So a large
//! answer that the socket takes at once costs no epoll_ctl(2).

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::connection::buffers::LARGE_BYTES;
use crate::connection::outbox::{Mark, Outbox};
use crate::deadlines::WatchId;
use crate::lane::roster::{self, Client, Departure, Roster, Verdict};
use crate::os::refusal::Refusal;
use crate::os::sys::{self, Epoll, Ready};
use crate::turns::Turn;
use crate::worker::Worker;

/// Bytes of the buffer that all connections are read into: two hundred pipelined heads. A session
/// that takes over what has been read has a spare buffer of this size for it.
const READ_BYTES: usize = LARGE_BYTES;

/// The answers to one read need no allocation up to this many bytes.
const GATHER_BYTES: usize = 64 * 1024;

/// Events that one epoll_wait(2) returns at most.
const EVENTS_MAX: usize = 256;

/// Reads of one connection in a row. A connection that sends more than this needs a session, which
/// gives way to others.
const READS_MAX: usize = 16;

/// The epoll set and its connections.
pub(super) struct Backend {
    pub(super) set: Epoll,
    ready: Vec<Ready>,
    /// The first of `ready` that no turn has looked at yet.
    position: usize,
    roster: Roster,
    /// Whether a connection that is in a session may have something to read that the set will not
    /// report again, by its place in the table of deadlines.
    are_ready_away: Vec<bool>,
    /// Connections that became ready while a session had them, and that are here again.
    returned: Vec<WatchId>,
    input: Vec<u8>,
    outbox: Outbox,
}

impl Backend {
    pub(super) fn new() -> Result<Self, Refusal> {
        Ok(Self {
            set: Epoll::new(EVENTS_MAX).map_err(Refusal::of("epoll_create1"))?,
            ready: Vec::with_capacity(EVENTS_MAX),
            position: 0,
            roster: Roster::default(),
            are_ready_away: Vec::new(),
            returned: Vec::new(),
            input: Vec::with_capacity(READ_BYTES),
            outbox: Outbox::with_capacity(GATHER_BYTES),
        })
    }

    /// Takes a connection in. Returns true if it may have something to read that the set does not
    /// report.
    pub(super) fn insert(&mut self, worker: &Worker, mut client: Client) -> bool {
        let (watch, is_new) = (client.place.watch, client.registration.is_none());
        if is_new {
            client.registration = self.set.add(client.stream.as_raw_fd(), watch).ok();
        }
        let is_registered = client.registration.is_some();
        self.roster.insert(worker, client);
        if !is_registered {
            // The kernel has no memory for another entry, so the connection is closed.
            self.roster.fail(worker, watch);
            return false;
        }
        let was_ready = !is_new && self.are_ready_away.get(watch as usize) == Some(&true);
        if was_ready {
            self.returned.push(watch);
        }
        was_ready
    }

    fn set_ready_away(&mut self, watch: WatchId, is_ready: bool) {
        let place = watch as usize;
        if self.are_ready_away.len() <= place {
            self.are_ready_away.resize(place + 1, false);
        }
        self.are_ready_away[place] = is_ready;
    }

    /// Answers the connections that are ready, until `turn` is over. Returns true if no further
    /// ones are.
    pub(super) fn turn(
        &mut self,
        worker: &Worker,
        turn: &mut Turn,
        depart: &mut dyn FnMut(Departure),
    ) -> bool {
        while let Some(watch) = self.returned.pop() {
            self.read(worker, watch, true).into_iter().for_each(&mut *depart);
        }
        if self.position == self.ready.len() {
            // A worker whose epoll set does not work any more can do nothing, so it panics. That
            // ends the process, unless the program that embeds the server unwinds.
            self.set.wait(&mut self.ready).expect("the epoll set of a lane works");
            self.position = 0;
        }
        while let Some(&Ready { tag, has_ended }) = self.ready.get(self.position) {
            self.position += 1;
            match self.roster.socket(tag) {
                Some(_) => self.read(worker, tag, has_ended).into_iter().for_each(&mut *depart),
                None => self.set_ready_away(tag, true),
            }
            // A full read holds hundreds of requests. Without one, all events together take less
            // time than a turn may, and the clock need not be read.
            if self.input.len() == READ_BYTES && turn.is_over() {
                return false;
            }
        }
        self.ready.len() < EVENTS_MAX
    }

    /// Reads and answers until a short read shows that nothing more has arrived. If `has_ended`, a
    /// short read is not enough: the set reports the end of the stream only once, together with
    /// the bytes before it.
    fn read(&mut self, worker: &Worker, watch: WatchId, has_ended: bool) -> Option<Departure> {
        let socket = self.roster.socket(watch)?;
        let departure = self.read_all(worker, watch, socket, has_ended);
        if departure.is_some() {
            self.set_ready_away(watch, has_ended || self.input.len() == READ_BYTES);
        }
        departure
    }

    fn read_all(
        &mut self,
        worker: &Worker,
        watch: WatchId,
        socket: RawFd,
        has_ended: bool,
    ) -> Option<Departure> {
        for _ in 0..READS_MAX {
            self.input.clear();
            match sys::receive(socket, &mut self.input) {
                Ok(0) => return self.roster.end(worker, watch),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.roster.fail(worker, watch);
                    return None;
                }
            }
            if let Some(departure) = self.answer(worker, watch, socket) {
                return Some(departure);
            }
            if self.input.len() < READ_BYTES && !has_ended {
                return None;
            }
        }
        self.depart(worker, watch, 0, self.input.len())
    }

    fn answer(&mut self, worker: &Worker, watch: WatchId, socket: RawFd) -> Option<Departure> {
        let verdict = self.roster.answer(worker, watch, &self.input, &mut self.outbox);
        if let Verdict::Unusual { used } = verdict {
            return self.depart(worker, watch, 0, used);
        }
        // An error is left to the session, which tries the same write.
        let sent = sys::send_at_once(socket, &self.outbox.bytes).unwrap_or(0);
        if sent < self.outbox.bytes.len() {
            return self.depart(worker, watch, sent, self.input.len());
        }
        let tcp = || worker.tcp_for_log(socket);
        self.outbox.settle_all(worker.counters(), worker.log(), tcp);
        roster::wait_on(worker, watch, worker.clock.now_ms());
        None
    }

    /// Moves a connection to a session, together with the answers in the outbox, of which `sent`
    /// bytes have been sent, and with the bytes that have been read after the first `used` ones.
    fn depart(
        &mut self,
        worker: &Worker,
        watch: WatchId,
        sent: usize,
        used: usize,
    ) -> Option<Departure> {
        let marks = (Mark::START, self.outbox.mark());
        let received = &self.input[used..];
        let start = roster::session_start(&worker.buffers, &self.outbox, marks, sent, received);
        self.outbox.clear();
        let client = self.roster.remove(watch)?;
        Some(Departure { client, start })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::rc::Rc;
    use std::time::Duration;

    use heartbeat_protocol::Port;
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::connection::simulation::worker_within;
    use crate::place::{self, Place};

    const LARGE: &[u8] = b"GET /heartbeat/100000 HTTP/1.1\r\nHost: a\r\n\r\n";
    const SMALL: &[u8] = b"GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Runs a turn as soon as there is something to do, and returns the client that departs in it.
    fn turn(lane: &mut Backend, worker: &Worker) -> Option<Client> {
        if lane.returned.is_empty() {
            let set = sys::duplicate(lane.set.as_raw_fd()).unwrap();
            let mut set = [PollFd::new(&set, PollFlags::IN)];
            assert_eq!(poll(&mut set, 10_000).unwrap(), 1, "the set has something to report");
        }
        let mut departed = None;
        lane.turn(worker, &mut Turn::default(), &mut |departure| departed = Some(departure.client));
        departed
    }

    fn connection(lane: &mut Backend, worker: &Rc<Worker>) -> TcpStream {
        let (near, peer) = sys::tcp_pair();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (remote, port, registration) = (near.peer_addr().unwrap().ip(), Port::Main, None);
        let place = Place::new(worker, place::rank(worker, port), near.as_raw_fd());
        let client = Client { place, registration, stream: near, remote, port, is_fresh: true };
        assert!(!lane.insert(worker, client), "the set reports what is there already");
        peer
    }

    #[test]
    fn events_that_a_turn_has_left_are_served_by_the_next() {
        let worker = worker_within(None);
        let mut lane = Backend::new().unwrap();
        let mut peers = [connection(&mut lane, &worker), connection(&mut lane, &worker)];
        for peer in &mut peers {
            peer.write_all(SMALL).unwrap();
        }
        // As a turn leaves them that ends before the first event.
        lane.set.wait(&mut lane.ready).unwrap();
        assert_eq!((lane.ready.len(), lane.position), (2, 0));
        let mut no_departure = |_| panic!("nothing here needs a session");
        assert!(lane.turn(&worker, &mut Turn::default(), &mut no_departure));
        for peer in &mut peers {
            let mut answer = [0; 1024];
            assert!(peer.read(&mut answer).unwrap() > 0);
        }
    }

    #[test]
    fn what_arrives_while_a_session_has_the_connection_is_read_when_it_returns() {
        let worker = worker_within(None);
        let mut lane = Backend::new().unwrap();
        let mut peer = connection(&mut lane, &worker);
        for arrives_meanwhile in [true, false, true] {
            peer.write_all(LARGE).unwrap();
            let client = turn(&mut lane, &worker).expect("a large answer needs a session");
            assert!(client.registration.is_some());
            if arrives_meanwhile {
                peer.write_all(SMALL).unwrap();
                assert!(turn(&mut lane, &worker).is_none());
                assert!(lane.insert(&worker, client), "there is something to read");
            } else {
                assert!(!lane.insert(&worker, client));
                peer.write_all(SMALL).unwrap();
            }
            assert!(turn(&mut lane, &worker).is_none());
            let mut answer = [0; 1024];
            let bytes = peer.read(&mut answer).expect("an answer within the timeout");
            let answer = String::from_utf8_lossy(&answer[..bytes]);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n0123456789ABCDEF0"), "{answer}");
        }
    }
}
