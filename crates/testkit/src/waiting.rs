//! Owns waiting. No test measures time with it: a deadline only ends a test that would hang.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything: far longer than it takes even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two checks of an awaited condition.
const LOOK: Duration = Duration::from_millis(5);

/// The moment at which something is considered to hang.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline for something that begins now; it is [`PATIENCE`] away.
    #[must_use]
    pub fn new() -> Self {
        Self::after(PATIENCE)
    }

    /// A deadline with a limit of its own.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        Instant::now() > self.0
    }

    /// Panics if the deadline has passed.
    #[track_caller]
    pub fn check(&self, what: &str) {
        assert!(!self.has_passed(), "not finished in time: {what}");
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until a condition holds, and panics if it does not hold within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(comes_true_within(PATIENCE, holds), "still not so after {PATIENCE:?}: {what}");
}

/// Waits until a condition holds, and returns whether it did within the limit.
pub fn comes_true_within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(limit);
    while !holds() {
        if deadline.has_passed() {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

/// Runs a test with all of these at once. It is for tests that mostly wait.
///
/// # Panics
/// If the test panics with one of them.
pub fn at_once<T: Send>(all: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for one in all {
            scope.spawn(move || test(one));
        }
    });
}
