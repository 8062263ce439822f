//! Owns the connections that need no task: those that wait for their next request, and those whose
//! requests are whole and whose answers are short. Every other connection moves to a session, and
//! returns when it is idle.
//!
//! The lane reads requests with the dialogue that a session uses, one read at a time. As soon as a
//! request is unusual (a part of a head, a long body, a large answer, an answer that closes), a
//! session takes over at the first byte of that request, after the answers to those before it. So
//! the lane never keeps a part of a request.

mod epoll;
#[allow(unsafe_code)]
mod ring;
mod roster;
mod uring;

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Poll, Waker};

pub(crate) use self::roster::{Client, Departure};
#[cfg(test)]
pub(crate) use self::roster::{Verdict, answer, session_start};
use crate::os::event_loop::Driver;
use crate::os::refusal::Refusal;
use crate::turns::Turn;
use crate::worker::Worker;

/// The lane of one worker.
pub(crate) struct Lane {
    backend: RefCell<Backend>,
    /// Whether a connection has come for which the next turn has something to do.
    is_dirty: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[expect(clippy::large_enum_variant, reason = "a worker has one, which is never moved")]
enum Backend {
    Uring(uring::Backend),
    Epoll(epoll::Backend),
}

impl Lane {
    /// An empty lane for a worker on `driver`, built in the thread of the worker.
    ///
    /// # Errors
    /// The system call that was refused.
    pub(crate) fn new(driver: Driver) -> Result<Self, Refusal> {
        let backend = match driver {
            Driver::IoUring => Backend::Uring(uring::Backend::new()?),
            Driver::Epoll => Backend::Epoll(epoll::Backend::new()?),
        };
        Ok(Self {
            backend: RefCell::new(backend),
            is_dirty: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Takes a connection in, which waits for a request.
    pub(crate) fn insert(&self, worker: &Worker, client: Client) {
        let is_dirty = match &mut *self.backend.borrow_mut() {
            Backend::Uring(backend) => {
                backend.insert(worker, client);
                true
            }
            Backend::Epoll(backend) => backend.insert(worker, client),
        };
        if is_dirty {
            self.is_dirty.set(true);
            self.wake();
        }
    }

    /// Wakes the task that has polled [`Lane::poll_dirty`].
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the next turn has something to do that the descriptor of the lane does not report.
    /// If not, `waker` is woken when that changes.
    pub(crate) fn poll_dirty(&self, waker: &Waker) -> Poll<()> {
        if self.is_dirty.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(waker.clone());
        Poll::Pending
    }

    /// Answers some of what has arrived: on io_uring a bounded amount, on epoll until `turn` is
    /// over. Returns true if nothing is left to answer.
    pub(crate) fn turn(
        &self,
        worker: &Worker,
        turn: &mut Turn,
        depart: &mut dyn FnMut(Departure),
    ) -> bool {
        self.is_dirty.set(false);
        match &mut *self.backend.borrow_mut() {
            Backend::Uring(backend) => backend.turn(worker, depart),
            Backend::Epoll(backend) => backend.turn(worker, turn, depart),
        }
    }

    /// The descriptor that is readable when the lane has something to do.
    pub(crate) fn descriptor(&self) -> RawFd {
        match &*self.backend.borrow() {
            Backend::Uring(backend) => backend.ring.as_raw_fd(),
            Backend::Epoll(backend) => backend.set.as_raw_fd(),
        }
    }
}
