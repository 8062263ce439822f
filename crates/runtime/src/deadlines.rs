//! Owns the deadlines of a worker's connections. There is one sweep over a table at a coarse
//! interval instead of a timer per request: arming a deadline is one store.
//!
//! A deadline ends a wait by shutdown(2): the operation in flight completes as it does at the end
//! of the peer's stream, on both drivers and in every ring. So nothing needs to be canceled.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use heartbeat_protocol::Port;

use crate::os::sys;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The next request.
    Idle,
    /// A head: the first one of a connection, or the rest of one that has begun.
    Head,
    /// More of a request's body.
    Receive,
    /// A socket that accepts more of an answer.
    Send,
    /// The end of the peer's stream, after a half-close.
    Linger,
}

#[derive(Debug)]
struct Watched {
    socket: RawFd,
    wait: Wait,
    expired: bool,
    limit_ms: u32,
    /// [`NEVER`] while the connection waits for nothing.
    due_ms: u64,
    /// The number of unacknowledged bytes when a [`Wait::Send`] was last swept, or in the middle of
    /// a [`Wait::Idle`].
    unacknowledged: Option<usize>,
    /// The port for whose sake the wait may be cut short: see [`Deadlines::hurry`].
    hurried_for: Option<Port>,
    /// What the counters already include of this connection.
    counted: Counted,
}

/// What the counters already include of one connection, so that nothing is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) segments: u32,
    pub(crate) retransmitted: u32,
}

/// A moment that is never reached.
const NEVER: u64 = u64::MAX;

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: RefCell<Vec<Option<Watched>>>,
    free: RefCell<Vec<WatchId>>,
    /// The entry that is sampled next.
    next_sample: Cell<usize>,
    sweeper: RefCell<Option<Waker>>,
}

/// A connection's place in the table.
pub(crate) type WatchId = u32;

impl Deadlines {
    /// Adds a socket, which stays open until [`Deadlines::remove`].
    pub(crate) fn add(&self, socket: RawFd) -> WatchId {
        let entry = Some(Watched {
            socket,
            wait: Wait::Idle,
            expired: false,
            limit_ms: 0,
            due_ms: NEVER,
            unacknowledged: None,
            hurried_for: None,
            counted: Counted::default(),
        });
        let mut entries = self.entries.borrow_mut();
        let id = match self.free.borrow_mut().pop() {
            Some(id) => {
                entries[id as usize] = entry;
                id
            }
            None => {
                entries.push(entry);
                (entries.len() - 1) as WatchId
            }
        };
        if let Some(sweeper) = self.sweeper.borrow_mut().take() {
            sweeper.wake();
        }
        id
    }

    /// Allows [`Deadlines::hurry`] to cut the waits of a connection short for the sake of a port.
    pub(crate) fn may_hurry(&self, id: WatchId, port: Port) {
        self.with_entry(id, |entry| entry.hurried_for = Some(port));
    }

