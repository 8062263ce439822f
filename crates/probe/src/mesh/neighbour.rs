//! What this node knows about one neighbour. Must not do I/O.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::identity::Identity;
use super::report::{Latencies, Latency, Peer};
use super::samples::{RecentSegments, Samples, Segments};
use super::turns::{Ask, Direction, Turn};
use crate::fault::Fault;

/// A neighbour, and all measurements of the path to it.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    /// The address at which it is asked.
    pub(crate) address: IpAddr,
    /// Its name and zone; empty until it has reported them.
    pub(crate) identity: Identity,
    /// Whether it answers.
    pub(crate) reach: Reach,
    /// One state for each kind of request, in the order of the turns.
    pub(crate) asks: Vec<AskState>,
    /// The round-trip time, as this kernel smooths it.
    pub(crate) rtt: Option<Duration>,
    /// Bytes of the largest IP packet, of the direction in which it is smaller.
    pub(crate) path_mtu: Option<u32>,
    /// Bits per second of the last download of the largest size.
    pub(crate) throughput_bps: Option<u64>,
    /// The segments that this node has sent to it since it became a neighbour.
    pub(crate) up: Segments,
    /// The segments that it has sent to this node, as it reports.
    pub(crate) down: Segments,
    /// The number of errors of each fault, in the order of `Fault::ALL`.
    pub(crate) errors: [u64; Fault::ALL.len()],
    recent: RecentSegments,
    last_error: Option<(Timestamp, String)>,
}

/// Whether a neighbour answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It was never asked.
    Unknown,
    /// It answers.
    Up,
    /// It has reported that it is about to leave (503 on `/readyz`), first at this time.
    Leaving(Instant),
    /// It does not answer.
    Down,
}

/// What is known about one kind of request.
#[derive(Clone, Debug)]
pub(crate) struct AskState {
    /// The kind of request.
    pub(crate) ask: Ask,
    /// How long the last answer took.
    pub(crate) last: Option<Duration>,
    /// The latest durations.
    pub(crate) samples: Samples,
    failed: bool,
    /// How many requests in a row had a connection but not one byte of an answer's body.
    swallowed: u32,
}

/// The result of a request.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The request.
    pub(crate) turn: Turn,
    /// How long the answer took on the open connection, or what is wrong.
    pub(crate) result: Result<Duration, Failure>,
    /// What it has shown about the path.
    pub(crate) path: PathFacts,
    /// Whether the neighbour answers, as far as this request shows.
    pub(crate) reach: Reach,
}

/// What is wrong with an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The kind of failure.
    pub(crate) fault: Fault,
    /// The failure in words.
    pub(crate) text: String,
    /// Whether the time limit passed on an open connection without any byte of the answer's body.
    pub(crate) swallowed: bool,
}

/// The facts of both kernels about the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathFacts {
    /// The smoothed round-trip time.
    pub(crate) rtt: Option<Duration>,
    /// Bytes of the largest IP packet, of the direction in which it is smaller.
    pub(crate) path_mtu: Option<u32>,
    /// The segments that this node has sent for this request.
    pub(crate) up: Segments,
    /// The segments that the neighbour has sent for it.
    pub(crate) down: Segments,
}

impl Neighbour {
    /// A neighbour of which nothing is known yet.
    pub(crate) fn new(address: IpAddr, asks: &[Ask], now: Instant) -> Self {
        let state = |ask: &Ask| AskState {
            ask: *ask,
            last: None,
            samples: Samples::default(),
            failed: false,
            swallowed: 0,
        };
        Self {
            address,
            identity: Identity::default(),
            reach: Reach::Unknown,
            asks: asks.iter().map(state).collect(),
            rtt: None,
            path_mtu: None,
            throughput_bps: None,
            up: Segments::default(),
            down: Segments::default(),
            errors: [0; Fault::ALL.len()],
            recent: RecentSegments::new(now),
            last_error: None,
        }
    }

