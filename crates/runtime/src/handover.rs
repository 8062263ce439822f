//! Owns the balance of connections among workers: how many each one has, and the inbox through
//! which another one that has accepted too many hands it some. Nothing here is touched but when a
//! connection opens or closes.

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::os::clock::Clock;
use crate::os::sys::{self, FileKind};
use crate::shutdown::Order;

/// Connections that wait in an inbox at most. Whoever does not get round to them has enough to
/// do, and each is a descriptor that no session closes yet.
const WAITING_MAX: usize = 64;

/// Other workers that are asked how many connections they have, at most: each answer is a cache
/// line of another CPU. Above, who is asked changes from connection to connection.
const ASKED_MAX: usize = 16;

/// The share of its connections by which a worker may be ahead of another, beyond one connection:
/// with thousands of them a hand-over costs more than it evens out.
const SLACK_DIVISOR: usize = 64;

/// Hand-overs of a worker are one in a millisecond, and this many at once after a pause. One costs
/// about 5 us; where connections come faster than this, they also go, and even out by themselves.
const BURST_MS: u64 = 256;

/// A worker's place in the balance, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Inbox {
    /// Connections that the worker has, those that wait here included.
    connections: AtomicUsize,
    /// None while the worker takes nothing: before it serves, and from its drain on.
    waiting: Mutex<Option<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    connections: Vec<Accepted>,
    /// The far end of the worker's control socket.
    bell: UnixStream,
}

/// A connection that one worker has accepted for another, in nobody's event loop.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Connections of the process when it was accepted, itself included.
    pub(crate) number: usize,
}

/// Room for one connection in the inbox of a worker that has been told to look.
pub(crate) struct Room<'a> {
    inbox: &'a Inbox,
    waiting: MutexGuard<'a, Option<Waiting>>,
}

/// What a worker remembers of the connections that it has handed over.
#[derive(Debug)]
pub(crate) struct Giver {
    /// The worker's place among the workers.
    index: usize,
    /// Changes from connection to connection.
    turn: Cell<usize>,
    /// The moment up to which hand-overs have been used up, each of which takes a millisecond.
    used_up_to_ms: Cell<u64>,
}

impl Giver {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, turn: Cell::new(index), used_up_to_ms: Cell::new(0) }
    }

    /// Room with another worker for a connection that this one has accepted: with the one that
    /// has the fewest connections, where that is enough fewer. None where the connection stays.
    pub(crate) fn find_room<'a>(&self, inboxes: &'a [Inbox], clock: &Clock) -> Option<Room<'a>> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let others = (0..inboxes.len())
            .map(|step| turn.wrapping_add(step) % inboxes.len())
            .filter(|index| *index != self.index)
            .take(ASKED_MAX)
            .map(|index| (inboxes[index].connections(), &inboxes[index]));
        let (fewest, inbox) = others.min_by_key(|(connections, _)| *connections)?;
        let own = inboxes[self.index].connections();
        if own <= fewest + own / SLACK_DIVISOR || !self.may_give(clock.now_ms()) {
            return None;
        }
        inbox.room()
    }

    fn may_give(&self, now_ms: u64) -> bool {
        let used = self.used_up_to_ms.get().max(now_ms.saturating_sub(BURST_MS));
        let may = used < now_ms;
        self.used_up_to_ms.set(used + u64::from(may));
        may
    }
}

impl Inbox {
    /// Begins to take connections, each announced on `bell` by [`Order::Adopt`].
    pub(crate) fn open(&self, bell: UnixStream) {
        *self.waiting() = Some(Waiting { connections: Vec::new(), bell });
    }

    /// What waits.
    pub(crate) fn take(&self) -> Vec<Accepted> {
        self.waiting()
            .as_mut()
            .map(|waiting| std::mem::take(&mut waiting.connections))
            .unwrap_or_default()
    }

    /// Ends what [`Inbox::open`] began, and returns what waited: nothing comes after it.
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