    /// Ends the waits that may be cut short for the sake of `port` and have lasted for `grace`.
    pub(crate) fn hurry(&self, port: Port, grace: Duration, now_ms: u64) {
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            if entry.hurried_for == Some(port) && entry.has_waited_for(grace, now_ms) {
                entry.end();
            }
        }
    }

    /// Forgets a socket.
    pub(crate) fn remove(&self, id: WatchId) {
        self.entries.borrow_mut()[id as usize] = None;
        self.free.borrow_mut().push(id);
    }

    /// Starts a wait, which ends `limit` after `now_ms`. A wait for a request or for a head that is
    /// already under way goes on unchanged: its limit is for the whole head, and bytes that are no
    /// part of a request do not prolong it.
    pub(crate) fn arm(&self, id: WatchId, wait: Wait, limit: Duration, now_ms: u64) {
        let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.with_entry(id, |entry| {
            let is_one = matches!(wait, Wait::Head | Wait::Idle);
            let goes_on = is_one && entry.wait == wait && entry.due_ms != NEVER;
            if !goes_on {
                entry.wait = wait;
                entry.due_ms = now_ms.saturating_add(limit_ms.into());
                entry.limit_ms = limit_ms;
                entry.unacknowledged = None;
            }
        });
    }

    /// Stops waiting.
    pub(crate) fn disarm(&self, id: WatchId) {
        self.with_entry(id, |entry| entry.due_ms = NEVER);
    }

    /// Calls `sample` for the connections in the next places of the table, with the socket of each
    /// and with what the counters already include of it. `share` is the part of the table that is
    /// sampled.
    pub(crate) fn sample(&self, share: f64, mut sample: impl FnMut(RawFd, &mut Counted)) {
        let mut entries = self.entries.borrow_mut();
        let count = (entries.len() as f64 * share).ceil() as usize;
        for _ in 0..count.min(entries.len()) {
            let next = self.next_sample.get() % entries.len();
            self.next_sample.set(next + 1);
            if let Some(entry) = &mut entries[next] {
                sample(entry.socket, &mut entry.counted);
            }
        }
    }

    /// Calls `sample` as [`Deadlines::sample`] does, for one connection.
    pub(crate) fn sample_one(&self, id: WatchId, sample: impl FnOnce(RawFd, &mut Counted)) {
        self.with_entry(id, |entry| sample(entry.socket, &mut entry.counted));
    }

    /// Whether a wait is under way. A deadline or the drain ends it.
    pub(crate) fn is_armed(&self, id: WatchId) -> bool {
        self.with_entry(id, |entry| entry.due_ms != NEVER)
    }

    /// The wait that a deadline or the drain has ended, if one has.
    pub(crate) fn expired(&self, id: WatchId) -> Option<Wait> {
        self.with_entry(id, |entry| entry.expired.then_some(entry.wait))
    }

    fn with_entry<R>(&self, id: WatchId, with: impl FnOnce(&mut Watched) -> R) -> R {
        let mut entries = self.entries.borrow_mut();
        with(entries[id as usize].as_mut().expect("a watch keeps its entry"))
    }

    /// Whether there is a connection. If there is none, the task that asks is woken by the next.
    pub(crate) fn poll_connections(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.entries.borrow().len() > self.free.borrow().len() {
            return Poll::Ready(());
        }
        *self.sweeper.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Sweeps: ends every wait that is due.
    pub(crate) fn expire(&self, now_ms: u64) {
        let mut entries = self.entries.borrow_mut();
        for entry in entries.iter_mut().flatten().filter(|entry| entry.due_ms != NEVER) {
            match entry.wait {
                Wait::Send => entry.note_progress(now_ms),
                Wait::Idle => entry.note_reading(now_ms),
                _ => {}
            }
            if entry.due_ms <= now_ms {
                entry.end();
            }
        }
    }

    /// Ends every wait for a next request. What has already arrived is still read.
    pub(crate) fn end_idle(&self) {
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            if entry.due_ms != NEVER && entry.wait == Wait::Idle {
                entry.shut(Shutdown::Read);
            }
        }
    }

    /// Shuts every connection down in both directions.
    pub(crate) fn end_all(&self) {
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            entry.shut(Shutdown::Both);
        }
    }
}

#[cfg(test)]
impl Deadlines {
    /// What each connection waits for.
    pub(crate) fn armed(&self) -> Vec<Wait> {
        let entries = self.entries.borrow();
        let armed = entries.iter().flatten().filter(|entry| entry.due_ms != NEVER);
        armed.map(|entry| entry.wait).collect()
    }
}

impl Watched {
    /// A full socket accepts bytes again only once a third of its buffer is free, which may be
    /// megabytes. A peer that acknowledges some of them before that is slow, but has not stalled.
    fn note_progress(&mut self, now_ms: u64) {
        let unacknowledged = sys::unacknowledged_bytes(self.socket).ok();
        let before = std::mem::replace(&mut self.unacknowledged, unacknowledged);
        if before.is_some() && before != unacknowledged {
            self.due_ms = now_ms.saturating_add(self.limit_ms.into());
        }
    }

    /// A peer that still reads its last answer is not idle. Its unacknowledged bytes are counted in
    /// the middle of the wait and at its end. If the peer has acknowledged any of them meanwhile,
    /// half of the wait begins anew.
    fn note_reading(&mut self, now_ms: u64) {
        let half_ms = u64::from(self.limit_ms / 2);
        let is_due = self.due_ms <= now_ms;
        if !is_due && (self.unacknowledged.is_some() || now_ms + half_ms < self.due_ms) {
            return;
        }
        let bytes = sys::unacknowledged_bytes(self.socket).unwrap_or(0);
        let is_reading = match self.unacknowledged.replace(bytes) {
            Some(before) => before > 0 && before != bytes,
            // The wait is so short that nobody has looked before.
            None => bytes > 0,
        };
        if is_due && is_reading {
            self.due_ms = now_ms + half_ms.max(1);
        }
    }

    fn has_waited_for(&self, grace: Duration, now_ms: u64) -> bool {
        let begun_ms = self.due_ms.saturating_sub(self.limit_ms.into());
        self.due_ms != NEVER && u128::from(now_ms.saturating_sub(begun_ms)) >= grace.as_millis()
    }

