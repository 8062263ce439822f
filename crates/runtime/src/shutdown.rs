//! Owns the way a process is told to end: the phases of a drain, and the signals that begin it.

use std::io;
use std::time::Duration;

use crate::sys::BlockedSignals;

/// Where a worker stands on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// Still serving; every answer closes its connection.
    Draining,
    /// The listener is closed; work in flight finishes.
    Closed,
}

impl Phase {
    /// Whether answers close their connections.
    pub(crate) fn is_draining(self) -> bool {
        self >= Self::Draining
    }

    /// Whether nobody new is accepted.
    pub(crate) fn is_closed(self) -> bool {
        self == Self::Closed
    }
}

/// What a worker is told, a byte each, over its control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin the drain.
    Drain,
    /// End now.
    Quit,
}

impl Order {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Drain => b'd',
            Self::Quit => b'q',
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        if byte == b'd' { Self::Drain } else { Self::Quit }
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
