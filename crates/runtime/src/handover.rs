//! Owns the balance of connections among workers: how many each one has, and the inbox through
//! which it receives connections from a worker that has accepted too many. All of it is used only
//! when a connection opens or closes.

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::clock::Clock;
use crate::shutdown::Order;

/// The most connections that wait in an inbox. A worker that does not take them out is busy, and
/// each of them keeps a descriptor open meanwhile.
const WAITING_MAX: usize = 64;

/// The most workers whose counts are read for one connection, because each count is a cache line of
/// another CPU. If there are more workers, the next connection starts at the next worker.
const ASKED_MAX: usize = 16;

/// A worker keeps a connection if it is ahead of the other worker by no more than its own count
/// divided by this. With thousands of connections a hand-over costs more than a better balance
/// saves.
const SLACK_DIVISOR: usize = 64;

/// A worker hands over at most one connection per millisecond, and up to this many at once after a
/// pause. One hand-over costs about 5 us. Connections that open faster than this also close as
/// fast, and the counts even out without hand-overs.
const BURST_MS: u64 = 256;

/// What other workers use of a worker: its number of connections, and those that it is to take
/// over. It is on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Inbox {
    /// Connections that the worker has, including those that wait here.
    connections: AtomicUsize,
    /// None while the worker accepts no hand-over: before it serves, and once it drains.
    waiting: Mutex<Option<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    connections: Vec<Accepted>,
    /// The far end of the worker's control socket.
    control: Arc<UnixStream>,
}

/// Whether a connection is within the limit of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Within,
    /// Only `/healthz` and `/readyz` are answered; every other request gets 503.
    Above,
    /// It came through the admin port, which has places of its own.
    Operator,
}

impl Rank {
    /// The number of ranks.
    pub(crate) const COUNT: usize = 3;
}

/// A connection that one worker has accepted for another, registered with no event loop.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) rank: Rank,
}

/// What a worker remembers of the connections that it has handed over.
#[derive(Debug)]
pub(crate) struct Balance {
    /// The worker's place among the workers.
    index: usize,
    /// The worker whose count is read first for the next connection.
    turn: Cell<usize>,
    /// Each hand-over uses up one millisecond; this is the end of the time that is used up.
    used_up_to_ms: Cell<u64>,
}

impl Balance {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, turn: Cell::new(index), used_up_to_ms: Cell::new(0) }
    }

    /// Hands a connection that this worker has accepted over to the worker that has the fewest.
    /// Returns it if it stays: the difference is too small, hand-overs are too frequent, or the
    /// inbox takes no more.
    pub(crate) fn hand_over(
        &self,
        inboxes: &[Inbox],
        clock: &Clock,
        accepted: Accepted,
    ) -> Option<Accepted> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let others = (0..inboxes.len())
            .map(|step| turn.wrapping_add(step) % inboxes.len())
            .filter(|index| *index != self.index)
            .take(ASKED_MAX)
            .map(|index| (inboxes[index].connections(), &inboxes[index]));
        let Some((fewest, inbox)) = others.min_by_key(|(connections, _)| *connections) else {
            return Some(accepted);
        };
        let own = inboxes[self.index].connections();
        if own <= fewest + own / SLACK_DIVISOR || !self.may_hand_over(clock.now_ms()) {
            return Some(accepted);
        }
        inbox.put(accepted)
    }

    fn may_hand_over(&self, now_ms: u64) -> bool {
        let used = self.used_up_to_ms.get().max(now_ms.saturating_sub(BURST_MS));
        let may = used < now_ms;
        self.used_up_to_ms.set(used + u64::from(may));
        may
    }
}

impl Inbox {
    /// Begins to accept hand-overs, and announces them on `control` by [`Order::TakeOver`].
    pub(crate) fn open(&self, control: Arc<UnixStream>) {
        *self.waiting() = Some(Waiting { connections: Vec::new(), control });
    }

    /// Removes and returns the connections that wait.
    pub(crate) fn take(&self) -> Vec<Accepted> {
        self.waiting()
            .as_mut()
            .map(|waiting| std::mem::take(&mut waiting.connections))
            .unwrap_or_default()
    }

    /// Accepts no hand-over any more, and returns the connections that waited.
    pub(crate) fn close(&self) -> Vec<Accepted> {
        self.waiting().take().map(|waiting| waiting.connections).unwrap_or_default()
    }

