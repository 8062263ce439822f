//! Owns how a task of a worker gives way to the others.
//!
//! monoio 0.2.4 runs a task that wakes itself before every other task, and looks at sockets and
//! timers only when no task is ready. So a task that has run for long sends a byte to the worker's
//! own control socket. The event loop reads that byte together with everything else that has become
//! ready, and resumes the task behind the others. No timer is involved: a task without rivals
//! continues at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::os::sys;
use crate::shutdown::Order;

/// How long a task runs before it gives way. A turn of the event loop costs about 3 us.
pub(crate) const TURN_MAX: Duration = Duration::from_micros(500);

/// Tasks that are resumed before the event loop looks at sockets and timers again: 8 ms of turns.
const RESUMED_MAX: usize = 16;

/// The tasks of a worker that have given way.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: RefCell<VecDeque<Waker>>,
    /// The far end of the worker's control socket. None outside of an event loop.
    control: Option<Arc<UnixStream>>,
    /// The worker reads its control socket no more.
    is_closed: Cell<bool>,
}

/// The time that one task has run without waiting.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    began: Option<Instant>,
}

impl Turns {
    pub(crate) fn new(control: Option<Arc<UnixStream>>) -> Self {
        Self { waiting: RefCell::default(), control, is_closed: Cell::new(false) }
    }

    /// Lets the other tasks run, and the event loop look at sockets and timers.
    pub(crate) async fn give_way(&self) {
        let mut has_waited = false;
        poll_fn(|context| {
            if has_waited || !self.announce() {
                return Poll::Ready(());
            }
            has_waited = true;
            self.waiting.borrow_mut().push_back(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Resumes tasks that have given way, those that have waited longest first; called for each
    /// [`Order::Resume`].
    pub(crate) fn resume(&self) {
        let waiting = self.waiting.borrow().len();
        let is_announced = waiting > RESUMED_MAX && self.order_resume();
        let resumed = if is_announced { RESUMED_MAX } else { waiting };
        self.waiting.borrow_mut().drain(..resumed).for_each(Waker::wake);
    }

    /// Resumes every task, and lets none give way from now on.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.resume();
    }

    /// Makes the event loop run. False if that is not possible.
    fn announce(&self) -> bool {
        // As long as tasks wait, an order for them is on its way.
        let is_announced = !self.waiting.borrow().is_empty() && !self.is_closed.get();
        is_announced || self.order_resume()
    }

    fn order_resume(&self) -> bool {
        let Some(control) = &self.control else { return false };
        !self.is_closed.get()
            && sys::send_at_once(control.as_raw_fd(), &[Order::Resume.to_byte()]).is_ok()
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Read;
    use std::pin::Pin;
    use std::task::Context;

    use super::*;

    type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

    fn is_waiting(task: &mut Task<'_>) -> bool {
        task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn few_tasks_are_resumed_before_the_loop_looks_at_sockets_again() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let turns = Turns::new(Some(Arc::new(near)));
        let mut tasks: Vec<Task<'_>> =
            (0..2 * RESUMED_MAX + 1).map(|_| Box::pin(turns.give_way()) as Task<'_>).collect();
        assert!(tasks.iter_mut().all(is_waiting));
        for left in [RESUMED_MAX + 1, 1, 0] {
            assert_eq!(far.read(&mut [0; 8]).unwrap(), 1, "one order is on its way");
            turns.resume();
            assert_eq!(turns.waiting.borrow().len(), left);
        }
        assert!(far.read(&mut [0]).is_err(), "nobody waits");
    }

    #[test]
    fn all_tasks_are_resumed_if_no_further_order_can_come() {
        let (near, far) = UnixStream::pair().unwrap();
        let turns = Turns::new(Some(Arc::new(near)));
        let wait = |count: usize| {
            let mut tasks: Vec<Task<'_>> =
                (0..count).map(|_| Box::pin(turns.give_way()) as Task<'_>).collect();
            tasks.iter_mut().for_each(|task| assert!(is_waiting(task)));
        };
        wait(RESUMED_MAX + 1);
        drop(far);
        turns.resume();
        assert_eq!(turns.waiting.borrow().len(), 0);
        turns.close();
        let mut task: Task<'_> = Box::pin(turns.give_way());
        assert!(!is_waiting(&mut task), "nobody gives way any more");
    }
}
