//! Owns the counters of each worker.
//!
//! Only the worker writes its counters, by plain loads and stores: no cache line is contended. A
//! scrape sums them, on whichever worker it arrives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heartbeat_protocol::{Route, Status};

use crate::observe::end::End;
use crate::observe::exchange::Exchange;

/// Upper bounds of the duration buckets: one per decade, because every bucket of every size class
/// is a series on every node.
pub(crate) const BUCKETS: [(Duration, &str); 7] = [
    (Duration::from_micros(10), "1e-05"),
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(10), "10"),
];

/// Size classes of answers: a payload belongs to the first one that holds it.
pub(crate) const SIZE_CLASSES: [(u64, &str); 5] =
    [(1 << 10, "1k"), (64 << 10, "64k"), (1 << 20, "1m"), (64 << 20, "64m"), (1 << 30, "1g")];

/// A number that one worker writes and any worker may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        // Only the owner writes, so no atomic read-modify-write is needed.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the round-trip times, from a neighbor to another continent.
pub(crate) const RTT_BUCKETS: [(Duration, &str); 5] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_secs(1), "1"),
];

/// Upper bounds of the path MTUs, in bytes: the MTUs that networks have. 1280 is the minimum of
/// IPv6, 1400 is the MTU of many VPNs, 1450 of VXLAN, 1460 of Google, 1480 of IP in IP, 1500 of
/// Ethernet, 8951 and 9001 of jumbo frames with and without VXLAN, 65535 of the loopback.
pub(crate) const MTU_BUCKETS: [u32; 9] = [1280, 1400, 1450, 1460, 1480, 1500, 8951, 9001, 65_535];

/// How often a value fell between two of `BOUNDS - 1` bounds, and the sum of the values.
#[derive(Debug)]
pub(crate) struct Histogram<const BOUNDS: usize> {
    /// Not cumulative; the last one counts values above every bound.
    pub(crate) buckets: [Counter; BOUNDS],
    /// In nanoseconds or bytes.
    pub(crate) sum: Counter,
}

impl<const BOUNDS: usize> Default for Histogram<BOUNDS> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// Counts a value that belongs to the first bucket for which `is_within` holds.
    pub(crate) fn note(&self, value: u64, is_within: impl Fn(usize) -> bool) {
        let bucket = (0..BOUNDS - 1).find(|bucket| is_within(*bucket));
        self.buckets[bucket.unwrap_or(BOUNDS - 1)].add(1);
        self.sum.add(value);
    }
}

/// The counters of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) requests: [[Counter; Status::COUNT]; Route::COUNT],
    pub(crate) durations: [Histogram<{ BUCKETS.len() + 1 }>; SIZE_CLASSES.len()],
    pub(crate) response_body_bytes: Counter,
    pub(crate) request_body_bytes: Counter,
    pub(crate) connections: Counter,
    pub(crate) ends: [Counter; End::REASONS.len()],
    pub(crate) log_lines_dropped: Counter,
    pub(crate) zerocopy_copied: Counter,
    pub(crate) zerocopy_not_copied: Counter,
    pub(crate) tcp_segments_sent: Counter,
    pub(crate) tcp_segments_retransmitted: Counter,
    pub(crate) tcp_rtt: Histogram<{ RTT_BUCKETS.len() + 1 }>,
    pub(crate) tcp_path_mtu: Histogram<{ MTU_BUCKETS.len() + 1 }>,
}

impl Counters {
    /// Counts an answer that took `duration`, from the end of its request's head to its last byte.
    pub(crate) fn note_answer(&self, exchange: &Exchange, duration: Duration) {
        self.requests[exchange.route.index()][exchange.status.index()].add(1);
        self.response_body_bytes.add(exchange.bytes_out);
        self.request_body_bytes.add(exchange.bytes_in);
        let Some(bytes) = exchange.payload_bytes else { return };
        let class = SIZE_CLASSES.iter().position(|(bound, _)| bytes <= *bound);
        let histogram = &self.durations[class.unwrap_or(SIZE_CLASSES.len() - 1)];
        histogram.note(duration.as_nanos() as u64, |bucket| duration <= BUCKETS[bucket].0);
    }

    pub(crate) fn note_end(&self, end: End) {
        self.ends[end.reason_index()].add(1);
    }
}

#[cfg(test)]
impl Counters {
    /// Requests answered, of all routes and codes.
    pub(crate) fn answers(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::value).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_label_of_every_bucket_is_its_bound() {
        for (bound, label) in BUCKETS {
            assert_eq!(label.parse::<f64>().unwrap(), bound.as_secs_f64());
        }
    }

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let counters = Counters::default();
        let note = |payload_bytes, nanoseconds| {
            let exchange = Exchange {
                route: Route::Heartbeat,
                status: Status::Ok,
                started: Instant::now(),
                remote: [127, 0, 0, 1].into(),
                payload_bytes: Some(payload_bytes),
                bytes_out: payload_bytes,
                bytes_in: 0,
            };
            counters.note_answer(&exchange, Duration::from_nanos(nanoseconds));
        };
        note(1024, 10_000);
        note(1025, 10_001);
        note(1 << 30, u64::MAX / 2);
        assert_eq!(counters.durations[0].buckets[0].value(), 1);
        assert_eq!(counters.durations[1].buckets[1].value(), 1);
        assert_eq!(counters.durations[4].buckets[BUCKETS.len()].value(), 1);
    }
}
