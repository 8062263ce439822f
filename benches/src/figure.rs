//! Owns what is measured: the names of the figures, and a sample of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answers a second.
pub const RATE: &str = "requests_per_second";
/// User and system time of all of the server's processes per answer, microseconds.
pub const CPU: &str = "cpu_us_per_request";
/// The server's processor time by the time that passed: near 1 it was the limit.
pub const SERVER_BUSY: &str = "server_busy";
/// The same of the client.
pub const CLIENT_BUSY: &str = "client_busy";
/// From the first request to the last answer, seconds.
pub const ELAPSED: &str = "seconds";
/// Median latency, microseconds.
pub const P50: &str = "latency_p50_us";
/// The latency one answer of a hundred exceeds, microseconds.
pub const P99: &str = "latency_p99_us";
/// The latency one answer of a thousand exceeds, microseconds.
pub const P999: &str = "latency_p999_us";
/// Resident memory of all of the server's processes, mebibytes.
pub const RESIDENT: &str = "resident_mib";
/// What the load left behind in it, mebibytes.
pub const RESIDENT_GROWTH: &str = "resident_growth_mib";
/// Resident memory per idle connection, bytes.
pub const CONNECTION_BYTES: &str = "bytes_per_connection";
/// From the start of the process to the first answer, milliseconds.
pub const START: &str = "start_ms";
/// The part of the processor time that the busiest thread had.
pub const BUSIEST: &str = "busiest_share";
/// The yardstick of [`crate::runner::Yardstick::message_ns`].
pub const MESSAGE: &str = "yardstick_message_ns";
/// The yardstick of [`crate::runner::Yardstick::crossing_ns`].
pub const CROSSING: &str = "yardstick_crossing_ns";

/// Figures by their names.
pub type Figures = BTreeMap<String, f64>;

/// How far the two CPUs lie apart while something is measured. A hypervisor changes it at will,
/// and figures of different regimes do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// They share a cache.
    Near,
    /// They do not.
    Far,
    /// It makes no difference to what is measured.
    Any,
}

/// A cache line that goes to the other CPU and back in less time did not leave a shared cache:
/// threads of one core take about 50 ns, different caches 200 ns and more.
pub const NEAR_NS_MAX: f64 = 150.0;

impl Regime {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Near, Self::Far, Self::Any];

    /// By the time a cache line takes to cross and come back.
    pub fn of(crossing_ns: f64) -> Self {
        if crossing_ns <= NEAR_NS_MAX { Self::Near } else { Self::Far }
    }

    /// What the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
            Self::Any => "any",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How far the CPUs lay apart.
    pub regime: Regime,
    /// What was found.
    pub figures: Figures,
}

/// How a figure is written: its heading and its digits.
pub fn heading(figure: &str) -> (&'static str, usize) {
    match figure {
        RATE => ("requests/s", 0),
        CPU => ("CPU us/request", 2),
        SERVER_BUSY => ("server busy", 2),
        CLIENT_BUSY => ("client busy", 2),
        ELAPSED => ("seconds", 3),
        P50 => ("p50 us", 1),
        P99 => ("p99 us", 1),
        P999 => ("p99.9 us", 1),
        RESIDENT => ("resident MiB", 2),
        RESIDENT_GROWTH => ("growth MiB", 2),
        CONNECTION_BYTES => ("bytes/connection", 0),
        START => ("start ms", 2),
        BUSIEST => ("busiest thread", 2),
        MESSAGE => ("message ns", 0),
        CROSSING => ("crossing ns", 0),
        _ => ("other", 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_between_near_and_far_belongs_to_near() {
        assert_eq!(Regime::of(NEAR_NS_MAX), Regime::Near);
        assert_eq!(Regime::of(NEAR_NS_MAX + 0.1), Regime::Far);
    }
}
