//! Owns the lane of a worker on io_uring: the answers to all that has arrived in a turn are sent
//! by one system call, together with the receives that come after them.

use std::time::Instant;

use crate::connection::outbox::Outbox;
use crate::deadlines::WatchId;
use crate::lane::ring::{Ring, Send};
use crate::lane::roster::{self, Client, Departure, Roster, Verdict};
use crate::os::refusal::Refusal;
use crate::worker::Worker;

/// Answers are sent once they are this long, in bytes, even if more requests have arrived.
const GATHER_BYTES: usize = 64 * 1024;

/// The ring and its connections.
pub(super) struct Backend {
    pub(super) ring: Ring,
    roster: Roster,
    outbox: Outbox,
    /// What is sent from the outbox.
    sends: Vec<Send>,
}

impl Backend {
    pub(super) fn new() -> Result<Self, Refusal> {
        Ok(Self {
            ring: Ring::new()?,
            roster: Roster::default(),
            outbox: Outbox::with_capacity(GATHER_BYTES),
            sends: Vec::new(),
        })
    }

    pub(super) fn insert(&mut self, worker: &Worker, client: Client) {
        let watch = self.roster.insert(worker, client);
        self.receive(worker, watch);
    }

    /// One round: sends and receives are submitted, then what has arrived is answered into the
    /// outbox, which the next round sends. Returns true if there is nothing for a next round.
    pub(super) fn turn(&mut self, worker: &Worker, depart: &mut dyn FnMut(Departure)) -> bool {
        // A worker whose ring does not work any more can do nothing, so it panics. That ends the
        // process, unless the program that embeds the server unwinds.
        self.ring.perform(&self.outbox.bytes, &mut self.sends).expect("the ring of a lane works");
        self.settle(worker, depart);
        while self.outbox.bytes.len() < GATHER_BYTES
            && let Some((watch, result)) = self.ring.next_received()
        {
            self.read(worker, watch, result, depart);
        }
        self.sends.is_empty() && !self.ring.has_queued()
    }

    /// Handles the results of the sends. A connection whose answers have been sent waits for its
    /// next request, and any other one moves to a session.
    fn settle(&mut self, worker: &Worker, depart: &mut dyn FnMut(Departure)) {
        if self.sends.is_empty() {
            return;
        }
        let (now, now_ms) = (Instant::now(), worker.clock.now_ms());
        for place in 0..self.sends.len() {
            let Send { watch, socket, from, until, result } = self.sends[place];
            let sent = usize::try_from(result).unwrap_or(0);
            if sent == until.bytes - from.bytes {
                let tcp = worker.tcp_for_log(socket);
                self.outbox.settle(from, until, now, worker.counters(), worker.log(), tcp);
                roster::wait_on(worker, watch, now_ms);
                self.receive(worker, watch);
            } else if let Some(client) = self.remove(watch) {
                // The socket is full, or the peer is gone: the session's next write shows which.
                let marks = (from, until);
                let start = roster::session_start(&worker.buffers, &self.outbox, marks, sent, &[]);
                depart(Departure { client, start });
            }
        }
        self.sends.clear();
        self.outbox.clear();
    }

    /// Handles a receive that has ended, with the result of recv(2) or -errno.
    fn read(
        &mut self,
        worker: &Worker,
        watch: WatchId,
        result: i32,
        depart: &mut dyn FnMut(Departure),
    ) {
        let Some(socket) = self.roster.socket(watch) else { return };
        let bytes = match result {
            1.. => result as usize,
            0 => {
                let departure = self.roster.end(worker, watch);
                self.ring.release(watch);
                return departure.into_iter().for_each(depart);
            }
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => {
                return self.receive(worker, watch);
            }
            _ => {
                self.ring.release(watch);
                return self.roster.fail(worker, watch);
            }
        };
        let from = self.outbox.mark();
        let input = self.ring.bytes(watch, bytes);
        let verdict = self.roster.answer(worker, watch, input, &mut self.outbox);
        let until = self.outbox.mark();
        match verdict {
            Verdict::Answered => self.sends.push(Send { watch, socket, from, until, result: 0 }),
            Verdict::Unusual { used } => {
                let (buffers, marks) = (&worker.buffers, (from, until));
                let start = roster::session_start(buffers, &self.outbox, marks, 0, &input[used..]);
                self.outbox.truncate(from);
                if let Some(client) = self.remove(watch) {
                    depart(Departure { client, start });
                }
            }
        }
    }

    fn receive(&mut self, worker: &Worker, watch: WatchId) {
        let Some(socket) = self.roster.socket(watch) else { return };
        if self.ring.receive(watch, socket).is_err() {
            self.ring.release(watch);
            self.roster.fail(worker, watch);
        }
    }

    fn remove(&mut self, watch: WatchId) -> Option<Client> {
        self.ring.release(watch);
        self.roster.remove(watch)
    }
}
