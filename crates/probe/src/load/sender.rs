//! Finds out whether the thread that sends had enough CPU time.
//!
//! The kernel counts for each thread how long it ran and how long it was ready to run and waited
//! for a CPU (`/proc/thread-self/schedstat`, Documentation/scheduler/sched-stats.rst). A thread
//! that did one or the other all the time was never idle: it sent later than it should have, and
//! the times of that load tell about this machine, not about the server.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From this share of the time on a thread counts as busy throughout: what is left is less than
/// the time it takes to wake up.
const BUSY_SHARE: f64 = 0.9;
/// A shorter time says nothing: one moment in which another process had the CPU fills it.
const MEASURED_MIN: Duration = Duration::from_millis(100);
/// A rate counts as missed below this share of it: the last answer always comes a little after the
/// last moment at which a request was due.
const RATE_SHARE: f64 = 0.99;

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
    /// Both, as a share of the time that passed.
    pub(crate) busy_share: f64,
}

impl CpuTime {
    /// The counts of the calling thread; none if the kernel does not count.
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
    /// The time between two counts, which were `passed` apart; none if that is too short.
    pub(crate) fn between(from: CpuTime, to: CpuTime, passed: Duration) -> Option<Self> {
        if passed < MEASURED_MIN {
            return None;
        }
        let running = to.running.saturating_sub(from.running);
        let waiting = to.waiting.saturating_sub(from.waiting);
        let share = (running + waiting).as_secs_f64() / passed.as_secs_f64();
        let thousandths = |value: f64| (value * 1e3).round() / 1e3;
        Some(Self {
            running_s: thousandths(running.as_secs_f64()),
            waiting_s: thousandths(waiting.as_secs_f64()),
            // The two counts and the clock are not read in the same instant.
            busy_share: thousandths(share.min(1.0)),
        })
    }

    /// Whether it was busy throughout, so that it limited the load.
    pub(crate) fn is_saturated(&self) -> bool {
        self.busy_share >= BUSY_SHARE
    }
}

/// Whether a load stayed below the rate that was asked for.
pub(crate) fn is_missed(rate: f64, wanted: Option<f64>, unsent: u64) -> bool {
    unsent > 0 || wanted.is_some_and(|wanted| rate < wanted * RATE_SHARE)
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
    fn running_and_waiting_count_alike_from_nine_tenths_of_the_time_on() {
        for (running, waiting, saturated) in [
            (900, 0, true),
            (0, 900, true),
            (400, 500, true),
            (400, 499, false),
            (899, 0, false),
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
    fn a_rate_is_missed_below_99_percent_of_it_or_with_a_request_unsent() {
        assert!(is_missed(989.0, Some(1000.0), 0));
        assert!(!is_missed(990.0, Some(1000.0), 0));
        assert!(is_missed(1000.0, Some(1000.0), 1));
        assert!(!is_missed(5.0, None, 0));
    }
}
