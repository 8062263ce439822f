//! Owns how a task of a worker gives way to the others.
//!
//! monoio 0.2.4 runs a task that wakes itself before every other task, and checks sockets and
//! timers only when no task is ready. So a task that has run for long sends a byte to the worker's
//! own control socket. The event loop reads that byte together with everything else that has become
//! ready, and resumes the task after the others. No timer is involved: if no other task is ready,
//! the task continues at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::shutdown::Order;

/// How long a task runs before it gives way. A turn of the event loop costs about 3 us.
pub(crate) const TURN_MAX: Duration = Duration::from_micros(500);

/// The tasks of a worker that have given way.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: RefCell<Vec<Waker>>,
    /// The far end of the worker's control socket, as long as the worker reads that. None outside of
    /// an event loop.
    control: RefCell<Option<Arc<UnixStream>>>,
}

/// The time that one task has run without waiting.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    began: Option<Instant>,
}

impl Turns {
    pub(crate) fn new(control: Option<Arc<UnixStream>>) -> Self {
        Self { waiting: RefCell::default(), control: RefCell::new(control) }
    }

    /// Lets the other tasks run, and lets the event loop check sockets and timers.
    pub(crate) async fn give_way(&self) {
        let mut has_waited = false;
        poll_fn(|context| {
            if has_waited || !self.announce() {
                return Poll::Ready(());
            }
            has_waited = true;
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Resumes every task that has given way; called for each [`Order::Resume`].
    pub(crate) fn resume(&self) {
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Resumes every task, and lets none give way from now on.
    pub(crate) fn close(&self) {
        self.control.take();
        self.resume();
    }

    /// Makes sure that a byte which resumes the tasks is on its way. Returns false if none can be
    /// sent.
    fn announce(&self) -> bool {
        let Some(control) = &*self.control.borrow() else { return false };
        // One byte resumes all tasks that wait.
        !self.waiting.borrow().is_empty() || Order::Resume.send(control)
    }
}

impl Turn {
    /// Begins anew, because the task has waited.
    pub(crate) fn restart(&mut self) {
        self.began = None;
    }

    /// Whether the task has run for [`TURN_MAX`].
    pub(crate) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        now.duration_since(*self.began.get_or_insert(now)) >= TURN_MAX
    }
}
