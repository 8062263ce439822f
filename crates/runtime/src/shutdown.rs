//! Owns the way a process is told to end: the orders that begin and end a drain, and the signals that begin it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::os::sys::BlockedSignals;

/// What a worker is told, a byte each, over its control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin the drain.
    Drain,
    /// End now.
    Quit,
    /// Look into the inbox.
    Adopt,
}

impl Order {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Drain => b'd',
            Self::Quit => b'q',
            Self::Adopt => b'a',
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte {
            b'd' => Self::Drain,
            b'a' => Self::Adopt,
            _ => Self::Quit,
        }
    }
}

/// The end of a worker, as its housekeeping waits for it: a task that slept on would be leaked
/// with the event loop, and the worker with it.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    is_over: Cell<bool>,
    sleepers: RefCell<Vec<Waker>>,
}

impl Ending {
    /// Wakes every sleeper, for good.
    pub(crate) fn announce(&self) {
        self.is_over.set(true);
        self.sleepers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Sleeps for `duration`, or until the end. True where that has come.
    pub(crate) async fn sleep(&self, duration: Duration) -> bool {
        let mut sleep = pin!(monoio::time::sleep(duration));
        self.or_ready(|context| sleep.as_mut().poll(context)).await
    }

    /// Waits until `poll` is ready, or until the end. True where that has come.
    pub(crate) async fn or_ready(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> bool {
        poll_fn(|context| {
            if self.is_over.get() {
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
    /// Takes the signals over from their default, which is to kill, and which the kernel leaves
    /// out for PID 1. Called before any thread is started.
    ///
    /// # Errors
    /// Those of pthread_sigmask(3).
    pub fn take_over() -> io::Result<Self> {
        BlockedSignals::new().map(Self)
    }

    /// Waits for the next one.
    pub fn wait(&self) {
        while self.0.wait(None).is_none() {}
    }

    /// Waits up to `timeout` for the next one, and tells whether it came.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        self.0.wait(Some(timeout)).is_some()
    }
}
