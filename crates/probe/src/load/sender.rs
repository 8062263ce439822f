//! Finds out whether the thread that sends had enough CPU time.
//!
//! The kernel counts for each thread how long it ran and how long it was ready to run and waited
//! for a CPU (`/proc/thread-self/schedstat`, Documentation/scheduler/sched-stats.rst). A thread
//! that always did one or the other was never idle: it sent later than it should have, and the
//! times of that load describe this machine, not the server.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A thread counts as always busy from this share of the time on: the rest is shorter than the time
/// it takes to wake up.
const BUSY_SHARE: f64 = 0.9;
/// From this share of waiting on, the times say more about this machine than about the server, even
/// if the thread was idle in between: on a busy machine the server waits as well.
const WAITING_SHARE: f64 = 0.25;
/// A shorter measurement says nothing: a single moment in which another process has the CPU may
/// fill it.
const MEASURED_MIN: Duration = Duration::from_millis(100);
/// A rate counts as missed if its requests took longer than planned by this share and by this time.
/// The last answers always arrive a little after the last request was due.
const LATE_SHARE: f64 = 0.01;
const LATE_S: f64 = 0.25;

/// What the kernel has counted for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    running: Duration,
    waiting: Duration,
}

/// How a sending thread spent its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sender {
    /// Seconds for which it ran.
    pub(crate) running_s: f64,
    /// Seconds for which it was ready and waited for a CPU.
    pub(crate) waiting_s: f64,
    /// The waiting, as a share of the time that passed.
    pub(crate) waiting_share: f64,
    /// Running and waiting, as a share of the time that passed.
    pub(crate) busy_share: f64,
}

impl CpuTime {
    /// The counts of the calling thread; `None` if the kernel does not count.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace().map(str::parse);
        let running = Duration::from_nanos(fields.next()?.ok()?);
        let waiting = Duration::from_nanos(fields.next()?.ok()?);
        Some(Self { running, waiting })
    }
}

impl Sender {
    /// The difference of two counts that were `passed` apart; `None` if that is too short.
    pub(crate) fn between(from: CpuTime, to: CpuTime, passed: Duration) -> Option<Self> {
        if passed < MEASURED_MIN {
            return None;
        }
        let running = to.running.saturating_sub(from.running);
        let waiting = to.waiting.saturating_sub(from.waiting);
        // The two counts and the clock are not read in the same instant.
        let share = |time: Duration| (time.as_secs_f64() / passed.as_secs_f64()).min(1.0);
        let thousandths = |value: f64| (value * 1e3).round() / 1e3;
        Some(Self {
            running_s: thousandths(running.as_secs_f64()),
            waiting_s: thousandths(waiting.as_secs_f64()),
            waiting_share: thousandths(share(waiting)),
            busy_share: thousandths(share(running + waiting)),
        })
    }

    /// Whether it had too little CPU time, so that it limited the load.
    pub(crate) fn is_saturated(&self) -> bool {
        self.busy_share >= BUSY_SHARE || self.waiting_share >= WAITING_SHARE
    }
}

/// Whether `requests` that took `elapsed_s` missed the rate that was asked for.
pub(crate) fn is_missed(wanted: Option<f64>, requests: u64, elapsed_s: f64, unsent: u64) -> bool {
    let is_late = |wanted: f64| {
        let planned_s = requests as f64 / wanted;
        elapsed_s > planned_s * (1.0 + LATE_SHARE) && elapsed_s > planned_s + LATE_S
    };
    unsent > 0 || wanted.is_some_and(is_late)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(running_ms: u64, waiting_ms: u64) -> CpuTime {
        CpuTime {
            running: Duration::from_millis(running_ms),
            waiting: Duration::from_millis(waiting_ms),
        }
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let expected = CpuTime {
            running: Duration::from_nanos(1_500_000_000),
            waiting: Duration::from_nanos(77),
        };
        assert_eq!(CpuTime::parse("1500000000 77 12\n"), Some(expected));
        for wrong in ["", "1", "a b c", "-1 2 3"] {
            assert_eq!(CpuTime::parse(wrong), None, "{wrong}");
        }
        let before = CpuTime::now().expect("Linux counts this");
        let after = CpuTime::now().expect("Linux counts this");
        assert!(after.running >= before.running);
    }

    #[test]
    fn nine_tenths_busy_or_a_quarter_waiting_are_too_much() {
        for (running, waiting, saturated) in [
            (900, 0, true),
            (899, 0, false),
            (651, 249, true),
            (650, 249, false),
            (0, 250, true),
            (0, 249, false),
            (0, 0, false),
            (800, 800, true),
        ] {
            let from = times(5_000, 70);
            let to = times(5_000 + running, 70 + waiting);
            let sender = Sender::between(from, to, Duration::from_secs(1)).unwrap();
            assert_eq!(sender.is_saturated(), saturated, "{running} {waiting} {sender:?}");
            assert!(sender.busy_share <= 1.0);
        }
        let after = |passed| Sender::between(times(0, 0), times(1000, 0), passed);
        assert!(after(MEASURED_MIN).is_some_and(|sender| sender.is_saturated()));
        assert_eq!(after(MEASURED_MIN - Duration::from_nanos(1)), None);
    }

    #[test]
    fn a_rate_is_missed_if_its_requests_took_too_long_or_one_was_not_sent() {
        let wanted = Some(1000.0);
        for (requests, elapsed_s, unsent, missed) in [
            (100_000, 101.0, 0, false),
            (100_000, 101.1, 0, true),
            (1_000, 1.25, 0, false),
            (1_000, 1.26, 0, true),
            (1_000, 1.0, 1, true),
        ] {
            assert_eq!(is_missed(wanted, requests, elapsed_s, unsent), missed, "{elapsed_s}");
        }
        assert!(!is_missed(None, 5, 1000.0, 0));
    }
}
