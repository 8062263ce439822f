//! A native histogram: its buckets follow from a formula, and only those with a value exist
//! (prometheus.io/docs/specs/native_histograms).

use std::collections::BTreeMap;

/// Counts of durations in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NativeHistogram {
    zero: u64,
    buckets: BTreeMap<i32, u64>,
}

impl NativeHistogram {
    /// Eight buckets for each power of two: each bound is 9 % above the previous one.
    pub(super) const SCHEMA: i32 = 3;
    /// Shorter times, in seconds, share one bucket: no request takes less than a microsecond.
    pub(super) const ZERO_THRESHOLD: f64 = 1e-6;

    /// Counts one duration.
    pub(super) fn observe(&mut self, seconds: f64) {
        if seconds <= Self::ZERO_THRESHOLD {
            self.zero += 1;
        } else if let Some(index) = index(seconds) {
            *self.buckets.entry(index).or_default() += 1;
        }
    }

    /// How many durations do not exceed the threshold.
    pub(super) fn zero_count(&self) -> u64 {
        self.zero
    }

    /// The runs of adjacent buckets: the distance of the first bucket from the end of the previous
    /// run, and the number of buckets.
    pub(super) fn spans(&self) -> Vec<(i32, u32)> {
        let mut spans: Vec<(i32, u32)> = Vec::new();
        let mut end = 0;
        for index in self.buckets.keys() {
            match spans.last_mut() {
                Some((_, length)) if *index == end => *length += 1,
                _ => spans.push((index - end, 1)),
            }
            end = index + 1;
        }
        spans
    }

    /// The count of each bucket minus that of the previous bucket.
    pub(super) fn deltas(&self) -> Vec<i64> {
        let mut before = 0;
        let delta = |count: &u64| {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            let delta = count - before;
            before = count;
            delta
        };
        self.buckets.values().map(delta).collect()
    }
}

/// The first bucket whose upper bound is not below `seconds`. A logarithm is rounded, so a value
/// near a bound is compared with the bound itself.
fn index(seconds: f64) -> Option<i32> {
    if !seconds.is_finite() {
        return None;
    }
    // The exponent of a finite number is at most a few thousand.
    let near = (seconds.log2() * PER_POWER).ceil() as i32;
    (near - 1..=near + 1).find(|index| seconds <= upper_bound(*index))
}

fn upper_bound(index: i32) -> f64 {
    (f64::from(index) / PER_POWER).exp2()
}

/// Buckets for each power of two.
const PER_POWER: f64 = (1_u32 << NativeHistogram::SCHEMA) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> NativeHistogram {
        let mut histogram = NativeHistogram::default();
        values.iter().for_each(|value| histogram.observe(*value));
        histogram
    }

    #[test]
    fn a_bucket_includes_its_upper_bound() {
        for (seconds, expected) in
            [(1.0, 0), (1.000_001, 1), (2.0, 8), (0.5, -8), (0.25, -16), (0.500_001, -7)]
        {
            assert_eq!(index(seconds), Some(expected), "{seconds}");
        }
        for bound in -160..160 {
            let (at, above) = (upper_bound(bound), upper_bound(bound).next_up());
            assert_eq!((index(at), index(above)), (Some(bound), Some(bound + 1)));
            assert!(upper_bound(bound + 1) / at < 1.091);
        }
        assert_eq!((index(f64::NAN), index(f64::INFINITY)), (None, None));
    }

    #[test]
    fn times_up_to_the_threshold_are_one_bucket() {
        let threshold = NativeHistogram::ZERO_THRESHOLD;
        let histogram = of(&[0.0, threshold, threshold.next_up()]);
        assert_eq!((histogram.zero_count(), histogram.deltas().len()), (2, 1));
    }

    #[test]
    fn spans_skip_empty_buckets_and_deltas_are_differences() {
        assert_eq!((of(&[]).spans(), of(&[]).deltas()), (vec![], vec![]));
        // Buckets -8, 0 (three), 1, 8.
        let histogram = of(&[0.5, 1.0, 1.0, 1.0, 1.05, 2.0]);
        assert_eq!(histogram.spans(), [(-8, 1), (7, 2), (6, 1)]);
        assert_eq!(histogram.deltas(), [1, 2, -2, 0]);
    }
}
