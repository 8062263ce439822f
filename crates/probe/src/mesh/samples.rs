//! Keeps a limited number of the latest measurements.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The latest durations, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    latest: VecDeque<u32>,
}

/// Two quantiles of the latest durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// The median.
    pub(crate) p50: u64,
    /// The time that 99 of 100 requests do not exceed.
    pub(crate) p99: u64,
}

impl Samples {
    /// Adds a duration, and removes the oldest if there are too many.
    pub(crate) fn add(&mut self, duration: Duration) {
        if self.latest.len() == SAMPLES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
    }

    /// The durations in the order in which they were added.
    pub(crate) fn in_order(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.latest.iter().copied()
    }

    /// `None` if there is no sample yet.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let mut sorted: Vec<_> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        // Nearest rank: the smallest sample that `percent` of all do not exceed.
        let of = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.checked_sub(1)?).map(|micros| u64::from(*micros))
        };
        Some(Quantiles { p50: of(50)?, p99: of(99)? })
    }
}

/// Numbers of segments that were sent and retransmitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    /// All segments, including retransmissions.
    pub(crate) sent: u64,
    /// Retransmissions.
    pub(crate) again: u64,
}

impl Segments {
    /// Adds those of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.again = self.again.saturating_add(other.again);
    }
}

/// Segments of the last 15 to 30 minutes.
#[derive(Clone, Debug)]
pub(crate) struct RecentSegments {
    before: Segments,
    current: Segments,
    began: Instant,
}

impl RecentSegments {
    /// No segments yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { before: Segments::default(), current: Segments::default(), began: now }
    }

    /// Adds segments.
    pub(crate) fn add(&mut self, segments: Segments, now: Instant) {
        self.turn(now);
        self.current.add(segments);
    }

    /// The sum of the recent segments.
    pub(crate) fn sum(&self, now: Instant) -> Segments {
        let mut recent = self.clone();
        recent.turn(now);
        let mut sum = recent.before;
        sum.add(recent.current);
        sum
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= WINDOW {
            self.before = if age < 2 * WINDOW { self.current } else { Segments::default() };
            self.current = Segments::default();
            self.began = now;
        }
    }
}

/// About an hour of one size with the default interval and sizes.
pub(crate) const SAMPLES_MAX: usize = 128;
/// Older losses say nothing about the present path.
const WINDOW: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_quantiles_of_the_latest() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantiles(), None);
        samples.add(Duration::from_micros(7));
        assert_eq!(samples.quantiles(), Some(Quantiles { p50: 7, p99: 7 }));
        for micros in 1..=100 {
            samples.add(Duration::from_micros(micros));
        }
        assert_eq!(samples.in_order().len(), 101);
        assert_eq!(samples.quantiles(), Some(Quantiles { p50: 50, p99: 99 }));
    }

    #[test]
    fn forgets_the_oldest_beyond_the_limit() {
        let mut samples = Samples::default();
        for micros in 0..=SAMPLES_MAX as u64 {
            samples.add(Duration::from_micros(micros));
        }
        assert_eq!(samples.in_order().len(), SAMPLES_MAX);
        assert_eq!(samples.in_order().next(), Some(1));
    }

    #[test]
    fn a_duration_beyond_the_counter_is_the_longest_there_is() {
        let mut samples = Samples::default();
        samples.add(Duration::from_secs(100_000));
        assert_eq!(samples.in_order().next(), Some(u32::MAX));
    }

    #[test]
    fn forgets_segments_after_one_to_two_windows() {
        let start = Instant::now();
        let mut recent = RecentSegments::new(start);
        recent.add(Segments { sent: 100, again: 5 }, start);
        let at = |windows: u32| start + WINDOW * windows;
        assert_eq!(recent.sum(at(1)), Segments { sent: 100, again: 5 });
        recent.add(Segments { sent: 10, again: 0 }, at(1));
        assert_eq!(recent.sum(at(1)), Segments { sent: 110, again: 5 });
        assert_eq!(recent.sum(at(2)), Segments { sent: 10, again: 0 });
        assert_eq!(recent.sum(at(4)), Segments::default());
    }
}
