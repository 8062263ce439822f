//! The facts about a path: the object that `--json` prints, and what only the text shows.
//!
//! What was not measured is null in JSON, never left out. Times are microseconds, rates bits per
//! second.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_tcp_info::TcpInfo;
use serde::Serialize;

/// All facts about a path.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) server: Option<Server>,
    pub(super) http_version: Option<String>,
    /// Bytes sent and received, of all connections together.
    pub(super) bytes_used: u64,
    pub(super) addresses: Vec<Address>,
    pub(super) tls: Option<TlsFacts>,
    pub(super) latency_us: Latency,
    pub(super) mtu: Both<Packets>,
    pub(super) throughput_bps: Throughput,
    pub(super) retransmitted: Both<Segments>,
    pub(super) loaded_latency_us: Both<Quantiles>,
    /// Round trips per minute under load (draft-ietf-ippm-responsiveness).
    pub(super) rpm: Both<Option<u64>>,
    pub(super) middle: Middle,
    pub(super) findings: Vec<Finding>,
    /// What was left out, and why.
    pub(super) skipped: BTreeMap<&'static str, String>,
    #[serde(skip)]
    pub(super) beside: Beside,
}

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Both<T> {
    /// From the server to the prober.
    pub(super) down: T,
    /// From the prober to the server.
    pub(super) up: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

impl<T> Both<T> {
    pub(super) fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }

    pub(super) fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Server {
    pub(super) product: Option<String>,
    pub(super) version: Option<String>,
    pub(super) node: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) driver: Option<String>,
    pub(super) send: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Address {
    pub(super) address: String,
    pub(super) connect_us: Option<f64>,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TlsFacts {
    pub(super) version: Option<String>,
    /// RFC 3339.
    pub(super) expires: Option<String>,
    pub(super) trusted: bool,
    #[serde(skip)]
    pub(super) refusal: Option<String>,
    #[serde(skip)]
    pub(super) days_left: Option<i64>,
}

/// Times of small requests on an open connection.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    /// The mean difference between one request and the next.
    pub(super) jitter: Option<f64>,
    /// The server's own share, as the server reports it.
    pub(super) server: Option<f64>,
    /// The round-trip time that this end's kernel measures.
    pub(super) rtt_client: Option<f64>,
    /// The round-trip time that the server's kernel measures.
    pub(super) rtt_server: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Packets {
    /// Payload bytes of the sender's largest segment.
    pub(super) mss: Option<u32>,
    /// Bytes of the largest IP packet that the sender's kernel assumes to pass.
    pub(super) path_mtu: Option<u32>,
    /// Bytes of the largest IP packet that was seen to pass.
    pub(super) largest: Option<u32>,
    /// Whether larger packets disappear without an error.
    pub(super) black_hole: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Throughput {
    pub(super) down_1: Option<u64>,
    pub(super) down_8: Option<u64>,
    pub(super) up_1: Option<u64>,
    pub(super) up_8: Option<u64>,
}

/// Segments with payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Segments {
    /// Retransmissions.
    pub(super) segments: Option<u64>,
    /// All sent segments, including retransmissions.
    pub(super) sent: Option<u64>,
}

impl Segments {
    /// What this end has sent. Superfluous retransmissions do not count: they show that the timers
    /// of a busy machine were too fast, and say nothing about the path.
    pub(super) fn sent(facts: &TcpInfo) -> Self {
        let vain = facts.duplicates_reported.unwrap_or(0);
        Self {
            segments: Some(u64::from(facts.segments_retransmitted.saturating_sub(vain))),
            sent: facts.data_segments_out.map(u64::from),
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        self.segments = sum(self.segments, more.segments);
        self.sent = sum(self.sent, more.sent);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// What is between prober and server, and what it does.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Middle {
    /// What identifies itself: `Via`, or `Server` if a Heartbeat answers, because it sends none.
    pub(super) via: Option<String>,
    pub(super) compresses: Option<bool>,
    pub(super) buffers_uploads: Option<bool>,
    /// Bytes of the largest body that is accepted, of 1, 10 and 100 MB; 0 if none is.
    pub(super) body_max: Option<u64>,
    /// Whether a length becomes a chunked body.
    pub(super) chunks: Option<bool>,
    /// Whether `Expect: 100-continue` is answered with 100.
    pub(super) expect: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Note,
    Warning,
    Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) remedy: Option<String>,
}

/// Facts that only the text and the findings use.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    /// The address that was used for everything else.
    pub(super) chosen: Option<String>,
    pub(super) resolve: Option<Duration>,
    pub(super) requests: usize,
    /// The medians of new connections.
    pub(super) opening: Option<Opening>,
    /// Whether answers have shown what the server is.
    pub(super) is_identified: bool,
    /// Whether answers come from a Heartbeat itself, as far as can be seen.
    pub(super) is_direct: bool,
    /// How the head differs from that of a Heartbeat.
    pub(super) rewritten: Vec<String>,
    /// Where a proxy on the way used a lower HTTP version, if one did.
    pub(super) lowered: Option<String>,
    /// Loss while so few segments were under way that no queue overflowed.
    pub(super) calm: Both<Segments>,
    /// The median time to open a connection under load. The kernels do that alone, so busy programs
    /// do not delay it.
    pub(super) loaded_connect_us: Both<Option<f64>>,
    /// The smallest IP packet that did not pass, if there is a black hole.
    pub(super) lost_packet: Both<Option<u32>>,
    /// Segments of all later measurements are no larger than this, because of a black hole.
    pub(super) clamped: Option<u32>,
    pub(super) idle: Option<Idle>,
}

/// The phases of a new connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    pub(super) connect: Duration,
    pub(super) tls: Option<Duration>,
    pub(super) answer: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) waited: Duration,
    /// After this time the connection was closed, if it was.
    pub(super) closed: Option<Duration>,
}

impl Report {
    /// Notes that something was not measured.
    pub(super) fn skip(&mut self, what: &'static str, why: impl std::fmt::Display) {
        self.skipped.entry(what).or_insert_with(|| why.to_string());
    }

    pub(super) fn is_heartbeat(&self) -> bool {
        self.server.is_some()
    }
}

/// Microseconds, rounded to one decimal place.
pub(super) fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