    /// Ends the wait, because it has taken too long.
    fn end(&mut self) {
        match self.wait {
            // If the peer has not acknowledged its last answer by now, the kernel would keep the
            // answer after the close. So the close becomes a reset, which frees it.
            Wait::Idle if sys::unacknowledged_bytes(self.socket).is_ok_and(|bytes| bytes > 0) => {
                let _ = sys::reset_on_close(self.socket);
                self.shut(Shutdown::Both);
            }
            Wait::Idle | Wait::Head | Wait::Receive => self.shut(Shutdown::Read),
            Wait::Send | Wait::Linger => self.shut(Shutdown::Both),
        }
    }

    fn shut(&mut self, how: Shutdown) {
        self.due_ms = NEVER;
        self.expired = true;
        // ENOTCONN: the peer has reset the connection, which its next read or write reports.
        let _ = sys::shutdown(self.socket, how);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::os::clock::Clock;
    use crate::os::sys::tcp_pair;

    /// Both ends of a connection. The second one has sent as much as the first accepts unread.
    fn full_pair() -> (TcpStream, TcpStream) {
        let (peer, mut socket) = tcp_pair();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65_536]).is_ok() {}
        (peer, socket)
    }

    /// Reads at the peer until the number of unacknowledged bytes of `socket` is `wanted`.
    fn read_until(peer: &mut TcpStream, socket: &TcpStream, wanted: impl Fn(usize) -> bool) {
        // The last acknowledgment may come after everything has been read.
        peer.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        while !wanted(sys::unacknowledged_bytes(socket.as_raw_fd()).unwrap()) {
            let _ = peer.read(&mut [0; 65_536]);
        }
    }

    #[test]
    fn a_wait_ends_when_it_is_due_and_not_before() {
        let (_peer, mut socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        let begun_ms = clock.now_ms();
        deadlines.arm(id, Wait::Head, Duration::from_secs(5), begun_ms);
        deadlines.expire(begun_ms + 4999);
        assert_eq!(deadlines.expired(id), None);
        deadlines.expire(begun_ms + 5000);
        assert_eq!(deadlines.expired(id), Some(Wait::Head));
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        socket.write_all(b"still").unwrap();
    }

    #[test]
    fn a_head_that_trickles_in_has_one_limit() {
        let (_peer, socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        deadlines.arm(id, Wait::Head, Duration::ZERO, clock.now_ms());
        deadlines.arm(id, Wait::Head, Duration::from_secs(60), clock.now_ms());
        deadlines.expire(clock.now_ms());
        assert_eq!(deadlines.expired(id), Some(Wait::Head));
    }

    #[test]
    fn a_stalled_send_is_shut_down_in_both_directions() {
        let (_peer, mut socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        deadlines.arm(id, Wait::Send, Duration::ZERO, clock.now_ms());
        deadlines.expire(clock.now_ms());
        assert!(socket.write_all(b"x").is_err());
    }

    #[test]
    fn a_peer_that_takes_some_is_slow_and_one_that_takes_nothing_has_stalled() {
        let (mut peer, socket) = full_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        let start_ms = clock.now_ms();
        deadlines.arm(id, Wait::Send, Duration::from_secs(5), start_ms);
        deadlines.expire(start_ms + 4000);
        let before = sys::unacknowledged_bytes(socket.as_raw_fd()).unwrap();
        read_until(&mut peer, &socket, |bytes| bytes != before);
        deadlines.expire(start_ms + 4900);
        deadlines.expire(start_ms + 6000);
        assert_eq!(deadlines.expired(id), None);
        deadlines.expire(start_ms + 60_000);
        deadlines.expire(start_ms + 120_000);
        assert_eq!(deadlines.expired(id), Some(Wait::Send));
    }

    #[test]
    fn a_disarmed_wait_and_a_dropped_watch_never_end() {
        let (_peer, mut socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        deadlines.arm(id, Wait::Send, Duration::ZERO, clock.now_ms());
        deadlines.disarm(id);
        deadlines.expire(u64::MAX);
        deadlines.end_idle();
        assert_eq!(deadlines.expired(id), None);
        deadlines.arm(id, Wait::Send, Duration::ZERO, clock.now_ms());
        deadlines.remove(id);
        deadlines.expire(u64::MAX);
        socket.write_all(b"x").unwrap();
        assert!(deadlines.entries.borrow().iter().flatten().next().is_none());
    }

    #[test]
    fn only_waits_that_may_be_cut_short_are_hurried_and_not_before_their_grace() {
        let (_peer, socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let ids = [0, 1, 2].map(|_| deadlines.add(socket.as_raw_fd()));
        deadlines.may_hurry(ids[0], Port::Main);
        deadlines.may_hurry(ids[2], Port::Admin);
        let grace = Duration::from_secs(5);
        deadlines.hurry(Port::Main, grace, u64::MAX - 1);
        assert_eq!(deadlines.expired(ids[0]), None, "it waits for nothing");
        let begun_ms = clock.now_ms();
        for id in ids {
            deadlines.arm(id, Wait::Head, Duration::from_secs(60), begun_ms);
        }
        deadlines.hurry(Port::Main, grace, begun_ms + 4999);
        assert_eq!(deadlines.expired(ids[0]), None);
        deadlines.hurry(Port::Main, grace, begun_ms + 5000);
        let expired = || ids.map(|id| deadlines.expired(id));
        assert_eq!(expired(), [Some(Wait::Head), None, None]);
        deadlines.hurry(Port::Admin, grace, begun_ms + 5000);
        assert_eq!(expired(), [Some(Wait::Head), None, Some(Wait::Head)]);
    }

    #[test]
    fn places_are_used_again() {
        let (_peer, socket) = tcp_pair();
        let deadlines = Deadlines::default();
        for _ in 0..10 {
            let ids = [deadlines.add(socket.as_raw_fd()), deadlines.add(socket.as_raw_fd())];
            ids.into_iter().for_each(|id| deadlines.remove(id));
        }
        assert_eq!(deadlines.entries.borrow().len(), 2);
    }

    #[test]
    fn bytes_that_are_no_request_do_not_prolong_an_idle_wait() {
        let (_peer, socket) = tcp_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        deadlines.arm(id, Wait::Idle, Duration::ZERO, clock.now_ms());
        deadlines.arm(id, Wait::Idle, Duration::from_secs(60), clock.now_ms());
        deadlines.expire(clock.now_ms());
        assert_eq!(deadlines.expired(id), Some(Wait::Idle));
        deadlines.disarm(id);
        deadlines.arm(id, Wait::Idle, Duration::from_secs(60), clock.now_ms());
        assert_eq!(deadlines.armed(), [Wait::Idle]);
    }

    #[test]
    fn every_connection_is_sampled_in_turn() {
        let (_peer, socket) = tcp_pair();
        let deadlines = Deadlines::default();
        let ids: Vec<_> = (0..3).map(|_| deadlines.add(socket.as_raw_fd())).collect();
        deadlines.remove(ids[1]);
        let sampled = |share| {
            let mut sockets = 0;
            deadlines.sample(share, |_, _| sockets += 1);
            sockets
        };
        assert_eq!(sampled(0.5), 1, "two places, of which the removed one is passed over");
        assert_eq!(sampled(100.0), 2, "none is sampled twice at a time");
    }

    #[test]
    fn a_peer_that_has_not_read_its_answer_is_reset_at_the_idle_deadline() {
        let (mut peer, socket) = full_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        let start_ms = clock.now_ms();
        deadlines.arm(id, Wait::Idle, Duration::from_secs(10), start_ms);
        deadlines.expire(start_ms + 5000);
        deadlines.expire(start_ms + 9999);
        assert_eq!(deadlines.expired(id), None);
        deadlines.expire(start_ms + 10_000);
        assert_eq!(deadlines.expired(id), Some(Wait::Idle));
        drop(socket);
        let ended = loop {
            match peer.read(&mut [0; 65_536]) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.kind()),
            }
        };
        assert_eq!(ended, Some(std::io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_peer_that_still_reads_its_answer_is_not_idle() {
        let (mut peer, mut socket) = full_pair();
        let (deadlines, clock) = (Deadlines::default(), Clock::new());
        let id = deadlines.add(socket.as_raw_fd());
        let start_ms = clock.now_ms();
        deadlines.arm(id, Wait::Idle, Duration::from_secs(10), start_ms);
        // It takes some between the middle and the end of the wait, and the rest after that.
        deadlines.expire(start_ms + 5000);
        let before = sys::unacknowledged_bytes(socket.as_raw_fd()).unwrap();
        read_until(&mut peer, &socket, |bytes| bytes != before);
        deadlines.expire(start_ms + 10_000);
        read_until(&mut peer, &socket, |bytes| bytes == 0);
        deadlines.expire(start_ms + 15_000);
        deadlines.expire(start_ms + 19_999);
        assert_eq!(deadlines.expired(id), None);
        deadlines.expire(start_ms + 20_000);
        assert_eq!(deadlines.expired(id), Some(Wait::Idle));
        socket.write_all(b"still").unwrap();
    }
}
