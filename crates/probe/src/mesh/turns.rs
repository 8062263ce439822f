//! Decides which request is sent to a neighbour next.

use std::time::Duration;

/// The direction of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the neighbour to this node.
    Down,
    /// From this node to the neighbour.
    Up,
}

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The direction.
    pub(crate) direction: Direction,
    /// Bytes of the payload.
    pub(crate) bytes: u64,
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Its index among all kinds of requests.
    pub(crate) index: usize,
    /// The kind of request.
    pub(crate) ask: Ask,
    /// Whether a new connection is opened for it.
    pub(crate) fresh: bool,
}

/// Takes all kinds of requests in turn: one round over a kept connection, the next over new ones.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    asks: Vec<Ask>,
    next: usize,
}

impl Direction {
    /// The name in labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

impl Ask {
    /// Its key in JSON: the bytes, followed by [`UPLOAD`] for an upload.
    pub(crate) fn key(&self) -> String {
        match self.direction {
            Direction::Down => self.bytes.to_string(),
            Direction::Up => format!("{}{UPLOAD}", self.bytes),
        }
    }

    /// Whether the request and the answer fit into one packet each on every path.
    pub(crate) fn is_small(&self) -> bool {
        self.bytes <= SMALL_BYTES_MAX
    }

    /// Whether it takes many full packets.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes >= LARGE_BYTES_MIN
    }
}

impl Turns {
    /// Begins with the first kind.
    pub(crate) fn new(asks: Vec<Ask>) -> Self {
        Self { asks, next: 0 }
    }

    /// The next request.
    pub(crate) fn take(&mut self) -> Turn {
        let index = self.next % self.asks.len();
        let fresh = (self.next / self.asks.len()) % 2 == 1;
        self.next = (self.next + 1) % (2 * self.asks.len());
        Turn { index, ask: self.asks[index], fresh }
    }
}

/// The time from the planned start of a request to that of the next one. The request ended `late`
/// after its planned start; ticks that have passed meanwhile are left out.
pub(crate) fn next_start(late: Duration, interval: Duration) -> Duration {
    let passed = late.as_nanos() / interval.as_nanos().max(1);
    let passed = u32::try_from(passed).unwrap_or(u32::MAX);
    interval.saturating_mul(passed.saturating_add(1))
}

/// The end of the key of an upload.
pub(super) const UPLOAD: &str = "-up";
/// With its head, which takes up to 400 bytes with `Server-Timing`, and the headers of TCP and IP,
/// it is below 1,280 bytes, the smallest MTU of IPv6.
const SMALL_BYTES_MAX: u64 = 768;
/// Eleven full packets of an Ethernet.
const LARGE_BYTES_MIN: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Ask = Ask { direction: Direction::Down, bytes: 17 };
    const UP: Ask = Ask { direction: Direction::Up, bytes: 65_536 };

    #[test]
    fn goes_through_all_kinds_over_kept_and_new_connections_in_turn() {
        let mut turns = Turns::new(vec![DOWN, UP]);
        let taken: Vec<_> = (0..6).map(|_| turns.take()).collect();
        let seen: Vec<_> = taken.iter().map(|turn| (turn.index, turn.fresh)).collect();
        assert_eq!(seen, [(0, false), (1, false), (0, true), (1, true), (0, false), (1, false)]);
        assert_eq!((taken[0].ask, taken[1].ask), (DOWN, UP));
    }

    #[test]
    fn leaves_out_the_ticks_during_a_long_request() {
        let interval = Duration::from_secs(5);
        assert_eq!(next_start(Duration::from_secs(1), interval), interval);
        assert_eq!(next_start(Duration::from_secs(4), interval), interval);
        assert_eq!(next_start(Duration::from_secs(5), interval), 2 * interval);
        assert_eq!(next_start(Duration::from_secs(12), interval), 3 * interval);
    }

    #[test]
    fn distinguishes_sizes_that_fit_into_one_packet_from_large_ones() {
        let of = |bytes| Ask { direction: Direction::Down, bytes };
        assert!(of(768).is_small() && !of(769).is_small());
        assert!(of(16_384).is_large() && !of(16_383).is_large());
    }
}
