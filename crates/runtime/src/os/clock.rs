//! Owns the time of a worker: coarse, but exact enough for deadlines and for the Date field, and
//! read without a system call.

use std::cell::RefCell;

use heartbeat_protocol::DateLine;

use crate::os::sys;

/// A worker's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    date: RefCell<DateLine>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { date: RefCell::new(DateLine::new(0)) }
    }

    /// Milliseconds since some moment, exact to the kernel's tick.
    pub(crate) fn now_ms(&self) -> u64 {
        sys::time_of(sys::Clock::CoarseMonotonic).as_millis() as u64
    }

    /// Calls `with` with the Date line of this second. The line is formatted again only if the
    /// second has changed.
    pub(crate) fn with_date<R>(&self, with: impl FnOnce(&DateLine) -> R) -> R {
        let seconds = sys::time_of(sys::Clock::CoarseRealtime).as_secs();
        let mut date = self.date.borrow_mut();
        if date.unix_seconds() != seconds {
            *date = DateLine::new(seconds);
        }
        with(&date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_current_one() {
        let clock = Clock::new();
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let dated = clock.with_date(DateLine::unix_seconds);
        assert!(now.abs_diff(dated) <= 1, "{now} and {dated}");
    }
}
