//! Owns the lane of a worker on epoll: one read and one write for each connection that has sent
//! something, and no buffer for an idle one.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use crate::connection::outbox::{Mark, Outbox};
use crate::lane::roster::{self, Client, Departure, Roster, Verdict};
use crate::os::sys::{self, Epoll, Ready};
use crate::worker::Worker;

/// Bytes of the buffer that all connections are read into: some hundred pipelined heads.
const READ_BYTES: usize = 16 * 1024;

/// Bytes of answers to one read that need no allocation.
const GATHER_BYTES: usize = 64 * 1024;

/// Events that one epoll_wait(2) returns at most.
const EVENTS_MAX: usize = 256;

/// Reads of one connection in a row. A connection that sends more than this needs a session, which
/// gives way to others.
const READS_MAX: usize = 16;

/// The epoll set and its connections.
pub(super) struct Backend {
    set: Epoll,
    ready: Vec<Ready>,
    roster: Roster,
    input: Vec<u8>,
    outbox: Outbox,
}

impl Backend {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            set: Epoll::new(EVENTS_MAX)?,
            ready: Vec::with_capacity(EVENTS_MAX),
            roster: Roster::default(),
            input: Vec::with_capacity(READ_BYTES),
            outbox: Outbox::with_capacity(GATHER_BYTES),
        })
    }

    pub(super) fn insert(&mut self, worker: &Worker, client: Client) {
        let socket = client.stream.as_raw_fd();
        let index = self.roster.insert(worker, client);
        if self.set.add(socket, index).is_err() {
            // The kernel has no memory for it: the connection is closed.
            self.roster.fail(worker, index);
        }
    }

    /// Answers the connections that are ready. True if there are no others.
    pub(super) fn turn(&mut self, worker: &Worker, depart: &mut dyn FnMut(Departure)) -> bool {
        // A worker whose epoll set does not work any more can do nothing: the process ends.
        self.set.wait(&mut self.ready).expect("the epoll set of a lane works");
        let mut position = 0;
        while let Some(&ready) = self.ready.get(position) {
            position += 1;
            if let Some(departure) = self.read(worker, ready) {
                depart(departure);
            }
        }
        position < EVENTS_MAX
    }

    /// Reads and answers until a short read shows that nothing more has arrived.
    fn read(&mut self, worker: &Worker, Ready { index, has_ended }: Ready) -> Option<Departure> {
        let socket = self.roster.socket(index)?;
        for _ in 0..READS_MAX {
            self.input.clear();
            match sys::receive(socket, &mut self.input) {
                Ok(0) => {
                    self.set.remove(socket);
                    return self.roster.end(worker, index);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.roster.fail(worker, index);
                    return None;
                }
            }
            if let Some(departure) = self.answer(worker, index, socket) {
                return Some(departure);
            }
            // The end of the peer was reported together with the bytes, and only once.
            if self.input.len() < READ_BYTES && !has_ended {
                return None;
            }
        }
        self.depart(worker, index, socket, 0, self.input.len())
    }

    fn answer(&mut self, worker: &Worker, index: u32, socket: RawFd) -> Option<Departure> {
        let verdict = self.roster.answer(worker, index, &self.input, &mut self.outbox);
        if let Verdict::Unusual { used } = verdict {
            return self.depart(worker, index, socket, 0, used);
        }
        // The session finds out the error, because it tries the same write.
        let sent = sys::send_at_once(socket, &self.outbox.bytes).unwrap_or(0);
        if sent < self.outbox.bytes.len() {
            return self.depart(worker, index, socket, sent, self.input.len());
        }
        let (start, end) = (Mark::START, self.outbox.mark());
        let (now, tcp) = (Instant::now(), worker.tcp_for_log(socket));
        self.outbox.settle(start, end, now, worker.counters(), worker.log(), tcp);
        self.outbox.clear();
        self.roster.wait_on(worker, index, worker.clock.now_ms());
        None
    }

    /// Moves a connection to a session: with the answers in the outbox, of which `sent` bytes have
    /// been sent, and with what has been read behind the first `used` bytes.
    fn depart(
        &mut self,
        worker: &Worker,
        index: u32,
        socket: RawFd,
        sent: usize,
        used: usize,
    ) -> Option<Departure> {
        self.set.remove(socket);
        let marks = (Mark::START, self.outbox.mark());
        let received = &self.input[used..];
        let start = roster::session_start(&worker.buffers, &self.outbox, marks, sent, received);
        self.outbox.clear();
        let client = self.roster.remove(index)?;
        Some(Departure { client, start })
    }
}

impl AsRawFd for Backend {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}