    /// Stores the result of a request. A failed request to a neighbour that is leaving is no error.
    pub(crate) fn note(&mut self, outcome: &Outcome, now: Instant, date: Timestamp) {
        self.note_path(&outcome.path, now);
        self.reach = outcome.reach;
        let leaving = matches!(outcome.reach, Reach::Leaving(_));
        let index = outcome.turn.index;
        let Some(state) = self.asks.get_mut(index) else { return };
        match &outcome.result {
            Ok(duration) => {
                state.last = Some(*duration);
                state.samples.add(*duration);
                (state.failed, state.swallowed) = (false, 0);
                self.note_throughput(index, *duration);
            }
            Err(_) if leaving => {}
            Err(failure) => {
                state.failed = true;
                state.swallowed = if failure.swallowed { state.swallowed + 1 } else { 0 };
                self.errors[failure.fault as usize] += 1;
                self.last_error = Some((date, failure.text.clone()));
            }
        }
    }

    /// Whether small requests pass and large ones get no answer: packets above some size are lost
    /// without an ICMP error (RFC 2923).
    pub(crate) fn has_black_hole(&self) -> bool {
        self.black_hole(Direction::Down) || self.black_hole(Direction::Up)
    }

    /// The same for one direction.
    pub(crate) fn black_hole(&self, direction: Direction) -> bool {
        let small_pass = self.asks.iter().filter(|state| state.ask.is_small());
        let small_pass = small_pass.clone().any(|state| state.last.is_some())
            && small_pass.clone().all(|state| !state.failed);
        let large = |state: &&AskState| state.ask.is_large() && state.ask.direction == direction;
        let mut large = self.asks.iter().filter(large).peekable();
        if self.reach != Reach::Up || !small_pass || large.peek().is_none() {
            return false;
        }
        let swallowed: Vec<_> = large.map(|state| state.swallowed).collect();
        // A single one may be chance.
        swallowed.iter().all(|times| *times > 0) && swallowed.iter().sum::<u32>() > 1
    }

    /// The latest durations in microseconds of the smallest size that is downloaded.
    pub(crate) fn latest_of_smallest(&self) -> Vec<u32> {
        let smallest = self.downloads().min_by_key(|state| state.ask.bytes);
        smallest.map(|state| state.samples.in_order().collect()).unwrap_or_default()
    }

    /// Its entry in `/mesh.json`.
    pub(crate) fn report(&self, now: Instant, date: Timestamp) -> Peer {
        let recent = self.recent.sum(now);
        let told = |number: u64| (recent.sent > 0).then_some(number);
        let latency = |state: &AskState| {
            let quantiles = state.samples.quantiles()?;
            Some((state.ask.key(), Latency { p50: quantiles.p50, p99: quantiles.p99 }))
        };
        Peer {
            node: self.identity.node.clone(),
            zone: self.identity.zone.clone(),
            address: self.address,
            up: match self.reach {
                Reach::Unknown => None,
                Reach::Up | Reach::Leaving(_) => Some(true),
                Reach::Down => Some(false),
            },
            last_error: self.last_error(date),
            rtt_us: self.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
            latency_us: Latencies(self.asks.iter().filter_map(latency).collect()),
            throughput_bps: self.throughput_bps,
            retransmitted: told(recent.again),
            sent: told(recent.sent),
            path_mtu: self.path_mtu,
            black_hole: self.has_black_hole(),
            black_hole_down: self.black_hole(Direction::Down),
            black_hole_up: self.black_hole(Direction::Up),
        }
    }

    /// The last error of the last quarter of an hour, with its time. If the neighbour is leaving,
    /// that is reported instead.
    fn last_error(&self, date: Timestamp) -> Option<String> {
        if matches!(self.reach, Reach::Leaving(_)) {
            return Some(LEAVING.to_owned());
        }
        let (at, text) = self.last_error.as_ref()?;
        let age = date.duration_since(*at).unsigned_abs();
        (age <= ERROR_AGE_MAX).then(|| format!("{at:.0}: {text}"))
    }

    fn note_path(&mut self, path: &PathFacts, now: Instant) {
        self.rtt = path.rtt.or(self.rtt);
        self.path_mtu = path.path_mtu.or(self.path_mtu);
        self.up.add(path.up);
        self.down.add(path.down);
        self.recent.add(path.up, now);
        self.recent.add(path.down, now);
    }

    fn note_throughput(&mut self, index: usize, duration: Duration) {
        let largest = self.downloads().map(|state| state.ask.bytes).max();
        let ask = self.asks[index].ask;
        let seconds = duration.as_secs_f64();
        if ask.direction == Direction::Down && Some(ask.bytes) == largest && seconds > 0.0 {
            self.throughput_bps = Some((ask.bytes as f64 * 8.0 / seconds) as u64);
        }
    }