    /// Connections that the worker has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection that the worker has accepted for itself.
    pub(crate) fn note_open(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a connection, whichever worker accepted it.
    pub(crate) fn note_close(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts a connection into the inbox. It belongs to that worker from now on, unless it is
    /// returned.
    fn put(&self, accepted: Accepted) -> Option<Accepted> {
        let mut waiting = self.waiting();
        let Some(open) = waiting.as_mut() else { return Some(accepted) };
        let is_notified = match open.connections.len() {
            0 => Order::TakeOver.send(&open.control),
            // The worker has been notified, and has not yet taken the others.
            1..WAITING_MAX => true,
            _ => false,
        };
        if !is_notified {
            return Some(accepted);
        }
        self.note_open();
        open.connections.push(accepted);
        None
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::os::sys;

    fn open_inboxes(workers: usize) -> (Vec<Inbox>, Vec<UnixStream>) {
        let inboxes: Vec<_> = (0..workers).map(|_| Inbox::default()).collect();
        let controls = inboxes.iter().map(|inbox| {
            let (far, control) = UnixStream::pair().unwrap();
            control.set_nonblocking(true).unwrap();
            inbox.open(Arc::new(far));
            control
        });
        let controls = controls.collect();
        (inboxes, controls)
    }

    fn has(inbox: &Inbox, connections: usize) {
        inbox.connections.store(connections, Ordering::Relaxed);
    }

    fn accepted() -> (std::net::TcpStream, Accepted) {
        let (near, stream) = sys::tcp_pair();
        let peer = near.local_addr().unwrap();
        (near, Accepted { stream, peer, rank: Rank::Within })
    }

    fn is_announced(mut control: &UnixStream) -> bool {
        let mut byte = [0; 2];
        match control.read(&mut byte) {
            Ok(1) => Order::from_byte(byte[0]) == Order::TakeOver,
            other => other.map(|_| panic!("announced twice")).unwrap_or(false),
        }
    }

    #[test]
    fn a_worker_that_has_one_more_hands_over_the_next() {
        let (inboxes, _controls) = open_inboxes(3);
        for (counts, to) in [
            ([0, 0, 0], None),
            ([1, 1, 1], None),
            ([1, 1, 0], Some(2)),
            ([5, 4, 5], Some(1)),
            ([5, 4, 3], Some(2)),
            ([4, 5, 9], None),
            ([64 + 1, 64, 64], None),
            ([64 + 2, 64, 64], Some(1)),
        ] {
            inboxes.iter().zip(counts).for_each(|(inbox, count)| has(inbox, count));
            let (_near, accepted) = accepted();
            let stays = Balance::new(0).hand_over(&inboxes, &Clock::new(), accepted);
            let found = inboxes.iter().position(|inbox| !inbox.take().is_empty());
            assert_eq!(stays.is_none(), to.is_some(), "{counts:?}");
            let fewest = found.map(|index| counts[index]);
            assert_eq!(fewest, to.map(|index: usize| counts[index]), "{counts:?}");
        }
    }

    #[test]
    fn a_worker_without_others_keeps_everything() {
        let (inboxes, _controls) = open_inboxes(1);
        has(&inboxes[0], 1000);
        let (_near, accepted) = accepted();
        assert!(Balance::new(0).hand_over(&inboxes, &Clock::new(), accepted).is_some());
    }

    #[test]
    fn the_first_of_those_that_wait_is_announced_and_all_are_counted() {
        let (inboxes, controls) = open_inboxes(2);
        let (inbox, control) = (&inboxes[1], &controls[1]);
        for round in [1, 2] {
            let mut peers = Vec::new();
            for _ in 0..3 {
                let (near, accepted) = accepted();
                peers.push(near);
                assert!(inbox.put(accepted).is_none());
            }
            assert!(is_announced(control) && !is_announced(control));
            assert_eq!(inbox.take().len(), 3);
            assert_eq!(inbox.connections(), 3 * round);
        }
        inbox.note_close();
        assert_eq!(inbox.connections(), 5);
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn a_full_inbox_takes_nothing_until_it_has_been_emptied() {
        let (inboxes, _controls) = open_inboxes(1);
        let (_near, first) = accepted();
        for _ in 0..WAITING_MAX {
            let stream = first.stream.try_clone().unwrap();
            assert!(inboxes[0].put(Accepted { stream, ..first }).is_none());
        }
        let first = inboxes[0].put(first).expect("a full inbox");
        assert_eq!(inboxes[0].take().len(), WAITING_MAX);
        assert!(inboxes[0].put(first).is_none());
    }

    #[test]
    fn an_inbox_that_closes_returns_what_waits_and_takes_nothing_more() {
        let (inboxes, _controls) = open_inboxes(1);
        let (mut near, first) = accepted();
        assert!(inboxes[0].put(first).is_none());
        let waiting = inboxes[0].close();
        assert!(inboxes[0].put(accepted().1).is_some() && inboxes[0].close().is_empty());
        assert_eq!(waiting.len(), 1);
        // Nothing else refers to the connection, so it closes with what was returned.
        drop(waiting);
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_worker_that_can_not_be_notified_gets_no_connection() {
        let (inboxes, controls) = open_inboxes(1);
        drop(controls);
        assert!(inboxes[0].put(accepted().1).is_some());
        assert_eq!(inboxes[0].connections(), 0);
    }

    #[test]
    fn hand_overs_are_bounded_in_number_and_rate() {
        let balance = Balance::new(0);
        let start = 1_000_000;
        let given = |now_ms| (0..10_000).filter(|_| balance.may_hand_over(now_ms)).count() as u64;
        assert_eq!(given(start), BURST_MS);
        assert_eq!(given(start), 0);
        assert_eq!(given(start + 1), 1);
        assert_eq!(given(start + 11), 10);
        assert_eq!(given(start + 3_600_000), BURST_MS);
    }

    #[test]
    fn each_of_many_workers_is_asked_sooner_or_later() {
        let (inboxes, _controls) = open_inboxes(ASKED_MAX * 3);
        inboxes.iter().for_each(|inbox| has(inbox, 9));
        has(&inboxes[ASKED_MAX * 2], 0);
        let balance = Balance::new(0);
        let found = (0..inboxes.len()).filter(|_| {
            let stays = balance.hand_over(&inboxes, &Clock::new(), accepted().1);
            inboxes[ASKED_MAX * 2].take();
            has(&inboxes[ASKED_MAX * 2], 0);
            stays.is_none()
        });
        assert_eq!(found.count(), ASKED_MAX);
    }
}
