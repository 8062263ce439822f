//! Counts answers, errors, bytes and times while a load runs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::histogram::{histogram, record};
use super::schedule::Ticket;
use crate::client::PathFacts;
use crate::fault::Fault;

/// Percentiles are exact to 0.1 %. One histogram takes 200 KiB.
const DIGITS: u8 = 3;
/// Percentiles of single targets are exact to 1 %. One histogram takes 30 KiB.
const TARGET_DIGITS: u8 = 2;
/// Up to this many targets have their own row; more would not fit a screen.
pub(super) const TARGETS_MAX: usize = 64;
/// Up to this many addresses have their own row: a Service may have hundreds of pods, and 256
/// histograms take 8 MiB.
pub(super) const ADDRESSES_MAX: usize = 256;

/// The result of one request. Times count from the start of the load.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) ticket: Ticket,
    /// The index of its target.
    pub(crate) target: usize,
    /// The index of its address among those of all servers.
    pub(crate) address: usize,
    /// When a worker became free to send it.
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    /// From when it was passed to the open connection to the end of the answer's head.
    pub(crate) first_byte: Option<Duration>,
    /// From the end of the answer's head to its last byte.
    pub(crate) transfer: Option<Duration>,
    /// How long the name, the connection and TLS took, if it needed a new connection.
    pub(crate) connect: Option<Duration>,
    pub(crate) path: PathFacts,
    pub(crate) status: Option<u16>,
    /// Bytes of the request body and of the answer body.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) fault: Option<(Fault, String)>,
}

/// The sums over all samples.
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) abandoned: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) faults: BTreeMap<Fault, (u64, String)>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Connections opened, including those of the warm-up.
    pub(crate) connects: u64,
    /// Times from when a request was due.
    pub(crate) corrected: Histogram<u64>,
    /// Times from when it was sent.
    pub(crate) service: Histogram<u64>,
    pub(crate) first_byte: Histogram<u64>,
    pub(crate) connect: Histogram<u64>,
    pub(crate) transfer: Histogram<u64>,
    /// The servers' own times, and the rest of the time to the first byte.
    pub(crate) server: Histogram<u64>,
    pub(crate) network: Histogram<u64>,
    /// Round-trip times that this end's kernel measures.
    pub(crate) round_trip: Histogram<u64>,
    /// Segments that this end has retransmitted.
    pub(crate) retransmitted_up: u64,
    /// Segments that the servers have retransmitted; `None` if no server reports them.
    pub(crate) retransmitted_down: Option<u64>,
    pub(crate) targets: Vec<Share>,
    pub(crate) addresses: Vec<Share>,
    pub(crate) last_ended: Duration,
    pub(crate) recent: Recent,
}

/// The sums over the samples of one target, or of one address.
pub(crate) struct Share {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Connections opened, including those of the warm-up.
    pub(crate) connects: u64,
    /// Payload bytes of the largest segment that this end sends: the smallest of all connections.
    pub(crate) mss: Option<u32>,
    pub(crate) times: Histogram<u64>,
}