    fn downloads(&self) -> impl Iterator<Item = &AskState> {
        self.asks.iter().filter(|state| state.ask.direction == Direction::Down)
    }
}

impl Reach {
    /// The name in events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Leaving(_) => "leaving",
            Self::Down => "down",
        }
    }
}

/// What is reported instead of an error of a neighbour that is about to leave.
pub(crate) const LEAVING: &str = "is leaving: its /readyz says 503";
/// Older errors say nothing about the present path.
const ERROR_AGE_MAX: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: [(Direction, u64); 6] = [
        (Direction::Down, 17),
        (Direction::Down, 1024),
        (Direction::Down, 65_536),
        (Direction::Down, 1_048_576),
        (Direction::Up, 1024),
        (Direction::Up, 65_536),
    ];

    struct Seen {
        neighbour: Neighbour,
        now: Instant,
        date: Timestamp,
    }

    impl Seen {
        fn new() -> Self {
            Self::asking(&ASKS.map(|(direction, bytes)| Ask { direction, bytes }))
        }

        fn asking(asks: &[Ask]) -> Self {
            let now = Instant::now();
            let neighbour = Neighbour::new(IpAddr::from([10, 0, 0, 2]), asks, now);
            Self { neighbour, now, date: Timestamp::UNIX_EPOCH }
        }

        fn note(&mut self, index: usize, result: Result<Duration, Failure>, reach: Reach) {
            let ask = self.neighbour.asks[index].ask;
            let turn = Turn { index, ask, fresh: false };
            let outcome = Outcome { turn, result, path: PathFacts::default(), reach };
            self.neighbour.note(&outcome, self.now, self.date);
        }

        fn good(&mut self, index: usize) {
            self.note(index, Ok(Duration::from_millis(8)), Reach::Up);
        }

        fn bad(&mut self, index: usize, swallowed: bool, reach: Reach) {
            let fault = Fault::Timeout;
            let text = "no complete answer within 5s".to_owned();
            self.note(index, Err(Failure { fault, text, swallowed }), reach);
        }

        fn report(&self) -> Peer {
            self.neighbour.report(self.now, self.date)
        }
    }

    #[test]
    fn nothing_is_known_about_a_neighbour_that_was_not_asked() {
        let peer = Seen::new().report();
        assert_eq!((peer.up, peer.sent, peer.rtt_us, peer.last_error), (None, None, None, None));
        assert!(peer.latency_us.0.is_empty() && !peer.black_hole);
    }

    #[test]
    fn reports_what_was_measured() {
        let mut seen = Seen::new();
        seen.good(0);
        seen.good(3);
        let peer = seen.report();
        assert_eq!(peer.up, Some(true));
        let wanted = Latency { p50: 8000, p99: 8000 };
        let keys = ["17", "1048576"].map(|key| (key.to_owned(), wanted));
        assert_eq!(peer.latency_us.0, keys);
        assert_eq!(peer.throughput_bps, Some(1_048_576_000));
    }

    #[test]
    fn throughput_is_that_of_the_largest_download() {
        let mut seen = Seen::new();
        for index in [0, 1, 2, 4, 5] {
            seen.good(index);
        }
        assert_eq!(seen.report().throughput_bps, None);
    }

    #[test]
    fn the_order_of_the_sizes_decides_nothing() {
        let down = [1_048_576, 17, 65_536].map(|bytes| Ask { direction: Direction::Down, bytes });
        let up = [65_536, 1].map(|bytes| Ask { direction: Direction::Up, bytes });
        let mut seen = Seen::asking(&[&up[..], &down[..]].concat());
        for index in 0..5_u64 {
            let took = Ok(Duration::from_millis(index + 1));
            seen.note(usize::try_from(index).unwrap(), took, Reach::Up);
        }
        assert_eq!(seen.neighbour.latest_of_smallest(), [4000]);
        let peer = seen.report();
        assert_eq!(peer.smallest(), Some(Latency { p50: 4000, p99: 4000 }));
        assert_eq!(peer.throughput_bps, Some(1_048_576 * 8 * 1000 / 3));
        for index in [2, 4, 2, 4] {
            seen.bad(index, true, Reach::Up);
        }
        assert!(seen.neighbour.black_hole(Direction::Down));
    }

    #[test]
    fn a_failure_is_counted_and_reported_for_a_quarter_of_an_hour() {
        let mut seen = Seen::new();
        seen.bad(2, false, Reach::Down);
        let peer = seen.report();
        let text = "1970-01-01T00:00:00Z: no complete answer within 5s";
        assert_eq!((peer.up, peer.last_error.as_deref()), (Some(false), Some(text)));
        assert_eq!(seen.neighbour.errors[Fault::Timeout as usize], 1);
        seen.date = Timestamp::from_second(900).unwrap();
        assert!(seen.report().last_error.is_some());
        seen.date = Timestamp::from_second(901).unwrap();
        assert!(seen.report().last_error.is_none());
    }

    #[test]
    fn failures_of_a_leaving_neighbour_are_no_errors() {
        let mut seen = Seen::new();
        seen.good(0);
        seen.bad(1, true, Reach::Leaving(seen.now));
        let peer = seen.report();
        assert_eq!((peer.up, peer.last_error.as_deref()), (Some(true), Some(LEAVING)));
        assert_eq!(seen.neighbour.errors.iter().sum::<u64>(), 0);
    }

    #[test]
    fn small_requests_that_pass_and_large_ones_without_an_answer_are_a_black_hole() {
        let mut seen = Seen::new();
        for (index, result) in ["good", "good", "bad", "bad", "good", "good"].iter().enumerate() {
            assert!(!seen.neighbour.has_black_hole(), "too early: {index}");
            match *result {
                "good" => seen.good(index),
                _ => seen.bad(index, true, Reach::Up),
            }
            if index == 3 {
                break;
            }
        }
        assert!(seen.neighbour.black_hole(Direction::Down));
        assert!(!seen.neighbour.black_hole(Direction::Up));
        let peer = seen.report();
        assert!(peer.black_hole && peer.black_hole_down && !peer.black_hole_up);
        seen.good(3);
        assert!(!seen.report().black_hole);
    }

    #[test]
    fn a_request_that_may_fill_a_packet_does_not_count_as_small() {
        let mut seen = Seen::new();
        seen.good(0);
        for index in [1, 2, 3] {
            seen.bad(index, true, Reach::Up);
        }
        assert!(seen.neighbour.black_hole(Direction::Down));
    }

    #[test]
    fn one_large_upload_must_stay_without_an_answer_twice() {
        let mut seen = Seen::new();
        seen.good(0);
        seen.bad(5, true, Reach::Up);
        assert!(!seen.neighbour.has_black_hole());
        seen.bad(5, true, Reach::Up);
        assert!(seen.neighbour.black_hole(Direction::Up));
        assert!(!seen.neighbour.black_hole(Direction::Down));
    }

    #[test]
    fn a_neighbour_that_is_down_or_answers_in_part_has_no_black_hole() {
        for (small_fails, swallowed, reach) in
            [(true, true, Reach::Up), (false, false, Reach::Up), (false, true, Reach::Down)]
        {
            let mut seen = Seen::new();
            seen.good(0);
            if small_fails {
                seen.bad(0, false, Reach::Up);
            }
            for index in [2, 3, 5, 2, 3, 5] {
                seen.bad(index, swallowed, reach);
            }
            assert!(!seen.neighbour.has_black_hole(), "{small_fails} {swallowed} {reach:?}");
        }
    }

    #[test]
    fn segments_of_both_directions_are_counted_and_summed() {
        let mut seen = Seen::new();
        let turn = Turn { index: 0, ask: seen.neighbour.asks[0].ask, fresh: false };
        let path = PathFacts {
            rtt: Some(Duration::from_micros(210)),
            path_mtu: Some(1450),
            up: Segments { sent: 90, again: 1 },
            down: Segments { sent: 110, again: 4 },
        };
        let result = Ok(Duration::from_millis(1));
        let outcome = Outcome { turn, result, path, reach: Reach::Up };
        seen.neighbour.note(&outcome, seen.now, seen.date);
        seen.good(1);
        let peer = seen.report();
        assert_eq!((peer.sent, peer.retransmitted), (Some(200), Some(5)));
        assert_eq!((peer.rtt_us, peer.path_mtu), (Some(210), Some(1450)));
        assert_eq!(seen.neighbour.down.again, 4);
    }
}