    /// Counts the end of a connection, its own or one that was handed to it.
    pub(crate) fn note_close(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn room(&self) -> Option<Room<'_>> {
        let waiting = self.waiting();
        let open = waiting.as_ref()?;
        match open.connections.len() {
            // Rung beforehand, and under the lock: after it, nothing can go wrong.
            0 => open.ring()?,
            // The worker has not yet answered the bell.
            1..WAITING_MAX => {}
            _ => return None,
        }
        Some(Room { inbox: self, waiting })
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// None where that fails.
    fn ring(&self) -> Option<()> {
        let order = [Order::Adopt.to_byte()];
        sys::write_at_once(self.bell.as_raw_fd(), FileKind::Socket, &order).ok().map(|_| ())
    }
}

impl Room<'_> {
    /// Puts a connection there; it belongs to that worker from now on.
    pub(crate) fn fill(mut self, accepted: Accepted) {
        if let Some(waiting) = self.waiting.as_mut() {
            self.inbox.note_open();
            waiting.connections.push(accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn open_inboxes(workers: usize) -> (Vec<Inbox>, Vec<UnixStream>) {
        let inboxes: Vec<_> = (0..workers).map(|_| Inbox::default()).collect();
        let bells = inboxes.iter().map(|inbox| {
            let (bell, ear) = UnixStream::pair().unwrap();
            ear.set_nonblocking(true).unwrap();
            inbox.open(bell);
            ear
        });
        let ears = bells.collect();
        (inboxes, ears)
    }

    fn has(inbox: &Inbox, connections: usize) {
        inbox.connections.store(connections, Ordering::Relaxed);
    }

    fn accepted() -> (std::net::TcpStream, Accepted) {
        let (near, stream) = sys::tcp_pair();
        let peer = near.local_addr().unwrap();
        (near, Accepted { stream, peer, number: 1 })
    }

    fn is_rung(mut ear: &UnixStream) -> bool {
        let mut byte = [0; 2];
        match ear.read(&mut byte) {
            Ok(1) => Order::from_byte(byte[0]) == Order::Adopt,
            other => other.map(|_| panic!("rung twice")).unwrap_or(false),
        }
    }

    #[test]
    fn a_worker_that_has_one_more_hands_over_the_next() {
        let (inboxes, _ears) = open_inboxes(3);
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
            let room = Giver::new(0).find_room(&inboxes, &Clock::new());
            let found = room.map(|room| inboxes.iter().position(|to| std::ptr::eq(to, room.inbox)));
            assert_eq!(found.flatten().is_some(), to.is_some(), "{counts:?}");
            let fewest = found.flatten().map(|index| counts[index]);
            assert_eq!(fewest, to.map(|index: usize| counts[index]), "{counts:?}");
        }
    }

    #[test]
    fn a_worker_without_others_keeps_everything() {
        let (inboxes, _ears) = open_inboxes(1);
        has(&inboxes[0], 1000);
        assert!(Giver::new(0).find_room(&inboxes, &Clock::new()).is_none());
    }

    #[test]
    fn the_first_of_those_that_wait_rings_the_bell_and_all_are_counted() {
        let (inboxes, ears) = open_inboxes(2);
        let (inbox, ear) = (&inboxes[1], &ears[1]);
        for round in [1, 2] {
            let mut peers = Vec::new();
            for _ in 0..3 {
                let (near, accepted) = accepted();
                peers.push(near);
                inbox.room().unwrap().fill(accepted);
            }
            assert!(is_rung(ear) && !is_rung(ear));
            assert_eq!(inbox.take().len(), 3);
            assert_eq!(inbox.connections(), 3 * round);
        }
        inbox.note_close();
        assert_eq!(inbox.connections(), 5);
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn a_full_inbox_takes_nothing_until_it_has_been_emptied() {
        let (inboxes, _ears) = open_inboxes(1);
        let (_near, first) = accepted();
        for _ in 0..WAITING_MAX {
            let stream = first.stream.try_clone().unwrap();
            inboxes[0].room().unwrap().fill(Accepted { stream, ..first });
        }
        assert!(inboxes[0].room().is_none());
        assert_eq!(inboxes[0].take().len(), WAITING_MAX);
        assert!(inboxes[0].room().is_some());
    }

    #[test]
    fn an_inbox_that_closes_gives_out_what_waits_and_takes_nothing_more() {
        let (inboxes, _ears) = open_inboxes(1);
        let (mut near, accepted) = accepted();
        inboxes[0].room().unwrap().fill(accepted);
        let waiting = inboxes[0].close();
        assert!(inboxes[0].room().is_none() && inboxes[0].close().is_empty());
        assert_eq!(waiting.len(), 1);
        // Nobody else has a hand on the connection: it ends with what was given out.
        drop(waiting);
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_bell_that_can_not_be_rung_leaves_the_connection_where_it_is() {
        let (inboxes, ears) = open_inboxes(1);
        drop(ears);
        assert!(inboxes[0].room().is_none());
        assert_eq!(inboxes[0].connections(), 0);
    }

    #[test]
    fn hand_overs_are_bounded_in_number_and_rate() {
        let giver = Giver::new(0);
        let start = 1_000_000;
        let given = |now_ms| (0..10_000).filter(|_| giver.may_give(now_ms)).count() as u64;
        assert_eq!(given(start), BURST_MS);
        assert_eq!(given(start), 0);
        assert_eq!(given(start + 1), 1);
        assert_eq!(given(start + 11), 10);
        assert_eq!(given(start + 3_600_000), BURST_MS);
    }

    #[test]
    fn of_many_workers_each_is_asked_sooner_or_later() {
        let (inboxes, _ears) = open_inboxes(ASKED_MAX * 3);
        inboxes.iter().for_each(|inbox| has(inbox, 9));
        has(&inboxes[ASKED_MAX * 2], 0);
        let giver = Giver::new(0);
        let found =
            (0..inboxes.len()).filter(|_| giver.find_room(&inboxes, &Clock::new()).is_some());
        assert_eq!(found.count(), ASKED_MAX);
    }
}