/// The sums since the last line of progress, including requests of the warm-up.
pub(crate) struct Recent {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) times: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new(targets: usize, addresses: usize) -> Self {
        Self {
            requests: 0,
            failed: 0,
            abandoned: 0,
            statuses: BTreeMap::new(),
            faults: BTreeMap::new(),
            sent: 0,
            received: 0,
            connects: 0,
            corrected: histogram(DIGITS),
            service: histogram(DIGITS),
            first_byte: histogram(DIGITS),
            connect: histogram(TARGET_DIGITS),
            transfer: histogram(TARGET_DIGITS),
            server: histogram(TARGET_DIGITS),
            network: histogram(TARGET_DIGITS),
            round_trip: histogram(TARGET_DIGITS),
            retransmitted_up: 0,
            retransmitted_down: None,
            targets: shares(targets, TARGETS_MAX),
            addresses: shares(addresses, ADDRESSES_MAX),
            last_ended: Duration::ZERO,
            recent: Recent { requests: 0, failed: 0, times: histogram(TARGET_DIGITS) },
        }
    }

    /// Counts the result of a request.
    pub(crate) fn add(&mut self, sample: Sample) {
        let fault = sample.fault.as_ref().map(|(fault, _)| *fault);
        let failed = u64::from(fault.is_some());
        // A request without an answer has no time. A timeout is the exception: without timeouts the
        // slowest server would look fast, although the true time is longer still.
        let is_timed =
            fault.is_none_or(|fault| !fault.lost_the_answer() || fault == Fault::Timeout);
        let corrected = sample.ended.saturating_sub(sample.ticket.due);
        let service = sample.ended.saturating_sub(sample.began);
        self.recent.requests += 1;
        self.recent.failed += failed;
        if is_timed {
            record(&mut self.recent.times, corrected);
        }
        let connects = u64::from(sample.connect.is_some());
        self.connects += connects;
        if let Some(address) = self.addresses.get_mut(sample.address) {
            address.connects += connects;
        }
        if !sample.ticket.counts {
            return;
        }
        self.requests += 1;
        self.failed += failed;
        self.sent += sample.sent;
        self.received += sample.received;
        self.last_ended = self.last_ended.max(sample.ended);
        if let Some(status) = sample.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        if let Some(connect) = sample.connect {
            record(&mut self.connect, connect);
        }
        if let Some(first_byte) = sample.first_byte {
            record(&mut self.first_byte, first_byte);
        }
        if let Some(transfer) = sample.transfer {
            record(&mut self.transfer, transfer);
        }
        if let (Some(first_byte), Some(server)) = (sample.first_byte, sample.path.server) {
            record(&mut self.server, server);
            record(&mut self.network, first_byte.saturating_sub(server));
        }
        self.add_path(&sample.path);
        if is_timed {
            record(&mut self.corrected, corrected);
            record(&mut self.service, service);
        }
        let target = self.targets.get_mut(sample.target);
        let address = self.addresses.get_mut(sample.address);
        for share in target.into_iter().chain(address) {
            share.requests += 1;
            share.failed += failed;
            share.mss = share.mss.into_iter().chain(sample.path.mss).min();
            if is_timed {
                record(&mut share.times, corrected);
            }
        }
        if let Some((fault, text)) = sample.fault {
            self.faults.entry(fault).or_insert((0, text)).0 += 1;
        }
    }

    fn add_path(&mut self, path: &PathFacts) {
        if let Some(round_trip) = path.rtt {
            record(&mut self.round_trip, round_trip);
        }
        self.retransmitted_up += path.retransmitted_up;
        // A server that reports its kernel's round-trip time also reports its retransmissions.
        if path.server_rtt.is_some() {
            *self.retransmitted_down.get_or_insert(0) += path.retransmitted_down;
        }
    }
}

impl Recent {
    /// Sets all sums to zero.
    pub(crate) fn clear(&mut self) {
        self.requests = 0;
        self.failed = 0;
        self.times.reset();
    }
}

