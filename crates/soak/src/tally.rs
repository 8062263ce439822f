//! Owns the counts of all clients together, and the end of their work.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many errors are printed one by one.
const ERRORS_PRINTED: u64 = 20;

/// What all clients together have done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) aborts: AtomicU64,
    errors: AtomicU64,
    is_stopped: AtomicBool,
    requests_max: u64,
}

impl Tally {
    /// A tally that is over after this many requests; 0 is no limit.
    pub(crate) fn new(requests_max: u64) -> Self {
        let requests_max = if requests_max == 0 { u64::MAX } else { requests_max };
        Self { requests_max, ..Self::default() }
    }

    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
            || self.requests.load(Ordering::Relaxed) >= self.requests_max
    }

    /// Counts an error, and prints it if it is one of the first [`ERRORS_PRINTED`].
    pub(crate) fn error(&self, what: &str) {
        if self.errors.fetch_add(1, Ordering::Relaxed) < ERRORS_PRINTED {
            println!("ERROR: {what}");
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("requests", &self.requests),
            ("bytes_received", &self.bytes_received),
            ("bytes_sent", &self.bytes_sent),
            ("connections", &self.connections),
            ("aborts", &self.aborts),
            ("errors", &self.errors),
        ];
        for (index, (name, counter)) in counts.into_iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{name}={}", counter.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}
