//! Owns how a server ends: the stages that a worker goes through, the orders that it receives, and
//! the signals that start the end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::os::sys::{self, BlockedSignals};

/// An order to a worker: one byte on its control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Begin the drain.
    Drain = b'd',
    /// End now.
    Quit = b'q',
    /// Take the connections out of the inbox.
    TakeOver = b't',
    /// Resume the tasks that have given way.
    Resume = b'r',
}

impl Order {
    /// Sends the order to the worker whose control socket has this far end, without waiting. Returns
    /// false if it can not be sent: the worker has closed its side, or hangs and its socket is full.
    pub(crate) fn send(self, control: &UnixStream) -> bool {
        sys::send_at_once(control.as_raw_fd(), &[self.to_byte()]).is_ok()
    }

    fn to_byte(self) -> u8 {
        self as u8
    }

    /// The order that a byte stands for; an unknown byte is [`Order::Quit`].
    pub(crate) fn from_byte(byte: u8) -> Self {
        let orders = [Self::Drain, Self::TakeOver, Self::Resume];
        orders.into_iter().find(|order| order.to_byte() == byte).unwrap_or(Self::Quit)
    }
}

/// The stage that a worker has reached on the way to its end. It never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Serving,
    /// New connections are served, and every answer closes its connection.
    Draining,
    /// The listener is closed; work in flight finishes.
    Closed,
    /// Every connection is shut down; the worker waits for them only briefly.
    Quitting,
    /// Every connection is over; housekeeping ends.
    Over,
}

/// The stage of a worker, and the tasks that it wakes when it reaches the last one. A task that
/// slept on would be leaked with the event loop, and the worker with it.
#[derive(Debug, Default)]
pub(crate) struct Life {
    stage: Cell<Stage>,
    sleepers: RefCell<Vec<Waker>>,
}

impl Life {
    /// Whether the worker has reached `stage`.
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.stage.get() >= stage
    }

    /// Goes on to `stage`, unless the worker is there already.
    pub(crate) fn reach(&self, stage: Stage) {
        self.stage.set(self.stage.get().max(stage));
        if stage == Stage::Over {
            self.sleepers.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Sleeps for `duration`, or until the worker is over. Returns true in the second case.
    pub(crate) async fn sleep(&self, duration: Duration) -> bool {
        let mut sleep = pin!(monoio::time::sleep(duration));
        self.or_ready(|context| sleep.as_mut().poll(context)).await
    }

    /// Waits until `poll` is ready, or until the worker is over. Returns true in the second case.
    pub(crate) async fn or_ready(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> bool {
        poll_fn(|context| {
            if self.has_reached(Stage::Over) {
                return Poll::Ready(true);
            }
            let mut sleepers = self.sleepers.borrow_mut();
            if !sleepers.iter().any(|sleeper| sleeper.will_wake(context.waker())) {
                sleepers.push(context.waker().clone());
            }
            poll(context).map(|()| false)
        })
        .await
    }
}

/// SIGTERM and SIGINT of this process.
#[derive(Debug)]
pub struct Signals(BlockedSignals);

impl Signals {
    /// Blocks SIGTERM and SIGINT, so that [`Signals::wait`] receives them. Their default action is
    /// to kill the process, and the kernel does not apply it to PID 1. SIGHUP, SIGUSR1 and SIGUSR2
    /// are ignored: there is no configuration to read again. So is SIGXFSZ: a log file that has
    /// reached RLIMIT_FSIZE loses lines, and ends no process. Call this before any thread is
    /// started.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3) and sigtimedwait(2): a seccomp profile may refuse them.
    pub fn take_over() -> io::Result<Self> {
        let signals = Self(BlockedSignals::new()?);
        sys::ignore_signals(&[libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGXFSZ]);
        // Proves that the process can wait for signals. Otherwise `wait` would return at once.
        signals.0.prove()?;
        Ok(signals)
    }

    /// Waits for the next signal. An error counts as one: otherwise nothing could end the process.
    pub fn wait(&self) {
        while let Ok(false) = self.0.wait(None) {}
    }

    /// Waits up to `timeout` for the next signal, and returns whether it came.
    ///
    /// # Errors
    /// Those of sigtimedwait(2).
    pub fn wait_for(&self, timeout: Duration) -> io::Result<bool> {
        self.0.wait(Some(timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_never_goes_back() {
        let life = Life::default();
        life.reach(Stage::Quitting);
        life.reach(Stage::Draining);
        assert!(life.has_reached(Stage::Closed) && life.has_reached(Stage::Quitting));
        assert!(!life.has_reached(Stage::Over));
    }

    #[test]
    fn a_signal_that_waits_before_the_start_is_not_lost() {
        let blocked = BlockedSignals::new().unwrap();
        blocked.raise();
        let signals = Signals::take_over().unwrap();
        assert!(signals.wait_for(Duration::ZERO).unwrap());
        assert!(!signals.wait_for(Duration::ZERO).unwrap());
    }

    #[test]
    fn an_order_is_one_byte_and_an_unknown_byte_ends_the_worker() {
        for order in [Order::Drain, Order::Quit, Order::TakeOver, Order::Resume] {
            assert_eq!(Order::from_byte(order.to_byte()), order);
        }
        assert_eq!(Order::from_byte(0), Order::Quit);
    }
}