/// Creates `number` empty shares, or none if there would be more than `most`.
fn shares(number: usize, most: usize) -> Vec<Share> {
    let number = if number > most { 0 } else { number };
    let share = || {
        let times = histogram(TARGET_DIGITS);
        Share { requests: 0, failed: 0, connects: 0, mss: None, times }
    };
    std::iter::repeat_with(share).take(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(due_us: u64, began_us: u64, ended_us: u64) -> Sample {
        Sample {
            ticket: Ticket { number: 0, due: Duration::from_micros(due_us), counts: true },
            target: 0,
            address: 0,
            began: Duration::from_micros(began_us),
            ended: Duration::from_micros(ended_us),
            first_byte: None,
            transfer: None,
            connect: None,
            path: PathFacts::default(),
            status: Some(200),
            sent: 0,
            received: 17,
            fault: None,
        }
    }

    fn us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
        histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    fn near(value: f64, expected: f64) -> bool {
        (value / expected - 1.0).abs() < 0.01
    }

    #[test]
    fn waiting_for_a_connection_counts_from_the_time_a_request_was_due() {
        let mut tally = Tally::new(1, 1);
        tally.add(sample(1000, 5000, 5100));
        assert!(near(us(&tally.corrected, 1.0), 4100.0));
        assert!(near(us(&tally.service, 1.0), 100.0));
        assert_eq!((tally.requests, tally.failed, tally.received), (1, 0, 17));
    }

    #[test]
    fn a_stall_of_a_server_shows_only_in_corrected_times() {
        // One connection, 1000/s for a second, answers in 100 us; the 300th takes 200 ms.
        let mut tally = Tally::new(1, 1);
        let mut free = 0;
        for number in 0..1000 {
            let due = number * 1000;
            let began = due.max(free);
            free = began + if number == 300 { 200_000 } else { 100 };
            tally.add(sample(due, began, free));
        }
        assert!(us(&tally.service, 0.99) < 110.0);
        assert!(us(&tally.corrected, 0.99) > 150_000.0);
        assert!(us(&tally.corrected, 0.5) < 110.0);
        assert!(near(us(&tally.service, 1.0), us(&tally.corrected, 1.0)));
    }

    #[test]
    fn timeouts_have_a_time_and_lost_connections_have_none() {
        let mut tally = Tally::new(1, 1);
        for (fault, timed) in [
            (Fault::Connect, 0),
            (Fault::Truncated, 0),
            (Fault::Protocol, 0),
            (Fault::Timeout, 1),
            (Fault::Status, 2),
            (Fault::Length, 3),
        ] {
            let fault = Some((fault, "why".to_owned()));
            tally.add(Sample { fault, ..sample(0, 0, 10) });
            assert_eq!(tally.service.len(), timed);
        }
        assert_eq!((tally.requests, tally.failed), (6, 6));
        assert!(tally.faults.values().all(|(count, text)| *count == 1 && text == "why"));
    }

    #[test]
    fn the_path_has_round_trips_and_retransmitted_segments() {
        let mut tally = Tally::new(1, 1);
        let rtt = Some(Duration::from_micros(300));
        let path = PathFacts { rtt, retransmitted_up: 2, ..PathFacts::default() };
        tally.add(Sample { path, ..sample(0, 0, 10) });
        assert!(near(us(&tally.round_trip, 1.0), 300.0));
        assert_eq!((tally.retransmitted_up, tally.retransmitted_down), (2, None));
        let path = PathFacts { server_rtt: rtt, retransmitted_down: 3, ..path };
        tally.add(Sample { path, ..sample(0, 0, 10) });
        assert_eq!((tally.retransmitted_up, tally.retransmitted_down), (4, Some(3)));
        assert_eq!(tally.round_trip.len(), 2);
    }

    #[test]
    fn an_address_has_the_smallest_segment_size_that_was_seen() {
        let mut tally = Tally::new(1, 2);
        for (address, mss) in [(0, None), (0, Some(1448)), (0, Some(1400)), (0, Some(1460))] {
            let path = PathFacts { mss, ..PathFacts::default() };
            tally.add(Sample { address, path, ..sample(0, 0, 10) });
        }
        let seen: Vec<_> = tally.addresses.iter().map(|share| share.mss).collect();
        assert_eq!(seen, [Some(1400), None]);
    }

    #[test]
    fn a_server_that_reports_its_own_time_splits_the_first_byte() {
        let mut tally = Tally::new(1, 1);
        let first_byte = Some(Duration::from_micros(500));
        let transfer = Some(Duration::from_micros(70));
        tally.add(Sample { first_byte, transfer, ..sample(0, 0, 600) });
        assert_eq!((tally.transfer.len(), tally.server.len(), tally.network.len()), (1, 0, 0));
        let path = PathFacts { server: Some(Duration::from_micros(100)), ..PathFacts::default() };
        tally.add(Sample { first_byte, transfer, path, ..sample(0, 0, 600) });
        assert!(near(us(&tally.server, 1.0), 100.0));
        assert!(near(us(&tally.network, 1.0), 400.0));
        assert!(near(us(&tally.transfer, 1.0), 70.0));
    }

    #[test]
    fn the_warm_up_shows_only_in_the_progress_and_in_the_connections_opened() {
        let mut tally = Tally::new(1, 1);
        let ticket = Ticket { number: 0, due: Duration::ZERO, counts: false };
        let connect = Some(Duration::from_micros(5));
        tally.add(Sample { ticket, connect, ..sample(0, 0, 10) });
        assert_eq!((tally.requests, tally.recent.requests, tally.service.len()), (0, 1, 0));
        assert_eq!((tally.connects, tally.connect.len()), (1, 0));
        tally.recent.clear();
        assert_eq!((tally.recent.requests, tally.recent.times.len()), (0, 0));
    }

    #[test]
    fn targets_and_addresses_have_separate_times_up_to_a_limit() {
        let mut tally = Tally::new(TARGETS_MAX, ADDRESSES_MAX);
        tally.add(Sample { target: 63, address: 255, ..sample(0, 0, 10) });
        assert_eq!((tally.targets.len(), tally.targets[63].requests), (64, 1));
        assert_eq!((tally.addresses.len(), tally.addresses[255].requests), (256, 1));
        let mut tally = Tally::new(TARGETS_MAX + 1, ADDRESSES_MAX + 1);
        tally.add(Sample { target: 64, address: 256, ..sample(0, 0, 10) });
        assert_eq!((tally.targets.len(), tally.addresses.len(), tally.requests), (0, 0, 1));
    }
}
